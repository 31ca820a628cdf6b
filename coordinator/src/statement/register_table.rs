//! `CALL system.register_table(…)`: a table of another engine becomes a table of the catalog.

use ingot_catalog::sql_catalog::newest_metadata_file;
use ingot_catalog::table::ident_name;
use ingot_sql::{CallArgument, ObjectName, SessionValue};

use super::context::StatementContext;
use super::procedures::texts;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

const TABLE_LOCATION: &str = "table_location";
const METADATA_FILE_NAME: &str = "metadata_file_name";
/// What every metadata file's name has.
const METADATA_FILE_SUFFIX: &str = ".metadata.json";

/// Registers the table as its metadata file describes it: the file given, the file of this name in
/// the table's folder, or the newest one there.
pub(super) async fn register_table(
    context: &StatementContext,
    catalog_name: String,
    procedure: &ObjectName,
    arguments: &[CallArgument],
) -> Result<StatementOutcome> {
    let wanted = Wanted::of(procedure, arguments)?;
    let name = ObjectName {
        parts: vec![catalog_name, wanted.schema, wanted.table],
    };
    let target = context.resolve_changed_table(&name)?;
    let catalog = target.catalog.as_ref();
    let storage = catalog.storage();
    let metadata_location = match wanted.source {
        Source::MetadataFile(location) => location,
        Source::Table {
            location,
            file_name,
        } => {
            storage.check_allowed(&location)?;
            match file_name {
                Some(file_name) => {
                    format!("{}/metadata/{file_name}", location.trim_end_matches('/'))
                }
                None => newest_metadata_file(storage, &location).await?,
            }
        }
    };
    storage.check_allowed(&metadata_location)?;
    catalog
        .register_table(&target.ident, &metadata_location)
        .await?;
    Ok(StatementOutcome::Done {
        message: format!("table {} registered", ident_name(&target.ident)),
    })
}

/// What a call asks for.
struct Wanted {
    schema: String,
    table: String,
    source: Source,
}

/// Where the metadata file is.
enum Source {
    MetadataFile(String),
    Table {
        location: String,
        file_name: Option<String>,
    },
}

impl Wanted {
    /// Trino's arguments, or a metadata file's location in place of the table's.
    fn of(procedure: &ObjectName, arguments: &[CallArgument]) -> Result<Self> {
        let has = |name: &str| {
            let mut names = arguments.iter().filter_map(|other| other.name.as_deref());
            names.any(|other| other == name)
        };
        let is_metadata_file = |argument: &CallArgument| match &argument.value {
            SessionValue::Text(text) => text.contains(METADATA_FILE_SUFFIX),
            _ => false,
        };
        let third = arguments.get(2).filter(|argument| argument.name.is_none());
        let has_file_name = has(METADATA_FILE_NAME) || arguments.len() > 3;
        if has_file_name {
            let names = [
                "schema_name",
                "table_name",
                TABLE_LOCATION,
                METADATA_FILE_NAME,
            ];
            let [schema, table, location, file_name] = texts(procedure, arguments, names)?;
            check_file_name(&file_name)?;
            let file_name = Some(file_name);
            let source = Source::Table {
                location,
                file_name,
            };
            return Ok(Self {
                schema,
                table,
                source,
            });
        }
        if has(TABLE_LOCATION) || third.is_some_and(|argument| !is_metadata_file(argument)) {
            let names = ["schema_name", "table_name", TABLE_LOCATION];
            let [schema, table, location] = texts(procedure, arguments, names)?;
            let file_name = None;
            let source = Source::Table {
                location,
                file_name,
            };
            return Ok(Self {
                schema,
                table,
                source,
            });
        }
        let names = ["schema_name", "table_name", "metadata_location"];
        let [schema, table, location] = texts(procedure, arguments, names)?;
        Ok(Self {
            schema,
            table,
            source: Source::MetadataFile(location),
        })
    }
}

/// Refuses what is not the name of a metadata file, or would lead out of its folder.
fn check_file_name(file_name: &str) -> Result<()> {
    if file_name.contains(METADATA_FILE_SUFFIX) && !file_name.contains(['/', '\\']) {
        return Ok(());
    }
    Err(CoordinatorError::InvalidInput(format!(
        "{METADATA_FILE_NAME} {file_name:?} is no metadata file in the folder of the table: give a \
         name such as 00003-….metadata.json"
    )))
}
