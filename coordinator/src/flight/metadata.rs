//! Catalogs, schemas and tables as Flight SQL result sets.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{GetDbSchemasBuilder, GetTablesBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables,
};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use ingot_catalog::{Catalog, CatalogError};

use super::results::client_schema;
use crate::error::{CoordinatorError, ErrorCode, Result};
use crate::service::{SessionId, SqlService};

/// Tables that have rows of their own.
pub(super) const TABLE_TYPE: &str = "TABLE";
/// Views.
pub(super) const VIEW_TYPE: &str = "VIEW";

/// How many tables are loaded at once for their columns.
const CONCURRENT_LOADS: usize = 16;

pub(super) fn flight_error(error: FlightError) -> CoordinatorError {
    CoordinatorError::Internal(format!("building a metadata result: {error}"))
}

/// `GetCatalogs`.
pub(super) async fn catalogs(
    service: &Arc<dyn SqlService>,
    session: &SessionId,
) -> Result<RecordBatch> {
    let mut builder = CommandGetCatalogs {}.into_builder();
    for catalog in service.catalogs(session).await? {
        builder.append(catalog.name());
    }
    builder.build().map_err(flight_error)
}

/// `GetTableTypes`.
pub(super) fn table_types() -> Result<RecordBatch> {
    let mut builder = CommandGetTableTypes {}.into_builder();
    builder.append(TABLE_TYPE);
    builder.append(VIEW_TYPE);
    builder.build().map_err(flight_error)
}

/// `GetDbSchemas`.
pub(super) async fn schemas(
    service: &Arc<dyn SqlService>,
    session: &SessionId,
    command: CommandGetDbSchemas,
) -> Result<RecordBatch> {
    let pattern = command.db_schema_filter_pattern.clone();
    let wanted = matching_catalogs(service, session, command.catalog.as_deref()).await?;
    let mut builder: GetDbSchemasBuilder = command.into_builder();
    for catalog in wanted {
        for schema in catalog.list_schemas().await? {
            if matches_pattern(pattern.as_deref(), &schema) {
                builder.append(catalog.name(), &schema);
            }
        }
    }
    builder.build().map_err(flight_error)
}

/// Catalog, schema and name of a table or view, and whether it is a view.
type ListedTable = (Arc<dyn Catalog>, String, String, bool);

/// A listed table and its columns.
type DescribedTable = (ListedTable, SchemaRef);

