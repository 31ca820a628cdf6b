//! Which files a condition on partitions selects.

use std::collections::HashSet;

use datafusion::logical_expr::LogicalPlan;
use iceberg::expr::Predicate;
use iceberg::spec::Transform;
use ingot_catalog::scan::{FileTask, plan_scan};
use ingot_catalog::{Table, TableVersion};
use ingot_sql::sqlparser::ast;

use super::super::context::StatementContext;
use super::query::{Target, template};
use crate::error::{CoordinatorError, Result};
use crate::statement_catalogs::ResolvedTable;

/// The files of `table`, as it is passed here, in the partitions that `condition` selects. Files
/// of older partition specs that may have such rows are among them, with whatever else they have.
///
/// # Errors
/// `InvalidInput` for a condition on other columns than those that the table is partitioned by,
/// and for one that selects parts of partitions.
pub(in super::super) async fn files_of_partitions(
    context: &StatementContext,
    resolved: &ResolvedTable,
    table: &Table,
    condition: &ast::Expr,
) -> Result<Vec<FileTask>> {
    let columns = partition_columns(table);
    if columns.is_empty() {
        return Err(CoordinatorError::InvalidInput(format!(
            "table {} has no partitions: leave the WHERE of optimize out",
            table.name()
        )));
    }
    let target = Target::of_table(context, resolved, table.clone(), None, None)?;
    let mut select = template("SELECT 1 FROM t")?;
    select.from = vec![ast::TableWithJoins {
        relation: target.factor()?,
        joins: Vec::new(),
    }];
    select.selection = Some(condition.clone());
    let plan = target.plan(context, select).await?;
    let optimized = target.state.optimize(&plan)?;
    if is_empty(&optimized) {
        return Ok(Vec::new());
    }
    let conditions = target.changed.conditions_of_plain_read(&optimized);
    let conditions = conditions.ok_or_else(|| {
        CoordinatorError::InvalidInput(format!(
            "the WHERE of optimize must compare partition columns of table {} ({}) with constants",
            table.name(),
            columns.join(", ")
        ))
    })?;
    for column in conditions.iter().flat_map(|one| one.column_refs()) {
        if !columns.contains(&column.name) {
            return Err(CoordinatorError::InvalidInput(format!(
                "the WHERE of optimize may name columns only that table {} is partitioned by ({}), \
                 not {}",
                table.name(),
                columns.join(", "),
                column.name
            )));
        }
    }
    let (matching, others) = target.changed.predicates_of(&conditions);
    let matching = scan(context, table, matching).await?;
    let others = match others {
        Predicate::AlwaysFalse => Vec::new(),
        others => scan(context, table, others).await?,
    };
    let mixed: HashSet<&str> = others.iter().map(|file| file.path.as_str()).collect();
    let spec_id = table.metadata.default_partition_spec_id();
    let mut files = matching.iter();
    match files.find(|file| file.spec_id == spec_id && mixed.contains(file.path.as_str())) {
        None => Ok(matching),
        Some(file) => Err(CoordinatorError::InvalidInput(format!(
            "the WHERE of optimize must select whole partitions of table {}: it may hold for some \
             rows only of file {}",
            table.name(),
            file.path
        ))),
    }
}

async fn scan(
    context: &StatementContext,
    table: &Table,
    predicate: Predicate,
) -> Result<Vec<FileTask>> {
    let services = context.core.catalog_list.services();
    let storage = services.scans.storage();
    let current = TableVersion::Current;
    let plan = plan_scan(storage, &services.manifests, table, &current, &predicate);
    Ok(plan.await?.tasks)
}

/// Names of the columns that the table is partitioned by now.
fn partition_columns(table: &Table) -> Vec<String> {
    let schema = table.metadata.current_schema();
    let fields = table.metadata.default_partition_spec().fields().iter();
    let mut names: Vec<String> = fields
        .filter(|field| field.transform != Transform::Void)
        .filter_map(|field| schema.name_by_field_id(field.source_id))
        .map(str::to_owned)
        .collect();
    names.dedup();
    names
}

fn is_empty(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::EmptyRelation(empty) => !empty.produce_one_row,
        LogicalPlan::Projection(projection) => is_empty(&projection.input),
        _ => false,
    }
}
