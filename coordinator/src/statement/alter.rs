//! `ALTER TABLE` and `COMMENT ON`.

use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, NestedField};
use ingot_catalog::commit::commit_metadata;
use ingot_catalog::evolve::{
    self, ColumnPosition, ReferenceChange, ReferenceKind, ReferenceMode, SchemaChange,
};
use ingot_catalog::table::ident_name;
use ingot_catalog::{CatalogError, Table, TableVersion};
use ingot_engine::EngineError;
use ingot_engine::catalog_list::evaluate_timestamp;
use ingot_engine::default_value::evaluate_default;
use ingot_engine::write::{partition_spec_of, sort_order_of};
use ingot_sql::{
    AlterTable, AlterTableOperation, RelationVersion, SetReference, SetReferenceMode,
    TablePropertyChanges,
};

use super::columns::{check_names, field_of_column, type_of_column};
use super::context::StatementContext;
use super::ddl::{
    COMMENT, WRITE_MODES, check_write_mode, done, partition_columns, sort_columns, table_exists,
};
use super::maintenance::MaintenanceProcedure;
use super::materialized_views::refuse_storage_table;
use super::procedures;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement_catalogs::ResolvedTable;

/// Where Iceberg keeps the `compression_codec` property.
const COMPRESSION_CODEC: &str = "write.parquet.compression-codec";

/// Executes one change of a table.
pub(super) async fn alter_table(
    context: &StatementContext,
    alter: &AlterTable,
) -> Result<StatementOutcome> {
    if let AlterTableOperation::SetColumnComment { column, comment } = &alter.operation {
        return comment_on_column(context, &alter.name, column, comment.as_deref()).await;
    }
    let target = context.resolve_table(&alter.name)?;
    let name = ident_name(&target.ident);
    let keeps_rows = matches!(&alter.operation,
        AlterTableOperation::Execute { procedure, .. }
            if MaintenanceProcedure::of_name(procedure).is_some());
    if !keeps_rows {
        refuse_storage_table(&target)?;
    }
    if alter.if_exists && !table_exists(&target).await? {
        return done("table", &name, "does not exist: nothing was changed");
    }
    match &alter.operation {
        AlterTableOperation::RenameTable { new_name } => rename(context, &target, new_name).await,
        AlterTableOperation::SetProperties { changes } => {
            commit(&target, |table| property_updates(table, changes)).await
        }
        AlterTableOperation::SetComment { comment } => {
            commit(&target, |table| comment_updates(table, comment.as_deref())).await
        }
        AlterTableOperation::SetReference(reference) => {
            let change = reference_change(context, reference)?;
            commit(&target, |table| evolve::set_reference(table, &change)).await
        }
        AlterTableOperation::DropReference {
            kind,
            name,
            if_exists,
        } => {
            let kind = reference_kind(*kind);
            commit(&target, |table| {
                evolve::drop_reference(table, kind, name, *if_exists)
            })
            .await
        }
        AlterTableOperation::Execute {
            procedure,
            arguments,
            condition,
        } => {
            let condition = condition.as_deref();
            procedures::execute_on_table(context, &target, procedure, arguments, condition).await
        }
        AlterTableOperation::SetDefault { column, value } => {
            let table = target.catalog.load_table(&target.ident).await?;
            let schema = table.metadata.current_schema();
            let field = schema.field_by_name(&column.parts.join("."));
            let value = match (value, field) {
                (Some(text), Some(field)) => Some(evaluate_default(
                    text,
                    &field.field_type,
                    &context.time_zone(),
                )?),
                // That there is no such column is told by the change.
                _ => None,
            };
            let change = SchemaChange::SetDefault {
                path: column.parts.clone(),
                value,
            };
            commit(&target, |table| evolve::change_schema(table, &change)).await
        }
        operation => match checked_schema_change(operation, &context.time_zone())? {
            Some(change) => commit(&target, |table| evolve::change_schema(table, &change)).await,
            None => Err(CoordinatorError::Unsupported("this ALTER TABLE".to_owned())),
        },
    }
}

/// `COMMENT ON COLUMN a.b.c`: of the names that the parts can be, the table is the longest that
/// exists, and what follows the path of a column.
async fn comment_on_column(
    context: &StatementContext,
    name: &ingot_sql::ObjectName,
    column: &str,
    comment: Option<&str>,
) -> Result<StatementOutcome> {
    let mut table = name.clone();
    let mut path = vec![column.to_owned()];
    let mut first_error = None;
    loop {
        let error = match find_table(context, &table).await {
            Ok(target) => {
                refuse_storage_table(&target)?;
                let comment = comment.map(str::to_owned);
                let change = SchemaChange::SetColumnComment { path, comment };
                return commit(&target, |table| evolve::change_schema(table, &change)).await;
            }
            Err(error) => error,
        };
        let is_missing = matches!(
            error,
            CoordinatorError::NotFound(_)
                | CoordinatorError::InvalidInput(_)
                | CoordinatorError::Catalog(
                    CatalogError::TableNotFound { .. } | CatalogError::SchemaNotFound { .. }
                )
        );
        if !is_missing {
            return Err(error);
        }
        let first_error = first_error.get_or_insert(error);
        match table.parts.pop() {
            Some(part) if !table.parts.is_empty() => path.insert(0, part),
            _ => {
                let message = format!("{first_error}; write COMMENT ON COLUMN table.column");
                return Err(CoordinatorError::NotFound(message));
            }
        }
    }
}

