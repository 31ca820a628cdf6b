//! The Flight SQL calls.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
    ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, ActionCreatePreparedSubstraitPlanRequest,
    ActionEndSavepointRequest, ActionEndTransactionRequest, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementSubstraitPlan,
    CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, IpcMessage, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::actions;
use super::authentication::{CallHeaders, Credentials};
use super::key_metadata;
use super::metadata;
use super::parameters::read_parameters;
use super::result_stream::ResultStream;
use super::sessions::{Caller, SessionRegistry};
use super::statements::{
    PendingResult, Statement, StatementMetadata, Statements, check_parameters,
};
use super::tickets::Handles;
use super::transactions;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementDescription;

/// The header in which a client chooses the id of its query, so that it can ask for progress and
/// cancel while the call that began it has not returned.
pub const QUERY_ID_HEADER: &str = "x-ingot-query-id";

type DoGetStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send + 'static>>;

/// A statement that a client prepared.
pub(super) struct PreparedStatement {
    pub(super) statement: Statement,
    description: StatementDescription,
    /// The transaction that it is part of.
    transaction_id: Option<Bytes>,
}

/// Flight SQL over a [`crate::service::SqlService`].
pub(super) struct FlightSql {
    pub(super) statements: Statements,
    pub(super) sessions: Arc<SessionRegistry>,
    pub(super) prepared: Handles<PreparedStatement>,
    pub(super) sql_info: SqlInfoData,
    pub(super) type_info: XdbcTypeInfoData,
}

/// The session that the outer service found for this call.
pub(super) fn caller_of<T>(request: &Request<T>) -> Result<Caller> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| {
            CoordinatorError::Internal("a call reached Flight SQL without a session".to_string())
        })
}

/// The query id that the client chose, or a new one.
fn query_id_of<T>(request: &Request<T>) -> Result<Uuid> {
    match request.metadata().get(QUERY_ID_HEADER) {
        None => Ok(Uuid::new_v4()),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| Uuid::parse_str(text).ok())
            .ok_or_else(|| {
                CoordinatorError::InvalidInput(format!("header {QUERY_ID_HEADER} is not a UUID"))
            }),
    }
}

/// A schema as the IPC message that Flight SQL puts into its results.
pub(super) fn encode_schema(schema: &Schema) -> Result<Bytes> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options).try_into()?;
    Ok(bytes)
}

/// A `FlightInfo` with the one endpoint that clients without a cluster in mind read.
pub(super) fn flight_info(
    schema: &Schema,
    ticket: Bytes,
    descriptor: FlightDescriptor,
    total_records: i64,
    app_metadata: Vec<u8>,
) -> Result<FlightInfo> {
    // No location: the ticket is redeemed over the same connection.
    let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket });
    let info = FlightInfo::new()
        .try_with_schema(schema)?
        .with_descriptor(descriptor)
        .with_endpoint(endpoint)
        .with_total_records(total_records)
        .with_ordered(true)
        .with_app_metadata(app_metadata);
    Ok(info)
}

/// The info of a metadata result: its command is its own ticket.
fn command_info<M: ProstMessageExt>(
    command: &M,
    schema: &Schema,
    request: Request<FlightDescriptor>,
) -> Result<Response<FlightInfo>, Status> {
    let ticket = Bytes::from(command.as_any().encode_to_vec());
    let info = flight_info(schema, ticket, request.into_inner(), -1, Vec::new())?;
    Ok(Response::new(info))
}

/// One batch as a result stream.
fn batch_response(batch: RecordBatch) -> Response<DoGetStream> {
    let schema = batch.schema();
    encode_response(schema, stream::iter([Ok(batch)]))
}

fn encode_response<S>(schema: SchemaRef, batches: S) -> Response<DoGetStream>
where
    S: Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
{
    // The encoder cuts batches into messages of about 2 MiB, and is polled only as fast as the
    // client reads.
    let encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(batches)
        .map_err(Status::from);
    Response::new(Box::pin(encoded))
}

impl FlightSql {
    /// Describes a statement for `GetSchema`.
    pub(super) async fn describe(
        &self,
        caller: &Caller,
        sql: &str,
    ) -> Result<StatementDescription> {
        self.statements
            .service
            .describe(&caller.session.id, sql)
            .await
    }

