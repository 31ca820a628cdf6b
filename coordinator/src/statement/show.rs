//! `SHOW …` and `DESCRIBE`.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use ingot_catalog::CatalogError;
use ingot_catalog::table::ident_name;
use ingot_engine::schema::{query_schema_of, sql_type_of};
use ingot_sql::{LikePattern, ObjectName, Statement, trino_functions};

use super::branches;
use super::context::StatementContext;
use super::rows::{is_like, text_rows, text_schema};
use super::{show_create, statistics};
use crate::error::Result;
use crate::service::StatementOutcome;
use crate::session_properties::SESSION_PROPERTIES;
use crate::statement_catalogs::{ResolvedTable, StatementCatalogs};

/// The columns that a `SHOW` statement returns; `None` for other statements.
pub(super) fn schema_of(catalogs: &StatementCatalogs, statement: &Statement) -> Option<SchemaRef> {
    let columns: &[&str] = match statement {
        Statement::ShowCatalogs { .. } => &["Catalog"],
        Statement::ShowSchemas { .. } => &["Schema"],
        Statement::ShowTables { .. } => &["Table"],
        Statement::ShowColumns { .. } => &["Column", "Type", "Extra", "Comment"],
        Statement::ShowCreateTable { .. } => &["Create Table"],
        Statement::ShowCreateView { .. } => &["Create View"],
        Statement::ShowCreateMaterializedView { .. } => &["Create Materialized View"],
        Statement::ShowCreateSchema { .. } => &["Create Schema"],
        Statement::ShowSession { .. } => &["Name", "Value", "Default", "Type", "Description"],
        Statement::ShowFunctions { .. } => &["Function", "Kind"],
        Statement::ShowJobs { .. } => &["Pipeline", "Job", "Schedule", "Description"],
        Statement::ShowBranches { catalog, .. } => {
            return Some(branches::references_schema(catalogs, catalog.as_deref()));
        }
        Statement::ShowCatalogLog { catalog, .. } => {
            return Some(branches::log_schema(catalogs, catalog.as_deref()));
        }
        Statement::ShowStats { .. } => return Some(statistics::schema()),
        _ => return None,
    };
    Some(text_schema(columns))
}

pub(super) async fn catalogs(
    context: &StatementContext,
    schema: SchemaRef,
    like: &Option<LikePattern>,
) -> Result<StatementOutcome> {
    let mut names: Vec<String> = context
        .catalogs
        .all()
        .iter()
        .map(|catalog| catalog.name().to_owned())
        .collect();
    names.sort();
    one_column(schema, names, like)
}

pub(super) async fn schemas(
    context: &StatementContext,
    schema: SchemaRef,
    catalog: &Option<String>,
    like: &Option<LikePattern>,
) -> Result<StatementOutcome> {
    let catalog = context.catalogs.catalog(catalog.as_deref())?;
    let mut names = catalog.list_schemas().await?;
    names.push(INFORMATION_SCHEMA.to_owned());
    names.sort();
    one_column(schema, names, like)
}

pub(super) async fn tables(
    context: &StatementContext,
    schema: SchemaRef,
    from: &Option<ObjectName>,
    like: &Option<LikePattern>,
) -> Result<StatementOutcome> {
    let current = ObjectName::new([context.session.schema.as_str()]);
    let name = from.as_ref().unwrap_or(&current);
    let (catalog, schema_name) = context.catalogs.resolve_schema(name)?;
    if schema_name == INFORMATION_SCHEMA {
        let catalogs = context.state.catalog_list();
        let provider = catalogs.catalog(catalog.name());
        let provider = provider.and_then(|provider| provider.schema(INFORMATION_SCHEMA));
        let mut names = provider.map_or_else(Vec::new, |provider| provider.table_names());
        names.sort();
        return one_column(schema, names, like);
    }
    let mut names = catalog.list_tables(&schema_name).await?;
    names.extend(catalog.list_views(&schema_name).await?);
    names.sort();
    one_column(schema, names, like)
}

pub(super) async fn columns(
    context: &StatementContext,
    schema: SchemaRef,
    table: &ObjectName,
    like: &Option<LikePattern>,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(table)?;
    let (current, planned) = match target.catalog.load_table(&target.ident).await {
        Err(CatalogError::IsView { .. }) => {
            let view = target.catalog.load_view(&target.ident).await?;
            let planned = planned_schema(context, &target).await;
            (Arc::new(view.definition()?.schema), planned)
        }
        loaded => (Arc::clone(loaded?.metadata.current_schema()), None),
    };
    query_schema_of(&current)?;
    let fields = current.as_struct().fields().iter().enumerate();
    let rows = fields
        .filter(|(_, field)| is_like(&field.name, like))
        .map(|(index, field)| {
            let planned = planned
                .as_ref()
                .and_then(|schema| schema.fields().get(index));
            let extra = match field.required {
                true => "not null",
                false => "",
            };
            vec![
                Some(field.name.clone()),
                Some(match planned {
                    Some(planned) => sql_type_of(planned),
                    None => show_create::type_name(&field.field_type),
                }),
                Some(extra.to_owned()),
                field.doc.clone(),
            ]
        })
        .collect::<Vec<_>>();
    text_rows(schema, rows)
}

