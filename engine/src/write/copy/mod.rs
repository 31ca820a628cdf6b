//! `COPY INTO`: loading each file exactly once.
//!
//! [`prepare_copy`] finds the files that were not loaded yet and makes a query over them with
//! the table's columns. The caller runs it and writes its rows as for an `INSERT`;
//! [`commit_copy`] then adds the data files and the names of the loaded files in one commit.
//! A file that yields no row is not remembered: loading it again changes nothing.

mod ledger;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::prelude::cast;
use iceberg::spec::DataFile;
use ingot_catalog::commit::append_files_with;
use ingot_catalog::storage::Scheme;
use ingot_catalog::{Catalog, CatalogError, FileInfo, Location, Storage, Table};
use ingot_sql::{CopyFormat, CopyInto, CopyMode};
use uuid::Uuid;

use self::ledger::{Ledger, LedgerChange};
use crate::assignment::check_type;
use crate::csv::{CsvDialect, CsvOptions, CsvTable, MalformedRecords, Reject, read_rejects};
use crate::error::{EngineError, Result};
use crate::functions::file_listing::list_files;
use crate::functions::files::FileTable;
use crate::schema::query_schema_of;

const SOURCE_NAME: &str = "copied_files";

/// A `COPY INTO` whose rows are still to be written.
pub struct CopyPlan {
    table: Table,
    storage: Arc<Storage>,
    files: Vec<FileInfo>,
    files_skipped: usize,
    query: Option<LogicalPlan>,
    rejects_folder: Option<String>,
    force: bool,
}

/// What a `COPY INTO` did.
#[derive(Debug, Clone)]
pub struct CopyReport {
    /// The table after it.
    pub table: Table,
    /// Files loaded.
    pub files_loaded: usize,
    /// Files left out, because they were loaded before.
    pub files_skipped: usize,
    /// Rows loaded.
    pub rows_loaded: u64,
    /// Records that could not be read, in permissive mode.
    pub rows_rejected: u64,
    /// Where they are, when there are any.
    pub rejects_folder: Option<String>,
}

impl CopyPlan {
    /// The query whose rows are to be written into the table, in the order of its columns;
    /// `None` when there is no new file, and nothing is to be written.
    pub fn query(&self) -> Option<&LogicalPlan> {
        self.query.as_ref()
    }

    /// The files to load.
    pub fn files(&self) -> &[FileInfo] {
        &self.files
    }
}

/// Plans a `COPY INTO`: lists the files that its locations mean, and makes a query over
/// those that were not loaded before.
///
/// # Errors
/// `InvalidInput` for locations without files, unknown columns and options that do not fit
/// the format; `Unsupported` for column types that the format cannot hold.
pub async fn prepare_copy(
    session: &dyn Session,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    copy: &CopyInto,
    statement_id: Uuid,
) -> Result<CopyPlan> {
    if let Some(rejects) = &copy.rejects {
        catalog.storage().check_allowed(rejects)?;
    }
    let listed = list_files(catalog.storage(), &copy.locations).await?;
    prepare_listed(session, catalog, table, copy, listed, statement_id).await
}

async fn prepare_listed(
    session: &dyn Session,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    copy: &CopyInto,
    listed: Vec<FileInfo>,
    statement_id: Uuid,
) -> Result<CopyPlan> {
    let storage = Arc::clone(catalog.storage());
    let listed: Vec<FileInfo> = listed
        .into_iter()
        .map(with_one_spelling)
        .collect::<Result<_>>()?;
    let (files, files_skipped) = match copy.force {
        true => (listed, 0),
        false => Ledger::load(&storage, table).await?.unloaded(listed),
    };
    let rejects_folder = rejects_folder(table, copy, statement_id)?;
    let query = match files.is_empty() {
        true => None,
        false => {
            let source = source(
                session,
                &storage,
                table,
                copy,
                &files,
                rejects_folder.as_ref(),
            );
            Some(query_over(table, copy, source.await?)?)
        }
    };
    Ok(CopyPlan {
        table: table.clone(),
        storage,
        files,
        files_skipped,
        query,
        rejects_folder,
        force: copy.force,
    })
}