    /// The schema of a prepared statement's result.
    pub(super) fn prepared_schema(&self, caller: &Caller, handle: &[u8]) -> Result<SchemaRef> {
        let (_, description) = self.find_prepared(caller, handle)?;
        Ok(super::results::client_schema(&description.result_schema))
    }

    async fn announce(
        &self,
        statement: Statement,
        description: StatementDescription,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        let query_id = query_id_of(&request)?;
        let user = statement.session.user.clone();
        let (pending, metadata) = self
            .statements
            .announce(statement, description, query_id)
            .await?;
        let schema = pending.schema();
        let handle = self.statements.results.insert(&user, pending);
        let ticket = TicketStatementQuery {
            statement_handle: handle,
        };
        // Drivers show the total of a statement that changes rows as its row count (ADBC's
        // `cursor.rowcount`), so it is the number of changed rows and not of the report's.
        let total_records = metadata.update_count.unwrap_or(-1);
        let info = flight_info(
            &schema,
            Bytes::from(ticket.as_any().encode_to_vec()),
            request.into_inner(),
            total_records,
            encode_metadata(&metadata)?,
        )?;
        Ok(Response::new(info))
    }

    /// A prepared statement that is about to be executed.
    async fn find_executable(
        &self,
        caller: &Caller,
        handle: &[u8],
    ) -> Result<(Statement, StatementDescription)> {
        let found = self.find_prepared(caller, handle)?;
        let transaction_id = self.prepared.with(&caller.session.user, handle, |found| {
            found.transaction_id.clone()
        })?;
        transactions::check_prepared(self, &found.0.session, transaction_id.as_ref()).await?;
        Ok(found)
    }

    fn find_prepared(
        &self,
        caller: &Caller,
        handle: &[u8],
    ) -> Result<(Statement, StatementDescription)> {
        let (statement, description) =
            self.prepared.with(&caller.session.user, handle, |found| {
                (found.statement.clone(), found.description.clone())
            })?;
        if !self.sessions.is_open(&statement.session) {
            return Err(CoordinatorError::NotFound(
                "the session of the prepared statement has ended: prepare it again".to_string(),
            ));
        }
        Ok((statement, description))
    }

    async fn redeem(&self, caller: &Caller, handle: &[u8]) -> Result<Response<DoGetStream>> {
        let pending = self.statements.results.take(&caller.session.user, handle)?;
        let (stream, schema, guard) = match pending {
            PendingResult::Report { batch } => return Ok(batch_response(batch)),
            PendingResult::Started {
                stream,
                schema,
                guard,
            } => (stream, schema, guard),
            PendingResult::Query {
                statement,
                schema,
                guard,
            } => {
                let (stream, guard) = self.statements.begin_query(statement, guard).await?;
                (stream, schema, guard)
            }
        };
        let rows = ResultStream::new(stream, Arc::clone(&schema), guard);
        Ok(encode_response(schema, rows))
    }
}

