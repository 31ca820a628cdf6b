//! Session options of Flight: the current catalog and schema, as JDBC and ADBC read and set them.
//!
//! The messages are those of Flight.proto (`SetSessionOptions`, `GetSessionOptions`), which
//! arrow-flight does not have yet.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};
use uuid::Uuid;

use super::sessions::Session;
use super::sql_service::FlightSql;
use super::statements::Statement;
use crate::error::{CoordinatorError, Result};

/// Action: sets options.
pub(super) const SET_SESSION_OPTIONS_ACTION: &str = "SetSessionOptions";

/// Action: reads all options.
pub(super) const GET_SESSION_OPTIONS_ACTION: &str = "GetSessionOptions";

const CATALOG_OPTION: &str = "catalog";
const SCHEMA_OPTION: &str = "schema";

#[derive(Clone, PartialEq, Message)]
struct SessionOptionValue {
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    value: Option<OptionValue>,
}

#[derive(Clone, PartialEq, Oneof)]
enum OptionValue {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Boolean(bool),
    #[prost(sfixed64, tag = "3")]
    Integer(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    TextList(TextList),
}

#[derive(Clone, PartialEq, Message)]
struct TextList {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum OptionErrorKind {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

#[derive(Clone, PartialEq, Message)]
struct OptionError {
    #[prost(enumeration = "OptionErrorKind", tag = "1")]
    value: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, Message)]
struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

/// `GetSessionOptions`.
pub(super) async fn get(flight: &FlightSql, session: &Arc<Session>) -> Result<Bytes> {
    let (catalog, schema) = flight
        .statements
        .service
        .current_schema(&session.id)
        .await?;
    let text = |value: String| SessionOptionValue {
        value: Some(OptionValue::Text(value)),
    };
    let result = GetSessionOptionsResult {
        session_options: HashMap::from([
            (CATALOG_OPTION.to_string(), text(catalog)),
            (SCHEMA_OPTION.to_string(), text(schema)),
        ]),
    };
    Ok(Bytes::from(result.encode_to_vec()))
}

/// `SetSessionOptions`: what cannot be set is reported by name, as the protocol wants it.
pub(super) async fn set(flight: &FlightSql, session: &Arc<Session>, body: &[u8]) -> Result<Bytes> {
    let request = SetSessionOptionsRequest::decode(body).map_err(|_| {
        CoordinatorError::InvalidInput("malformed SetSessionOptionsRequest".to_string())
    })?;
    let mut errors = HashMap::new();
    let mut report = |name: &str, kind: OptionErrorKind| {
        errors.insert(name.to_string(), OptionError { value: kind as i32 });
    };
    let (mut catalog, mut schema) = (None, None);
    for (name, option) in request.session_options {
        let target = match name.as_str() {
            CATALOG_OPTION => &mut catalog,
            SCHEMA_OPTION => &mut schema,
            _ => {
                report(&name, OptionErrorKind::InvalidName);
                continue;
            }
        };
        match option.value {
            Some(OptionValue::Text(text)) if !text.is_empty() => *target = Some(text),
            _ => report(&name, OptionErrorKind::InvalidValue),
        }
    }
    let changed: Vec<&str> = [
        catalog.as_ref().map(|_| CATALOG_OPTION),
        schema.as_ref().map(|_| SCHEMA_OPTION),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !changed.is_empty()
        && let Err(error) = use_schema(flight, session, catalog, schema).await
    {
        tracing::debug!(%error, "cannot set the current schema");
        for name in changed {
            report(name, OptionErrorKind::InvalidValue);
        }
    }
    let result = SetSessionOptionsResult { errors };
    Ok(Bytes::from(result.encode_to_vec()))
}

async fn use_schema(
    flight: &FlightSql,
    session: &Arc<Session>,
    catalog: Option<String>,
    schema: Option<String>,
) -> Result<()> {
    let current = flight
        .statements
        .service
        .current_schema(&session.id)
        .await?;
    let sql = format!(
        "USE {}.{}",
        quoted(&catalog.unwrap_or(current.0)),
        quoted(&schema.unwrap_or(current.1))
    );
    let statement = Statement {
        session: Arc::clone(session),
        sql: Arc::from(sql),
        parameters: None,
    };
    let guard = flight.statements.queries.begin(session, Uuid::new_v4())?;
    flight.statements.execute_update(statement, guard).await?;
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_wire_form_of_flight() {
        let option = SessionOptionValue {
            value: Some(OptionValue::Text("g".to_string())),
        };
        let request = SetSessionOptionsRequest {
            session_options: HashMap::from([("schema".to_string(), option)]),
        };
        // Field 1: an entry of key "schema" (field 1) and value (field 2) with string field 1.
        let expected = b"\x0a\x0d\x0a\x06schema\x12\x03\x0a\x01g";
        assert_eq!(request.encode_to_vec(), expected);
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
