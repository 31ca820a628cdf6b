//! Queries: rows that stream to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::Stream;
use ingot_sql::sqlparser::ast;

use super::context::StatementContext;
use super::headings::{rename_batches, with_headings};
use crate::core::Core;
use crate::error::{Result, explain_datafusion};
use crate::queries::RunningQuery;
use crate::service::{QueryState, StatementOutcome};
use crate::transactions::OpenTransaction;

/// Plans a query and begins it.
pub(super) async fn execute(
    context: StatementContext,
    query: &ast::Query,
) -> Result<StatementOutcome> {
    let plan = context.plan_query(query).await?;
    let executed = context.run(plan).await?;
    let schema = with_headings(&executed.schema, query);
    let stream = match schema == executed.schema {
        true => executed.stream,
        false => rename_batches(executed.stream, &schema),
    };
    Ok(StatementOutcome::Rows { schema, stream })
}

/// Follows a result to its end, so that the query log knows its rows, its end and its error.
///
/// A stream dropped before its end cancels the query.
pub(crate) struct WatchedStream {
    inner: SendableRecordBatchStream,
    core: Arc<Core>,
    query: Arc<RunningQuery>,
    /// The transaction that it is part of.
    transaction: Option<Arc<OpenTransaction>>,
}

impl WatchedStream {
    pub(crate) fn new(
        inner: SendableRecordBatchStream,
        core: Arc<Core>,
        query: Arc<RunningQuery>,
        transaction: Option<Arc<OpenTransaction>>,
    ) -> Self {
        Self {
            inner,
            core,
            query,
            transaction,
        }
    }

    fn end(&self, state: QueryState, error: Option<String>) {
        self.core.queries.end(self.query.id(), state, error);
    }
}

impl Stream for WatchedStream {
    type Item = DataFusionResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.inner.as_mut().poll_next(context);
        match &polled {
            Poll::Ready(Some(Ok(batch))) => self.query.add_rows(batch.num_rows() as u64),
            Poll::Ready(Some(Err(error))) => {
                let (state, message) = ended_by(&self.query, explain_stream_error(error));
                if let Some(open) = &self.transaction {
                    open.fail(&message);
                }
                self.end(state, Some(message));
            }
            Poll::Ready(None) => self.end(QueryState::Finished, None),
            Poll::Pending => {}
        }
        polled
    }
}

impl RecordBatchStream for WatchedStream {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        // Does nothing when the end was seen.
        self.query.cancel.cancel();
        self.end(QueryState::Cancelled, None);
    }
}

/// How a failed statement is to be remembered.
pub(crate) fn ended_by(query: &RunningQuery, message: String) -> (QueryState, String) {
    let state = match query.cancel.is_cancelled() {
        true => QueryState::Cancelled,
        false => QueryState::Failed,
    };
    (state, message)
}

/// A stream's error as its user sees it.
fn explain_stream_error(error: &DataFusionError) -> String {
    explain_datafusion(error).1
}
