//! `CALL`: procedures of the schema `system`, as in Trino.

use std::collections::HashMap;

use ingot_catalog::table::ident_name;
use ingot_sql::sqlparser::ast::{Expr, UnaryOperator, Value};
use ingot_sql::{CallArgument, ObjectName, SessionValue};

use super::context::StatementContext;
use super::maintenance::{MaintenanceProcedure, remove_abandoned_folders};
use super::register_table::register_table;
use super::snapshot_procedures::SnapshotProcedure;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement_catalogs::ResolvedTable;
use crate::units::parse_duration;

const REGISTER_TABLE: &str = "register_table";
const UNREGISTER_TABLE: &str = "unregister_table";
const REMOVE_ORPHAN_FILES: &str = "remove_orphan_files";

/// Calls a procedure.
pub(super) async fn call(
    context: &StatementContext,
    procedure: &ObjectName,
    arguments: &[CallArgument],
) -> Result<StatementOutcome> {
    let catalog_name = match procedure.parts.as_slice() {
        [catalog, schema, _] if schema == "system" => catalog.clone(),
        [schema, _] if schema == "system" => context.session.catalog.clone(),
        _ => return Err(unknown(procedure)),
    };
    match procedure.object() {
        REGISTER_TABLE => register_table(context, catalog_name, procedure, arguments).await,
        UNREGISTER_TABLE => unregister_table(context, catalog_name, procedure, arguments).await,
        REMOVE_ORPHAN_FILES => {
            remove_orphan_files(context, catalog_name, procedure, arguments).await
        }
        name => match SnapshotProcedure::of_name(name) {
            Some(found) => {
                let [schema, table] = ["schema_name", "table_name"];
                let names: Vec<&str> = [schema, table]
                    .into_iter()
                    .chain(found.arguments().iter().copied())
                    .collect();
                let values = arguments_of(procedure, arguments, &names)?;
                let [
                    SessionValue::Text(schema),
                    SessionValue::Text(table),
                    own @ ..,
                ] = values.as_slice()
                else {
                    return Err(CoordinatorError::InvalidInput(format!(
                        "schema_name and table_name must be texts: {}",
                        usage(procedure, &names)
                    )));
                };
                let name = ObjectName {
                    parts: vec![catalog_name, schema.clone(), table.clone()],
                };
                let target = context.resolve_changed_table(&name)?;
                found.execute(context, &target, own).await
            }
            None => Err(unknown(procedure)),
        },
    }
}

/// Executes `ALTER TABLE … EXECUTE procedure`.
pub(super) async fn execute_on_table(
    context: &StatementContext,
    target: &ResolvedTable,
    procedure: &str,
    arguments: &[(Option<String>, Expr)],
    condition: Option<&Expr>,
) -> Result<StatementOutcome> {
    if let Some(found) = MaintenanceProcedure::of_name(procedure) {
        return found.execute(context, target, arguments, condition).await;
    }
    let Some(found) = SnapshotProcedure::of_name(procedure) else {
        return Err(unknown_table_procedure(procedure));
    };
    if condition.is_some() {
        return Err(CoordinatorError::Unsupported(format!(
            "WHERE after EXECUTE {procedure}"
        )));
    }
    let name = ObjectName::new([procedure]);
    let mut given = Vec::with_capacity(arguments.len());
    for (argument, expression) in arguments {
        let value = constant_of(expression).ok_or_else(|| {
            CoordinatorError::InvalidInput(format!(
                "argument {expression} of {procedure} is no constant"
            ))
        })?;
        given.push(CallArgument {
            name: argument.clone(),
            value,
        });
    }
    let values = arguments_of(&name, &given, found.arguments())?;
    found.execute(context, target, &values).await
}

/// A text, number, boolean or time constant.
fn constant_of(expression: &Expr) -> Option<SessionValue> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(SessionValue::Text(text.clone())),
            Value::Number(number, _) => Some(SessionValue::Number(number.clone())),
            Value::Boolean(value) => Some(SessionValue::Boolean(*value)),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match constant_of(expr)? {
            SessionValue::Number(number) => Some(SessionValue::Number(format!("-{number}"))),
            _ => None,
        },
        Expr::TypedString(typed) => {
            let text = typed.value.clone().into_string()?;
            Some(SessionValue::Text(text))
        }
        _ => None,
    }
}

fn unknown(procedure: &ObjectName) -> CoordinatorError {
    if let Some(of_tables) = MaintenanceProcedure::of_name(procedure.object()) {
        return CoordinatorError::InvalidInput(format!(
            "procedure {procedure} does not exist: write ALTER TABLE schema.table EXECUTE {}",
            of_tables.name()
        ));
    }
    let others: Vec<String> = SnapshotProcedure::ALL
        .iter()
        .map(|procedure| format!("system.{}", procedure.name()))
        .collect();
    CoordinatorError::InvalidInput(format!(
        "procedure {procedure} does not exist: there are system.{REGISTER_TABLE}, \
         system.{UNREGISTER_TABLE}, system.{REMOVE_ORPHAN_FILES}, {}",
        others.join(", ")
    ))
}

