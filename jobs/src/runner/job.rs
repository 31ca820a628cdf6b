//! One job of a run: its statements with retries, then its checks.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::CANCEL_GRACE;
use super::progress::Progress;
use crate::checks::{CheckQueries, run_checks};
use crate::definition::{JobDefinition, RetryPolicy};
use crate::error::StatementError;
use crate::report::{JobReport, JobStatus, RunEvent};
use crate::statement_runner::{RunContext, StatementReport, StatementRunner};
use crate::statements::JobStatement;
use crate::store::now;

/// What the jobs of a run share.
pub(super) struct RunScope {
    pub run_id: Uuid,
    pub pipeline: String,
    pub catalog: String,
    pub schema: Option<String>,
    pub statements: Arc<dyn StatementRunner>,
    pub progress: Progress,
    pub cancel: CancellationToken,
}

impl RunScope {
    fn context(&self, job: Option<&str>, attempt: u32, cancel: CancellationToken) -> RunContext {
        RunContext {
            run_id: self.run_id,
            pipeline: self.pipeline.clone(),
            job: job.map(str::to_string),
            attempt,
            query_id: Uuid::now_v7(),
            catalog: self.catalog.clone(),
            schema: self.schema.clone(),
            cancel,
        }
    }

    /// Runs the statements that every run begins with.
    pub(super) async fn execute_setup(&self, setup: &[String]) -> Result<(), StatementError> {
        for sql in setup {
            let context = self.context(None, 1, self.cancel.child_token());
            self.progress.send(RunEvent::StatementStarted {
                job: None,
                query_id: context.query_id,
            });
            let statement = self.statements.execute(sql, &context);
            bounded(statement, &context.cancel, None).await?;
        }
        Ok(())
    }
}

/// One job of a run.
pub(super) struct JobRun {
    pub scope: Arc<RunScope>,
    pub definition: JobDefinition,
    pub statements: Vec<JobStatement>,
    pub report: JobReport,
}

impl JobRun {
    /// Runs the job to its end; how it went is in the report.
    pub(super) async fn run(mut self) -> JobReport {
        let outcome = match self.execute_statements().await {
            Ok(()) => self.check().await,
            Err(error) => Err(error),
        };
        self.report.ended_at = Some(now());
        self.report.status = match outcome {
            Ok(()) => JobStatus::Succeeded,
            Err(error) => {
                let was_cancelled = error.cancelled && self.scope.cancel.is_cancelled();
                self.report.error = Some(error.message);
                match was_cancelled {
                    true => JobStatus::Cancelled,
                    false => JobStatus::Failed,
                }
            }
        };
        self.report
    }

    /// Every statement is all or nothing, so that a retry goes on at the one that failed
    /// and does not repeat those before it.
    async fn execute_statements(&mut self) -> Result<(), StatementError> {
        let statements = std::mem::take(&mut self.statements);
        let mut attempt = 1;
        self.send_started(attempt);
        for statement in &statements {
            loop {
                match self.execute(statement, attempt).await {
                    Ok(done) => {
                        self.add(done);
                        break;
                    }
                    Err(error) => {
                        let policy = self.definition.retry;
                        let pause = pause_before_retry(&error, policy, attempt);
                        let Some(pause) = pause else {
                            return Err(error);
                        };
                        self.scope.progress.send(RunEvent::JobRetrying {
                            job: self.report.job.clone(),
                            attempt,
                            error: error.message,
                            pause,
                        });
                        pause_for(pause, &self.scope.cancel).await?;
                        attempt += 1;
                        self.report.attempts = attempt;
                        self.send_started(attempt);
                    }
                }
            }
        }
        Ok(())
    }

    fn send_started(&self, attempt: u32) {
        self.scope.progress.send(RunEvent::JobStarted {
            job: self.report.job.clone(),
            attempt,
        });
    }

    async fn execute(
        &self,
        statement: &JobStatement,
        attempt: u32,
    ) -> Result<StatementReport, StatementError> {
        let cancel = self.scope.cancel.child_token();
        let context = self.scope.context(Some(&self.report.job), attempt, cancel);
        self.scope.progress.send(RunEvent::StatementStarted {
            job: Some(self.report.job.clone()),
            query_id: context.query_id,
        });
        let execution = self.scope.statements.execute(&statement.text, &context);
        bounded(execution, &context.cancel, self.definition.timeout).await
    }

