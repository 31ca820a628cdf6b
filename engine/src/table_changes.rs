//! The rows that came and went between two snapshots of a table (`table_changes`), as a query.
//!
//! Snapshots that only added or only removed whole files are read as they are: one scan, in which
//! constants of each file say what happened, when. Of the others, the rows of all files that changed
//! are read as they were before and after, counted against each other, and those in surplus on one
//! side are the changes: rows that were only moved, as copy-on-write moves them, cancel out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::catalog::view::ViewTable;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::functions_nested::expr_fn::range;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit, when};
use iceberg::spec::SchemaRef as IcebergSchemaRef;
use ingot_catalog::Table;
use ingot_catalog::scan::{FileTask, SnapshotChanges, table_changes};
use ingot_sql::RelationChanges;

use crate::error::{EngineError, Result};
use crate::scan::FilesTable;
use crate::schema::UTC;
use crate::table::TableServices;

/// `insert` or `delete`.
pub const CHANGE_TYPE_COLUMN: &str = "_change_type";
/// Id of the snapshot that changed the row.
pub const CHANGE_VERSION_COLUMN: &str = "_change_version_id";
/// When that snapshot was committed.
pub const CHANGE_TIMESTAMP_COLUMN: &str = "_change_timestamp";
/// The snapshot's place among those that changed rows, from 0.
pub const CHANGE_ORDINAL_COLUMN: &str = "_change_ordinal";

/// 1 for a row after a change, -1 for one before it; then their sum over equal rows.
const SURPLUS: &str = "$surplus";
const COPIES: &str = "$copies";

/// A data file with the values of its constants.
type ChangedFile = (FileTask, Vec<ScalarValue>);

/// The changes as a table: the columns of the later snapshot, then those above.
///
/// # Errors
/// `VersionNotFound` and `InvalidInput` for snapshots between which there is no way; `Unsupported`
/// for a table with a column of one of the names above.
pub(crate) async fn plan_table_changes(
    table: &Table,
    changes: RelationChanges,
    services: &TableServices,
) -> Result<ViewTable> {
    let storage = services.scans.storage();
    let manifests = &services.manifests;
    let found = table_changes(storage, manifests, table, changes.from, changes.to).await?;
    for name in [
        CHANGE_TYPE_COLUMN,
        CHANGE_VERSION_COLUMN,
        CHANGE_TIMESTAMP_COLUMN,
        CHANGE_ORDINAL_COLUMN,
        SURPLUS,
        COPIES,
    ] {
        if found.schema.field_by_name(name).is_some() {
            return Err(EngineError::Unsupported(format!(
                "table_changes of table {}, which has a column {name},",
                table.name()
            )));
        }
    }
    let mut plain: Vec<ChangedFile> = Vec::new();
    let mut compared: Vec<ChangedFile> = Vec::new();
    for (ordinal, snapshot) in found.snapshots.into_iter().enumerate() {
        let is_plain = snapshot.before.is_empty() || snapshot.after.is_empty();
        let files = files_of(snapshot, ordinal);
        match is_plain {
            true => plain.extend(files),
            false => compared.extend(files),
        }
    }
    let read = |files: Vec<ChangedFile>| scan_of(table, &found.schema, files, services);
    let plan = match (compared.is_empty(), plain.is_empty()) {
        (true, _) => with_change_type(read(plain)?)?,
        (false, true) => with_change_type(surplus_of(read(compared)?)?)?,
        (false, false) => {
            let compared = with_change_type(surplus_of(read(compared)?)?)?;
            let plain = with_change_type(read(plain)?)?;
            LogicalPlanBuilder::from(plain).union(compared)?.build()?
        }
    };
    Ok(ViewTable::new(plan, None))
}

/// The columns of which each file has one value.
fn constants() -> Vec<FieldRef> {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    [
        (SURPLUS, DataType::Int64),
        (CHANGE_VERSION_COLUMN, DataType::Int64),
        (CHANGE_TIMESTAMP_COLUMN, timestamp),
        (CHANGE_ORDINAL_COLUMN, DataType::Int32),
    ]
    .map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)))
    .to_vec()
}

fn files_of(changes: SnapshotChanges, ordinal: usize) -> Vec<ChangedFile> {
    let snapshot = &changes.snapshot;
    let micros = snapshot.timestamp_ms().saturating_mul(1000);
    let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
    let values = |surplus: i64| {
        vec![
            ScalarValue::from(surplus),
            ScalarValue::from(snapshot.snapshot_id()),
            ScalarValue::TimestampMicrosecond(Some(micros), Some(UTC.into())),
            ScalarValue::from(ordinal),
        ]
    };
    let before = changes.before.iter().map(|file| (file.clone(), values(-1)));
    let after = changes.after.iter().map(|file| (file.clone(), values(1)));
    before.chain(after).collect()
}

fn scan_of(
    table: &Table,
    schema: &IcebergSchemaRef,
    files: Vec<ChangedFile>,
    services: &TableServices,
) -> Result<LogicalPlan> {
    let files = FilesTable::with_constants(
        table.clone(),
        Arc::clone(schema),
        constants(),
        files,
        Arc::clone(&services.scans),
    )?;
    let source = provider_as_source(Arc::new(files));
    Ok(LogicalPlanBuilder::scan(table.ident.name(), source, None)?.build()?)
}

/// Equal rows of the same snapshot counted against each other: what is left on one side, as often
/// as it is left.
fn surplus_of(rows: LogicalPlan) -> Result<LogicalPlan> {
    let groups: Vec<Expr> = rows
        .schema()
        .columns()
        .into_iter()
        .filter(|column| column.name != SURPLUS)
        .map(Expr::Column)
        .collect();
    let total = sum(column(SURPLUS)).alias(SURPLUS);
    let counted = LogicalPlanBuilder::from(rows)
        .aggregate(groups, vec![total])?
        .filter(column(SURPLUS).not_eq(lit(0_i64)))?
        .build()?;
    let copies = range(
        lit(0_i64),
        datafusion::functions::expr_fn::abs(column(SURPLUS)),
        lit(1_i64),
    );
    let mut columns: Vec<Expr> = counted
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    columns.push(copies.alias(COPIES));
    let repeated = LogicalPlanBuilder::from(counted)
        .project(columns)?
        .unnest_column(Column::from_name(COPIES))?;
    Ok(repeated.build()?)
}

/// The rows in the columns of the function.
fn with_change_type(rows: LogicalPlan) -> Result<LogicalPlan> {
    let change_type =
        when(column(SURPLUS).gt(lit(0_i64)), lit("insert")).otherwise(lit("delete"))?;
    let constants = constants();
    let is_own =
        |name: &str| name != COPIES && !constants.iter().any(|constant| constant.name() == name);
    let mut columns: Vec<Expr> = rows
        .schema()
        .columns()
        .into_iter()
        .filter(|column| is_own(&column.name))
        .map(|column| {
            let name = column.name.clone();
            Expr::Column(column).alias(name)
        })
        .collect();
    columns.push(change_type.alias(CHANGE_TYPE_COLUMN));
    let others = [
        CHANGE_VERSION_COLUMN,
        CHANGE_TIMESTAMP_COLUMN,
        CHANGE_ORDINAL_COLUMN,
    ];
    columns.extend(others.map(|name| column(name).alias(name)));
    Ok(LogicalPlanBuilder::from(rows).project(columns)?.build()?)
}

/// A column by its name, in whatever case that is.
fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}
