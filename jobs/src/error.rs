//! Errors of pipelines, their runs and their store.

use std::path::PathBuf;

use ingot_catalog::CatalogError;

/// Result of every operation on pipelines.
pub type Result<T, E = JobsError> = std::result::Result<T, E>;

/// A statement of a job or check that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StatementError {
    /// One line that says what went wrong.
    pub message: String,
    /// Whether the same statement may succeed when it is run again: a worker was lost, a
    /// commit lost its race, storage did not answer. An unknown column never does.
    pub retryable: bool,
    /// The statement was cancelled by a user.
    pub cancelled: bool,
}

/// What can go wrong with a pipeline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobsError {
    /// A file or folder of a pipeline cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },

    /// A header, a setting or a statement in a file of a pipeline is not valid.
    #[error("{}:{line}:{column}: {message}", path.display())]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Column in that line, from 1.
        column: u64,
        /// What is wrong and what would be right.
        message: String,
    },

    /// The pipeline as a whole is not valid.
    #[error("pipeline {pipeline}: {message}")]
    InvalidPipeline {
        /// The pipeline.
        pipeline: String,
        /// What is wrong and what would be right.
        message: String,
    },

    /// Jobs depend on each other in a circle.
    #[error("pipeline {pipeline}: jobs depend on each other in a circle: {cycle}")]
    Cycle {
        /// The pipeline.
        pipeline: String,
        /// The circle: `a reads b's table, …`.
        cycle: String,
    },

    /// A pipeline, job or run that was named does not exist.
    #[error("{kind} {name} does not exist{}", suggestion.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    NotFound {
        /// `pipeline`, `job` or `run`.
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// The nearest one that exists.
        suggestion: Option<String>,
    },

    /// A pipeline runs at most once at a time.
    #[error("pipeline {pipeline} is running already (run {run_id}): wait for it or cancel it")]
    AlreadyRunning {
        /// The pipeline.
        pipeline: String,
        /// The run that is under way.
        run_id: String,
    },

    /// A statement failed.
    #[error(transparent)]
    Statement(#[from] StatementError),

    /// The catalog database failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),

    /// What the store holds cannot be understood.
    #[error("stored {what} is damaged: {message}")]
    Damaged {
        /// Which record.
        what: String,
        /// What is wrong with it.
        message: String,
    },

    /// The run was cancelled.
    #[error("run {run_id} was cancelled")]
    Cancelled {
        /// The run.
        run_id: String,
    },
}

impl JobsError {
    /// Whether running again may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Statement(error) => error.retryable,
            Self::Catalog(error) => error.is_conflict(),
            _ => false,
        }
    }
}
