//! Tests of the writer against plain readers, brute force and the `iceberg` crate.

mod metrics;
mod plans;
mod round_trip;
mod support;
mod transforms;
