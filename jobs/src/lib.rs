//! Pipelines: SQL files, their DAG, checks, schedules and runs.
//!
//! A [`Pipeline`] is a folder of SQL files, each with a YAML header. Its jobs depend on
//! each other through the tables that their statements read and write. A [`JobRunner`]
//! runs them in that order through a [`StatementRunner`], queries the checks of each job
//! on what it wrote, and records everything in a [`JobStore`]. A [`Scheduler`] starts
//! runs at the times that the pipelines ask for.
//!
//! Nothing here plans or executes SQL: that is behind [`StatementRunner`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod checks;
pub mod dag;
pub mod definition;
pub mod error;
pub mod folder;
pub mod report;
pub mod runner;
pub mod schedule;
pub mod scheduler;
pub mod statement_runner;
pub mod statements;
pub mod store;
#[cfg(test)]
mod test_support;
pub mod variables;

pub use dag::{Dag, DagNode};
pub use definition::{
    CheckDefinition, CheckKind, CheckLimit, JobDefinition, MissedFires, Pipeline, RetryPolicy,
    Schedule, Severity,
};
pub use error::{JobsError, Result, StatementError};
pub use folder::{PipelineFile, PipelineFolder};
pub use report::{
    CheckOutcome, CheckReport, JobReport, JobStatus, RunEvent, RunReport, RunStatus, Trigger,
};
pub use runner::{JobRunner, RunOptions};
pub use scheduler::{Fire, Scheduler};
pub use statement_runner::{RunContext, StatementReport, StatementRunner};
pub use store::{JobStore, StoredPipeline};
