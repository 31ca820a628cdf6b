//! The way of batches from the query threads to whoever reads the result.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::Stream;
use futures::future::BoxFuture;
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
/// metadata; the types must be the same.
fn conform(schema: &SchemaRef, batch: RecordBatch) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)
        .map_err(|error| {
            CoordinatorError::Internal(format!(
                "a result does not have the promised columns: {error}"
            ))
        })
}

/// A stream fed by `produce` on the threads of `handle`, from now on. The production ends when
/// the stream is dropped or `cancel` fires.
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
    handle.spawn(async move {
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
