//! Statements that write rows: `CREATE TABLE … AS`, `INSERT INTO`, `COPY INTO`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use iceberg::TableIdent;
use iceberg::spec::{DataFile, MAIN_BRANCH, Schema, SortOrder, UnboundPartitionSpec};
use ingot_catalog::commit::{
    StagedTable, append_files_to_branch, check_branch, commit_staged, stage_create,
    stage_create_or_replace,
};
use ingot_catalog::table::ident_name;
use ingot_catalog::{Catalog, CatalogError, Table};
use ingot_engine::EngineError;
use ingot_engine::write;
use ingot_engine::write::copy::{commit_copy, prepare_copy};
use ingot_sql::{CopyInto, CreateTableAs, Insert};

use super::columns::check_names;
use super::context::StatementContext;
use super::ddl;
use super::headings::name_columns;
use super::insert_query::plan_insert_query;
use super::row_change;
use crate::cluster::UsedPlacement;
use crate::error::{CoordinatorError, Result};
use crate::queries::WrittenSummary;
use crate::service::StatementOutcome;

/// What a new or replaced table is to be.
pub(super) struct TableDefinition {
    pub schema: Schema,
    pub partition_spec: UnboundPartitionSpec,
    pub sort_order: SortOrder,
    /// Iceberg table properties, `location` and `format-version` among them.
    pub properties: HashMap<String, String>,
}

/// `CREATE [OR REPLACE] TABLE … AS query`
pub(super) async fn create_table_as(
    context: &StatementContext,
    create: &CreateTableAs,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(&create.name)?;
    if create.if_not_exists && ddl::table_exists(&target).await? {
        return Ok(StatementOutcome::Done {
            message: format!(
                "table {} already exists: nothing was created",
                ident_name(&target.ident)
            ),
        });
    }
    let plan = context.plan_query(&create.query).await?;
    let query = name_columns(&create.query, plan, &create.column_names)?;
    let schema = write::table_schema_of(query.schema())?;
    let names = schema.as_struct().fields().iter();
    check_names(names.map(|field| field.name.as_str()))?;
    let definition = ddl::define_table(schema, &create.properties, create.comment.as_deref())?;
    let staged = stage(
        target.catalog.as_ref(),
        &target.ident,
        definition,
        create.or_replace,
    )
    .await?;

    let files = match create.with_data {
        true => write_files(context, &target.catalog, staged.table(), query).await?,
        false => Vec::new(),
    };
    let written = summarize(&files);
    let table = staged.table().clone();
    let committed = commit_staged(target.catalog.as_ref(), staged, files).await;
    finish(context, &target.catalog, &table, committed, written).await?;
    Ok(StatementOutcome::UpdateCount(written.rows as i64))
}

pub(super) async fn stage(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    definition: TableDefinition,
    or_replace: bool,
) -> Result<StagedTable> {
    let TableDefinition {
        schema,
        partition_spec,
        sort_order,
        properties,
    } = definition;
    let staged = match or_replace {
        true => {
            stage_create_or_replace(
                catalog,
                ident,
                schema,
                partition_spec,
                sort_order,
                properties,
            )
            .await
        }
        false => {
            stage_create(
                catalog,
                ident,
                schema,
                partition_spec,
                sort_order,
                properties,
            )
            .await
        }
    };
    Ok(staged?)
}

/// `INSERT INTO table [(columns)] query`
pub(super) async fn insert(
    context: &StatementContext,
    insert: &Insert,
) -> Result<StatementOutcome> {
    let target = context.resolve_changed_table(&insert.table)?;
    let table = target.catalog.load_table(&target.ident).await?;
    let branch = insert.branch.as_deref().unwrap_or(MAIN_BRANCH);
    check_branch(&table, branch)?;
    let query = plan_insert_query(context, insert, &table).await?;
    if insert.overwrite {
        if branch != MAIN_BRANCH {
            let what = format!("INSERT OVERWRITE of branch {branch}");
            return Err(CoordinatorError::Unsupported(what));
        }
        return row_change::overwrite(context, &target.catalog, &table, query).await;
    }
    let rows = append(context, &target.catalog, &table, branch, query).await?;
    Ok(StatementOutcome::UpdateCount(rows))
}

