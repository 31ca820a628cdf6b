//! Actions beyond those that every Flight SQL server has.

use arrow_flight::sql::ActionCancelQueryResult;
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
};
use bytes::Bytes;
use prost::Message;
use serde::Deserialize;
use uuid::Uuid;

use super::session_options::{
    GET_SESSION_OPTIONS_ACTION, SET_SESSION_OPTIONS_ACTION, get as get_session_options,
    set as set_session_options,
};
use super::sessions::Caller;
use super::sql_service::FlightSql;
use crate::error::{CoordinatorError, Result};

/// Action: how far a query is. Body: its id as text. Result: a
/// [`crate::service::ProgressSnapshot`] as JSON.
pub const QUERY_PROGRESS_ACTION: &str = "ingot.query_progress";

/// Action: cancels a query. Body: its id as text. Result: `true` or, when it had ended, `false`.
pub const CANCEL_QUERY_ACTION: &str = "ingot.cancel_query";

/// Action of Flight: cancels the query of a `FlightInfo`.
const CANCEL_FLIGHT_INFO_ACTION: &str = "CancelFlightInfo";

/// Action of Flight: ends the session of the caller. The request has no fields.
const CLOSE_SESSION_ACTION: &str = "CloseSession";

/// The result of `CloseSession` (Flight.proto); `status` 1 is "closed".
#[derive(Clone, PartialEq, Message)]
struct CloseSessionResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The one field of the metadata of a `FlightInfo` that cancelling needs.
#[derive(Deserialize)]
struct QueryReference {
    query_id: Uuid,
}

pub(super) fn action_types() -> Vec<ActionType> {
    let action_type = |name: &str, description: &str| ActionType {
        r#type: name.to_string(),
        description: description.to_string(),
    };
    vec![
        action_type(
            CANCEL_FLIGHT_INFO_ACTION,
            "Cancels the query of a FlightInfo. Request: CancelFlightInfoRequest. Response: CancelFlightInfoResult",
        ),
        action_type(
            CLOSE_SESSION_ACTION,
            "Ends the session. Request: empty. Response: CloseSessionResult",
        ),
        action_type(
            GET_SESSION_OPTIONS_ACTION,
            "Reads the current catalog and schema. Request: empty. Response: GetSessionOptionsResult",
        ),
        action_type(
            SET_SESSION_OPTIONS_ACTION,
            "Sets the current catalog or schema. Request: SetSessionOptionsRequest. Response: SetSessionOptionsResult",
        ),
        action_type(
            QUERY_PROGRESS_ACTION,
            "Reports how far a query is. Request: its id. Response: JSON",
        ),
        action_type(
            CANCEL_QUERY_ACTION,
            "Cancels a query. Request: its id. Response: true or false",
        ),
    ]
}

/// Executes an action and returns the bodies of its results.
pub(super) async fn execute(
    flight: &FlightSql,
    caller: &Caller,
    action: &Action,
) -> Result<Vec<Bytes>> {
    let user = &caller.session.user;
    match action.r#type.as_str() {
        QUERY_PROGRESS_ACTION => {
            let query_id = query_id_of(&action.body)?;
            let progress = flight.statements.queries.progress(user, query_id).await?;
            let json = serde_json::to_vec(&progress).map_err(|error| {
                CoordinatorError::Internal(format!("encoding progress: {error}"))
            })?;
            Ok(vec![Bytes::from(json)])
        }
        CANCEL_QUERY_ACTION => {
            let query_id = query_id_of(&action.body)?;
            let cancelled = cancel(flight, caller, query_id).await?;
            Ok(vec![Bytes::from(cancelled.to_string())])
        }
        CANCEL_FLIGHT_INFO_ACTION => {
            let request = CancelFlightInfoRequest::decode(action.body.clone())
                .map_err(|_| malformed("CancelFlightInfoRequest"))?;
            let info = request
                .info
                .ok_or_else(|| malformed("CancelFlightInfoRequest"))?;
            let status = if cancel(flight, caller, query_of(&info)?).await? {
                CancelStatus::Cancelled
            } else {
                CancelStatus::NotCancellable
            };
            let result = CancelFlightInfoResult {
                status: status as i32,
            };
            Ok(vec![Bytes::from(result.encode_to_vec())])
        }
        CLOSE_SESSION_ACTION => {
            flight.sessions.close(&caller.session).await;
            let result = CloseSessionResult { status: 1 };
            Ok(vec![Bytes::from(result.encode_to_vec())])
        }
        GET_SESSION_OPTIONS_ACTION => Ok(vec![get_session_options(flight, &caller.session).await?]),
        SET_SESSION_OPTIONS_ACTION => {
            let result = set_session_options(flight, &caller.session, &action.body).await?;
            Ok(vec![result])
        }
        other => {
            let answer = flight
                .statements
                .service
                .action(user, other, &action.body)
                .await?;
            Ok(vec![Bytes::from(answer)])
        }
    }
}

/// `CancelQuery`, the older form of `CancelFlightInfo`.
pub(super) async fn cancel_query(
    flight: &FlightSql,
    caller: &Caller,
    info: &FlightInfo,
) -> Result<ActionCancelQueryResult> {
    let result = if cancel(flight, caller, query_of(info)?).await? {
        CancelStatus::Cancelled
    } else {
        CancelStatus::NotCancellable
    };
    // The enum of this message is not public, and has the values of CancelStatus.
    Ok(ActionCancelQueryResult {
        result: result as i32,
    })
}

async fn cancel(flight: &FlightSql, caller: &Caller, query_id: Uuid) -> Result<bool> {
    let user = &caller.session.user;
    let cancelled = flight.statements.queries.cancel(user, query_id).await?;
    // A query that was announced and not begun is known to nobody but its ticket.
    let discarded = flight
        .statements
        .results
        .discard(user, |pending| pending.query_id() == Some(query_id));
    Ok(cancelled || discarded > 0)
}

fn query_of(info: &FlightInfo) -> Result<Uuid> {
    let reference: QueryReference = serde_json::from_slice(&info.app_metadata).map_err(|_| {
        CoordinatorError::InvalidInput("the FlightInfo is not that of a query".to_string())
    })?;
    Ok(reference.query_id)
}

fn query_id_of(body: &[u8]) -> Result<Uuid> {
    std::str::from_utf8(body)
        .ok()
        .and_then(|text| Uuid::parse_str(text.trim()).ok())
        .ok_or_else(|| CoordinatorError::InvalidInput("the query id is not a UUID".to_string()))
}

fn malformed(what: &str) -> CoordinatorError {
    CoordinatorError::InvalidInput(format!("malformed {what}"))
}
