//! Readers of a stage's rows that are put into a plan before Ballista cuts it into stages.
//!
//! Ballista 55 numbers stages while it cuts a plan, children before their parents, and a reader names
//! its stage by that number. The numbers are known beforehand: readers end no stage. What Ballista
//! then makes of the plan is compared with them.

use std::collections::HashMap;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::execution_plans::UnresolvedShuffleExec;
use ballista_scheduler::planner::{DefaultDistributedPlanner, DistributedPlanner};
use datafusion::common::{DataFusionError, Result};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::placement::any_node;

/// Whether Ballista ends a stage below this node.
pub(super) fn is_exchange(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
        return matches!(repartition.partitioning(), Partitioning::Hash(..));
    }
    plan.downcast_ref::<CoalescePartitionsExec>().is_some()
        || plan.downcast_ref::<SortPreservingMergeExec>().is_some()
}

/// Whether the numbers of the plan's stages can be known: which branches of a union become stages
/// cannot.
pub(super) fn has_known_stages(plan: &Arc<dyn ExecutionPlan>) -> bool {
    !any_node(plan, &|node| {
        node.downcast_ref::<UnionExec>().is_some()
            || node.downcast_ref::<InterleaveExec>().is_some()
    })
}

/// The exchanges of a plan, each with the number that the stage below it will have.
pub(super) struct Exchanges {
    /// In the order of their numbers, from 1.
    exchanges: Vec<Arc<dyn ExecutionPlan>>,
    numbers: HashMap<*const (), usize>,
}

impl Exchanges {
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut all = Self {
            exchanges: Vec::new(),
            numbers: HashMap::new(),
        };
        all.add(plan);
        all
    }

    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>) {
        for child in plan.children() {
            self.add(child);
        }
        if is_exchange(plan) {
            self.exchanges.push(Arc::clone(plan));
            self.numbers.insert(address(plan), self.exchanges.len());
        }
    }

    /// A reader, for every task, of all rows that come to an exchange of the plan.
    pub(super) fn reader_of(
        &self,
        exchange: &Arc<dyn ExecutionPlan>,
    ) -> Option<UnresolvedShuffleExec> {
        let number = self.numbers.get(&address(exchange))?;
        Some(UnresolvedShuffleExec::new_broadcast(
            *number,
            exchange.schema(),
            written_partitions(exchange),
        ))
    }

    /// Whether Ballista cuts the plan, to which only readers and what is above them were added, into
    /// the stages that they name.
    ///
    /// # Errors
    /// When Ballista cannot cut the plan.
    pub(super) fn are_stages_of(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<bool> {
        let stages = DefaultDistributedPlanner::new()
            .plan_query_stages(&JobId::from(String::new()), Arc::clone(plan), config)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let exchanges = self.exchanges.iter().enumerate();
        let are_expected = exchanges.into_iter().all(|(index, exchange)| {
            stages.iter().any(|stage| {
                stage.stage_id() == index + 1
                    && stage.schema() == exchange.schema()
                    && is_written_for(exchange, stage.properties().output_partitioning())
            })
        });
        Ok(are_expected && stages.len() == self.exchanges.len() + 1)
    }
}

fn address(plan: &Arc<dyn ExecutionPlan>) -> *const () {
    Arc::as_ptr(plan).cast()
}

/// Partitions that the stage below an exchange writes.
fn written_partitions(exchange: &Arc<dyn ExecutionPlan>) -> usize {
    let written = match exchange.downcast_ref::<RepartitionExec>() {
        Some(_) => exchange,
        None => exchange.children().into_iter().next().unwrap_or(exchange),
    };
    written.output_partitioning().partition_count()
}

/// Whether a stage that writes such partitions is the one below the exchange.
fn is_written_for(exchange: &Arc<dyn ExecutionPlan>, written: &Partitioning) -> bool {
    match exchange.downcast_ref::<RepartitionExec>() {
        Some(repartition) => written == repartition.partitioning(),
        None => written.partition_count() == written_partitions(exchange),
    }
}