/// `GetTables`, with the columns of each table if asked for.
pub(super) async fn tables(
    service: &Arc<dyn SqlService>,
    session: &SessionId,
    command: CommandGetTables,
) -> Result<RecordBatch> {
    let mut names: Vec<ListedTable> = Vec::new();
    let wants = |table_type: &str| {
        command.table_types.is_empty() || command.table_types.iter().any(|name| name == table_type)
    };
    for catalog in matching_catalogs(service, session, command.catalog.as_deref()).await? {
        for schema in catalog.list_schemas().await? {
            if !matches_pattern(command.db_schema_filter_pattern.as_deref(), &schema) {
                continue;
            }
            let mut found: Vec<(String, bool)> = Vec::new();
            for table_type in [TABLE_TYPE, VIEW_TYPE] {
                let listed = match table_type {
                    _ if !wants(table_type) => continue,
                    TABLE_TYPE => catalog.list_tables(&schema).await,
                    _ => catalog.list_views(&schema).await,
                };
                match listed {
                    Ok(listed) => {
                        let is_view = table_type == VIEW_TYPE;
                        found.extend(listed.into_iter().map(|name| (name, is_view)));
                    }
                    // Dropped since the schemas were listed.
                    Err(CatalogError::SchemaNotFound { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            // Flight SQL orders by name.
            found.sort();
            for (table, is_view) in found {
                if matches_pattern(command.table_name_filter_pattern.as_deref(), &table) {
                    names.push((Arc::clone(&catalog), schema.clone(), table, is_view));
                }
            }
        }
    }
    let include_schema = command.include_schema;
    let described: Vec<_> = names
        .into_iter()
        .map(|listed| describe(service, listed, include_schema).boxed())
        .collect();
    let described: Vec<Option<DescribedTable>> = stream::iter(described)
        .buffered(CONCURRENT_LOADS)
        .try_collect()
        .await?;
    let mut builder: GetTablesBuilder = command.into_builder();
    for ((catalog, schema, table, is_view), columns) in described.into_iter().flatten() {
        let table_type = if is_view { VIEW_TYPE } else { TABLE_TYPE };
        builder
            .append(catalog.name(), schema, table, table_type, &columns)
            .map_err(flight_error)?;
    }
    builder.build().map_err(flight_error)
}

/// A table with its columns, if they are asked for; `None` when it was dropped since it was listed.
async fn describe(
    service: &Arc<dyn SqlService>,
    listed: ListedTable,
    include_schema: bool,
) -> Result<Option<DescribedTable>> {
    if !include_schema {
        return Ok(Some((listed, Arc::new(Schema::empty()))));
    }
    let (catalog, schema, table, _) = &listed;
    match service.table_schema(catalog, schema, table).await {
        Ok(columns) => {
            let columns = client_schema(&columns);
            Ok(Some((listed, columns)))
        }
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn matching_catalogs(
    service: &Arc<dyn SqlService>,
    session: &SessionId,
    name: Option<&str>,
) -> Result<Vec<Arc<dyn Catalog>>> {
    let mut catalogs = service.catalogs(session).await?;
    catalogs.retain(|catalog| name.is_none_or(|wanted| wanted == catalog.name()));
    Ok(catalogs)
}

/// One element of a `LIKE` pattern.
#[derive(PartialEq, Eq)]
enum PatternToken {
    AnySequence,
    AnyCharacter,
    Exactly(char),
}

/// SQL `LIKE` with `%`, `_` and the escape character `\`; no pattern matches everything.
fn matches_pattern(pattern: Option<&str>, name: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    let mut tokens = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '%' => PatternToken::AnySequence,
            '_' => PatternToken::AnyCharacter,
            '\\' => PatternToken::Exactly(characters.next().unwrap_or('\\')),
            other => PatternToken::Exactly(other),
        });
    }
    let name: Vec<char> = name.chars().collect();
    // Greedy: after a mismatch only the latest `%` needs to take one character more.
    let (mut token, mut position) = (0, 0);
    let mut latest_sequence: Option<(usize, usize)> = None;
    while position < name.len() {
        match tokens.get(token) {
            Some(PatternToken::AnySequence) => {
                latest_sequence = Some((token, position));
                token += 1;
            }
            Some(PatternToken::AnyCharacter) => {
                token += 1;
                position += 1;
            }
            Some(PatternToken::Exactly(expected)) if *expected == name[position] => {
                token += 1;
                position += 1;
            }
            _ => {
                let Some((sequence, start)) = latest_sequence else {
                    return false;
                };
                latest_sequence = Some((sequence, start + 1));
                token = sequence + 1;
                position = start + 1;
            }
        }
    }
    tokens[token..]
        .iter()
        .all(|rest| *rest == PatternToken::AnySequence)
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn patterns_are_those_of_like() {
        assert!(matches_pattern(None, "gold"));
        assert!(matches_pattern(Some("%"), ""));
        assert!(matches_pattern(Some("g%d"), "gold"));
        assert!(matches_pattern(Some("g_ld"), "gold"));
        assert!(matches_pattern(Some("%l%"), "gold"));
        assert!(!matches_pattern(Some("g_d"), "gold"));
        assert!(!matches_pattern(Some(""), "gold"));
        assert!(matches_pattern(Some(r"a\_b"), "a_b"));
        assert!(!matches_pattern(Some(r"a\_b"), "axb"));
        assert!(!matches_pattern(Some("gold_"), "gold"));
    }
}
