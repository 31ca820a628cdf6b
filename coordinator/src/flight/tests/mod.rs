//! Flight SQL over real sockets, with arrow-flight's own client.

mod client;
mod fake_service;
mod metadata;
mod sessions;
mod statements;

use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, FlightInfo};
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};

use super::{Authentication, FlightOptions, FlightServer, TlsFiles};
use crate::error::Result;
use fake_service::{FakeService, collect};

/// A server with a fake service, stopped when dropped.
struct Fixture {
    server: FlightServer,
    service: Arc<FakeService>,
    _stop: oneshot::Sender<()>,
}

impl Fixture {
    async fn start(authentication: Authentication) -> Self {
        Self::start_with(authentication, None).await
    }

    async fn start_with(authentication: Authentication, tls: Option<TlsFiles>) -> Self {
        let service = FakeService::new().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let options = FlightOptions {
            bind: ([127, 0, 0, 1], 0).into(),
            authentication,
            tls,
            ..FlightOptions::default()
        };
        let server = FlightServer::start(options, service.clone(), async {
            let _ = stopped.await;
        })
        .await
        .unwrap();
        Self {
            server,
            service,
            _stop: stop,
        }
    }

    /// Starts a server that may well fail to.
    async fn try_start(bind: SocketAddr, tls: Option<TlsFiles>) -> Result<FlightServer> {
        let options = FlightOptions {
            bind,
            tls,
            ..FlightOptions::default()
        };
        let service = FakeService::new().await;
        FlightServer::start(options, service, std::future::pending()).await
    }

    async fn open() -> Self {
        Self::start(Authentication::None).await
    }

    /// A client with a TCP connection of its own.
    async fn connect(&self) -> FlightSqlServiceClient<Channel> {
        let address = format!("http://{}", self.server.local_address());
        let channel = Endpoint::new(address).unwrap().connect().await.unwrap();
        FlightSqlServiceClient::new(channel)
    }

    fn executed(&self) -> Vec<String> {
        self.service.observed.executed.lock().unwrap().clone()
    }
}

/// Redeems the one ticket of an info, checking that the schema is the announced one.
async fn fetch(client: &mut FlightSqlServiceClient<Channel>, info: FlightInfo) -> Vec<RecordBatch> {
    assert_eq!(info.endpoint.len(), 1, "one endpoint");
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let announced = info.try_decode_schema().unwrap();
    let mut stream = client.do_get(ticket).await.unwrap();
    let batches = collect(&mut stream).await;
    assert_eq!(stream.schema().unwrap().as_ref(), &announced);
    batches
}

/// Executes a query and shows its rows.
async fn rows(client: &mut FlightSqlServiceClient<Channel>, sql: &str) -> String {
    let info = client.execute(sql.to_string(), None).await.unwrap();
    show(&fetch(client, info).await)
}

fn show(batches: &[RecordBatch]) -> String {
    arrow::util::pretty::pretty_format_batches(batches)
        .unwrap()
        .to_string()
}

/// Performs an action and returns the bodies of its results.
async fn act(
    client: &mut FlightSqlServiceClient<Channel>,
    action: &str,
    body: impl Into<bytes::Bytes>,
) -> Vec<Vec<u8>> {
    let action = Action::new(action, body);
    let mut results = client
        .inner_mut()
        .do_action(action)
        .await
        .unwrap()
        .into_inner();
    let mut bodies = Vec::new();
    while let Some(result) = results.message().await.unwrap() {
        bodies.push(result.body.to_vec());
    }
    bodies
}
