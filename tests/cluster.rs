//! Queries on real worker processes: exact results, also when workers are killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cluster/early_filters.rs"]
mod early_filters;

#[path = "cluster/harness.rs"]
mod harness;

#[path = "cluster/iceberg_tables.rs"]
mod iceberg_tables;

#[path = "cluster/joining.rs"]
mod joining;

#[path = "cluster/queries.rs"]
mod queries;

#[path = "cluster/lost_workers.rs"]
mod lost_workers;