fn unknown_table_procedure(name: &str) -> CoordinatorError {
    let snapshots = SnapshotProcedure::ALL.iter().map(|found| found.name());
    let maintenance = MaintenanceProcedure::ALL.iter().map(|found| found.name());
    let nearest = snapshots
        .chain(maintenance)
        .min_by_key(|known| strsim::damerau_levenshtein(known, name))
        .unwrap_or_default();
    CoordinatorError::InvalidInput(format!(
        "table procedure {name} does not exist; did you mean {nearest}?"
    ))
}

/// `unregister_table(schema_name, table_name)`: removes a table from the catalog and keeps
/// its files.
async fn unregister_table(
    context: &StatementContext,
    catalog_name: String,
    procedure: &ObjectName,
    arguments: &[CallArgument],
) -> Result<StatementOutcome> {
    let [schema, table] = texts(procedure, arguments, ["schema_name", "table_name"])?;
    let name = ObjectName {
        parts: vec![catalog_name, schema, table],
    };
    let target = context.resolve_changed_table(&name)?;
    target.catalog.drop_table(&target.ident).await?;
    Ok(StatementOutcome::Done {
        message: format!("table {} unregistered", ident_name(&target.ident)),
    })
}

/// `remove_orphan_files(schema_name [, retention_threshold])`: deletes the folders of tables that
/// never came to be.
async fn remove_orphan_files(
    context: &StatementContext,
    catalog_name: String,
    procedure: &ObjectName,
    arguments: &[CallArgument],
) -> Result<StatementOutcome> {
    let (schema, retention) = match arguments {
        [_] => {
            let [schema] = texts(procedure, arguments, ["schema_name"])?;
            (schema, None)
        }
        _ => {
            let names = ["schema_name", "retention_threshold"];
            let [schema, retention] = texts(procedure, arguments, names)?;
            let duration = parse_duration(&retention).ok_or_else(|| {
                CoordinatorError::InvalidInput(format!(
                    "argument retention_threshold of {procedure}: '{retention}' is not a duration \
                     such as '7d'"
                ))
            })?;
            (schema, Some(duration))
        }
    };
    let catalog = context.catalogs.catalog(Some(&catalog_name))?;
    remove_abandoned_folders(context, catalog.as_ref(), &schema, retention).await
}

/// The arguments of a procedure that takes exactly these texts, in their order.
pub(super) fn texts<const N: usize>(
    procedure: &ObjectName,
    arguments: &[CallArgument],
    names: [&str; N],
) -> Result<[String; N]> {
    let mut texts = std::array::from_fn(|_| String::new());
    let values = arguments_of(procedure, arguments, &names)?;
    for ((name, value), text) in names.iter().zip(values).zip(&mut texts) {
        match value {
            SessionValue::Text(value) => *text = value,
            other => {
                return Err(CoordinatorError::InvalidInput(format!(
                    "argument {name} must be a text, not {other}: {}",
                    usage(procedure, &names)
                )));
            }
        }
    }
    Ok(texts)
}

fn usage(procedure: &ObjectName, names: &[&str]) -> String {
    format!("write {procedure}({})", names.join(", "))
}

/// The arguments of a procedure that takes exactly these, in their order.
fn arguments_of(
    procedure: &ObjectName,
    arguments: &[CallArgument],
    names: &[&str],
) -> Result<Vec<SessionValue>> {
    let usage = || usage(procedure, names);
    let mut given: HashMap<&str, &SessionValue> = HashMap::new();
    for (position, argument) in arguments.iter().enumerate() {
        let name = match &argument.name {
            Some(name) => names.iter().copied().find(|known| known == name),
            None => names.get(position).copied(),
        };
        let Some(name) = name else {
            let what = match &argument.name {
                Some(name) => format!("argument {name} is not expected"),
                None => "there are too many arguments".to_owned(),
            };
            return Err(CoordinatorError::InvalidInput(format!(
                "{what}: {}",
                usage()
            )));
        };
        if given.insert(name, &argument.value).is_some() {
            return Err(CoordinatorError::InvalidInput(format!(
                "argument {name} is given twice: {}",
                usage()
            )));
        }
    }
    names
        .iter()
        .map(|name| {
            given.get(name).copied().cloned().ok_or_else(|| {
                CoordinatorError::InvalidInput(format!("argument {name} is missing: {}", usage()))
            })
        })
        .collect()
}
