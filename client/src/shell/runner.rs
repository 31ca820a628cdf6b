//! One statement: executed, watched, perhaps interrupted, its result written.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::StreamExt;
use uuid::Uuid;

use super::Interrupts;
use super::progress::ProgressLine;
use crate::error::{ClientError, Result};
use crate::executor::{StatementExecutor, StatementResult};
use crate::output::{OutputFormat, output_error, result_writer};

/// A statement that is faster than this shows no progress.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// How often progress is asked for.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// How long a cancelled query may take to end before the shell stops waiting for it.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// Rows are written in pieces of this size, so that an interrupt is seen between them even when
/// the screen is slow.
const ROWS_PER_WRITE: usize = 1000;

/// What a statement did.
pub(super) struct Summary {
    kind: SummaryKind,
    pub(super) elapsed: Duration,
}

enum SummaryKind {
    Rows(u64),
    Updated(i64),
    Message(String),
}

impl Summary {
    /// Whether it is about rows that were shown.
    pub(super) fn counts_result(&self) -> bool {
        matches!(self.kind, SummaryKind::Rows(_))
    }

    pub(super) fn describe(&self) -> String {
        match &self.kind {
            SummaryKind::Rows(1) => "1 row".to_string(),
            SummaryKind::Rows(count) => format!("{count} rows"),
            SummaryKind::Updated(1) => "1 row changed".to_string(),
            SummaryKind::Updated(count) => format!("{count} rows changed"),
            SummaryKind::Message(message) => message.clone(),
        }
    }
}

/// Runs statements one at a time.
pub(super) struct Runner<'a> {
    pub(super) executor: &'a dyn StatementExecutor,
    pub(super) format: OutputFormat,
    pub(super) progress: &'a ProgressLine,
    pub(super) interrupts: &'a Interrupts,
}

impl Runner<'_> {
    /// Executes a statement and writes its rows. The first interrupt cancels the query on the
    /// server; a second one, or a server that does not answer, leaves it. Rows that are on their
    /// way are not written any more.
    pub(super) async fn run(&self, sql: &str, output: &mut dyn Write) -> Result<Summary> {
        let started = Instant::now();
        let query_id = Uuid::new_v4();
        let has_rows = AtomicBool::new(false);
        let work = self.execute_and_write(sql, query_id, output, &has_rows);
        let watch = self.watch(query_id);
        tokio::pin!(work, watch);
        let mut interrupt = (self.interrupts)();
        tokio::select! {
            kind = &mut work => {
                return Ok(Summary { kind: kind?, elapsed: started.elapsed() });
            }
            () = &mut watch => {}
            () = &mut interrupt => {}
        }
        self.progress.show("cancelling");
        let mut second_interrupt = (self.interrupts)();
        let cancel = async {
            if !matches!(self.executor.cancel(query_id).await, Ok(true)) {
                // Not begun yet, or the server is gone: leaving the call is what is left.
                return;
            }
            tokio::time::sleep(CANCEL_GRACE).await;
        };
        if has_rows.load(Ordering::Relaxed) {
            // Nothing but rows can still come.
            tokio::select! {
                _ = self.executor.cancel(query_id) => {}
                () = tokio::time::sleep(CANCEL_GRACE) => {}
                () = &mut second_interrupt => {}
            }
            return Err(interrupted(query_id));
        }
        tokio::select! {
            kind = &mut work => Ok(Summary { kind: kind?, elapsed: started.elapsed() }),
            () = cancel => Err(interrupted(query_id)),
            () = &mut second_interrupt => Err(interrupted(query_id)),
        }
    }

    async fn execute_and_write(
        &self,
        sql: &str,
        query_id: Uuid,
        output: &mut dyn Write,
        has_rows: &AtomicBool,
    ) -> Result<SummaryKind> {
        let (schema, mut stream) = match self.executor.execute(sql, query_id).await? {
            StatementResult::UpdateCount(count) => return Ok(SummaryKind::Updated(count)),
            StatementResult::Done { message } => return Ok(SummaryKind::Message(message)),
            StatementResult::Rows { schema, stream } => (schema, stream),
        };
        let mut writer = result_writer(self.format, schema);
        let mut rows = 0u64;
        while let Some(batch) = stream.next().await {
            let batch: RecordBatch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    // What came before the error is shown, then the error.
                    self.progress.clear();
                    writer.finish(output)?;
                    output.flush().map_err(output_error)?;
                    return Err(error);
                }
            };
            rows += batch.num_rows() as u64;
            has_rows.store(true, Ordering::Relaxed);
            self.progress.before_output();
            for start in (0..batch.num_rows()).step_by(ROWS_PER_WRITE) {
                let length = ROWS_PER_WRITE.min(batch.num_rows() - start);
                writer.write(&batch.slice(start, length), output)?;
                tokio::task::yield_now().await;
            }
        }
        self.progress.clear();
        writer.finish(output)?;
        output.flush().map_err(output_error)?;
        Ok(SummaryKind::Rows(rows))
    }

    /// Shows progress for ever.
    async fn watch(&self, query_id: Uuid) {
        if !self.progress.is_enabled() {
            return std::future::pending().await;
        }
        tokio::time::sleep(PROGRESS_AFTER).await;
        loop {
            // Progress is a courtesy: when it cannot be had, the statement goes on without.
            if let Ok(Some(snapshot)) = self.executor.progress(query_id).await {
                self.progress.show_snapshot(&snapshot);
            }
            tokio::time::sleep(PROGRESS_INTERVAL).await;
        }
    }
}

fn interrupted(query_id: Uuid) -> ClientError {
    ClientError::Statement {
        code: tonic::Code::Cancelled,
        message: format!("query {query_id} was interrupted"),
    }
}
