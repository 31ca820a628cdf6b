//! `CREATE` and `DROP` of schemas and tables.

use std::collections::HashMap;
use std::fmt::Display;

use iceberg::TableIdent;
use iceberg::spec::{Schema, Transform};
use ingot_catalog::commit::{check_purge, commit_staged, purge_table};
use ingot_catalog::table::ident_name;
use ingot_catalog::{Catalog, CatalogError, Table};
use ingot_engine::write::{PartitionColumn, SortColumn, partition_spec_of, sort_order_of};
use ingot_sql::{
    CreateSchema, CreateTable, DropSchema, DropTable, PartitionField, PartitionTransform,
    SortField, TableProperties,
};

use super::columns::schema_of_columns;
use super::context::StatementContext;
use super::materialized_views::delete_files_of_dropped;
use super::write::{TableDefinition, stage};
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement_catalogs::ResolvedTable;

/// Property under which Iceberg's writers keep a table's comment.
pub(super) const COMMENT: &str = "comment";

pub(super) async fn create_schema(
    context: &StatementContext,
    create: &CreateSchema,
) -> Result<StatementOutcome> {
    let (catalog, schema) = context.catalogs.resolve_schema(&create.name)?;
    let mut properties = HashMap::new();
    if let Some(location) = &create.location {
        properties.insert("location".to_owned(), location.clone());
    }
    match catalog.create_schema(&schema, properties).await {
        Ok(()) => done("schema", &schema, "created"),
        Err(CatalogError::SchemaExists { .. }) if create.if_not_exists => {
            done("schema", &schema, "already exists: nothing was created")
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn drop_schema(
    context: &StatementContext,
    drop: &DropSchema,
) -> Result<StatementOutcome> {
    let (catalog, schema) = context.catalogs.resolve_schema(&drop.name)?;
    if drop.cascade {
        match drop_tables(catalog.as_ref(), &schema).await {
            Err(CatalogError::SchemaNotFound { .. }) if drop.if_exists => {}
            result => result?,
        }
    }
    match catalog.drop_schema(&schema).await {
        Ok(()) => done("schema", &schema, "dropped"),
        Err(CatalogError::SchemaNotFound { .. }) if drop.if_exists => {
            done("schema", &schema, "does not exist: nothing was dropped")
        }
        Err(error) => Err(error.into()),
    }
}

async fn drop_tables(catalog: &dyn Catalog, schema: &str) -> Result<(), CatalogError> {
    for name in catalog.list_tables(schema).await? {
        let namespace = iceberg::NamespaceIdent::new(schema.to_owned());
        catalog
            .drop_table(&TableIdent::new(namespace, name))
            .await?;
    }
    for name in catalog.list_views(schema).await? {
        let namespace = iceberg::NamespaceIdent::new(schema.to_owned());
        let dropped = catalog.drop_view(&TableIdent::new(namespace, name)).await?;
        delete_files_of_dropped(catalog, &dropped).await;
    }
    Ok(())
}

pub(super) async fn create_table(
    context: &StatementContext,
    create: &CreateTable,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(&create.name)?;
    let name = ident_name(&target.ident);
    if create.if_not_exists && table_exists(&target).await? {
        return done("table", &name, "already exists: nothing was created");
    }
    let schema = schema_of_columns(&create.columns, &context.time_zone())?;
    check_defaults(&schema, &create.properties)?;
    let definition = define_table(schema, &create.properties, create.comment.as_deref())?;
    let staged = stage(
        target.catalog.as_ref(),
        &target.ident,
        definition,
        create.or_replace,
    )
    .await?;
    match commit_staged(target.catalog.as_ref(), staged, Vec::new()).await {
        Ok(_) => done("table", &name, "created"),
        Err(CatalogError::TableExists { .. }) if create.if_not_exists => {
            done("table", &name, "already exists: nothing was created")
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn drop_table(
    context: &StatementContext,
    drop: &DropTable,
) -> Result<StatementOutcome> {
    let target = context.resolve_changed_table(&drop.name)?;
    let name = ident_name(&target.ident);
    let dropping = match drop.purge {
        true => drop_for_purge(&target).await,
        false => target.catalog.drop_table(&target.ident).await,
    };
    let dropped = match dropping {
        Ok(table) => table,
        Err(CatalogError::TableNotFound { .. } | CatalogError::SchemaNotFound { .. })
            if drop.if_exists =>
        {
            return done("table", &name, "does not exist: nothing was dropped");
        }
        Err(error) => return Err(error.into()),
    };
    if drop.purge && target.catalog.deletes_files_of_dropped_tables() {
        return done("table", &name, "dropped, the catalog deletes its files");
    }
    if drop.purge {
        let deleted = purge_table(target.catalog.as_ref(), &dropped).await?;
        return done("table", &name, format!("dropped, {deleted} files deleted"));
    }
    done(
        "table",
        &name,
        "dropped, its files stay (PURGE deletes them)",
    )
}

/// Drops a table whose files are deleted afterwards, if they may be.
async fn drop_for_purge(target: &ResolvedTable) -> Result<Table, CatalogError> {
    let catalog = target.catalog.as_ref();
    check_purge(&catalog.load_table(&target.ident).await?)?;
    catalog.drop_table_for_purge(&target.ident).await
}

pub(super) async fn table_exists(target: &ResolvedTable) -> Result<bool> {
    match target.catalog.load_table(&target.ident).await {
        Ok(_) => Ok(true),
        Err(CatalogError::TableNotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Refuses default values in tables of format versions that do not have them.
fn check_defaults(schema: &Schema, properties: &TableProperties) -> Result<()> {
    let mut fields = schema.as_struct().fields().iter();
    match fields.find(|field| field.initial_default.is_some()) {
        Some(field) if properties.format_version != Some(3) => {
            Err(CoordinatorError::InvalidInput(format!(
                "column {} cannot have a default value: that takes format version 3, write WITH \
                 (format_version = 3)",
                field.name
            )))
        }
        _ => Ok(()),
    }
}

/// Properties that say how rows leave their files.
pub(super) const WRITE_MODES: [&str; 3] =
    ["write.delete.mode", "write.update.mode", "write.merge.mode"];

/// Refuses a way to change rows that tables of format version 3 do not have: it would move rows
/// without their row ids.
pub(super) fn check_write_mode(name: &str, value: Option<&str>) -> Result<(), CatalogError> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("copy-on-write") => {
            Err(CatalogError::InvalidInput(format!(
                "property {name} cannot be copy-on-write in format version 3, whose rows are \
                 changed by deletion vectors only: leave it out or set it to merge-on-read"
            )))
        }
        _ => Ok(()),
    }
}

/// Turns the properties of `WITH (…)` into a definition over a schema.
pub(super) fn define_table(
    schema: Schema,
    properties: &TableProperties,
    comment: Option<&str>,
) -> Result<TableDefinition> {
    let partitioning = partition_columns(properties.partitioning.as_deref().unwrap_or_default());
    let sorting = sort_columns(properties.sorted_by.as_deref().unwrap_or_default());
    let partition_spec = partition_spec_of(&partitioning, &schema)?;
    let sort_order = sort_order_of(&sorting, &schema)?;
    if properties.format_version == Some(3) {
        for name in WRITE_MODES {
            check_write_mode(name, properties.extra.get(name).map(String::as_str))?;
        }
    }
    let mut table_properties: HashMap<String, String> = properties
        .extra
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(version) = properties.format_version {
        table_properties.insert("format-version".to_owned(), version.to_string());
    }
    if let Some(location) = &properties.location {
        table_properties.insert("location".to_owned(), location.clone());
    }
    if let Some(comment) = comment {
        table_properties.insert(COMMENT.to_owned(), comment.to_owned());
    }
    Ok(TableDefinition {
        schema,
        partition_spec: partition_spec.into_unbound(),
        sort_order,
        properties: table_properties,
    })
}

/// The `partitioning` property as the engine takes it.
pub(super) fn partition_columns(fields: &[PartitionField]) -> Vec<PartitionColumn> {
    fields
        .iter()
        .map(|field| PartitionColumn {
            column: field.column.clone(),
            transform: iceberg_transform(field.transform),
        })
        .collect()
}

/// The `sorted_by` property as the engine takes it.
pub(super) fn sort_columns(fields: &[SortField]) -> Vec<SortColumn> {
    fields
        .iter()
        .map(|field| SortColumn {
            column: field.column.clone(),
            descending: field.descending,
            nulls_first: field.nulls_first,
        })
        .collect()
}

fn iceberg_transform(transform: PartitionTransform) -> Transform {
    match transform {
        PartitionTransform::Identity => Transform::Identity,
        PartitionTransform::Bucket(count) => Transform::Bucket(count),
        PartitionTransform::Truncate(width) => Transform::Truncate(width),
        PartitionTransform::Year => Transform::Year,
        PartitionTransform::Month => Transform::Month,
        PartitionTransform::Day => Transform::Day,
        PartitionTransform::Hour => Transform::Hour,
    }
}

pub(super) fn done(kind: &str, name: &str, what: impl Display) -> Result<StatementOutcome> {
    Ok(StatementOutcome::Done {
        message: format!("{kind} {name} {what}"),
    })
}
