//! A hash join whose build side every task reads whole, planned by Ingot and not by Ballista.
//!
//! Ballista 55 looks for hash joins that collect a side, and decides about each of them again while
//! it cuts a plan into stages: it makes some partitioned, and collects a side of others after both
//! sides were already partitioned. Behind this operator it leaves a join as it is: tasks read the
//! build side from whatever stands there, an exchange or a small scan, and the probe side from their
//! own partitions.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinType, Result as DataFusionResult, Statistics, plan_err};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use datafusion_proto::protobuf::PhysicalPlanNode;

use crate::codec;

/// Whether a join of this type returns left rows by whether they had a match. A task that has the whole
/// left side and a part of the right one knows only the matches in its part.
pub fn returns_left_rows(join_type: JoinType) -> bool {
    match join_type {
        JoinType::Left
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::LeftMark
        | JoinType::Full => true,
        JoinType::Inner
        | JoinType::Right
        | JoinType::RightSemi
        | JoinType::RightAnti
        | JoinType::RightMark => false,
    }
}

/// A hash join of mode `CollectLeft` that is right when each task has the whole build side and a
/// part of the probe side.
#[derive(Debug)]
pub struct BroadcastJoinExec {
    join: Arc<HashJoinExec>,
}

impl BroadcastJoinExec {
    /// The join behind this operator. Its left side must have one partition when it is executed; while
    /// a plan is cut into stages it may have several for a moment.
    ///
    /// # Errors
    /// When the join does not collect its left side, or would return rows of that side that have no
    /// match: each task would.
    pub fn try_new(join: HashJoinExec) -> DataFusionResult<Self> {
        if *join.partition_mode() != PartitionMode::CollectLeft || !Self::is_right_for(&join) {
            return plan_err!(
                "a join of type {} cannot have its left side in every task",
                join.join_type()
            );
        }
        Ok(Self {
            join: Arc::new(join),
        })
    }

    /// Whether tasks that each have a part of the right side return together what one would.
    pub fn is_right_for(join: &HashJoinExec) -> bool {
        // A join for NOT IN has to know of nulls on the whole right side.
        !returns_left_rows(*join.join_type()) && !join.null_aware
    }

    /// The join itself.
    pub fn join(&self) -> &HashJoinExec {
        &self.join
    }
}

impl DisplayAs for BroadcastJoinExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.join.fmt_as(format, f)
    }
}

impl ExecutionPlan for BroadcastJoinExec {
    fn name(&self) -> &str {
        "BroadcastJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.join.properties()
    }

    /// The left side in one partition: that keeps it whole where plans are cut into tasks.
    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.join.input_distribution_requirements()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        ExecutionPlan::maintains_input_order(self.join.as_ref())
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.join.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        self.join.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let builder = match options.children_properties {
            ChildrenPropertiesMode::Keep => self.join.builder(),
            ChildrenPropertiesMode::Recompute => self.join.builder().recompute_properties(),
        };
        let join = builder.with_new_children(children)?.build()?;
        Ok(Arc::new(Self::try_new(join)?))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn reset_state(self: Arc<Self>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let join = self.join.builder().reset_state().build()?;
        Ok(Arc::new(Self::try_new(join)?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        self.join.execute(partition, context)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.join.metrics()
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.join.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> DataFusionResult<Arc<Statistics>> {
        self.join.statistics_from_inputs(input_stats, args)
    }

    fn fetch(&self) -> Option<usize> {
        self.join.fetch()
    }

    fn try_to_proto(
        &self,
        context: &ExecutionPlanEncodeCtx<'_>,
    ) -> DataFusionResult<Option<PhysicalPlanNode>> {
        let join = self.join.try_to_proto(context)?;
        let join = join.ok_or_else(|| {
            DataFusionError::Internal("a hash join does not encode itself".to_string())
        })?;
        Ok(Some(codec::broadcast_join_node(&join)))
    }
}