/// The table of this name, if it exists.
async fn find_table(
    context: &StatementContext,
    name: &ingot_sql::ObjectName,
) -> Result<ResolvedTable> {
    let target = context.resolve_table(name)?;
    target.catalog.load_table(&target.ident).await?;
    Ok(target)
}

async fn commit(
    target: &ResolvedTable,
    change: impl Fn(&Table) -> Result<Vec<TableUpdate>, CatalogError> + Send + Sync,
) -> Result<StatementOutcome> {
    commit_metadata(target.catalog.as_ref(), &target.ident, change).await?;
    done("table", &ident_name(&target.ident), "changed")
}

/// `RENAME TO`: parts that the new name lacks are those of the old one.
async fn rename(
    context: &StatementContext,
    target: &ResolvedTable,
    new_name: &ingot_sql::ObjectName,
) -> Result<StatementOutcome> {
    let schema = target.ident.namespace().as_ref().join(".");
    let (catalog, schema, table) = new_name.resolve(target.catalog.name(), &schema);
    if catalog != target.catalog.name() {
        return Err(CoordinatorError::InvalidInput(format!(
            "table {} cannot be renamed into catalog {catalog}: create a table there from a query",
            ident_name(&target.ident)
        )));
    }
    let full_name = ingot_sql::ObjectName {
        parts: vec![catalog, schema, table],
    };
    let new = context.resolve_table(&full_name)?;
    target
        .catalog
        .rename_table(&target.ident, &new.ident)
        .await?;
    let renamed = format!("renamed to {}", ident_name(&new.ident));
    done("table", &ident_name(&target.ident), renamed)
}

/// The change of columns that an operation is; `None` for other operations.
fn checked_schema_change(
    operation: &AlterTableOperation,
    time_zone: &str,
) -> Result<Option<SchemaChange>> {
    let mut change = schema_change(operation);
    if let AlterTableOperation::AddColumn { column, .. } = operation
        && let Some(SchemaChange::AddColumn { field, .. }) = &mut change
    {
        **field = field_of_column(column, time_zone)?;
    }
    match &change {
        Some(SchemaChange::AddColumn { parent, field, .. }) if parent.is_empty() => {
            check_names(std::iter::once(field.name.as_str()))?;
        }
        Some(SchemaChange::RenameColumn { path, new_name, .. }) if path.len() == 1 => {
            check_names(std::iter::once(new_name.as_str()))?;
        }
        _ => {}
    }
    Ok(change)
}

fn schema_change(operation: &AlterTableOperation) -> Option<SchemaChange> {
    Some(match operation {
        AlterTableOperation::AddColumn {
            parent,
            column,
            position,
            if_not_exists,
        } => SchemaChange::AddColumn {
            parent: parent
                .as_ref()
                .map_or_else(Vec::new, |parent| parent.parts.clone()),
            // With its default in `checked_schema_change`.
            field: Box::new(NestedField::new(
                1,
                &column.name,
                type_of_column(&column.column_type),
                column.not_null,
            )),
            position: position
                .as_ref()
                .map_or(ColumnPosition::Last, column_position),
            if_not_exists: *if_not_exists,
        },
        AlterTableOperation::DropColumn { column, if_exists } => SchemaChange::DropColumn {
            path: column.parts.clone(),
            if_exists: *if_exists,
        },
        AlterTableOperation::RenameColumn {
            column,
            new_name,
            if_exists,
        } => SchemaChange::RenameColumn {
            path: column.parts.clone(),
            new_name: new_name.clone(),
            if_exists: *if_exists,
        },
        AlterTableOperation::SetColumnType {
            column,
            column_type,
        } => SchemaChange::SetColumnType {
            path: column.parts.clone(),
            new_type: type_of_column(column_type),
        },
        AlterTableOperation::DropNotNull { column } => SchemaChange::DropNotNull {
            path: column.parts.clone(),
        },
        AlterTableOperation::MoveColumn { column, position } => SchemaChange::MoveColumn {
            path: column.parts.clone(),
            position: column_position(position),
        },
        AlterTableOperation::SetColumnComment { column, comment } => {
            SchemaChange::SetColumnComment {
                path: vec![column.clone()],
                comment: comment.clone(),
            }
        }
        _ => return None,
    })
}

