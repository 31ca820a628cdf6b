//! Joins that collect one side, in plans for the workers.
//!
//! DataFusion collects the build side of a hash join when it is small, whatever the join's type. On
//! the workers every task has the whole of that side then, which is right for some types only; the
//! others are made partitioned as soon as the sides were chosen, so that all that is planned above
//! knows of it. What is collected in the end is put behind [`BroadcastJoinExec`], where Ballista 55
//! does not choose again: it would collect sides of partitioned joins too, after both sides were
//! partitioned for nothing.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use ingot_engine::broadcast_join::BroadcastJoinExec;

use super::cluster_session::Planning;
use super::key_filters::with_key_filters;
use super::placement::scan_bytes;

/// The rule of DataFusion that chooses which joins collect a side.
const JOIN_SELECTION: &str = "join_selection";

/// A side is collected if it is known to take less memory than this, in bytes.
const COLLECTED_LIMIT_BYTES: usize = 128 << 20;

/// Bytes of a value of variable length of which nothing is known.
const VALUE_BYTES: usize = 32;

/// A scan of at most so many bytes of files, in one partition, is read by every task that needs it.
/// As a stage of its own, one task would read it while the others wait.
const READ_BY_ALL_BYTES: u64 = 1 << 20;

/// The physical optimizer rules of `state`, with one more that makes the joins partitioned whose
/// collected side must not be in every task: right after those joins were chosen.
pub(super) fn rules_with_broadcasts(
    state: &SessionState,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = Vec::new();
    for rule in state.physical_optimizers() {
        rules.push(Arc::clone(rule));
        if rule.name() == JOIN_SELECTION {
            rules.push(Arc::new(OnlyBroadcasts));
        }
    }
    rules
}

/// See [`rules_with_broadcasts`].
#[derive(Debug)]
struct OnlyBroadcasts;

impl PhysicalOptimizerRule for OnlyBroadcasts {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rewritten = plan.transform_up(|node| {
            let Some(join) = collecting(&node) else {
                return Ok(Transformed::no(node));
            };
            if BroadcastJoinExec::is_right_for(join) && is_surely_small(join.left().as_ref()) {
                return Ok(Transformed::no(node));
            }
            let partitioned = join
                .builder()
                .with_partition_mode(PartitionMode::Partitioned)
                .build_exec()?;
            Ok(Transformed::yes(partitioned))
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "only_broadcasts"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Plans as DataFusion does, puts the joins that collect a side behind [`BroadcastJoinExec`], and
/// filters early by the keys of joins.
#[derive(Debug)]
pub(super) struct BroadcastPlanner {
    pub(super) planning: Planning,
}

#[async_trait]
impl QueryPlanner for BroadcastPlanner {
    async fn create_physical_plan(
        &self,
        logical: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::default();
        let plan = planner.create_physical_plan(logical, session).await?;
        let plan = with_broadcasts(plan)?;
        match self.planning {
            Planning::Fast => with_key_filters(plan, session.config_options()),
            Planning::Frugal => Ok(plan),
        }
    }
}

/// The plan with every join that collects a side as a [`BroadcastJoinExec`].
fn with_broadcasts(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let rewritten = plan.transform_up(|node| {
        let Some(join) = collecting(&node).filter(|join| BroadcastJoinExec::is_right_for(join))
        else {
            return Ok(Transformed::no(node));
        };
        let collected = match join.left().downcast_ref::<CoalescePartitionsExec>() {
            Some(coalesce) if coalesce.fetch().is_none() => coalesce.input(),
            _ => join.left(),
        };
        // Ballista ends a stage below a node that brings partitions together, even if it is one.
        let left: Arc<dyn ExecutionPlan> = match is_read_by_all(collected) {
            true => Arc::clone(collected),
            false => Arc::new(CoalescePartitionsExec::new(Arc::clone(collected))),
        };
        let join = join
            .builder()
            .with_new_children(vec![left, Arc::clone(join.right())])?
            .build()?;
        Ok(Transformed::yes(Arc::new(BroadcastJoinExec::try_new(
            join,
        )?)))
    })?;
    Ok(rewritten.data)
}

/// The join, if `node` is one that collects a side. A join for NOT IN always does; such queries run
/// in the coordinator.
fn collecting(node: &Arc<dyn ExecutionPlan>) -> Option<&HashJoinExec> {
    let join = node.downcast_ref::<HashJoinExec>()?;
    let is_collecting = *join.partition_mode() == PartitionMode::CollectLeft && !join.null_aware;
    is_collecting.then_some(join)
}

/// Whether every task reads this side of a join itself: a small scan in one partition.
fn is_read_by_all(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.output_partitioning().partition_count() == 1
        && is_scan(plan)
        && scan_bytes(plan) <= READ_BY_ALL_BYTES
}

/// Whether the plan reads files and does little more.
fn is_scan(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        return scan
            .data_source()
            .downcast_ref::<FileScanConfig>()
            .is_some();
    }
    let does_little = plan.downcast_ref::<FilterExec>().is_some()
        || plan.downcast_ref::<ProjectionExec>().is_some()
        || plan.downcast_ref::<BroadcastJoinExec>().is_some();
    does_little && plan.children().into_iter().all(is_scan)
}

/// Whether the rows are known to take less than the limit.
fn is_surely_small(plan: &dyn ExecutionPlan) -> bool {
    known_bytes(plan).is_some_and(|bytes| bytes < COLLECTED_LIMIT_BYTES)
}

/// About the memory that the plan's rows take, in bytes, if that is known.
pub(super) fn known_bytes(plan: &dyn ExecutionPlan) -> Option<usize> {
    let statistics = StatisticsContext::new()
        .compute(plan, &StatisticsArgs::new())
        .ok()?;
    let rows = trusted(&statistics.num_rows);
    trusted(&statistics.total_byte_size)
        .or_else(|| rows.map(|rows| rows.saturating_mul(row_bytes(plan))))
}

/// About how many rows the plan has, if that is known.
pub(super) fn known_rows(plan: &dyn ExecutionPlan) -> Option<usize> {
    let statistics = StatisticsContext::new()
        .compute(plan, &StatisticsArgs::new())
        .ok()?;
    trusted(&statistics.num_rows)
}

/// Estimates that are 0 are mostly wrong.
fn trusted(estimate: &Precision<usize>) -> Option<usize> {
    estimate.get_value().copied().filter(|count| *count > 0)
}

/// About the memory of a row, in bytes.
fn row_bytes(plan: &dyn ExecutionPlan) -> usize {
    let schema = plan.schema();
    let widths = schema
        .fields()
        .iter()
        .map(|field| field.data_type().primitive_width().unwrap_or(VALUE_BYTES));
    widths.sum::<usize>().max(1)
}
