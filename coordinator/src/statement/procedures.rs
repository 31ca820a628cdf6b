//! `CALL`: procedures of the schema `system`, as in Trino.

use std::collections::HashMap;

use ingot_catalog::table::ident_name;
use ingot_sql::{CallArgument, ObjectName, SessionValue};

use super::context::StatementContext;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

const REGISTER_TABLE: &str = "register_table";
const UNREGISTER_TABLE: &str = "unregister_table";

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
        _ => Err(unknown(procedure)),
    }
}

fn unknown(procedure: &ObjectName) -> CoordinatorError {
    CoordinatorError::InvalidInput(format!(
        "procedure {procedure} does not exist: there are system.{REGISTER_TABLE} and \
         system.{UNREGISTER_TABLE}"
    ))
}

/// `register_table(schema_name, table_name, metadata_location)`: makes a table of another
/// engine, as its metadata file describes it, a table of the catalog.
async fn register_table(
    context: &StatementContext,
    catalog_name: String,
    procedure: &ObjectName,
    arguments: &[CallArgument],
) -> Result<StatementOutcome> {
    let names = ["schema_name", "table_name", "metadata_location"];
    let [schema, table, metadata_location] = texts(procedure, arguments, names)?;
    let name = ObjectName {
        parts: vec![catalog_name, schema, table],
    };
    let target = context.resolve_table(&name)?;
    let catalog = target.catalog.as_ref();
    catalog
        .register_table(&target.ident, &metadata_location)
        .await?;
    Ok(StatementOutcome::Done {
        message: format!("table {} registered", ident_name(&target.ident)),
    })
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
    let target = context.resolve_table(&name)?;
    target.catalog.drop_table(&target.ident).await?;
    Ok(StatementOutcome::Done {
        message: format!("table {} unregistered", ident_name(&target.ident)),
    })
}

/// The arguments of a procedure that takes exactly these texts, in their order.
fn texts<const N: usize>(
    procedure: &ObjectName,
    arguments: &[CallArgument],
    names: [&str; N],
) -> Result<[String; N]> {
    let usage = || format!("write {procedure}({})", names.join(", "));
    let mut given: HashMap<&str, &SessionValue> = HashMap::new();
    for (position, argument) in arguments.iter().enumerate() {
        let name = match &argument.name {
            Some(name) => names.iter().copied().find(|known| known == name),
            None => names.get(position).copied(),
        };
        let Some(name) = name else {
            let what = match &argument.name {
                Some(name) => format!("argument {name}"),
                None => "too many arguments".to_owned(),
            };
            return Err(CoordinatorError::InvalidInput(format!(
                "{what} not expected: {}",
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
    let mut values = std::array::from_fn(|_| String::new());
    for (name, value) in names.into_iter().zip(&mut values) {
        let problem = match given.get(name) {
            Some(SessionValue::Text(text)) => {
                value.clone_from(text);
                continue;
            }
            Some(other) => format!("must be a text, not {other}"),
            None => "is missing".to_owned(),
        };
        return Err(CoordinatorError::InvalidInput(format!(
            "argument {name} {problem}: {}",
            usage()
        )));
    }
    Ok(values)
}
