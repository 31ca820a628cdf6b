//! `CREATE VIEW`, `DROP VIEW`, `SHOW CREATE VIEW`.

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use ingot_catalog::table::ident_name;
use ingot_catalog::{CatalogError, ViewDefinition};
use ingot_engine::write::table_schema_of;
use ingot_sql::sqlparser::ast;
use ingot_sql::{CreateView, DropView, ObjectName, Statement};

use super::context::{StatementContext, plan_unbound};
use super::ddl::done;
use super::rows::text_rows;
use super::show_create::{identifier, literal};
use super::write::rename_columns;
use crate::core::ResolvedTable;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

/// `CREATE [OR REPLACE] VIEW [IF NOT EXISTS] name [(column, …)] [COMMENT 'text'] AS query`
pub(super) async fn create_view(
    context: &StatementContext,
    create: &CreateView,
) -> Result<StatementOutcome> {
    if create.materialized {
        return Err(CoordinatorError::Unsupported(
            "CREATE MATERIALIZED VIEW".to_owned(),
        ));
    }
    let target = context.resolve_table(&create.name)?;
    let name = ident_name(&target.ident);
    if create.if_not_exists && view_exists(&target).await? {
        return done("view", &name, "already exists");
    }
    let query = plan_query_of_view(context, &target, create).await?;
    let query_columns: Vec<String> = query
        .schema()
        .columns()
        .into_iter()
        .map(|column| column.name)
        .collect();
    let renamed = rename_columns(query, &create.column_names)?;
    let definition = ViewDefinition {
        sql: Statement::Query(create.query.clone()).to_string(),
        default_catalog: Some(context.session.catalog.clone()),
        default_schema: context.session.schema.clone(),
        schema: table_schema_of(renamed.schema())?,
        query_columns,
        comment: create.comment.clone(),
    };
    let put = target
        .catalog
        .put_view(&target.ident, definition, create.or_replace);
    match put.await {
        Ok(_) => done("view", &name, "created"),
        Err(CatalogError::ViewExists { .. }) if create.if_not_exists => {
            done("view", &name, "already exists")
        }
        Err(error) => Err(error.into()),
    }
}

async fn view_exists(target: &ResolvedTable) -> Result<bool> {
    match target.catalog.load_view(&target.ident).await {
        Ok(_) => Ok(true),
        Err(CatalogError::ViewNotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Plans the query as that of this view, so that it must not read the view.
async fn plan_query_of_view(
    context: &StatementContext,
    target: &ResolvedTable,
    create: &CreateView,
) -> Result<LogicalPlan> {
    let full_name = format!("{}.{}", target.catalog.name(), ident_name(&target.ident));
    let state = context
        .core
        .session_state_of_view(&context.session, full_name);
    let plan = plan_unbound(&state, ast::Statement::Query(create.query.clone())).await?;
    if plan.get_parameter_names()?.is_empty() {
        return Ok(plan);
    }
    Err(CoordinatorError::InvalidInput(format!(
        "the query of view {} must not have parameters: write the values into it",
        ident_name(&target.ident)
    )))
}

/// `DROP VIEW [IF EXISTS] name`
pub(super) async fn drop_view(
    context: &StatementContext,
    drop: &DropView,
) -> Result<StatementOutcome> {
    if drop.materialized {
        return Err(CoordinatorError::Unsupported(
            "DROP MATERIALIZED VIEW".to_owned(),
        ));
    }
    let target = context.resolve_table(&drop.name)?;
    let name = ident_name(&target.ident);
    match target.catalog.drop_view(&target.ident).await {
        Ok(_) => done("view", &name, "dropped"),
        Err(CatalogError::ViewNotFound { .. } | CatalogError::SchemaNotFound { .. })
            if drop.if_exists =>
        {
            done("view", &name, "does not exist")
        }
        Err(error) => Err(error.into()),
    }
}

/// `SHOW CREATE VIEW name`
pub(super) async fn show_create_view(
    context: &StatementContext,
    schema: SchemaRef,
    view: &ObjectName,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(view)?;
    let view = target.catalog.load_view(&target.ident).await?;
    let definition = view.definition()?;
    let columns: Vec<&str> = definition
        .schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    let mut text = format!(
        "CREATE VIEW {}.{}",
        target.catalog.name(),
        ident_name(&target.ident)
    );
    if definition.query_columns != columns {
        let columns: Vec<String> = columns.into_iter().map(identifier).collect();
        text.push_str(&format!(" ({})", columns.join(", ")));
    }
    if let Some(comment) = &definition.comment {
        text.push_str(&format!(" COMMENT {}", literal(comment)));
    }
    text.push_str(&format!(" AS\n{}", definition.sql));
    text_rows(schema, [vec![Some(text)]])
}
