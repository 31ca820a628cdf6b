//! The seam to whatever executes SQL.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::StatementError;

/// For whom and where a statement is run.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// The run.
    pub run_id: Uuid,
    /// The pipeline.
    pub pipeline: String,
    /// The job; `None` for the pipeline's set-up statements.
    pub job: Option<String>,
    /// Attempt of the job, from 1.
    pub attempt: u32,
    /// Id to give to the query, so that its progress can be shown.
    pub query_id: Uuid,
    /// Catalog of names that have fewer than three parts.
    pub catalog: String,
    /// Schema of names that have one part.
    pub schema: Option<String>,
    /// Fires when the run is cancelled, a timeout passed or the server stops: the
    /// statement must end soon and leave nothing behind.
    pub cancel: CancellationToken,
}

/// What a statement did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatementReport {
    /// Rows read from tables and files, where that is known.
    pub rows_read: Option<u64>,
    /// Rows written.
    pub rows_written: u64,
    /// Data files written.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// The snapshot that was made.
    pub snapshot_id: Option<i64>,
}

/// Executes SQL for jobs and checks. The coordinator implements it.
#[async_trait]
pub trait StatementRunner: Send + Sync + 'static {
    /// Runs one statement to its end.
    ///
    /// # Errors
    /// One line; `retryable` says whether the same statement may succeed later.
    async fn execute(
        &self,
        sql: &str,
        context: &RunContext,
    ) -> Result<StatementReport, StatementError>;

    /// Runs one query and returns its (small) result: at least one batch, so that the
    /// schema is known.
    ///
    /// # Errors
    /// As for `execute`.
    async fn query(
        &self,
        sql: &str,
        context: &RunContext,
    ) -> Result<Vec<RecordBatch>, StatementError>;
}