fn encode_metadata(metadata: &StatementMetadata) -> Result<Vec<u8>> {
    serde_json::to_vec(metadata).map_err(|error| {
        CoordinatorError::Internal(format!("encoding statement metadata: {error}"))
    })
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = FlightSql;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<
        Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>,
        Status,
    > {
        let headers = CallHeaders::parse(request.metadata())?;
        let credentials = match headers.basic {
            Some(basic) => Some(basic),
            None => {
                let first = request.into_inner().next().await.transpose()?;
                first.and_then(|message| Credentials::from_handshake_payload(&message.payload))
            }
        };
        let session = self.sessions.handshake(credentials.as_ref()).await?;
        let message = HandshakeResponse {
            protocol_version: 0,
            payload: Bytes::copy_from_slice(session.token().as_bytes()),
        };
        let output: Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>> =
            Box::pin(stream::iter([Ok(message)]));
        let mut response = Response::new(output);
        let bearer = format!("Bearer {}", session.token())
            .parse()
            .map_err(|_| Status::internal("cannot encode the session token"))?;
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    // Statements.

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = caller_of(&request)?;
        transactions::check(self, &caller.session, query.transaction_id.as_ref()).await?;
        let description = self.describe(&caller, &query.query).await?;
        let statement = Statement {
            session: caller.session,
            sql: Arc::from(query.query),
            parameters: check_parameters(None, &description)?,
        };
        Ok(self.announce(statement, description, request).await?)
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let caller = caller_of(&request)?;
        Ok(self.redeem(&caller, &ticket.statement_handle).await?)
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let caller = caller_of(&request)?;
        transactions::check(self, &caller.session, command.transaction_id.as_ref()).await?;
        let guard = self
            .statements
            .queries
            .begin(&caller.session, query_id_of(&request)?)?;
        let statement = Statement {
            session: caller.session,
            sql: Arc::from(command.query),
            parameters: None,
        };
        let report = self.statements.execute_update(statement, guard).await?;
        // DDL changes no rows.
        Ok(report.update_count.unwrap_or(0))
    }

    async fn do_put_statement_ingest(
        &self,
        _command: CommandStatementIngest,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(CoordinatorError::Unsupported(
            "bulk ingestion over Flight SQL (use insert with parameters, or copy into)".to_string(),
        )
        .into())
    }

    // Prepared statements.

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let caller = caller_of(&request)?;
        transactions::check(self, &caller.session, query.transaction_id.as_ref()).await?;
        let description = self.describe(&caller, &query.query).await?;
        // No result schema at all is how clients tell an update from a query.
        let dataset_schema = if description.returns_rows {
            encode_schema(&super::results::client_schema(&description.result_schema))?
        } else {
            Bytes::new()
        };
        let parameter_schema = encode_schema(&super::results::client_schema(
            &description.parameter_schema,
        ))?;
        let user = caller.session.user.clone();
        let prepared = PreparedStatement {
            statement: Statement {
                session: caller.session,
                sql: Arc::from(query.query),
                parameters: None,
            },
            description,
            transaction_id: query.transaction_id,
        };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.prepared.insert(&user, prepared),
            dataset_schema,
            parameter_schema,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let caller = caller_of(&request)?;
        // Closing what has expired is what the client wants.
        let _ = self
            .prepared
            .take(&caller.session.user, &query.prepared_statement_handle);
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let caller = caller_of(&request)?;
        let handle = query.prepared_statement_handle;
        let (_, description) = self.find_prepared(&caller, &handle)?;
        let bound = read_parameters(request.into_inner()).await?;
        let parameters = check_parameters(bound, &description)?;
        self.prepared.with(&caller.session.user, &handle, |found| {
            found.statement.parameters = parameters;
        })?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle),
        })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = caller_of(&request)?;
        let (statement, description) = self
            .find_executable(&caller, &query.prepared_statement_handle)
            .await?;
        if statement.parameters.is_none() {
            check_parameters(None, &description)?;
        }
        Ok(self.announce(statement, description, request).await?)
    }

    async fn do_put_prepared_statement_update(
        &self,
        query: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let caller = caller_of(&request)?;
        let query_id = query_id_of(&request)?;
        let (mut statement, description) = self
            .find_executable(&caller, &query.prepared_statement_handle)
            .await?;
        if description.returns_rows {
            return Err(CoordinatorError::InvalidInput(
                "the statement returns rows: execute it as a query, not as an update".to_string(),
            )
            .into());
        }
        let sent = read_parameters(request.into_inner()).await?;
        if sent.is_some() || statement.parameters.is_none() {
            statement.parameters = check_parameters(sent, &description)?;
        }
        let guard = self
            .statements
            .queries
            .begin(&statement.session, query_id)?;
        let report = self.statements.execute_update(statement, guard).await?;
        Ok(report.update_count.unwrap_or(0))
    }

    // Metadata.

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        command_info(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_catalogs(
        &self,
        _query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let session = caller_of(&request)?.session;
        let batch = metadata::catalogs(&self.statements.service, &session.id).await?;
        Ok(batch_response(batch))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.clone().into_builder().schema();
        command_info(&query, &schema, request)
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let session = caller_of(&request)?.session;
        let batch = metadata::schemas(&self.statements.service, &session.id, query).await?;
        Ok(batch_response(batch))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.clone().into_builder().schema();
        command_info(&query, &schema, request)
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let session = caller_of(&request)?.session;
        let batch = metadata::tables(&self.statements.service, &session.id, query).await?;
        Ok(batch_response(batch))
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        command_info(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_table_types(
        &self,
        _query: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        Ok(batch_response(metadata::table_types()?))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        command_info(&query, &self.sql_info.schema(), request)
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let batch = self
            .sql_info
            .record_batch(query.info)
            .map_err(metadata::flight_error)?;
        Ok(batch_response(batch))
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        command_info(&query, &self.type_info.schema(), request)
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let batch = self
            .type_info
            .record_batch(query.data_type)
            .map_err(metadata::flight_error)?;
        Ok(batch_response(batch))
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        command_info(&query, &key_metadata::primary_key_schema(), request)
    }

    async fn do_get_primary_keys(
        &self,
        _query: CommandGetPrimaryKeys,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        Ok(batch_response(RecordBatch::new_empty(
            key_metadata::primary_key_schema(),
        )))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        command_info(&query, &key_metadata::foreign_key_schema(), request)
    }

    async fn do_get_exported_keys(
        &self,
        _query: CommandGetExportedKeys,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        Ok(batch_response(RecordBatch::new_empty(
            key_metadata::foreign_key_schema(),
        )))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        command_info(&query, &key_metadata::foreign_key_schema(), request)
    }

    async fn do_get_imported_keys(
        &self,
        _query: CommandGetImportedKeys,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        Ok(batch_response(RecordBatch::new_empty(
            key_metadata::foreign_key_schema(),
        )))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        command_info(&query, &key_metadata::foreign_key_schema(), request)
    }

    async fn do_get_cross_reference(
        &self,
        _query: CommandGetCrossReference,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        Ok(batch_response(RecordBatch::new_empty(
            key_metadata::foreign_key_schema(),
        )))
    }

    // Transactions.

    async fn do_action_begin_transaction(
        &self,
        _query: ActionBeginTransactionRequest,
        request: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        let caller = caller_of(&request)?;
        let transaction_id = transactions::begin(self, &caller.session).await?;
        Ok(ActionBeginTransactionResult { transaction_id })
    }

    async fn do_action_end_transaction(
        &self,
        query: ActionEndTransactionRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let caller = caller_of(&request)?;
        Ok(transactions::end(self, &caller.session, &query).await?)
    }

    // What is refused, in words.

    async fn get_flight_info_substrait_plan(
        &self,
        _query: CommandStatementSubstraitPlan,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Err(CoordinatorError::Unsupported("executing a substrait plan".to_string()).into())
    }

    async fn do_put_substrait_plan(
        &self,
        _query: CommandStatementSubstraitPlan,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(CoordinatorError::Unsupported("executing a substrait plan".to_string()).into())
    }

    async fn do_action_create_prepared_substrait_plan(
        &self,
        _query: ActionCreatePreparedSubstraitPlanRequest,
        _request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        Err(CoordinatorError::Unsupported("preparing a substrait plan".to_string()).into())
    }

    async fn do_action_begin_savepoint(
        &self,
        _query: ActionBeginSavepointRequest,
        _request: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        Err(CoordinatorError::Unsupported("a savepoint".to_string()).into())
    }

    async fn do_action_end_savepoint(
        &self,
        _query: ActionEndSavepointRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Err(CoordinatorError::Unsupported("a savepoint".to_string()).into())
    }

    // Actions.

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let caller = caller_of(&request)?;
        let info = FlightInfo::decode(query.info)
            .map_err(|_| CoordinatorError::InvalidInput("malformed FlightInfo".to_string()))?;
        Ok(actions::cancel_query(self, &caller, &info).await?)
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        let caller = caller_of(&request)?;
        let action = request.into_inner();
        let bodies = actions::execute(self, &caller, &action).await?;
        let results = bodies
            .into_iter()
            .map(|body| Ok(arrow_flight::Result { body }));
        Ok(Response::new(Box::pin(stream::iter(
            results.collect::<Vec<_>>(),
        ))))
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        Some(actions::action_types().into_iter().map(Ok).collect())
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
