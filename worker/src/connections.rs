//! Connections to other workers, kept for the next fetch.
//!
//! A shuffle of many partitions opens one connection for each fetch otherwise, and uses up the
//! ports of the machine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::Result;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;
use parking_lot::Mutex;

/// How long an unused connection is kept.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

type Address = (String, u16, GrpcClientConfig);

struct IdleConnection {
    client: BallistaClient,
    since: Instant,
}

/// Idle connections by address. The last one used is the first one taken again; those that were
/// idle for too long go at the next use of the pool.
#[derive(Default)]
pub(crate) struct Connections {
    idle: Arc<Mutex<HashMap<Address, Vec<IdleConnection>>>>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Connections")
            .finish_non_exhaustive()
    }
}

impl Connections {
    fn remove_old(&self) {
        self.idle.lock().retain(|_, connections| {
            connections.retain(|connection| connection.since.elapsed() < IDLE_LIMIT);
            !connections.is_empty()
        });
    }
}

#[async_trait]
impl BallistaClientPool for Connections {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        config: &GrpcClientConfig,
        customize_endpoint: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> Result<PooledClient> {
        self.remove_old();
        let address = (host.to_string(), port, config.clone());
        let idle = self
            .idle
            .lock()
            .get_mut(&address)
            .and_then(|connections| connections.pop());
        let client = match idle {
            Some(connection) => connection.client,
            None => {
                BallistaClient::try_new(
                    host,
                    port,
                    config.max_message_size,
                    config.use_tls,
                    customize_endpoint,
                    config.io_retries_times,
                    config.io_retry_wait_time_ms,
                    config.initial_connection_window_size,
                    config.initial_stream_window_size,
                )
                .await?
            }
        };
        let pool = Arc::clone(&self.idle);
        let give_back = move |client| {
            let connection = IdleConnection {
                client,
                since: Instant::now(),
            };
            pool.lock().entry(address).or_default().push(connection);
        };
        Ok(PooledClient::new(client, Box::new(give_back)))
    }

    async fn evict_idle(&self) {
        self.remove_old();
    }
}
