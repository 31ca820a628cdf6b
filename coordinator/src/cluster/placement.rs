//! Chooses where a query runs, from what its plan reads.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileScanConfig, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};

use ingot_engine::broadcast_join::returns_left_rows;

use super::execution::{Placement, UsedPlacement};
use super::scheduler::Cluster;
use crate::error::{CoordinatorError, Result};

/// Where `plan` runs, when `wanted` was asked for and the workers have `slots` slots.
pub(super) fn choose(
    plan: &Arc<dyn ExecutionPlan>,
    wanted: Placement,
    slots: usize,
    local_scan_bytes: u64,
    cluster: Option<&Cluster>,
) -> Result<UsedPlacement> {
    match wanted {
        Placement::Local => Ok(UsedPlacement::Local),
        _ if !can_be_distributed(plan) => Ok(UsedPlacement::Local),
        Placement::Distributed if slots == 0 => Err(no_workers(cluster)),
        Placement::Distributed => Ok(UsedPlacement::Distributed),
        Placement::Auto if slots == 0 || scan_bytes(plan) <= local_scan_bytes => {
            Ok(UsedPlacement::Local)
        }
        Placement::Auto => Ok(UsedPlacement::Distributed),
    }
}

pub(super) fn no_workers(cluster: Option<&Cluster>) -> CoordinatorError {
    CoordinatorError::Unavailable(match cluster {
        Some(cluster) => {
            let address = cluster.address();
            format!(
                "no worker is connected to the coordinator at {address}: start one with \
                 `ingot worker --coordinator {address}`"
            )
        }
        None => "this process has no cluster, queries cannot run on workers".to_string(),
    })
}

/// Whether workers can run the plan and return the same rows.
pub(super) fn can_be_distributed(plan: &Arc<dyn ExecutionPlan>) -> bool {
    reads_only_files(plan) && !is_wrong_when_distributed(plan)
}

/// Whether the plan reads files, and nothing that only this process has.
fn reads_only_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut reads_files = false;
    every_leaf(plan, &mut |leaf| {
        if let Some(source) = leaf.downcast_ref::<DataSourceExec>() {
            if source
                .data_source()
                .downcast_ref::<FileScanConfig>()
                .is_some()
            {
                reads_files = true;
                return true;
            }
            return source
                .data_source()
                .downcast_ref::<MemorySourceConfig>()
                .is_some();
        }
        leaf.downcast_ref::<EmptyExec>().is_some()
            || leaf.downcast_ref::<PlaceholderRowExec>().is_some()
    }) && reads_files
}

/// Whether Ballista 55 would return other rows than DataFusion, or none at all.
fn is_wrong_when_distributed(plan: &Arc<dyn ExecutionPlan>) -> bool {
    any_node(plan, &|node| {
        is_ordered_join(node)
            || is_unchecked_scalar_subquery(node)
            || is_null_aware_join(node)
            || is_loop_join_of_left_rows(node)
            || is_union_without_scan(node)
    })
}

/// Whether `is_meant` says yes for the plan's root or a node below it.
pub(super) fn any_node(
    plan: &Arc<dyn ExecutionPlan>,
    is_meant: &impl Fn(&Arc<dyn ExecutionPlan>) -> bool,
) -> bool {
    is_meant(plan)
        || plan
            .children()
            .into_iter()
            .any(|child| any_node(child, is_meant))
}

/// Whether an order is made below this join, and perhaps needed above it.
///
/// DataFusion pushes sorts below joins that keep the order of one input. Ballista 55 chooses the
/// sides of joins again, from measured sizes, once the inputs are known, and the order is lost:
/// `ORDER BY` would return unordered rows. Such plans run in the coordinator.
fn is_ordered_join(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<HashJoinExec>().is_some() && node.properties().output_ordering().is_some()
}

/// Whether this is a join without keys of which every task would return left rows by its part of the
/// right side alone. Joins with keys are partitioned for that.
fn is_loop_join_of_left_rows(node: &Arc<dyn ExecutionPlan>) -> bool {
    let join = node.downcast_ref::<NestedLoopJoinExec>();
    join.is_some_and(|join| returns_left_rows(*join.join_type()))
}