/// The columns that a view has now; `None` when its query cannot be planned.
async fn planned_schema(context: &StatementContext, target: &ResolvedTable) -> Option<SchemaRef> {
    let catalog = context
        .state
        .catalog_list()
        .catalog(target.catalog.name())?;
    let schema = catalog.schema(target.ident.namespace().first()?)?;
    let view = schema.table(target.ident.name()).await.ok().flatten()?;
    Some(view.schema())
}

pub(super) async fn create_table(
    context: &StatementContext,
    schema: SchemaRef,
    table: &ObjectName,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(table)?;
    let table = target.catalog.load_table(&target.ident).await?;
    let name = format!("{}.{}", target.catalog.name(), ident_name(&target.ident));
    let text = show_create::create_table(&name, &table);
    text_rows(schema, [vec![Some(text)]])
}

pub(super) async fn create_schema(
    context: &StatementContext,
    schema: SchemaRef,
    name: &ObjectName,
) -> Result<StatementOutcome> {
    let (catalog, schema_name) = context.catalogs.resolve_schema(name)?;
    let properties = catalog.load_schema(&schema_name).await?;
    let mut text = format!("CREATE SCHEMA {}.{schema_name}", catalog.name());
    if let Some(location) = properties.get("location") {
        text.push_str(&format!(
            "\nWITH (location = '{}')",
            location.replace('\'', "''")
        ));
    }
    text_rows(schema, [vec![Some(text)]])
}

pub(super) fn session(
    context: &StatementContext,
    schema: SchemaRef,
    like: &Option<LikePattern>,
) -> Result<StatementOutcome> {
    let rows = SESSION_PROPERTIES
        .iter()
        .filter(|property| is_like(property.name, like))
        .map(|property| {
            let default = context.core.default_property(property.name);
            let value = context.session.properties.get(property.name);
            vec![
                Some(property.name.to_owned()),
                Some(value.unwrap_or(&default).clone()),
                Some(default.clone()),
                Some(property.value_type.to_owned()),
                Some(property.help.to_owned()),
            ]
        })
        .collect::<Vec<_>>();
    text_rows(schema, rows)
}

pub(super) fn functions(
    context: &StatementContext,
    schema: SchemaRef,
    like: &Option<LikePattern>,
) -> Result<StatementOutcome> {
    let state = &context.state;
    let mut functions: Vec<(String, &str)> = Vec::new();
    functions.extend(
        state
            .scalar_functions()
            .keys()
            .map(|name| (name.clone(), "scalar")),
    );
    functions.extend(
        state
            .aggregate_functions()
            .keys()
            .map(|name| (name.clone(), "aggregate")),
    );
    functions.extend(
        state
            .window_functions()
            .keys()
            .map(|name| (name.clone(), "window")),
    );
    functions.extend(
        state
            .table_functions()
            .keys()
            .map(|name| (name.clone(), "table")),
    );
    let kinds = trino_functions();
    functions.extend(kinds.map(|(name, is_aggregate)| {
        let kind = match is_aggregate {
            true => "aggregate",
            false => "scalar",
        };
        (name.to_owned(), kind)
    }));
    functions.sort();
    functions.dedup();
    let rows = functions
        .into_iter()
        .filter(|(name, _)| is_like(name, like))
        .map(|(name, kind)| vec![Some(name), Some(kind.to_owned())])
        .collect::<Vec<_>>();
    text_rows(schema, rows)
}

pub(super) async fn jobs(
    context: &StatementContext,
    schema: SchemaRef,
    like: &Option<LikePattern>,
) -> Result<StatementOutcome> {
    let mut rows = Vec::new();
    for stored in context.core.jobs()?.store().pipelines().await? {
        let pipeline = stored.pipeline;
        let schedule = pipeline.schedule.map(|schedule| schedule.cron);
        for job in pipeline.jobs {
            if is_like(&job.name, like) {
                rows.push(vec![
                    Some(pipeline.name.clone()),
                    Some(job.name),
                    schedule.clone(),
                    Some(job.description),
                ]);
            }
        }
    }
    text_rows(schema, rows)
}

fn one_column(
    schema: SchemaRef,
    names: Vec<String>,
    like: &Option<LikePattern>,
) -> Result<StatementOutcome> {
    let rows: Vec<Vec<Option<String>>> = names
        .into_iter()
        .filter(|name| is_like(name, like))
        .map(|name| vec![Some(name)])
        .collect();
    text_rows(schema, rows)
}
