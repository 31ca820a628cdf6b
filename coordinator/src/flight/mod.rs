//! Flight SQL: the protocol of notebooks (ADBC), BI tools (JDBC, Superset) and the `ingot sql`
//! shell.
//!
//! [`FlightServer::start`] serves any [`SqlService`]; nothing here plans or executes SQL.
//! Specification: <https://arrow.apache.org/docs/format/FlightSql.html>.

mod actions;
mod authentication;
mod batch_insert;
mod connection;
mod endpoint;
mod key_metadata;
mod metadata;
mod parameters;
mod queries;
mod result_stream;
mod results;
mod session_options;
mod sessions;
mod sql_info;
mod sql_service;
mod statements;
#[cfg(test)]
mod tests;
mod tickets;
mod transactions;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tonic::transport::{Identity, Server, ServerTlsConfig};

pub use crate::authentication::Authentication;
pub use actions::{CANCEL_QUERY_ACTION, QUERY_PROGRESS_ACTION};
pub use results::{client_schema, conform};
pub use sql_info::SERVER_NAME;
pub use sql_service::QUERY_ID_HEADER;
pub use statements::StatementMetadata;

use connection::{ConnectionId, accept_connections};
use endpoint::Endpoint;
use queries::Queries;
use sessions::SessionRegistry;
use sql_service::FlightSql;
use statements::Statements;
use tickets::Handles;

use crate::error::{CoordinatorError, Result};
use crate::service::SqlService;

/// The largest message that is accepted (parameter rows, SQL text). gRPC's default is 4 MiB.
const MAX_INCOMING_MESSAGE_BYTES: usize = 64 << 20;

/// The largest message that is sent. Results are cut into messages of about 2 MiB, but one row can
/// be larger than that.
const MAX_OUTGOING_MESSAGE_BYTES: usize = usize::MAX;

/// How often expired sessions and results are looked for.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(15);

/// How long open calls may go on after a shutdown was asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate chain of the server.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Settings of the Flight SQL port.
#[derive(Debug, Clone)]
pub struct FlightOptions {
    /// Where to listen; port 0 picks a free one.
    pub bind: SocketAddr,
    /// Who may connect.
    pub authentication: Authentication,
    /// Encrypts the port when given.
    pub tls: Option<TlsFiles>,
    /// After how long without a call a session ends.
    pub session_idle_timeout: Duration,
    /// After how long an announced result that nobody fetches is dropped.
    pub result_lifetime: Duration,
}

impl Default for FlightOptions {
    /// Loopback, port 8815, everybody, no encryption.
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8815)),
            authentication: Authentication::None,
            tls: None,
            session_idle_timeout: Duration::from_secs(8 * 3600),
            result_lifetime: Duration::from_secs(600),
        }
    }
}

/// A running Flight SQL port.
#[derive(Debug)]
pub struct FlightServer {
    local_address: SocketAddr,
    task: JoinHandle<Result<()>>,
}

impl FlightServer {
    /// Binds the port and serves until `shutdown` completes. Returns as soon as connections are
    /// accepted; fails if the port is taken or the certificate cannot be read.
    pub async fn start(
        options: FlightOptions,
        service: Arc<dyn SqlService>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self> {
        let mut builder = Server::builder()
            // Parameter uploads should not wait for window updates of 64 KiB.
            .initial_stream_window_size(Some(1 << 20))
            .initial_connection_window_size(Some(4 << 20))
            // A client that vanished without a word is noticed, and its queries end.
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)));
        if let Some(files) = &options.tls {
            let config = read_tls_files(files).await?;
            builder = builder.tls_config(config).map_err(|error| {
                CoordinatorError::InvalidInput(format!(
                    "certificate {} or key {} cannot be used: {}",
                    files.certificate.display(),
                    files.key.display(),
                    innermost(&error)
                ))
            })?;
        }
        let listener =
            TcpListener::bind(options.bind)
                .await
                .map_err(|source| CoordinatorError::Io {
                    action: format!(
                        "listen for flight sql on {} (setting coordinator.flight_bind)",
                        options.bind
                    ),
                    source,
                })?;
        let local_address = listener
            .local_addr()
            .map_err(|source| CoordinatorError::Io {
                action: format!(
                    "listen for flight sql on {} (setting coordinator.flight_bind)",
                    options.bind
                ),
                source,
            })?;

        let sessions = Arc::new(SessionRegistry::new(
            Arc::clone(&service),
            options.authentication.clone(),
        ));
        let sql = Arc::new(FlightSql {
            statements: Statements {
                queries: Arc::new(Queries::new(Arc::clone(&service))),
                service,
                results: Handles::new("result"),
            },
            sessions,
            prepared: Handles::new("prepared statement"),
            sql_info: sql_info::sql_info().map_err(metadata::flight_error)?,
            type_info: sql_info::type_info().map_err(metadata::flight_error)?,
        });
        let (closed_sender, closed_receiver) = unbounded_channel();
        let housekeeper = tokio::spawn(keep_house(Arc::clone(&sql), closed_receiver, options));
        let flight = FlightServiceServer::new(Endpoint::new(sql))
            .max_decoding_message_size(MAX_INCOMING_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_OUTGOING_MESSAGE_BYTES);
        let connections = accept_connections(listener, closed_sender);
        let task = tokio::spawn(async move {
            let (stop_sender, stop_receiver) = tokio::sync::oneshot::channel::<()>();
            let serve =
                builder
                    .add_service(flight)
                    .serve_with_incoming_shutdown(connections, async {
                        shutdown.await;
                        let _ = stop_sender.send(());
                    });
            // A client that keeps its connection open must not keep the process alive.
            let deadline = async {
                match stop_receiver.await {
                    Ok(()) => tokio::time::sleep(SHUTDOWN_GRACE).await,
                    Err(_) => std::future::pending().await,
                }
            };
            let result = tokio::select! {
                served = serve => served.map_err(|error| {
                    CoordinatorError::Internal(format!("flight sql server: {}", innermost(&error)))
                }),
                () = deadline => Ok(()),
            };
            housekeeper.abort();
            result
        });
        tracing::info!(address = %local_address, "flight sql is served");
        Ok(Self {
            local_address,
            task,
        })
    }

    /// The address that is listened on.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Waits until the server has stopped.
    pub async fn wait(self) -> Result<()> {
        self.task.await.map_err(|error| {
            CoordinatorError::Internal(format!("flight sql server ended abnormally: {error}"))
        })?
    }
}

/// Ends sessions of closed connections, and whatever has expired.
async fn keep_house(
    sql: Arc<FlightSql>,
    mut closed: UnboundedReceiver<ConnectionId>,
    options: FlightOptions,
) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            connection = closed.recv() => match connection {
                Some(connection) => sql.sessions.connection_closed(connection).await,
                None => return,
            },
            _ = ticks.tick() => {
                let now = Instant::now();
                sql.statements.results.expire(now, options.result_lifetime, |_| false);
                sql.sessions.expire(now, options.session_idle_timeout).await;
                sql.prepared.expire(now, options.session_idle_timeout, |prepared| {
                    !sql.sessions.is_open(&prepared.statement.session)
                });
            }
        }
    }
}

async fn read_tls_files(files: &TlsFiles) -> Result<ServerTlsConfig> {
    let read = async |path: &PathBuf| {
        tokio::fs::read(path)
            .await
            .map_err(|source| CoordinatorError::Io {
                action: format!("read {}", path.display()),
                source,
            })
    };
    let certificate = read(&files.certificate).await?;
    let key = read(&files.key).await?;
    Ok(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key)))
}

/// The last source of an error, which says most: `transport error` alone says nothing.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
