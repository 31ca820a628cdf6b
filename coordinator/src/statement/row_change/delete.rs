//! `DELETE FROM table [WHERE condition]`, `TRUNCATE TABLE table`

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use iceberg::expr::Predicate;
use ingot_catalog::commit::{Removal, RowDelta, Validation, commit_row_delta};
use ingot_catalog::scan::{FileTask, plan_scan};
use ingot_catalog::{Catalog, Table, TableVersion};
use ingot_engine::table::IcebergTable;
use ingot_engine::write::RowDeltaInput;
use ingot_sql::sqlparser::ast;
use ingot_sql::{ObjectName, RowChange};

use super::super::context::StatementContext;
use super::apply::Change;
use super::query::{PlannedChange, Target, expression, new_row, template};
use super::settings::{Command, Settings};
use super::update::alias_of;
use super::{refuse, refuse_internal_columns, unexpected};
use crate::error::Result;
use crate::queries::WrittenSummary;
use crate::service::StatementOutcome;

/// Deletes rows; returns their number.
pub(in super::super) async fn delete(
    context: &StatementContext,
    change: &RowChange,
) -> Result<StatementOutcome> {
    let planned = plan_delete(context, change).await?;
    let PlannedChange { target, plan, .. } = &planned;
    let change = planned.change(context);
    let optimized = target.state.optimize(plan)?;
    if let Some(conditions) = target.changed.conditions_of_plain_read(&optimized) {
        let (matching, others) = target.changed.predicates_of(&conditions);
        if let Some(files) = whole_files(context, target, &matching, &others).await? {
            let rows = match files.iter().any(|file| !file.deletes.is_empty()) {
                // They are all that there are.
                true => {
                    let version = target.changed.version();
                    count_rows(context, &target.catalog, &target.table, version).await? as u64
                }
                false => files.iter().map(|file| file.record_count).sum(),
            };
            return delete_files(&change, files, rows, matching).await;
        }
    }
    change.run(plan.clone(), RowDeltaInput::Deletes).await
}

/// The rows that a `DELETE` deletes.
pub(super) async fn plan_delete(
    context: &StatementContext,
    change: &RowChange,
) -> Result<PlannedChange> {
    let ast::Statement::Delete(delete) = change.statement.as_ref() else {
        return Err(unexpected(&change.statement));
    };
    refuse(
        "DELETE",
        &[
            (!delete.tables.is_empty(), "several tables"),
            (delete.using.is_some(), "USING (use MERGE)"),
            (delete.returning.is_some(), "RETURNING"),
            (delete.output.is_some(), "OUTPUT"),
            (!delete.order_by.is_empty(), "ORDER BY"),
            (delete.limit.is_some(), "LIMIT"),
        ],
    )?;
    refuse_internal_columns(&change.statement)?;
    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) =
        &delete.from;
    let alias = from.first().and_then(alias_of);
    let target = Target::load(context, change, alias).await?;
    let settings = Settings::of(&target.table, Command::Delete)?;

    let mut select = template("SELECT 1 FROM t")?;
    select.from = vec![ast::TableWithJoins {
        relation: target.factor()?,
        joins: Vec::new(),
    }];
    select.selection = delete.selection.clone();
    select.projection = target.row_id().to_vec();
    select.projection.push(new_row(expression("false")?));
    let plan = target.plan(context, select).await?;
    Ok(PlannedChange {
        target,
        settings,
        plan,
    })
}

/// The files with rows to delete, if there are no other rows in them: those that may have rows
/// that match, when none of them may have others. Files with deletes are among them only when all
/// files are.
async fn whole_files(
    context: &StatementContext,
    target: &Target,
    matching: &Predicate,
    others: &Predicate,
) -> Result<Option<Vec<FileTask>>> {
    let services = context.core.catalog_list.services();
    let scan = |predicate: Predicate| async move {
        let storage = services.scans.storage();
        plan_scan(
            storage,
            &services.manifests,
            &target.table,
            target.changed.version(),
            &predicate,
        )
        .await
    };
    let files = scan(matching.clone()).await?.tasks;
    let mixed: HashSet<String> = match others {
        Predicate::AlwaysFalse => HashSet::new(),
        // How many of the rows are there still is not known.
        _ if files.iter().any(|file| !file.deletes.is_empty()) => return Ok(None),
        others => {
            let tasks = scan(others.clone()).await?.tasks.into_iter();
            tasks.map(|task| task.path).collect()
        }
    };
    let is_whole = files.iter().all(|file| !mixed.contains(&file.path));
    Ok(is_whole.then_some(files))
}

/// Removes whole files: nothing is read or written but metadata.
async fn delete_files(
    change: &Change<'_>,
    files: Vec<FileTask>,
    rows: u64,
    filter: Predicate,
) -> Result<StatementOutcome> {
    if files.is_empty() {
        return Ok(StatementOutcome::UpdateCount(0));
    }
    let paths = files.into_iter().map(|file| file.path).collect();
    let target = change.target;
    let delta = RowDelta {
        branch: target.branch.clone(),
        removal: Removal::Files(paths),
        validation: Some(Validation {
            isolation: change.settings.isolation,
            filter,
            reads_other_rows: false,
        }),
        ..RowDelta::default()
    };
    let table = commit_row_delta(target.catalog.as_ref(), &target.table, delta).await?;
    change.context.query.set_written(WrittenSummary {
        rows,
        snapshot_id: target.newest_snapshot(&table),
        ..WrittenSummary::default()
    });
    Ok(StatementOutcome::UpdateCount(rows as i64))
}

/// Removes every row of a table, those that others add meanwhile too. Returns the number of
/// rows that it had when the statement began.
pub(in super::super) async fn truncate(
    context: &StatementContext,
    name: &ObjectName,
) -> Result<StatementOutcome> {
    let resolved = context.resolve_changed_table(name)?;
    let table = resolved.catalog.load_table(&resolved.ident).await?;
    let current = TableVersion::Current;
    let rows = count_rows(context, &resolved.catalog, &table, &current).await?;
    let delta = RowDelta {
        removal: Removal::All,
        ..RowDelta::default()
    };
    let table = commit_row_delta(resolved.catalog.as_ref(), &table, delta).await?;
    context.query.set_written(WrittenSummary {
        rows: rows.max(0) as u64,
        snapshot_id: table.metadata.current_snapshot_id(),
        ..WrittenSummary::default()
    });
    Ok(StatementOutcome::UpdateCount(rows))
}

/// The rows of a table; without deletes they are known from its metadata.
async fn count_rows(
    context: &StatementContext,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    version: &TableVersion,
) -> Result<i64> {
    let provider = IcebergTable::new(
        Arc::clone(catalog),
        table.clone(),
        version.clone(),
        context.core.catalog_list.services().clone(),
    )?;
    let source = provider_as_source(Arc::new(provider));
    let no_groups: Vec<Expr> = Vec::new();
    let plan = LogicalPlanBuilder::scan(table.ident.name(), source, None)?
        .aggregate(no_groups, vec![count(lit(1_i64))])?
        .build()?;
    let batches = context.collect(plan).await?;
    let counts = batches.iter().filter(|batch| batch.num_rows() > 0);
    let mut counts = counts.filter_map(|batch| batch.columns().first());
    let count = counts.next().map(|column| {
        let column = column.as_primitive_opt::<Int64Type>();
        column.map_or(0, |column| column.value(0))
    });
    Ok(count.unwrap_or_default().max(0))
}
