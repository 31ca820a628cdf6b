//! Sorts again what a shuffle puts out of order.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::{LexOrdering, OrderingRequirements, Partitioning};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};

/// A physical optimizer rule, the last one, for plans that Ballista 55 cuts into stages.
///
/// DataFusion's repartitioning keeps the order of an input that has one partition, and its planner
/// leaves out sorts that follow from that. Ballista puts a shuffle in its place, which keeps no order.
#[derive(Debug, Default)]
pub(super) struct SortAfterShuffle;

impl PhysicalOptimizerRule for SortAfterShuffle {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        with_sorts(&plan)
    }

    fn name(&self) -> &str {
        "sort_after_shuffle"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan with a sort wherever an operator needs an order that comes through a shuffle.
fn with_sorts(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let requirements = plan.required_input_ordering();
    let mut has_changed = false;
    let mut children = Vec::with_capacity(requirements.len());
    for (child, requirement) in plan.children().into_iter().zip(requirements) {
        let rewritten = with_sorts(child)?;
        has_changed |= !Arc::ptr_eq(child, &rewritten);
        match requirement {
            // Operators with soft requirements look at what they really get.
            Some(OrderingRequirements::Hard(mut alternatives))
                if is_ordered_by_shuffle(child) && !alternatives.is_empty() =>
            {
                has_changed = true;
                let order = LexOrdering::from(alternatives.swap_remove(0));
                let keeps_partitions = rewritten.output_partitioning().partition_count() > 1;
                children.push(Arc::new(
                    SortExec::new(order, rewritten).with_preserve_partitioning(keeps_partitions),
                ) as Arc<dyn ExecutionPlan>);
            }
            _ => children.push(rewritten),
        }
    }
    match has_changed {
        true => Arc::clone(plan).replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        ),
        false => Ok(Arc::clone(plan)),
    }
}

/// Whether the order of a plan's rows is one that a repartitioning below it has kept.
fn is_ordered_by_shuffle(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if plan.output_ordering().is_none() {
        return false;
    }
    if let Some(repartition) = plan.downcast_ref::<RepartitionExec>()
        && matches!(repartition.partitioning(), Partitioning::Hash(..))
    {
        return true;
    }
    let keeps_order = plan.maintains_input_order();
    plan.children()
        .into_iter()
        .zip(keeps_order)
        .any(|(child, is_kept)| is_kept && is_ordered_by_shuffle(child))
}
