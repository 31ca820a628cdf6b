//! The way of batches from the query threads to whoever reads the result.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::Stream;
use futures::future::BoxFuture;
use ingot_engine::results::{result_batch, result_schema};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::error::{CoordinatorError, Result};

/// Batches that wait for a slow reader.
const BUFFERED_BATCHES: usize = 4;

/// The producing end of a result.
pub(super) struct BatchSender {
    schema: SchemaRef,
    sender: mpsc::Sender<DataFusionResult<RecordBatch>>,
    sent_rows: u64,
}

impl BatchSender {
    /// Sends a batch, under the promised schema. Waits for a slow reader.
    ///
    /// # Errors
    /// When the batch does not fit the promised schema. A reader that went away is no error:
    /// this then never returns, since its execution is about to be dropped.
    pub(super) async fn send(&mut self, batch: RecordBatch) -> Result<()> {
        let batch = conform(&self.schema, batch)?;
        let rows = batch.num_rows() as u64;
        if rows == 0 {
            return Ok(());
        }
        if self.sender.send(Ok(batch)).await.is_err() {
            std::future::pending::<()>().await;
        }
        self.sent_rows += rows;
        Ok(())
    }

    /// How many rows were sent so far: a query cannot start over once there are any.
    pub(super) fn sent_rows(&self) -> u64 {
        self.sent_rows
    }
}

/// Gives a batch the promised schema. Planning again for the workers may change nullability and
/// metadata, and the form of texts and bytes: views in this process make other common types than
/// strings do. All else must be the same.
fn conform(schema: &SchemaRef, batch: RecordBatch) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let promised = result_schema(schema);
    let found = result_schema(batch.schema_ref());
    let mut columns = found.fields().iter().zip(promised.fields());
    let is_the_same = found.fields().len() == promised.fields().len()
        && columns.all(|(found, promised)| found.data_type() == promised.data_type());
    let conformed = match is_the_same {
        true => result_batch(&batch, schema),
        false => RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec()),
    };
    conformed.map_err(|error| {
        CoordinatorError::Internal(format!(
            "a result does not have the promised columns: {error}"
        ))
    })
}

/// A stream fed by `produce` on the threads of `handle`, from now on. The production ends when
/// the stream is dropped or `cancel` fires. To be called within another runtime than that of
/// `handle`, which then sees to the end of the stream.
pub(super) fn result_stream(
    handle: &Handle,
    schema: SchemaRef,
    query_id: Uuid,
    cancel: CancellationToken,
    produce: impl FnOnce(BatchSender) -> BoxFuture<'static, Result<()>> + Send + 'static,
) -> SendableRecordBatchStream {
    let (sender, receiver) = mpsc::channel(BUFFERED_BATCHES);
    let batches = BatchSender {
        schema: Arc::clone(&schema),
        sender: sender.clone(),
        sent_rows: 0,
    };
    let abandoned = CancellationToken::new();
    let drop_guard = abandoned.clone().drop_guard();
    let production = handle.spawn(produce(batches));
    // Not on the query threads: operators that compute for long between two awaits may hold all
    // of them, and a cancelled query must not make its client wait for that.
    tokio::spawn(async move {
        let abort = production.abort_handle();
        let outcome = tokio::select! {
            biased;
            () = abandoned.cancelled() => {
                abort.abort();
                return;
            }
            () = cancel.cancelled() => {
                abort.abort();
                Err(CoordinatorError::Cancelled { query_id })
            }
            finished = production => finished.unwrap_or_else(|error| {
                Err(CoordinatorError::Internal(format!(
                    "query {query_id} ended abnormally: {error}"
                )))
            }),
        };
        if let Err(error) = outcome {
            // A reader that went away needs no error.
            let _ = sender.send(Err(DataFusionError::from(error))).await;
        }
    });
    Box::pin(ResultStream {
        schema,
        receiver,
        cancelled: false,
        _drop_guard: drop_guard,
    })
}

struct ResultStream {
    schema: SchemaRef,
    receiver: mpsc::Receiver<DataFusionResult<RecordBatch>>,
    cancelled: bool,
    _drop_guard: DropGuard,
}

impl Stream for ResultStream {
    type Item = DataFusionResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.cancelled {
            return Poll::Ready(None);
        }
        let next = self.receiver.poll_recv(context);
        if let Poll::Ready(Some(Err(_))) = &next {
            self.cancelled = true;
        }
        next
    }
}

impl RecordBatchStream for ResultStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::arrow::datatypes::Schema;
    use futures::{FutureExt, StreamExt};

    use super::*;
    use crate::error::explain_datafusion;

    #[tokio::test]
    async fn a_query_that_holds_all_threads_can_be_cancelled() {
        let query_threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (release, until_released) = std::sync::mpsc::channel::<()>();
        let cancel = CancellationToken::new();
        let query_id = Uuid::now_v7();
        let mut stream = result_stream(
            query_threads.handle(),
            Arc::new(Schema::empty()),
            query_id,
            cancel.clone(),
            move |_sender| {
                async move {
                    begun.send(()).unwrap();
                    // Blocks the only thread, as a long computation does.
                    until_released.recv().unwrap_err();
                    Ok(())
                }
                .boxed()
            },
        );
        has_begun.await.unwrap();
        cancel.cancel();
        let next = tokio::time::timeout(Duration::from_secs(60), stream.next());
        let error = next.await.unwrap().unwrap().unwrap_err();
        let (code, message) = explain_datafusion(&error);
        assert_eq!(code, crate::error::ErrorCode::Cancelled, "{message}");
        assert!(message.contains(&query_id.to_string()), "{message}");
        drop(release);
        query_threads.shutdown_background();
    }
}
