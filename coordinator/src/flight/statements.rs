//! Statements on their way from Flight SQL to the SQL service and back.
//!
//! A query (`SELECT`, `SHOW`, …) is described when its `FlightInfo` is asked for and executed when
//! its ticket is redeemed, so that a client which never comes back costs nothing. A statement that
//! yields no rows is executed at once, since clients which send DDL through their query call may
//! never redeem the ticket, and its errors belong to the call that sent it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use serde::Serialize;
use uuid::Uuid;

use super::batch_insert::executions;
use super::parameters::convert_parameters;
use super::queries::{Queries, QueryGuard};
use super::results::client_schema;
use super::sessions::Session;
use super::tickets::Handles;
use crate::error::{CoordinatorError, Result, one_line};
use crate::service::{SqlService, StatementDescription, StatementOutcome};

/// A statement as a client sent it.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) session: Arc<Session>,
    pub(super) sql: Arc<str>,
    /// Bound parameters, one row per execution; converted, when the description is known.
    pub(super) parameters: Option<RecordBatch>,
}

/// A result that has been announced.
pub(super) enum PendingResult {
    /// A query that has not begun.
    Query {
        statement: Statement,
        schema: SchemaRef,
        guard: QueryGuard,
    },
    /// A query that had to begin before its schema was known.
    Started {
        stream: SendableRecordBatchStream,
        schema: SchemaRef,
        guard: QueryGuard,
    },
    /// The report of a statement that has been executed.
    Report { batch: RecordBatch },
}

impl PendingResult {
    /// The schema to announce.
    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Query { schema, .. } | Self::Started { schema, .. } => Arc::clone(schema),
            Self::Report { batch } => batch.schema(),
        }
    }

    /// The query behind it, if it is still to be executed or read.
    pub(super) fn query_id(&self) -> Option<Uuid> {
        match self {
            Self::Query { guard, .. } | Self::Started { guard, .. } => Some(guard.query_id()),
            Self::Report { .. } => None,
        }
    }
}

/// The `app_metadata` of a `FlightInfo`, as JSON: fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementMetadata {
    /// For the actions `ingot.query_progress` and `ingot.cancel_query`.
    pub query_id: Uuid,
    /// Whether the statement yields rows of its own; otherwise the result is a report of it.
    pub returns_rows: bool,
    /// Rows written, changed or deleted by DML.
    pub update_count: Option<i64>,
    /// What DDL did.
    pub message: Option<String>,
}

/// Executes statements for the Flight SQL service.
pub(super) struct Statements {
    pub(super) service: Arc<dyn SqlService>,
    pub(super) queries: Arc<Queries>,
    pub(super) results: Handles<PendingResult>,
}

/// What an executed statement without rows reports.
pub(super) struct Report {
    pub(super) update_count: Option<i64>,
    pub(super) message: Option<String>,
}

impl Report {
    /// One row: the count of DML in column `rows`, the message of DDL in column `result`.
    fn to_batch(&self) -> Result<RecordBatch> {
        let (name, column): (&str, ArrayRef) = match (self.update_count, &self.message) {
            (Some(count), _) => ("rows", Arc::new(Int64Array::from(vec![count]))),
            (None, message) => {
                let text = message.as_deref().unwrap_or("done");
                ("result", Arc::new(StringArray::from(vec![text])))
            }
        };
        Ok(RecordBatch::try_from_iter([(name, column)])?)
    }
}

impl Statements {
    /// Announces the result of a statement, executing it first if it yields no rows of its own.
    pub(super) async fn announce(
        &self,
        statement: Statement,
        description: StatementDescription,
        query_id: Uuid,
    ) -> Result<(PendingResult, StatementMetadata)> {
        let guard = self.queries.begin(&statement.session, query_id)?;
        let mut metadata = StatementMetadata {
            query_id,
            returns_rows: description.returns_rows,
            update_count: None,
            message: None,
        };
        if !description.returns_rows {
            let report = self.execute_update(statement, guard).await?;
            let batch = report.to_batch()?;
            metadata.update_count = report.update_count;
            metadata.message = report.message;
            return Ok((PendingResult::Report { batch }, metadata));
        }
        check_single_row(&statement)?;
        let schema = client_schema(&description.result_schema);
        let untyped = schema
            .fields()
            .iter()
            .any(|field| *field.data_type() == DataType::Null);
        if statement.parameters.is_some() && untyped {
            // `SELECT $1`: only the bound values tell the type.
            let (stream, guard) = self.begin_query(statement, guard).await?;
            let schema = client_schema(&stream.schema());
            return Ok((
                PendingResult::Started {
                    stream,
                    schema,
                    guard,
                },
                metadata,
            ));
        }
        Ok((
            PendingResult::Query {
                statement,
                schema,
                guard,
            },
            metadata,
        ))
    }

