//! `CREATE`, `ALTER`, `DROP` and `SHOW CREATE MATERIALIZED VIEW`. How they are refreshed is in
//! [`refresh`](super::refresh).

use arrow::datatypes::SchemaRef;
use ingot_catalog::commit::{commit_materialized_view, commit_metadata, purge_table};
use ingot_catalog::materialized_view::{Materialization, is_storage_table, storage_table_of};
use ingot_catalog::table::ident_name;
use ingot_catalog::{Catalog, CatalogError, DroppedView, Table, View};
use ingot_sql::{
    AlterMaterializedView, AlterMaterializedViewOperation, CreateView, DropView, ObjectName,
    interval_text,
};

use super::alter::property_updates;
use super::context::StatementContext;
use super::ddl::{define_table, done};
use super::rows::text_rows;
use super::show_create::{literal, properties};
use super::views::{column_list, define_view, renamed_to, view_exists};
use super::write::stage;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement_catalogs::ResolvedTable;

/// What messages call it.
pub(super) const MATERIALIZED_VIEW: &str = "materialized view";

/// `CREATE [OR REPLACE] MATERIALIZED VIEW [IF NOT EXISTS] name [(column, …)] [GRACE PERIOD interval]
/// [COMMENT 'text'] [WITH (…)] AS query`: a view without stored rows until it is refreshed.
pub(super) async fn create(
    context: &StatementContext,
    create: &CreateView,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(&create.name)?;
    let catalog = target.catalog.as_ref();
    let name = ident_name(&target.ident);
    match view_exists(&target).await {
        Ok(true) if create.if_not_exists => {
            return done(
                MATERIALIZED_VIEW,
                &name,
                "already exists: nothing was created",
            );
        }
        Ok(true) if !create.or_replace => return Err(CatalogError::ViewExists { name }.into()),
        // A table of this name is told when the view is made.
        Ok(_) | Err(CoordinatorError::Catalog(CatalogError::IsTable { .. })) => {}
        Err(error) => return Err(error),
    }
    let storage_table = storage_table_of(&target.ident);
    let materialization = Materialization {
        storage_table: storage_table.clone(),
        grace_period_ms: create.grace_period_ms,
    };
    let definition = define_view(context, &target, create, Some(materialization)).await?;
    let table = define_table(definition.schema.clone(), &create.properties, None)?;
    let staged = stage(catalog, &storage_table, table, create.or_replace).await?;
    let made = commit_materialized_view(
        catalog,
        staged,
        &target.ident,
        definition,
        create.or_replace,
    );
    match made.await {
        Ok(_) => done(MATERIALIZED_VIEW, &name, "created"),
        Err(CatalogError::ViewExists { .. }) if create.if_not_exists => done(
            MATERIALIZED_VIEW,
            &name,
            "already exists: nothing was created",
        ),
        Err(error) => Err(error.into()),
    }
}

/// `DROP MATERIALIZED VIEW [IF EXISTS] name`: with its rows.
pub(super) async fn drop(context: &StatementContext, drop: &DropView) -> Result<StatementOutcome> {
    let target = context.resolve_table(&drop.name)?;
    let name = ident_name(&target.ident);
    match load(&target).await {
        Ok(_) => {}
        Err(CoordinatorError::Catalog(
            CatalogError::ViewNotFound { .. } | CatalogError::SchemaNotFound { .. },
        )) if drop.if_exists => {
            return done(
                MATERIALIZED_VIEW,
                &name,
                "does not exist: nothing was dropped",
            );
        }
        Err(error) => return Err(error),
    }
    let dropped = target.catalog.drop_view(&target.ident).await?;
    match delete_files_of_dropped(target.catalog.as_ref(), &dropped).await {
        Some(deleted) => done(
            MATERIALIZED_VIEW,
            &name,
            format!("dropped, {deleted} files deleted"),
        ),
        None => done(MATERIALIZED_VIEW, &name, "dropped, its files stay"),
    }
}

