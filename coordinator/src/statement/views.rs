//! `CREATE VIEW`, `DROP VIEW`, `SHOW CREATE VIEW`.

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use ingot_catalog::materialized_view::storage_table_of;
use ingot_catalog::table::ident_name;
use ingot_catalog::{CatalogError, Materialization, View, ViewDefinition};
use ingot_engine::materialized_view::sources_of;
use ingot_engine::write::table_schema_of;
use ingot_sql::sqlparser::ast;
use ingot_sql::{AlterView, AlterViewOperation, CreateView, DropView, ObjectName, Statement};

use super::context::{StatementContext, plan_unbound};
use super::ddl::done;
use super::headings::name_columns;
use super::materialized_views;
use super::rows::text_rows;
use super::show_create::{identifier, literal};
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement_catalogs::ResolvedTable;

/// `CREATE [OR REPLACE] VIEW [IF NOT EXISTS] name [(column, …)] [COMMENT 'text'] AS query`
pub(super) async fn create_view(
    context: &StatementContext,
    create: &CreateView,
) -> Result<StatementOutcome> {
    if create.materialized {
        return materialized_views::create(context, create).await;
    }
    let target = context.resolve_table(&create.name)?;
    let name = ident_name(&target.ident);
    if create.if_not_exists && view_exists(&target).await? {
        return done("view", &name, "already exists: nothing was created");
    }
    let definition = define_view(context, &target, create, None).await?;
    let put = target
        .catalog
        .put_view(&target.ident, definition, create.or_replace);
    match put.await {
        Ok(_) => done("view", &name, "created"),
        Err(CatalogError::ViewExists { .. }) if create.if_not_exists => {
            done("view", &name, "already exists: nothing was created")
        }
        Err(error) => Err(error.into()),
    }
}

/// What the view of a statement is to be.
pub(super) async fn define_view(
    context: &StatementContext,
    target: &ResolvedTable,
    create: &CreateView,
    materialization: Option<Materialization>,
) -> Result<ViewDefinition> {
    let query = plan_query_of_view(context, target, create).await?;
    let query_columns: Vec<String> = query
        .schema()
        .columns()
        .into_iter()
        .map(|column| column.name)
        .collect();
    let renamed = name_columns(&create.query, query, &create.column_names)?;
    Ok(ViewDefinition {
        sql: Statement::Query(create.query.clone()).to_string(),
        default_catalog: Some(context.session.catalog.clone()),
        default_schema: context.session.schema.clone(),
        schema: table_schema_of(renamed.schema())?,
        query_columns,
        comment: create.comment.clone(),
        materialization,
    })
}

pub(super) async fn view_exists(target: &ResolvedTable) -> Result<bool> {
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
        .session_state_of_view(&context.session, &context.catalogs, full_name);
    let plan = plan_unbound(&state, ast::Statement::Query(create.query.clone())).await?;
    refuse_own_rows(context, target, &plan)?;
    if plan.get_parameter_names()?.is_empty() {
        return Ok(plan);
    }
    Err(CoordinatorError::InvalidInput(format!(
        "the query of view {} must not have parameters: write the values into it",
        ident_name(&target.ident)
    )))
}

/// Refuses a query of a view that reads the table with the view's own rows.
fn refuse_own_rows(
    context: &StatementContext,
    target: &ResolvedTable,
    plan: &LogicalPlan,
) -> Result<()> {
    let own = storage_table_of(&target.ident);
    let sources = sources_of(plan, context.catalogs.list())?;
    let reads_own = sources.tables.iter().any(|table| {
        table.catalog == target.catalog.name()
            && table.name == own.name()
            && table.namespace == *own.namespace().as_ref()
    });
    match reads_own {
        false => Ok(()),
        true => Err(CoordinatorError::InvalidInput(format!(
            "materialized view {} reads its own stored rows",
            ident_name(&target.ident)
        ))),
    }
}

