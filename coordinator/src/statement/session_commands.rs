//! Statements that change the session: `USE`, `SET SESSION`, `PREPARE`, `EXECUTE`.

use ingot_sql::Statement;
use ingot_sql::sqlparser::ast::{Expr, Query, SelectItem};

use super::context::StatementContext;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::session_properties;

pub(super) async fn use_schema(
    context: &StatementContext,
    catalog: Option<&str>,
    schema: &str,
) -> Result<StatementOutcome> {
    let catalog = context.catalogs.catalog(catalog)?;
    if schema != "information_schema" {
        catalog.load_schema(schema).await?;
    }
    let catalog_name = catalog.name().to_owned();
    context
        .core
        .sessions
        .update(&context.session_id, |session| {
            session.catalog = catalog_name.clone();
            session.schema = schema.to_owned();
        })?;
    done(format!("using schema {catalog_name}.{schema}"))
}

pub(super) fn set(context: &StatementContext, name: &str, value: &str) -> Result<StatementOutcome> {
    session_properties::check(name, value)?;
    context
        .core
        .sessions
        .update(&context.session_id, |session| {
            session.properties.insert(name.to_owned(), value.to_owned());
        })?;
    done(format!("session property {name} set to {value}"))
}

pub(super) fn reset(context: &StatementContext, name: Option<&str>) -> Result<StatementOutcome> {
    if let Some(name) = name
        && !session_properties::SESSION_PROPERTIES
            .iter()
            .any(|property| property.name == name)
    {
        return Err(session_properties::unknown(name));
    }
    context
        .core
        .sessions
        .update(&context.session_id, |session| match name {
            Some(name) => {
                session.properties.remove(name);
            }
            None => session.properties.clear(),
        })?;
    done(match name {
        Some(name) => format!("session property {name} reset"),
        None => "session properties reset".to_owned(),
    })
}

pub(super) fn prepare(
    context: &StatementContext,
    name: &str,
    statement: &Statement,
) -> Result<StatementOutcome> {
    context
        .core
        .sessions
        .update(&context.session_id, |session| {
            session.prepared.insert(name.to_owned(), statement.clone());
        })?;
    done(format!("statement {name} prepared"))
}

pub(super) fn deallocate(context: &StatementContext, name: &str) -> Result<StatementOutcome> {
    if !context.session.prepared.contains_key(name) {
        return Err(unknown_statement(name));
    }
    context
        .core
        .sessions
        .update(&context.session_id, |session| {
            session.prepared.remove(name);
        })?;
    done(format!("statement {name} deallocated"))
}

/// `EXECUTE name USING a, b`: the values are constants, computed here and bound as parameters.
pub(super) async fn execute_prepared(
    mut context: StatementContext,
    name: &str,
    values: &[Expr],
) -> Result<StatementOutcome> {
    let statement = match context.session.prepared.get(name) {
        Some(statement) => statement.clone(),
        None => return Err(unknown_statement(name)),
    };
    if !values.is_empty() {
        let query = query_of_values(values)?;
        let plan = context.plan_query(&query).await?;
        let batches = context.collect(plan).await?;
        context.parameters = batches.into_iter().find(|batch| batch.num_rows() == 1);
    }
    Box::pin(super::execute(context, statement)).await
}

/// The query of one row with the values after `USING`.
pub(super) fn query_of_values(values: &[Expr]) -> Result<Box<Query>> {
    let values = values.iter().enumerate();
    let items: Vec<String> = values
        .map(|(index, value)| {
            let item = SelectItem::ExprWithAlias {
                expr: value.clone(),
                alias: format!("p{index}").as_str().into(),
            };
            item.to_string()
        })
        .collect();
    match ingot_sql::parse_statement(&format!("SELECT {}", items.join(", ")))? {
        Statement::Query(query) => Ok(query),
        _ => Err(CoordinatorError::Internal(
            "constants are no query".to_owned(),
        )),
    }
}

fn unknown_statement(name: &str) -> CoordinatorError {
    CoordinatorError::NotFound(format!(
        "prepared statement {name} does not exist: use PREPARE {name} FROM …"
    ))
}

fn done(message: String) -> Result<StatementOutcome> {
    Ok(StatementOutcome::Done { message })
}
