//! Aggregate functions: DataFusion's with accumulators that fit medallion SQL, and sketches of
//! columns.

mod count;
mod distinct_groups;
mod theta_sketch;

pub use count::count_udaf;
pub use theta_sketch::{distinct_values, theta_sketch_udaf};
