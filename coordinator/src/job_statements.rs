//! Statements of jobs: the jobs crate's seam, over sessions of this coordinator.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::TryStreamExt;
use ingot_jobs::{RunContext, StatementError, StatementReport, StatementRunner};

use crate::coordinator::Coordinator;
use crate::error::{CoordinatorError, ErrorCode, Result};
use crate::service::{SessionId, SqlService, StatementOutcome};

/// The user in whose name jobs run.
const JOBS_USER: &str = "jobs";

#[async_trait]
impl StatementRunner for Coordinator {
    async fn execute(
        &self,
        sql: &str,
        context: &RunContext,
    ) -> Result<StatementReport, StatementError> {
        let outcome = self.run_for_job(sql, context).await.map_err(for_jobs)?;
        if let StatementOutcome::Rows { stream, .. } = outcome {
            // A job whose statement is a query: its rows are read to their end and dropped.
            let _: Vec<RecordBatch> = stream
                .try_collect()
                .await
                .map_err(|error| for_jobs(error.into()))?;
        }
        let written = self
            .core()
            .queries
            .ended(context.query_id)
            .and_then(|record| record.written)
            .unwrap_or_default();
        Ok(StatementReport {
            rows_read: None,
            rows_written: written.rows,
            files_written: written.files,
            bytes_written: written.bytes,
            snapshot_id: written.snapshot_id,
        })
    }

    async fn query(
        &self,
        sql: &str,
        context: &RunContext,
    ) -> Result<Vec<RecordBatch>, StatementError> {
        let outcome = self.run_for_job(sql, context).await.map_err(for_jobs)?;
        let StatementOutcome::Rows { schema, stream } = outcome else {
            return Err(for_jobs(CoordinatorError::InvalidInput(
                "a check must be a query".to_owned(),
            )));
        };
        let mut batches: Vec<RecordBatch> = stream
            .try_collect()
            .await
            .map_err(|error| for_jobs(error.into()))?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }
}

impl Coordinator {
    /// Runs a statement in a session of its own, in the job's catalog and schema.
    async fn run_for_job(&self, sql: &str, context: &RunContext) -> Result<StatementOutcome> {
        let session: SessionId = self.open_session(JOBS_USER).await?;
        self.core().sessions.update(&session, |session| {
            session.catalog = context.catalog.clone();
            if let Some(schema) = &context.schema {
                session.schema = schema.clone();
            }
        })?;
        let executed = SqlService::execute(self, &session, sql, None, context.query_id);
        let outcome = tokio::select! {
            outcome = executed => outcome,
            () = context.cancel.cancelled() => Err(CoordinatorError::Cancelled { query_id: context.query_id }),
        };
        let left_open = self.core().sessions.get(&session)?.transaction.is_some();
        // A result that is still being read does not need its session.
        self.close_session(&session).await?;
        if left_open {
            return Err(CoordinatorError::Unsupported(
                "a transaction over several statements of a job".to_owned(),
            ));
        }
        outcome
    }
}

fn for_jobs(error: CoordinatorError) -> StatementError {
    let may_succeed_later = matches!(
        error.code(),
        ErrorCode::Conflict
            | ErrorCode::Unavailable
            | ErrorCode::ResourceExhausted
            | ErrorCode::Timeout
    );
    StatementError {
        message: error.to_string(),
        retryable: may_succeed_later,
        cancelled: error.code() == ErrorCode::Cancelled,
    }
}