fn column_position(position: &ingot_sql::ColumnPosition) -> ColumnPosition {
    match position {
        ingot_sql::ColumnPosition::First => ColumnPosition::First,
        ingot_sql::ColumnPosition::Last => ColumnPosition::Last,
        ingot_sql::ColumnPosition::After(column) => ColumnPosition::After(column.clone()),
    }
}

/// What `SET PROPERTIES` makes of a state of a table.
pub(super) fn property_updates(
    table: &Table,
    changes: &TablePropertyChanges,
) -> Result<Vec<TableUpdate>, CatalogError> {
    let schema = table.metadata.current_schema();
    let resets = |name: &str| changes.reset.iter().any(|reset| reset == name);
    let mut updates = Vec::new();
    if let Some(version) = changes.set.format_version {
        let version = match version {
            1 => FormatVersion::V1,
            2 => FormatVersion::V2,
            _ => FormatVersion::V3,
        };
        updates.extend(evolve::upgrade_format_version(table, version)?);
    }
    // What other engines set before is no reason to refuse other changes.
    let is_raised = changes.set.format_version == Some(3);
    if is_raised || table.metadata.format_version() == FormatVersion::V3 {
        for name in WRITE_MODES {
            let kept = match is_raised && !resets(name) {
                true => table.metadata.properties().get(name),
                false => None,
            };
            let value = changes.set.extra.get(name).or(kept);
            check_write_mode(name, value.map(String::as_str))?;
        }
    }
    let partitioning = match &changes.set.partitioning {
        Some(fields) => Some(fields.as_slice()),
        None if resets("partitioning") => Some(&[][..]),
        None => None,
    };
    if let Some(fields) = partitioning {
        let spec = partition_spec_of(&partition_columns(fields), schema).map_err(invalid)?;
        updates.extend(evolve::set_partitioning(table, &spec)?);
    }
    let sorting = match &changes.set.sorted_by {
        Some(fields) => Some(fields.as_slice()),
        None if resets("sorted_by") => Some(&[][..]),
        None => None,
    };
    if let Some(fields) = sorting {
        let order = sort_order_of(&sort_columns(fields), schema).map_err(invalid)?;
        updates.extend(evolve::set_sort_order(table, &order));
    }
    let set: Vec<(String, String)> = changes
        .set
        .extra
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let removed: Vec<String> = changes
        .reset
        .iter()
        .filter(|name| !["partitioning", "sorted_by"].contains(&name.as_str()))
        .map(|name| match name.as_str() {
            "compression_codec" => COMPRESSION_CODEC.to_owned(),
            _ => name.clone(),
        })
        .collect();
    updates.extend(evolve::change_properties(table, &set, &removed)?);
    Ok(updates)
}

fn invalid(error: EngineError) -> CatalogError {
    match error {
        EngineError::Catalog(inner) => inner,
        other => CatalogError::InvalidInput(other.to_string()),
    }
}

fn comment_updates(table: &Table, comment: Option<&str>) -> Result<Vec<TableUpdate>, CatalogError> {
    match comment {
        Some(comment) => {
            evolve::change_properties(table, &[(COMMENT.to_owned(), comment.to_owned())], &[])
        }
        None => evolve::change_properties(table, &[], &[COMMENT.to_owned()]),
    }
}

fn reference_change(
    context: &StatementContext,
    reference: &SetReference,
) -> Result<ReferenceChange> {
    let version = match &reference.version {
        None => TableVersion::Current,
        Some(RelationVersion::SnapshotId(id)) => TableVersion::SnapshotId(*id),
        Some(RelationVersion::Reference(name)) => TableVersion::Reference(name.clone()),
        Some(RelationVersion::TimestampExpr(expression)) => {
            let zone = &context.state.config_options().execution.time_zone;
            let micros = evaluate_timestamp(expression, zone.as_deref().unwrap_or("UTC"))?;
            TableVersion::TimestampMillis(micros.div_euclid(1_000))
        }
    };
    Ok(ReferenceChange {
        kind: reference_kind(reference.kind),
        name: reference.name.clone(),
        mode: match reference.mode {
            SetReferenceMode::Create => ReferenceMode::Create,
            SetReferenceMode::CreateIfNotExists => ReferenceMode::CreateIfNotExists,
            SetReferenceMode::CreateOrReplace => ReferenceMode::CreateOrReplace,
            SetReferenceMode::Replace => ReferenceMode::Replace,
        },
        version,
        max_ref_age_ms: reference.retention.max_ref_age_ms,
        min_snapshots_to_keep: reference.retention.min_snapshots_to_keep,
        max_snapshot_age_ms: reference.retention.max_snapshot_age_ms,
    })
}

fn reference_kind(kind: ingot_sql::ReferenceKind) -> ReferenceKind {
    match kind {
        ingot_sql::ReferenceKind::Branch => ReferenceKind::Branch,
        ingot_sql::ReferenceKind::Tag => ReferenceKind::Tag,
    }
}
