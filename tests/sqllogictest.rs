//! Runs `tests/sqllogictest/*.slt`, the specification of the SQL, on a whole engine in this process.
//!
//! Every file has a lakehouse of its own in a temporary folder, and runs twice: with all queries in the
//! coordinator, and with all queries distributed to two workers over real sockets.
//!
//! Column types in the files: `I` integers, `R` other numbers, `T` text, `B` booleans, `D` dates,
//! `P` timestamps, `?` anything else. Types are checked. `NULL` is null, `(empty)` the empty text.
//! `INGOT_SLT=joins` runs only the files whose names contain the text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "sqllogictest/evolution.rs"]
mod evolution;
#[path = "sqllogictest/harness.rs"]
mod harness;
#[path = "sqllogictest/headings.rs"]
mod headings;
#[path = "sqllogictest/materialized.rs"]
mod materialized;
#[path = "sqllogictest/random_queries.rs"]
mod random_queries;

use harness::Placement;

/// How many files run at the same time.
const PARALLEL_FILES: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_the_coordinator() {
    harness::run_all(Placement::Local, PARALLEL_FILES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn distributed() {
    harness::run_all(Placement::Distributed, PARALLEL_FILES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn columns_have_the_names_that_were_announced() {
    headings::run(Placement::Local).await;
    headings::run(Placement::Distributed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn evolved_tables_agree_with_a_list_of_rows() {
    evolution::run(Placement::Local, 0..12, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn evolved_tables_agree_with_a_list_of_rows_on_workers() {
    evolution::run(Placement::Distributed, 100..102, 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_queries_return_the_same_on_workers() {
    random_queries::run(0..2, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "long: many random queries"]
async fn many_random_queries_return_the_same_on_workers() {
    random_queries::run(1000..1030, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refreshed_views_agree_with_their_queries() {
    materialized::run(Placement::Local, 0..4, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refreshed_views_agree_with_their_queries_on_workers() {
    materialized::run(Placement::Distributed, 100..101, 30).await;
}
