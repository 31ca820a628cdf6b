//! A Flight SQL client of Ingot.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, FlightInfo, HandshakeRequest};
use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use url::Url;
use uuid::Uuid;

use crate::error::{ClientError, Result};
use crate::executor::{Progress, StatementExecutor, StatementResult};

/// The header in which the client chooses the id of its query.
pub const QUERY_ID_HEADER: &str = "x-ingot-query-id";

/// The action that reports how far a query is.
pub const QUERY_PROGRESS_ACTION: &str = "ingot.query_progress";

/// The action that cancels a query by its id.
pub const CANCEL_QUERY_ACTION: &str = "ingot.cancel_query";

/// The port of Flight SQL when an address names none.
const DEFAULT_PORT: u16 = 8815;

/// Result streams fill a window of this size before the server is slowed down.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;

/// How to connect.
#[derive(Clone, Default)]
pub struct ClientOptions {
    /// The user; none is an anonymous session.
    pub user: Option<String>,
    /// Their password.
    pub password: Option<String>,
    /// A PEM file with the certificate authority of the server, when it is a private one.
    pub ca_certificate: Option<PathBuf>,
    /// How long to wait for a connection; 10 s when `None`.
    pub connect_timeout: Option<Duration>,
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the password.
        formatter
            .debug_struct("ClientOptions")
            .field("user", &self.user)
            .field("ca_certificate", &self.ca_certificate)
            .finish_non_exhaustive()
    }
}

/// A session on a server. Clones share it.
#[derive(Clone)]
pub struct Client {
    target: Arc<str>,
    channel: Channel,
    token: Option<Arc<str>>,
}

/// What an Ingot server writes into the metadata of a `FlightInfo`.
#[derive(Deserialize)]
struct StatementMetadata {
    returns_rows: bool,
    update_count: Option<i64>,
    message: Option<String>,
}

impl Client {
    /// Connects and opens a session. `url` is `http://host:port`, `https://host:port` (TLS),
    /// `grpc://`, `grpc+tls://`, or just `host:port`.
    pub async fn connect(url: &str, options: ClientOptions) -> Result<Self> {
        let address = parse_address(url)?;
        let target = address.as_str().trim_end_matches('/').to_string();
        let connect_error = |error: &dyn std::error::Error| ClientError::Connect {
            url: target.clone(),
            reason: innermost(error),
        };
        let mut endpoint = Endpoint::from_shared(target.clone())
            .map_err(|error| connect_error(&error))?
            .connect_timeout(options.connect_timeout.unwrap_or(Duration::from_secs(10)))
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        if address.scheme() == "https" {
            let mut tls = ClientTlsConfig::new().with_enabled_roots();
            if let Some(path) = &options.ca_certificate {
                let pem = tokio::fs::read(path)
                    .await
                    .map_err(|source| ClientError::Io {
                        action: format!("read {}", path.display()),
                        source,
                    })?;
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| connect_error(&error))?;
        }
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| connect_error(&error))?;
        let mut client = Self {
            target: Arc::from(target),
            channel,
            token: None,
        };
        client.token = client.handshake(&options).await?;
        Ok(client)
    }

    /// Executes a query and returns its rows; an update is executed too, and its report returned.
    pub async fn query(&self, sql: &str) -> Result<StatementResult> {
        self.execute(sql, Uuid::new_v4()).await
    }

    /// Executes a statement without rows and returns the number of rows that it changed
    /// (0 for DDL).
    pub async fn update(&self, sql: &str) -> Result<i64> {
        match self.execute(sql, Uuid::new_v4()).await? {
            StatementResult::UpdateCount(count) => Ok(count),
            StatementResult::Done { .. } => Ok(0),
            StatementResult::Rows { .. } => Err(ClientError::Statement {
                code: tonic::Code::InvalidArgument,
                message: "the statement returns rows: execute it as a query".to_string(),
            }),
        }
    }

    /// Executes a query and collects its rows; for small results.
    pub async fn fetch_all(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        match self.query(sql).await? {
            StatementResult::Rows { stream, .. } => stream.try_collect().await,
            StatementResult::UpdateCount(_) | StatementResult::Done { .. } => Ok(Vec::new()),
        }
    }

    /// Calls an action of the server and returns the body of its answer.
    pub async fn action(&self, action: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let bodies = self.act(action, body).await?;
        bodies
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::Protocol(format!("action {action} had no answer")))
    }

    /// Ends the session on the server.
    pub async fn close(self) -> Result<()> {
        self.end_session().await
    }

    /// The session's token, if the server gave one.
    async fn handshake(&self, options: &ClientOptions) -> Result<Option<Arc<str>>> {
        let credentials = format!(
            "{}:{}",
            options.user.as_deref().unwrap_or_default(),
            options.password.as_deref().unwrap_or_default()
        );
        let basic = format!("Basic {}", BASE64_STANDARD.encode(credentials))
            .parse()
            .map_err(|_| ClientError::Protocol("unusable credentials".to_string()))?;
        let message = HandshakeRequest::default();
        let mut request = tonic::Request::new(futures::stream::iter([message]));
        request.metadata_mut().insert("authorization", basic);
        let response = self.flight().handshake(request).await?;
        let token = response
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(Arc::from);
        // The stream must be read to its end, or the call counts as cancelled.
        let _: Vec<_> = response.into_inner().try_collect().await?;
        Ok(token)
    }

    fn flight(&self) -> FlightServiceClient<Channel> {
        FlightServiceClient::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    fn flight_sql(&self) -> FlightSqlServiceClient<Channel> {
        let mut client = FlightSqlServiceClient::new_from_inner(self.flight());
        if let Some(token) = &self.token {
            client.set_token(token.to_string());
        }
        client
    }

    async fn act(&self, action: &str, body: impl Into<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let mut request = tonic::Request::new(Action::new(action, body.into()));
        if let Some(token) = &self.token {
            let bearer = format!("Bearer {token}")
                .parse()
                .map_err(|_| ClientError::Protocol("unusable session token".to_string()))?;
            request.metadata_mut().insert("authorization", bearer);
        }
        let results = self.flight().do_action(request).await?.into_inner();
        let bodies = results.map_ok(|result| result.body.to_vec());
        Ok(bodies.try_collect().await?)
    }
}

