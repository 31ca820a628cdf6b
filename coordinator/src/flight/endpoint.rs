//! The outermost gRPC service: finds the session of every call, then lets Flight SQL serve it.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, PollInfo,
    SchemaResult, Ticket,
};
use prost::Message;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::authentication::SESSION_COOKIE;
use super::connection::ConnectionId;
use super::results::client_schema;
use super::sessions::Caller;
use super::sql_service::{FlightSql, encode_schema};
use crate::error::{CoordinatorError, Result};

/// The service of the Flight SQL port.
#[derive(Clone)]
pub(super) struct Endpoint {
    sql: Arc<FlightSql>,
}

fn connection_of(extensions: &Extensions) -> Option<ConnectionId> {
    extensions
        .get::<ConnectionId>()
        .or_else(|| {
            let tls = extensions.get::<TlsConnectInfo<ConnectionId>>()?;
            Some(tls.get_ref())
        })
        .copied()
}

impl Endpoint {
    pub(super) fn new(sql: Arc<FlightSql>) -> Self {
        Self { sql }
    }

    /// Puts the session of the call into its extensions.
    async fn identify<T>(&self, request: &mut Request<T>) -> Result<Caller> {
        let connection = connection_of(request.extensions());
        let caller = self
            .sql
            .sessions
            .resolve(request.metadata(), connection)
            .await?;
        request.extensions_mut().insert(caller.clone());
        Ok(caller)
    }
}

/// Hands the cookie of a new session to its client.
fn with_cookie<T>(caller: &Caller, mut response: Response<T>) -> Response<T> {
    if caller.is_new {
        let cookie = format!(
            "{SESSION_COOKIE}={}; Path=/; HttpOnly; SameSite=Strict",
            caller.session.token()
        );
        if let Ok(value) = cookie.parse() {
            response.metadata_mut().insert("set-cookie", value);
        }
    }
    response
}

#[tonic::async_trait]
impl FlightService for Endpoint {
    type HandshakeStream = <FlightSql as FlightService>::HandshakeStream;
    type ListFlightsStream = <FlightSql as FlightService>::ListFlightsStream;
    type DoGetStream = <FlightSql as FlightService>::DoGetStream;
    type DoPutStream = <FlightSql as FlightService>::DoPutStream;
    type DoActionStream = <FlightSql as FlightService>::DoActionStream;
    type ListActionsStream = <FlightSql as FlightService>::ListActionsStream;
    type DoExchangeStream = <FlightSql as FlightService>::DoExchangeStream;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.sql.handshake(request).await
    }

    async fn list_flights(
        &self,
        mut request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.identify(&mut request).await?;
        Err(CoordinatorError::Unsupported("listing flights".to_string()).into())
    }

    async fn get_flight_info(
        &self,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = self.identify(&mut request).await?;
        let response = self.sql.get_flight_info(request).await?;
        Ok(with_cookie(&caller, response))
    }

    async fn poll_flight_info(
        &self,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        self.identify(&mut request).await?;
        Err(CoordinatorError::Unsupported("polling for a result".to_string()).into())
    }

    async fn get_schema(
        &self,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let caller = self.identify(&mut request).await?;
        let malformed =
            || CoordinatorError::InvalidInput("malformed flight descriptor".to_string());
        let message = Any::decode(&*request.get_ref().cmd).map_err(|_| malformed())?;
        let schema = match Command::try_from(message).map_err(|_| malformed())? {
            // Only described: asking for the schema of a statement never executes it.
            Command::CommandStatementQuery(query) => {
                let description = self.sql.describe(&caller, &query.query).await?;
                encode_schema(&client_schema(&description.result_schema))?
            }
            Command::CommandPreparedStatementQuery(query) => {
                let handle = query.prepared_statement_handle;
                let schema = self.sql.prepared_schema(&caller, &handle)?;
                encode_schema(&schema)?
            }
            _ => self.sql.get_flight_info(request).await?.into_inner().schema,
        };
        Ok(with_cookie(&caller, Response::new(SchemaResult { schema })))
    }

    async fn do_get(
        &self,
        mut request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let caller = self.identify(&mut request).await?;
        let response = self.sql.do_get(request).await?;
        Ok(with_cookie(&caller, response))
    }

    async fn do_put(
        &self,
        mut request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let caller = self.identify(&mut request).await?;
        let response = self.sql.do_put(request).await?;
        Ok(with_cookie(&caller, response))
    }

    async fn do_exchange(
        &self,
        mut request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.identify(&mut request).await?;
        Err(CoordinatorError::Unsupported("exchanging data in both directions".to_string()).into())
    }

    async fn do_action(
        &self,
        mut request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let caller = self.identify(&mut request).await?;
        let response = self.sql.do_action(request).await?;
        Ok(with_cookie(&caller, response))
    }

    async fn list_actions(
        &self,
        mut request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let caller = self.identify(&mut request).await?;
        let response = self.sql.list_actions(request).await?;
        Ok(with_cookie(&caller, response))
    }
}