/// Whether a branch of this union reads no file, since it has none or only constants.
///
/// Ballista 55 leaves such a branch out of some of the stage's tasks and then refuses their reports,
/// as they have the metrics of fewer operators: the query would never end.
fn is_union_without_scan(node: &Arc<dyn ExecutionPlan>) -> bool {
    let is_union = node.downcast_ref::<UnionExec>().is_some()
        || node.downcast_ref::<InterleaveExec>().is_some();
    is_union
        && !every_leaf(node, &mut |leaf| {
            leaf.downcast_ref::<DataSourceExec>().is_some_and(|source| {
                let files = source.data_source().downcast_ref::<FileScanConfig>();
                files.is_some_and(|files| !files.file_groups.is_empty())
            })
        })
}

/// Whether this is a `NOT IN` over keys that can be null. Ballista 55 runs its join in one task,
/// and refuses it when the side to be collected is large.
fn is_null_aware_join(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<HashJoinExec>()
        .is_some_and(|join| join.null_aware)
}

/// Whether a scalar subquery of this node may have several rows, which is an error.
///
/// Ballista plans scalar subqueries as joins, which do not check that and would return a row for
/// each. A subquery that surely has at most one row is the same either way.
fn is_unchecked_scalar_subquery(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<ScalarSubqueryExec>().is_some()
        && !node.children().into_iter().skip(1).all(has_at_most_one_row)
}

fn has_at_most_one_row(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return aggregate.group_expr().is_empty();
    }
    if matches!(plan.fetch(), Some(0 | 1)) {
        return true;
    }
    let keeps_or_drops_rows = plan.downcast_ref::<ProjectionExec>().is_some()
        || plan.downcast_ref::<FilterExec>().is_some()
        || plan.downcast_ref::<SortExec>().is_some();
    keeps_or_drops_rows && plan.children().into_iter().all(has_at_most_one_row)
}

/// Bytes that the plan reads from files: those that pruning left, times the share of the columns
/// that are read.
pub(super) fn scan_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let mut total: u64 = 0;
    every_leaf(plan, &mut |leaf| {
        let scan = leaf
            .downcast_ref::<DataSourceExec>()
            .and_then(|source| source.data_source().downcast_ref::<FileScanConfig>());
        if let Some(scan) = scan {
            let bytes = scan
                .file_groups
                .iter()
                .flat_map(|group| group.files())
                .map(|file| match &file.range {
                    Some(range) => u64::try_from(range.end - range.start).unwrap_or_default(),
                    None => file.object_meta.size,
                })
                .fold(0_u64, u64::saturating_add);
            let share = projected_share(scan.file_source.as_ref());
            total = total.saturating_add((bytes as f64 * share) as u64);
        }
        true
    });
    total
}

/// Calls `visit` for every leaf until it says no; whether it never did.
fn every_leaf(
    plan: &Arc<dyn ExecutionPlan>,
    visit: &mut impl FnMut(&dyn ExecutionPlan) -> bool,
) -> bool {
    let children = plan.children();
    if children.is_empty() {
        return visit(plan.as_ref());
    }
    children.into_iter().all(|child| every_leaf(child, visit))
}

/// The share of a file's bytes that belongs to the columns read. Formats of rows are read whole.
fn projected_share(source: &dyn FileSource) -> f64 {
    if ["csv", "json", "avro"].contains(&source.file_type()) {
        return 1.0;
    }
    let Some(projection) = source.projection() else {
        return 1.0;
    };
    let schema = source.table_schema().table_schema();
    let read: std::collections::BTreeSet<usize> = projection
        .iter()
        .flat_map(|projected| collect_columns(&projected.expr))
        .chain(source.filter().iter().flat_map(collect_columns))
        .map(|column| column.index())
        .collect();
    share_of(schema, read.into_iter())
}

fn share_of(schema: &SchemaRef, columns: impl Iterator<Item = usize>) -> f64 {
    let all: u32 = schema
        .fields()
        .iter()
        .map(|field| width(field.data_type()))
        .sum();
    let read: u32 = columns
        .filter_map(|index| schema.fields().get(index))
        .map(|field| width(field.data_type()))
        .sum();
    if all == 0 {
        return 1.0;
    }
    f64::from(read) / f64::from(all)
}

/// A guess at how wide values of a type are in a file, relative to others.
fn width(data_type: &DataType) -> u32 {
    match data_type {
        DataType::Null => 0,
        DataType::Boolean => 1,
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => 16,
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
            4 * width(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().map(|field| width(field.data_type())).sum(),
        other => u32::try_from(other.primitive_width().unwrap_or(16)).unwrap_or(16),
    }
}