/// Commits what the plan's query wrote, together with the names of the files that it read.
///
/// # Errors
/// Those of [`ingot_catalog::commit::append_files`]; `CommitConflict` also when another
/// statement loaded one of the files meanwhile. Except for `CommitStateUnknown`, nothing was
/// loaded then.
pub async fn commit_copy(
    catalog: &dyn Catalog,
    plan: &CopyPlan,
    data_files: Vec<DataFile>,
    summary: BTreeMap<String, String>,
) -> Result<CopyReport> {
    // Before the commit: an error after it would look as if nothing was loaded.
    let rejects = rejects_of(plan).await?;
    let rows_loaded = data_files.iter().map(DataFile::record_count).sum();
    let change = LedgerChange::new(Arc::clone(&plan.storage), plan.files.clone(), plan.force);
    let committed = append_files_with(catalog, &plan.table, data_files, summary, &change).await;
    let table = match committed {
        Ok(table) => table,
        Err(error) => {
            if !matches!(error, CatalogError::CommitStateUnknown { .. }) {
                change.discard().await;
            }
            return Err(error.into());
        }
    };
    Ok(CopyReport {
        table,
        files_loaded: plan.files.len(),
        files_skipped: plan.files_skipped,
        rows_loaded,
        rows_rejected: rejects.len() as u64,
        rejects_folder: match rejects.is_empty() {
            true => None,
            false => plan.rejects_folder.clone(),
        },
    })
}

async fn rejects_of(plan: &CopyPlan) -> Result<Vec<Reject>> {
    match (&plan.rejects_folder, plan.files.is_empty()) {
        (Some(folder), false) => read_rejects(&plan.storage, folder).await,
        _ => Ok(Vec::new()),
    }
}

/// `/a`, `file:/a` and `file:///a` are one file, and so are `s3a://b/k` and `s3://b/k`.
fn with_one_spelling(file: FileInfo) -> Result<FileInfo> {
    let location = Location::parse(&file.location)?;
    let spelled = match &location.scheme {
        Scheme::File => format!("file:///{}", location.path),
        Scheme::S3 { bucket } => format!("s3://{bucket}/{}", location.path),
    };
    Ok(FileInfo {
        location: spelled,
        ..file
    })
}

/// Each statement has a folder of its own, so that its rejects can be counted.
fn rejects_folder(table: &Table, copy: &CopyInto, statement_id: Uuid) -> Result<Option<String>> {
    match (copy.mode, &copy.rejects) {
        (CopyMode::Strict, None) => Ok(None),
        (CopyMode::Strict, Some(_)) => Err(EngineError::InvalidInput(
            "rejects are kept in permissive mode only: write mode = 'permissive' too".to_string(),
        )),
        (CopyMode::Permissive, folder) => {
            let folder = match folder {
                Some(folder) => folder.trim_end_matches('/').to_string(),
                None => format!(
                    "{}/rejects",
                    table.metadata.location().trim_end_matches('/')
                ),
            };
            Ok(Some(format!("{folder}/{statement_id}")))
        }
    }
}

/// The columns that the files have: those named, or all of the table's.
fn file_schema(table: &Table, copy: &CopyInto) -> Result<Schema> {
    let schema = query_schema_of(table.metadata.current_schema())?;
    if copy.columns.is_empty() {
        return Ok(schema.as_ref().clone());
    }
    let mut fields: Vec<Field> = Vec::new();
    for column in &copy.columns {
        let field = schema.field_with_name(column).map_err(|_| {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let known: Vec<&str> = names.collect();
            EngineError::InvalidInput(format!(
                "table {} has no column {column}: its columns are {}",
                table.name(),
                known.join(", ")
            ))
        })?;
        if fields.iter().any(|known| known.name() == column) {
            return Err(EngineError::InvalidInput(format!(
                "column {column} is named twice in the columns to copy into"
            )));
        }
        fields.push(field.clone());
    }
    Ok(Schema::new(fields))
}

