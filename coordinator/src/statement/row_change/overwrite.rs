//! `INSERT OVERWRITE table query`

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use ingot_catalog::commit::{Partitions, Removal, RowDelta, commit_row_delta};
use ingot_catalog::scan::plan_scan;
use ingot_catalog::{Catalog, Table, TableVersion};

use super::super::context::StatementContext;
use super::super::write;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

/// Replaces the partitions that the query has rows for, or all rows of a table without
/// partitions, whoever wrote them and when. Returns the number of rows written.
pub(in super::super) async fn overwrite(
    context: &StatementContext,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    query: LogicalPlan,
) -> Result<StatementOutcome> {
    let spec = table.metadata.default_partition_spec();
    if !spec.is_unpartitioned() {
        check_one_spec(context, catalog, table).await?;
    }
    let files = write::write_files(context, catalog, table, query).await?;
    let written = write::summarize(&files);
    let removal = match spec.is_unpartitioned() {
        true => Removal::All,
        false => Removal::Partitions(Partitions::of_files(spec.spec_id(), &files)),
    };
    let delta = RowDelta {
        data_files: files,
        removal,
        ..RowDelta::default()
    };
    let committed = commit_row_delta(catalog.as_ref(), table, delta).await;
    write::finish(context, catalog, table, committed, written).await?;
    Ok(StatementOutcome::UpdateCount(written.rows as i64))
}

/// Refuses tables with files of older partition specs: which of the new partitions they belong
/// to cannot be told without reading them.
async fn check_one_spec(
    context: &StatementContext,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
) -> Result<()> {
    let manifests = &context.core.catalog_list.services().manifests;
    let all = iceberg::expr::Predicate::AlwaysTrue;
    let current = TableVersion::Current;
    let plan = plan_scan(catalog.storage(), manifests, table, &current, &all).await?;
    let spec_id = table.metadata.default_partition_spec_id();
    match plan.tasks.iter().find(|task| task.spec_id != spec_id) {
        None => Ok(()),
        Some(task) => Err(CoordinatorError::Unsupported(format!(
            "INSERT OVERWRITE of table {}, whose file {} was written before its partitioning was \
             changed,",
            table.name(),
            task.path
        ))),
    }
}