    fn add(&mut self, done: StatementReport) {
        let report = &mut self.report;
        report.rows_read = match (report.rows_read, done.rows_read) {
            (Some(before), Some(now)) => Some(before + now),
            (before, now) => before.or(now),
        };
        report.rows_written += done.rows_written;
        report.files_written += done.files_written;
        report.bytes_written += done.bytes_written;
        report.snapshot_id = done.snapshot_id.or(report.snapshot_id);
    }

    /// Queries the checks. The first blocking failure is the error of the job; the others
    /// are queried all the same, so that the report is whole.
    async fn check(&mut self) -> Result<(), StatementError> {
        let queries = JobCheckQueries {
            scope: &self.scope,
            job: &self.report.job,
            attempt: self.report.attempts,
            retry: self.definition.retry,
            timeout: self.definition.timeout,
        };
        let checks = run_checks(&queries, &self.definition.checks, now(), |report| {
            self.scope.progress.send(RunEvent::CheckFinished {
                job: self.report.job.clone(),
                report: report.clone(),
            });
        })
        .await?;
        let blocking = checks.iter().find(|check| check.is_blocking_failure());
        let result = match blocking {
            None => Ok(()),
            Some(check) => Err(StatementError {
                message: format!(
                    "check {} of {} failed: {}",
                    check.check, check.table, check.message
                ),
                retryable: false,
                cancelled: false,
            }),
        };
        self.report.checks = checks;
        result
    }
}

/// Queries of checks, tried again as the job's statements are.
struct JobCheckQueries<'a> {
    scope: &'a RunScope,
    job: &'a str,
    attempt: u32,
    retry: RetryPolicy,
    timeout: Option<Duration>,
}

#[async_trait]
impl CheckQueries for JobCheckQueries<'_> {
    async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, StatementError> {
        let mut attempt = 1;
        loop {
            let cancel = self.scope.cancel.child_token();
            let context = self.scope.context(Some(self.job), self.attempt, cancel);
            let query = self.scope.statements.query(sql, &context);
            match bounded(query, &context.cancel, self.timeout).await {
                Ok(batches) => return Ok(batches),
                Err(error) => {
                    let pause = pause_before_retry(&error, self.retry, attempt);
                    let Some(pause) = pause else {
                        return Err(error);
                    };
                    pause_for(pause, &self.scope.cancel).await?;
                    attempt += 1;
                }
            }
        }
    }
}

fn pause_before_retry(
    error: &StatementError,
    policy: RetryPolicy,
    attempt: u32,
) -> Option<Duration> {
    match error.retryable && !error.cancelled {
        true => policy.pause_after(attempt),
        false => None,
    }
}

async fn pause_for(pause: Duration, cancel: &CancellationToken) -> Result<(), StatementError> {
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(()),
        () = cancel.cancelled() => Err(cancelled()),
    }
}

fn cancelled() -> StatementError {
    StatementError {
        message: "the run was cancelled".to_string(),
        retryable: false,
        cancelled: true,
    }
}

/// Waits for a statement, until it is cancelled or takes too long. It gets some time to
/// clean up after itself, then it is dropped.
async fn bounded<T>(
    statement: impl Future<Output = Result<T, StatementError>>,
    cancel: &CancellationToken,
    timeout: Option<Duration>,
) -> Result<T, StatementError> {
    if cancel.is_cancelled() {
        return Err(cancelled());
    }
    tokio::pin!(statement);
    let too_long = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        result = &mut statement => return result,
        () = cancel.cancelled() => cancelled(),
        () = too_long => StatementError {
            message: format!(
                "timed out after {} s: raise timeout in the job's header",
                timeout.unwrap_or_default().as_secs_f64()
            ),
            retryable: true,
            cancelled: false,
        },
    };
    cancel.cancel();
    match tokio::time::timeout(CANCEL_GRACE, statement).await {
        // It was faster than its end: what it did is done.
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) | Err(_) => Err(ended),
    }
}