/// Deletes the files of a dropped view and of its storage table that nothing reads any more, and
/// says how many of the table there were. The view is gone whether or not that works.
pub(crate) async fn delete_files_of_dropped(
    catalog: &dyn Catalog,
    dropped: &DroppedView,
) -> Option<String> {
    if !dropped.unread_files.is_empty() {
        let storage = catalog.storage();
        if let Err((failed, error)) = storage.delete_all(dropped.unread_files.clone()).await {
            let view = dropped.view.name();
            tracing::warn!(%view, failed, %error, "cannot delete the metadata of a dropped view");
        }
        let folder = dropped.view.metadata.location();
        if let Err(error) = storage.remove_empty_folders(folder).await {
            tracing::warn!(folder, %error, "cannot remove the folder of a dropped view");
        }
    }
    let table = dropped.storage_table.as_ref()?;
    match purge_table(catalog, table).await {
        Ok(report) => Some(report.to_string()),
        Err(error) => {
            tracing::warn!(table = %table.name(), %error, "cannot delete the files of a dropped view");
            None
        }
    }
}

/// `ALTER MATERIALIZED VIEW [IF EXISTS] name RENAME TO name | SET PROPERTIES …`, `COMMENT ON
/// MATERIALIZED VIEW name IS 'text'`
pub(super) async fn alter(
    context: &StatementContext,
    alter: &AlterMaterializedView,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(&alter.name)?;
    let name = ident_name(&target.ident);
    if alter.if_exists && !view_exists(&target).await? {
        return done(
            MATERIALIZED_VIEW,
            &name,
            "does not exist: nothing was changed",
        );
    }
    let (_, materialization) = load(&target).await?;
    let catalog = target.catalog.as_ref();
    match &alter.operation {
        AlterMaterializedViewOperation::Rename { new_name } => {
            let new = renamed_to(context, &target, new_name, MATERIALIZED_VIEW)?;
            catalog.rename_view(&target.ident, &new.ident).await?;
            let renamed = format!("renamed to {}", ident_name(&new.ident));
            done(MATERIALIZED_VIEW, &name, renamed)
        }
        AlterMaterializedViewOperation::SetProperties { changes } => {
            let storage_table = &materialization.storage_table;
            let change = |table: &Table| property_updates(table, changes);
            commit_metadata(catalog, storage_table, change).await?;
            done(MATERIALIZED_VIEW, &name, "changed")
        }
        AlterMaterializedViewOperation::SetComment { comment } => {
            let commented = catalog.comment_view(&target.ident, comment.clone());
            commented.await?;
            done(MATERIALIZED_VIEW, &name, "changed")
        }
    }
}

/// `SHOW CREATE MATERIALIZED VIEW name`
pub(super) async fn show_create(
    context: &StatementContext,
    schema: SchemaRef,
    view: &ObjectName,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(view)?;
    let (view, materialization) = load(&target).await?;
    let definition = view.definition()?;
    let catalog = target.catalog.as_ref();
    let storage = catalog.load_table(&materialization.storage_table).await?;
    let mut text = format!(
        "CREATE MATERIALIZED VIEW {}.{}{}",
        catalog.name(),
        ident_name(&target.ident),
        column_list(&definition)
    );
    if let Some(grace_period_ms) = materialization.grace_period_ms {
        text.push_str(&format!(
            "\nGRACE PERIOD {}",
            interval_text(grace_period_ms)
        ));
    }
    if let Some(comment) = &definition.comment {
        text.push_str(&format!("\nCOMMENT {}", literal(comment)));
    }
    let properties = properties(&storage).join(",\n   ");
    text.push_str(&format!(
        "\nWITH (\n   {properties}\n)\nAS\n{}",
        definition.sql
    ));
    text_rows(schema, [vec![Some(text)]])
}

/// The materialized view of this name.
///
/// # Errors
/// `ViewNotFound`, and `InvalidInput` for a view that is not materialized.
pub(super) async fn load(target: &ResolvedTable) -> Result<(View, Materialization)> {
    let view = target.catalog.load_view(&target.ident).await?;
    match view.materialization()? {
        Some(materialization) => Ok((view, materialization)),
        None => Err(CoordinatorError::InvalidInput(format!(
            "{} is a view, not a materialized view",
            view.name()
        ))),
    }
}

/// Refuses to change the rows or the columns of a storage table but by a refresh.
pub(super) fn refuse_storage_table(target: &ResolvedTable) -> Result<()> {
    if !is_storage_table(&target.ident) {
        return Ok(());
    }
    Err(CoordinatorError::InvalidInput(format!(
        "{} has the rows of a materialized view: change the tables that the view reads, and refresh \
         it",
        ident_name(&target.ident)
    )))
}