/// `DROP VIEW [IF EXISTS] name`
pub(super) async fn drop_view(
    context: &StatementContext,
    drop: &DropView,
) -> Result<StatementOutcome> {
    if drop.materialized {
        return materialized_views::drop(context, drop).await;
    }
    let target = context.resolve_table(&drop.name)?;
    let name = ident_name(&target.ident);
    // What is wrong with the name is told by the drop.
    if let Ok(view) = target.catalog.load_view(&target.ident).await {
        refuse_materialized(&view, "DROP MATERIALIZED VIEW")?;
    }
    match target.catalog.drop_view(&target.ident).await {
        Ok(dropped) => {
            materialized_views::delete_files_of_dropped(target.catalog.as_ref(), &dropped).await;
            done("view", &name, "dropped")
        }
        Err(CatalogError::ViewNotFound { .. } | CatalogError::SchemaNotFound { .. })
            if drop.if_exists =>
        {
            done("view", &name, "does not exist: nothing was dropped")
        }
        Err(error) => Err(error.into()),
    }
}

/// `ALTER VIEW [IF EXISTS] name RENAME TO name`, `COMMENT ON VIEW name IS 'text'`
pub(super) async fn alter(
    context: &StatementContext,
    alter: &AlterView,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(&alter.name)?;
    let name = ident_name(&target.ident);
    if alter.if_exists && !view_exists(&target).await? {
        return done("view", &name, "does not exist: nothing was changed");
    }
    let catalog = target.catalog.as_ref();
    let view = catalog.load_view(&target.ident).await?;
    match &alter.operation {
        AlterViewOperation::Rename { new_name } => {
            refuse_materialized(&view, "ALTER MATERIALIZED VIEW")?;
            let new = renamed_to(context, &target, new_name, "view")?;
            catalog.rename_view(&target.ident, &new.ident).await?;
            let renamed = format!("renamed to {}", ident_name(&new.ident));
            done("view", &name, renamed)
        }
        AlterViewOperation::SetComment { comment } => {
            refuse_materialized(&view, "COMMENT ON MATERIALIZED VIEW")?;
            let commented = catalog.comment_view(&target.ident, comment.clone());
            commented.await?;
            done("view", &name, "changed")
        }
    }
}

/// What the new name of a view names; `what` is what messages call the view. The parts that it
/// lacks are those of the old one.
pub(super) fn renamed_to(
    context: &StatementContext,
    target: &ResolvedTable,
    new_name: &ObjectName,
    what: &str,
) -> Result<ResolvedTable> {
    let catalog = target.catalog.name();
    let schema = target.ident.namespace().as_ref().join(".");
    let (new_catalog, schema, new_view) = new_name.resolve(catalog, &schema);
    if new_catalog != catalog {
        return Err(CoordinatorError::InvalidInput(format!(
            "{what} {} cannot be renamed into catalog {new_catalog}: create it there",
            ident_name(&target.ident)
        )));
    }
    context.resolve_table(&ObjectName {
        parts: vec![new_catalog, schema, new_view],
    })
}

/// `SHOW CREATE VIEW name`
pub(super) async fn show_create_view(
    context: &StatementContext,
    schema: SchemaRef,
    view: &ObjectName,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(view)?;
    let view = target.catalog.load_view(&target.ident).await?;
    refuse_materialized(&view, "SHOW CREATE MATERIALIZED VIEW")?;
    let definition = view.definition()?;
    let mut text = format!(
        "CREATE VIEW {}.{}{}",
        target.catalog.name(),
        ident_name(&target.ident),
        column_list(&definition)
    );
    if let Some(comment) = &definition.comment {
        text.push_str(&format!(" COMMENT {}", literal(comment)));
    }
    text.push_str(&format!(" AS\n{}", definition.sql));
    text_rows(schema, [vec![Some(text)]])
}

/// ` (column, …)` where the view's columns have other names than those of its query.
pub(super) fn column_list(definition: &ViewDefinition) -> String {
    let fields = definition.schema.as_struct().fields().iter();
    let columns: Vec<&str> = fields.map(|field| field.name.as_str()).collect();
    if definition.query_columns == columns {
        return String::new();
    }
    let columns: Vec<String> = columns.into_iter().map(identifier).collect();
    format!(" ({})", columns.join(", "))
}

/// Refuses a materialized view where only other views are meant.
fn refuse_materialized(view: &View, instead: &str) -> Result<()> {
    match view.materialization()? {
        None => Ok(()),
        Some(_) => Err(CoordinatorError::InvalidInput(format!(
            "{} is a materialized view, not a view: use {instead}",
            view.name()
        ))),
    }
}
