//! Transactions as actions: `BeginTransaction` and `EndTransaction`, which drivers send where SQL has
//! `START TRANSACTION`, `COMMIT` and `ROLLBACK`.
//!
//! A session has at most one transaction, whoever began it; its id says which one a call means.

use std::sync::Arc;

use arrow_flight::sql::{ActionEndTransactionRequest, EndTransaction};
use bytes::Bytes;
use uuid::Uuid;

use super::sessions::Session;
use super::sql_service::FlightSql;
use super::statements::Statement;
use crate::error::{CoordinatorError, Result};

/// Begins a transaction in the caller's session and returns its id.
pub(super) async fn begin(flight: &FlightSql, session: &Arc<Session>) -> Result<Bytes> {
    execute(flight, session, "START TRANSACTION").await?;
    match current(flight, session).await? {
        Some(id) => Ok(id),
        None => Err(CoordinatorError::Internal(
            "a transaction was begun and is not open".to_string(),
        )),
    }
}

/// Commits or rolls back the session's transaction.
pub(super) async fn end(
    flight: &FlightSql,
    session: &Arc<Session>,
    request: &ActionEndTransactionRequest,
) -> Result<()> {
    check(flight, session, Some(&request.transaction_id)).await?;
    let sql = match EndTransaction::try_from(request.action) {
        Ok(EndTransaction::Commit) => "COMMIT",
        Ok(EndTransaction::Rollback) => "ROLLBACK",
        _ => {
            return Err(CoordinatorError::InvalidInput(
                "EndTransaction must say whether to commit or to roll back".to_string(),
            ));
        }
    };
    execute(flight, session, sql).await
}

/// Refuses a call for a transaction that is not the session's: it has ended.
pub(super) async fn check(
    flight: &FlightSql,
    session: &Arc<Session>,
    transaction_id: Option<&Bytes>,
) -> Result<()> {
    let Some(id) = transaction_id.filter(|id| !id.is_empty()) else {
        return Ok(());
    };
    match current(flight, session).await? {
        Some(current) if current == id => Ok(()),
        _ => Err(has_ended()),
    }
}

/// Refuses to execute what was prepared in a transaction when none is open. Drivers keep a prepared
/// statement while they end a transaction and begin the next one; it is then part of that one.
pub(super) async fn check_prepared(
    flight: &FlightSql,
    session: &Arc<Session>,
    prepared_in: Option<&Bytes>,
) -> Result<()> {
    let is_in_transaction = prepared_in.is_some_and(|id| !id.is_empty());
    match is_in_transaction && current(flight, session).await?.is_none() {
        true => Err(has_ended()),
        false => Ok(()),
    }
}

fn has_ended() -> CoordinatorError {
    CoordinatorError::FailedPrecondition("the transaction has ended: begin another one".to_string())
}

async fn current(flight: &FlightSql, session: &Arc<Session>) -> Result<Option<Bytes>> {
    let open = flight.statements.service.transaction(&session.id).await?;
    Ok(open.map(|id| Bytes::copy_from_slice(id.as_bytes())))
}

async fn execute(flight: &FlightSql, session: &Arc<Session>, sql: &str) -> Result<()> {
    let statement = Statement {
        session: Arc::clone(session),
        sql: Arc::from(sql),
        parameters: None,
    };
    let guard = flight.statements.queries.begin(session, Uuid::new_v4())?;
    flight.statements.execute_update(statement, guard).await?;
    Ok(())
}
