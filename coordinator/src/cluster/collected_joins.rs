//! Joins that collect one side, in plans for the workers.
//!
//! DataFusion collects the build side of a hash join when it is small, whatever the join's type.
//! Ballista 55 broadcasts such a side to all tasks where that is right, and else makes the join a
//! partitioned one. It does so after the rest was planned: an aggregate above a join that was planned
//! for one partition then gets several, and each of them has a result of its own. So whatever Ballista
//! would take back must not be collected in the first place.

use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::extension::SessionConfigExt;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
use datafusion::config::ConfigOptions;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;

/// The rule of DataFusion that chooses which joins collect a side.
const JOIN_SELECTION: &str = "join_selection";

/// Ballista counts at most so many bytes for a value of a row whose size it does not know.
const VALUE_BYTES: usize = 32;

/// The physical optimizer rules of `state`, with one more that makes the joins partitioned whose
/// collected side Ballista would not broadcast: right after those joins were chosen.
pub(super) fn rules_with_broadcasts(
    state: &SessionState,
    config: &SessionConfig,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = Vec::new();
    for rule in state.physical_optimizers() {
        rules.push(Arc::clone(rule));
        if rule.name() == JOIN_SELECTION {
            rules.push(Arc::new(OnlyBroadcasts {
                limit_bytes: config.ballista_broadcast_join_threshold_bytes(),
            }));
        }
    }
    rules
}

/// See [`rules_with_broadcasts`].
#[derive(Debug)]
struct OnlyBroadcasts {
    limit_bytes: usize,
}

impl PhysicalOptimizerRule for OnlyBroadcasts {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rewritten = plan.transform_up(|node| {
            let Some(join) = taken_back(&node, self.limit_bytes) else {
                return Ok(Transformed::no(node));
            };
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

/// Plans as DataFusion does, and once more without collecting any side when the sizes that the
/// finished plan knows would make Ballista take a join back after all.
#[derive(Debug)]
pub(super) struct BroadcastPlanner;

#[async_trait]
impl QueryPlanner for BroadcastPlanner {
    async fn create_physical_plan(
        &self,
        logical: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::default();
        let plan = planner.create_physical_plan(logical, session).await?;
        let limit_bytes = session.config().ballista_broadcast_join_threshold_bytes();
        let mut is_kept = true;
        plan.apply(|node| {
            is_kept &= taken_back(node, limit_bytes).is_none();
            Ok(match is_kept {
                true => TreeNodeRecursion::Continue,
                false => TreeNodeRecursion::Stop,
            })
        })?;
        let state = session.as_any().downcast_ref::<SessionState>();
        match state {
            Some(state) if !is_kept => {
                let partitioned = without_collecting(state);
                planner.create_physical_plan(logical, &partitioned).await
            }
            _ => Ok(plan),
        }
    }
}

/// A session in which no join collects a side.
fn without_collecting(state: &SessionState) -> SessionState {
    let mut config = state.config().clone();
    for limit in ["threshold", "threshold_rows"] {
        let name = format!("datafusion.optimizer.hash_join_single_partition_{limit}");
        config = config.set_u64(&name, 0);
    }
    SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .build()
}

/// The join, if `node` is one that collects a side and that Ballista may make a partitioned one.
fn taken_back(node: &Arc<dyn ExecutionPlan>, limit_bytes: usize) -> Option<&HashJoinExec> {
    let join = node.downcast_ref::<HashJoinExec>()?;
    // A join for NOT IN always collects; such queries run in the coordinator.
    let is_collecting = *join.partition_mode() == PartitionMode::CollectLeft && !join.null_aware;
    let is_kept = is_broadcast_safe(*join.join_type())
        && is_surely_smaller(join.left().as_ref(), limit_bytes);
    (is_collecting && !is_kept).then_some(join)
}

/// Whether no row is returned because the collected side had no match: every task would return it.
fn is_broadcast_safe(join_type: JoinType) -> bool {
    matches!(
        join_type,
        JoinType::Inner
            | JoinType::Right
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark
    )
}

/// Whether Ballista knows that the rows take less than the limit.
fn is_surely_smaller(plan: &dyn ExecutionPlan, limit_bytes: usize) -> bool {
    let Ok(statistics) = StatisticsContext::new().compute(plan, &StatisticsArgs::new()) else {
        return false;
    };
    let known = |count: Option<&usize>| count.copied().filter(|count| *count > 0);
    let bytes = known(statistics.total_byte_size.get_value());
    let of_rows = || {
        let rows = known(statistics.num_rows.get_value())?;
        Some(rows.saturating_mul(VALUE_BYTES * plan.schema().fields().len().max(1)))
    };
    bytes
        .or_else(of_rows)
        .is_some_and(|size| size < limit_bytes)
}