#[async_trait]
impl StatementExecutor for Client {
    fn target(&self) -> String {
        self.target.to_string()
    }

    async fn end_session(&self) -> Result<()> {
        self.act("CloseSession", String::new()).await?;
        Ok(())
    }

    async fn execute(&self, sql: &str, query_id: Uuid) -> Result<StatementResult> {
        let mut client = self.flight_sql();
        client.set_header(QUERY_ID_HEADER, query_id.to_string());
        let info = client.execute(sql.to_string(), None).await?;
        if let Some(report) = report_of(&info) {
            return Ok(report);
        }
        let schema = info
            .clone()
            .try_decode_schema()
            .map_err(|error| ClientError::Protocol(error.to_string()))?;
        let ticket = info
            .endpoint
            .into_iter()
            .next()
            .and_then(|endpoint| endpoint.ticket)
            .ok_or_else(|| ClientError::Protocol("a result without a ticket".to_string()))?;
        let stream = client.do_get(ticket).await?;
        Ok(StatementResult::Rows {
            schema: Arc::new(schema),
            stream: stream.map_err(ClientError::from).boxed(),
        })
    }

    async fn cancel(&self, query_id: Uuid) -> Result<bool> {
        let bodies = self.act(CANCEL_QUERY_ACTION, query_id.to_string()).await?;
        Ok(bodies.first().is_some_and(|body| body == b"true"))
    }

    async fn progress(&self, query_id: Uuid) -> Result<Option<Progress>> {
        let answer = self.act(QUERY_PROGRESS_ACTION, query_id.to_string()).await;
        let bodies = match answer {
            Ok(bodies) => bodies,
            // Not begun, ended, or a server that does not know the action.
            Err(ClientError::Statement {
                code: tonic::Code::NotFound | tonic::Code::Unimplemented,
                ..
            }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match bodies.first() {
            None => Ok(None),
            Some(body) => serde_json::from_slice(body)
                .map(Some)
                .map_err(|error| ClientError::Protocol(format!("progress: {error}"))),
        }
    }
}

/// What a statement without rows did; `None` for a query, or when the server is not Ingot.
fn report_of(info: &FlightInfo) -> Option<StatementResult> {
    let metadata: StatementMetadata = serde_json::from_slice(&info.app_metadata).ok()?;
    if metadata.returns_rows {
        return None;
    }
    Some(match (metadata.update_count, metadata.message) {
        (Some(count), _) => StatementResult::UpdateCount(count),
        (None, message) => StatementResult::Done {
            message: message.unwrap_or_else(|| "done".to_string()),
        },
    })
}

/// The address with a scheme that the transport knows, and a port.
fn parse_address(text: &str) -> Result<Url> {
    let invalid = |reason: &str| ClientError::InvalidAddress {
        url: text.to_string(),
        reason: reason.to_string(),
    };
    let with_scheme = match text.split_once("://") {
        None => format!("http://{text}"),
        Some(("http" | "grpc" | "grpc+tcp", rest)) => format!("http://{rest}"),
        Some(("https" | "grpc+tls", rest)) => format!("https://{rest}"),
        Some(_) => return Err(invalid("use http://host:port, or https:// with tls")),
    };
    let mut url = Url::parse(&with_scheme).map_err(|error| invalid(&error.to_string()))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("it names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "give user and password as options, not in the address",
        ));
    }
    // `Url` hides a port that is the scheme's own, so look at the text.
    let authority = with_scheme
        .split_once("://")
        .map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or(""));
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if !has_port {
        url.set_port(Some(DEFAULT_PORT))
            .map_err(|()| invalid("it cannot have a port"))?;
    }
    Ok(url)
}

/// The last source of an error, which says most.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_short() {
        for (text, expected) in [
            ("localhost", "http://localhost:8815/"),
            ("10.0.0.1:9000", "http://10.0.0.1:9000/"),
            ("grpc://h:1", "http://h:1/"),
            ("grpc+tls://h", "https://h:8815/"),
            ("http://h:80", "http://h/"),
            ("[::1]:8815", "http://[::1]:8815/"),
        ] {
            assert_eq!(parse_address(text).unwrap().as_str(), expected);
        }
        for text in ["ftp://h", "http://", "http://a:b@h:1", "h:99999"] {
            let error = parse_address(text).unwrap_err().to_string();
            assert!(error.contains("is not a server address"), "{error}");
        }
    }

    #[test]
    fn options_do_not_show_the_password() {
        let options = ClientOptions {
            password: Some("hunter2".to_string()),
            ..ClientOptions::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let result = Client::connect(&address.to_string(), ClientOptions::default()).await;
        let error = result.err().unwrap().to_string();
        assert!(
            error.contains(&format!("cannot connect to http://{address}")),
            "{error}"
        );
        assert!(error.contains("refused"), "{error}");
    }
}
