//! Aggregate functions that DataFusion has, with accumulators that fit medallion SQL.

mod count;
mod distinct_groups;

pub use count::count_udaf;
