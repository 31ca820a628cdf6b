//! The rows of one query on their way to one client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tonic::Status;

use super::queries::QueryGuard;
use super::results::conform;
use crate::error::CoordinatorError;

/// Batches in the announced schema. Dropping it before its end cancels the query.
pub(super) struct ResultStream {
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    /// Gone when the stream has ended.
    guard: Option<QueryGuard>,
}

impl ResultStream {
    pub(super) fn new(
        rows: SendableRecordBatchStream,
        schema: SchemaRef,
        guard: QueryGuard,
    ) -> Self {
        Self {
            rows,
            schema,
            guard: Some(guard),
        }
    }

    fn fail(&mut self, error: CoordinatorError) -> FlightError {
        tracing::debug!(%error, "query failed while its result was read");
        FlightError::Tonic(Box::new(Status::from(error)))
    }
}

impl Stream for ResultStream {
    type Item = Result<RecordBatch, FlightError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.guard.is_none() {
            return Poll::Ready(None);
        }
        let item = match ready!(self.rows.poll_next_unpin(context)) {
            Some(Ok(batch)) => match conform(&batch, &self.schema) {
                Ok(conforming) => Some(Ok(conforming)),
                Err(error) => {
                    // The query itself could go on: dropping the guard unfinished cancels it.
                    drop(self.guard.take());
                    Some(Err(self.fail(error)))
                }
            },
            Some(Err(error)) => {
                if let Some(guard) = self.guard.take() {
                    guard.finish();
                }
                Some(Err(self.fail(CoordinatorError::from(error))))
            }
            None => {
                if let Some(guard) = self.guard.take() {
                    guard.finish();
                }
                None
            }
        };
        Poll::Ready(item)
    }
}