async fn source(
    session: &dyn Session,
    storage: &Arc<Storage>,
    table: &Table,
    copy: &CopyInto,
    files: &[FileInfo],
    rejects_folder: Option<&String>,
) -> Result<Arc<dyn TableProvider>> {
    let format = match copy.format {
        Some(format) => format,
        None => format_of(files)?,
    };
    let schema = file_schema(table, copy)?;
    match format {
        CopyFormat::Csv => {
            let options = CsvOptions {
                dialect: CsvDialect {
                    delimiter: one_byte("delimiter", copy.delimiter)?,
                    quote: one_byte("quote", copy.quote)?,
                    escape: match copy.escape {
                        Some(escape) => Some(one_byte("escape", escape)?),
                        None => None,
                    },
                    has_header: copy.header,
                },
                malformed: match rejects_folder {
                    Some(folder) => MalformedRecords::SetAside {
                        folder: folder.clone(),
                    },
                    None => MalformedRecords::Fail,
                },
                null_value: copy.null_value.clone(),
            };
            let table = CsvTable::try_new(Arc::clone(storage), files.to_vec(), &schema, options)?;
            Ok(Arc::new(table))
        }
        CopyFormat::Json | CopyFormat::Parquet if copy.mode == CopyMode::Permissive => Err(
            EngineError::Unsupported("permissive mode for files other than csv".to_string()),
        ),
        CopyFormat::Json => {
            let options = session.default_table_options().json;
            let format = Arc::new(JsonFormat::default().with_options(options));
            let paths = locations(files);
            let table = FileTable::open(storage, paths, format, Some(schema), session).await?;
            Ok(Arc::new(table))
        }
        CopyFormat::Parquet => {
            let options = session.default_table_options().parquet;
            let format = Arc::new(ParquetFormat::default().with_options(options));
            let found = FileTable::open(storage, locations(files), format, None, session).await?;
            check_columns(table, &schema, &found.schema())?;
            Ok(Arc::new(found))
        }
    }
}

fn locations(files: &[FileInfo]) -> Vec<String> {
    files.iter().map(|file| file.location.clone()).collect()
}

/// Files that carry their own schema must have just the columns copied, of types that these take.
fn check_columns(table: &Table, expected: &Schema, found: &Schema) -> Result<()> {
    let lacks = |schema: &Schema, of: &Schema| {
        let mut names = of.fields().iter().map(|field| field.name().clone());
        names.find(|name| schema.field_with_name(name).is_err())
    };
    if let Some(name) = lacks(found, expected) {
        return Err(EngineError::InvalidInput(format!(
            "the files to copy into table {} have no column {name}: name the columns that they have, as in COPY INTO t (a, b)",
            table.name()
        )));
    }
    if let Some(name) = lacks(expected, found) {
        return Err(EngineError::InvalidInput(format!(
            "the files to copy into table {} have a column {name}, which is not copied: use INSERT INTO … SELECT instead",
            table.name()
        )));
    }
    for column in expected.fields() {
        if let Ok(of_file) = found.field_with_name(column.name()) {
            check_type(&table.name(), column, of_file.data_type())?;
        }
    }
    Ok(())
}

fn format_of(files: &[FileInfo]) -> Result<CopyFormat> {
    let mut format = None;
    for file in files {
        let name = file.location.to_ascii_lowercase();
        let extension = name.rsplit(['.', '/']).next().unwrap_or_default();
        let of_file = match extension {
            "csv" | "tsv" | "txt" => CopyFormat::Csv,
            "json" | "jsonl" | "ndjson" => CopyFormat::Json,
            "parquet" => CopyFormat::Parquet,
            _ => {
                return Err(EngineError::InvalidInput(format!(
                    "the name of file {} does not tell its format: name it, as in format = 'csv'",
                    file.location
                )));
            }
        };
        match format {
            None => format = Some(of_file),
            Some(known) if known == of_file => {}
            Some(_) => {
                return Err(EngineError::InvalidInput(
                    "the files are of several formats: copy them one format at a time".to_string(),
                ));
            }
        }
    }
    format.ok_or_else(|| EngineError::InvalidInput("there is no file to copy".to_string()))
}

fn one_byte(option: &str, character: char) -> Result<u8> {
    u8::try_from(character)
        .ok()
        .filter(u8::is_ascii)
        .ok_or_else(|| {
            EngineError::InvalidInput(format!(
                "option {option} is {character:?}: it must be an ascii character"
            ))
        })
}

/// The files' columns in the place of the table's, null for those that the files lack.
fn query_over(
    table: &Table,
    copy: &CopyInto,
    source: Arc<dyn TableProvider>,
) -> Result<LogicalPlan> {
    let schema = query_schema_of(table.metadata.current_schema())?;
    let expressions: Vec<Expr> = schema
        .fields()
        .iter()
        .map(|field| {
            let name = field.name();
            let is_copied = copy.columns.is_empty() || copy.columns.contains(name);
            match is_copied {
                true => {
                    let column = col(Column::new(Some(SOURCE_NAME), name));
                    cast(column, field.data_type().clone()).alias(name)
                }
                false => cast(lit(ScalarValue::Null), field.data_type().clone()).alias(name),
            }
        })
        .collect();
    let plan = LogicalPlanBuilder::scan(SOURCE_NAME, provider_as_source(source), None)?
        .project(expressions)?
        .build()?;
    Ok(plan)
}