/// `COPY INTO table FROM files`; returns the rows loaded. Files that were loaded before are left
/// out, and so are, in permissive mode, records that cannot be read.
pub(super) async fn copy_into(
    context: &StatementContext,
    copy: &CopyInto,
) -> Result<StatementOutcome> {
    let target = context.resolve_changed_table(&copy.table)?;
    let catalog = &target.catalog;
    let table = catalog.load_table(&target.ident).await?;
    let statement_id = context.query.id();
    let plan = prepare_copy(&context.state, catalog, &table, copy, statement_id).await?;
    let Some(query) = plan.query() else {
        return Ok(StatementOutcome::UpdateCount(0));
    };
    let files = write_files(context, catalog, &table, query.clone()).await?;
    let written = summarize(&files);
    match commit_copy(catalog.as_ref(), &plan, files, BTreeMap::new()).await {
        Ok(report) => {
            tracing::info!(
                table = %table.name(),
                files_loaded = report.files_loaded,
                files_skipped = report.files_skipped,
                rows_loaded = report.rows_loaded,
                "copied files"
            );
            if let Some(folder) = &report.rejects_folder {
                tracing::warn!(
                    table = %table.name(),
                    rows_rejected = report.rows_rejected,
                    folder,
                    "records that could not be read were set aside"
                );
            }
            finish(context, catalog, &table, Ok(report.table), written).await?;
        }
        Err(EngineError::Catalog(error)) => {
            finish(context, catalog, &table, Err(error), written).await?;
        }
        Err(error) => {
            delete_files(context, catalog, &table, &HashSet::new()).await;
            return Err(error.into());
        }
    }
    Ok(StatementOutcome::UpdateCount(written.rows as i64))
}

/// Appends the rows of a query to a branch of a table and returns their number.
async fn append(
    context: &StatementContext,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    branch: &str,
    query: LogicalPlan,
) -> Result<i64> {
    let files = write_files(context, catalog, table, query).await?;
    let written = summarize(&files);
    let summary = BTreeMap::new();
    let committed = append_files_to_branch(catalog.as_ref(), table, branch, files, summary).await;
    let snapshot_id = committed.as_ref().ok().and_then(|table| {
        let snapshot = table.metadata.snapshot_for_ref(branch)?;
        Some(snapshot.snapshot_id())
    });
    finish(context, catalog, table, committed, written).await?;
    if branch != MAIN_BRANCH {
        context.query.set_written(WrittenSummary {
            snapshot_id,
            ..written
        });
    }
    Ok(written.rows as i64)
}

/// Runs `query` and writes its rows as new data files of `table`, which may be staged.
///
/// Nothing of it is visible until the caller commits. When it fails, its files are deleted.
pub(super) async fn write_files(
    context: &StatementContext,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    query: LogicalPlan,
) -> Result<Vec<DataFile>> {
    match run_write(context, catalog, table, query).await {
        Ok(files) => {
            // A task that was tried twice on the workers leaves files that no commit names.
            if context.query.progress.placement() == Some(UsedPlacement::Distributed) {
                let keep = files
                    .iter()
                    .map(|file| file.file_path().to_owned())
                    .collect();
                delete_files(context, catalog, table, &keep).await;
            }
            Ok(files)
        }
        Err(error) => {
            delete_files(context, catalog, table, &HashSet::new()).await;
            Err(error)
        }
    }
}

pub(super) async fn run_write(
    context: &StatementContext,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    query: LogicalPlan,
) -> Result<Vec<DataFile>> {
    let provider = context
        .core
        .table_provider(catalog.clone(), table.clone())?;
    let plan = LogicalPlanBuilder::insert_into(
        query,
        TableReference::bare(table.ident.name().to_owned()),
        provider_as_source(Arc::new(provider)),
        InsertOp::Append,
    )?
    .build()?;
    let batches = context.collect_written(plan).await?;
    Ok(write::decode_written_files(&batches, table)?)
}

/// Notes what a commit brought; the files of one that surely failed are deleted.
pub(super) async fn finish(
    context: &StatementContext,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    committed: Result<Table, CatalogError>,
    written: WrittenSummary,
) -> Result<()> {
    match committed {
        Ok(table) => {
            context.query.set_written(WrittenSummary {
                snapshot_id: table.metadata.current_snapshot_id(),
                ..written
            });
            Ok(())
        }
        Err(error) => {
            if !matches!(error, CatalogError::CommitStateUnknown { .. }) {
                delete_files(context, catalog, table, &HashSet::new()).await;
            }
            Err(error.into())
        }
    }
}

/// Deletes this statement's files except those to keep. A failure is logged: the statement's own
/// outcome matters more, and `remove_orphan_files` finds what is left.
pub(super) async fn delete_files(
    context: &StatementContext,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    keep: &HashSet<String>,
) {
    let statement_id = context.query.id();
    match write::delete_statement_files(catalog.storage(), table, statement_id, keep).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(table = %table.name(), count, "deleted uncommitted data files"),
        Err(error) => {
            tracing::warn!(table = %table.name(), %error, "cannot delete uncommitted data files")
        }
    }
}

pub(super) fn summarize(files: &[DataFile]) -> WrittenSummary {
    WrittenSummary {
        rows: files.iter().map(DataFile::record_count).sum(),
        files: files.len() as u64,
        bytes: files.iter().map(DataFile::file_size_in_bytes).sum(),
        snapshot_id: None,
    }
}