    /// Begins a query and returns its rows.
    pub(super) async fn begin_query(
        &self,
        statement: Statement,
        guard: QueryGuard,
    ) -> Result<(SendableRecordBatchStream, QueryGuard)> {
        let (outcome, guard) = self.execute(statement, guard, 0).await?;
        match outcome {
            StatementOutcome::Rows { stream, .. } => Ok((stream, guard)),
            StatementOutcome::UpdateCount(_) | StatementOutcome::Done { .. } => {
                guard.finish();
                Err(CoordinatorError::Internal(
                    "a statement was described as a query and returned no rows".to_string(),
                ))
            }
        }
    }

    /// Executes a statement without rows for every row of parameters. Outside of a transaction,
    /// rows that were executed before one fails stay changed.
    pub(super) async fn execute_update(
        &self,
        statement: Statement,
        mut guard: QueryGuard,
    ) -> Result<Report> {
        let executions = executions(&statement.sql, statement.parameters.as_ref())?;
        let mut report = Report {
            update_count: None,
            message: None,
        };
        for (index, (sql, parameters)) in executions.into_iter().enumerate() {
            let single = Statement {
                session: Arc::clone(&statement.session),
                sql,
                parameters,
            };
            let (outcome, returned_guard) = self.execute(single, guard, index).await?;
            guard = returned_guard;
            match outcome {
                StatementOutcome::UpdateCount(count) => {
                    report.update_count = Some(report.update_count.unwrap_or(0) + count);
                }
                StatementOutcome::Done { message } => report.message = Some(message),
                StatementOutcome::Rows { .. } => {
                    // The guard is dropped unfinished, which ends the query.
                    return Err(CoordinatorError::InvalidInput(
                        "the statement returns rows: execute it as a query, not as an update"
                            .to_string(),
                    ));
                }
            }
        }
        guard.finish();
        Ok(report)
    }

    /// Executes in a task of its own: when the client goes away, the guard cancels the query and
    /// the task comes to an orderly end, instead of being dropped at some await in a commit.
    /// `index` counts the executions of one statement over its rows of parameters.
    async fn execute(
        &self,
        statement: Statement,
        guard: QueryGuard,
        index: usize,
    ) -> Result<(StatementOutcome, QueryGuard)> {
        let service = Arc::clone(&self.service);
        let query_id = guard.next_execution(index)?;
        let task = tokio::spawn(async move {
            service
                .execute(
                    &statement.session.id,
                    &statement.sql,
                    statement.parameters,
                    query_id,
                )
                .await
        });
        match task.await {
            Ok(Ok(outcome)) => Ok((outcome, guard)),
            Ok(Err(error)) => {
                guard.finish();
                Err(error)
            }
            Err(join_error) => {
                let reason = panic_reason(join_error);
                tracing::error!(%query_id, %reason, "statement execution panicked");
                Err(CoordinatorError::Internal(format!(
                    "query {query_id} met a bug of ingot, {reason}: nothing else is affected; \
                     report it with the statement and the coordinator's log"
                )))
            }
        }
    }
}

/// What a task said when it panicked, on one line.
fn panic_reason(error: tokio::task::JoinError) -> String {
    let payload = match error.try_into_panic() {
        Ok(payload) => payload,
        Err(error) => return one_line(&error.to_string()),
    };
    let text = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => *text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "which did not say more",
    };
    one_line(text)
}

/// Converts bound parameters to what the statement expects, or complains that they are missing.
pub(super) fn check_parameters(
    bound: Option<RecordBatch>,
    description: &StatementDescription,
) -> Result<Option<RecordBatch>> {
    let expected = description.parameter_schema.fields().len();
    match bound {
        Some(bound) => Ok(Some(convert_parameters(
            &bound,
            &description.parameter_schema,
        )?)),
        None if expected == 0 => Ok(None),
        None => Err(CoordinatorError::InvalidInput(format!(
            "the statement has {expected} parameters and none were bound"
        ))),
    }
}

fn check_single_row(statement: &Statement) -> Result<()> {
    match &statement.parameters {
        Some(rows) if rows.num_rows() != 1 => Err(CoordinatorError::Unsupported(format!(
            "binding {} rows of parameters to a query (one row is)",
            rows.num_rows()
        ))),
        _ => Ok(()),
    }
}
