//! Connections over which the coordinator reads the partitions of a result.

use std::collections::HashMap;

use ballista_core::client::BallistaClient;
use ballista_core::error::BallistaError;
use ballista_core::serde::protobuf::PartitionLocation;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;

use super::cluster_session::{FETCH_PAUSE_MILLIS, FETCH_TRIES};
use super::distributed::{RunError, lost};
use super::scheduler::MAX_MESSAGE_BYTES;
use crate::error::CoordinatorError;

/// Windows of a connection to a worker, in bytes. The streams of a connection are not read evenly: a
/// merge waits for one of them while the others are full. That may not use up the window of the
/// connection, or the one that is waited for never gets its bytes.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;

/// Connections to workers, one for each.
#[derive(Default)]
pub(super) struct Clients {
    by_address: HashMap<(String, u16), BallistaClient>,
}

impl Clients {
    /// A future that opens the stream of one partition.
    pub(super) async fn fetch(
        &mut self,
        location: PartitionLocation,
    ) -> Result<
        impl Future<Output = Result<SendableRecordBatchStream, DataFusionError>> + use<>,
        RunError,
    > {
        let layout = location.layout();
        let (Some(worker), Some(partition)) = (location.executor_meta, location.partition_id)
        else {
            return Err(RunError::Final(CoordinatorError::Internal(
                "a result partition has no place".to_string(),
            )));
        };
        let port = u16::try_from(worker.port).unwrap_or_default();
        let address = (worker.host.clone(), port);
        let mut client = match self.by_address.get(&address) {
            Some(client) => client.clone(),
            None => {
                let client = BallistaClient::try_new(
                    &worker.host,
                    port,
                    MAX_MESSAGE_BYTES,
                    false,
                    None,
                    FETCH_TRIES,
                    FETCH_PAUSE_MILLIS,
                    CONNECTION_WINDOW_BYTES,
                    STREAM_WINDOW_BYTES,
                )
                .await
                .map_err(lost)?;
                self.by_address.insert(address, client.clone());
                client
            }
        };
        Ok(async move {
            client
                .fetch_partition(
                    &worker.id,
                    &partition.into(),
                    location.file_id,
                    layout,
                    false,
                )
                .await
                .map_err(BallistaError::into_datafusion)
        })
    }
}
