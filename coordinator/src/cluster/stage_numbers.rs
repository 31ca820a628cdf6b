//! Readers of a stage's rows that are put into a plan before Ballista cuts it into stages.
//!
//! Ballista 55 numbers stages while it cuts a plan, children before their parents, and a reader names
//! its stage by that number. So a reader first names the exchange by its place in the plan, and gets
//! the number once the plan is complete. What Ballista then makes of the plan is compared with that.

use std::collections::HashMap;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::execution_plans::UnresolvedShuffleExec;
use ballista_scheduler::planner::{DefaultDistributedPlanner, DistributedPlanner};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::placement::any_node;

/// Numbers from here on stand for places of exchanges.
const FIRST_PLACE: usize = usize::MAX / 2;

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

/// The exchanges of a plan, by their places in it: parents first.
pub(super) struct Exchanges {
    places: HashMap<*const (), usize>,
}

impl Exchanges {
    /// Those of `plan`, as long as that lives.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut places = HashMap::new();
        add_places(plan, &mut 0, &mut places);
        Self { places }
    }

    /// The place of an exchange of the plan.
    pub(super) fn place(&self, exchange: &Arc<dyn ExecutionPlan>) -> Option<usize> {
        self.places.get(&address(exchange)).copied()
    }
}

fn add_places(
    plan: &Arc<dyn ExecutionPlan>,
    next: &mut usize,
    places: &mut HashMap<*const (), usize>,
) {
    if is_exchange(plan) {
        places.insert(address(plan), *next);
        *next += 1;
    }
    for child in plan.children() {
        add_places(child, next, places);
    }
}

fn address(plan: &Arc<dyn ExecutionPlan>) -> *const () {
    Arc::as_ptr(plan).cast()
}

/// A reader, for every task, of all rows that come from the exchange at a place.
pub(super) fn reader_of(place: usize, exchange: &Arc<dyn ExecutionPlan>) -> UnresolvedShuffleExec {
    UnresolvedShuffleExec::new_broadcast(
        FIRST_PLACE.saturating_add(place),
        exchange.schema(),
        written_partitions(exchange),
    )
}

/// Partitions that the stage below an exchange writes.
fn written_partitions(exchange: &Arc<dyn ExecutionPlan>) -> usize {
    let written = match exchange.downcast_ref::<RepartitionExec>() {
        Some(_) => exchange,
        None => exchange.children().into_iter().next().unwrap_or(exchange),
    };
    written.output_partitioning().partition_count()
}

/// The plan whose readers have the numbers of their stages; `None` if Ballista would cut it in
/// another way than expected. Readers are no exchanges, so the places are those of the plan without
/// them.
///
/// # Errors
/// When Ballista cannot cut the plan.
pub(super) fn with_stage_numbers(
    plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut numbers = StageNumbers::default();
    numbers.add(&plan, &mut 0);
    let plan = numbers.resolve(plan)?;
    let stages = DefaultDistributedPlanner::new()
        .plan_query_stages(&JobId::from(String::new()), Arc::clone(&plan), config)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    let is_as_expected = stages.len() == numbers.last + 1
        && numbers.stages.values().all(|expected| {
            stages.iter().any(|stage| {
                stage.stage_id() == expected.number
                    && stage.schema() == expected.exchange.schema()
                    && stage.properties().output_partitioning().partition_count()
                        == written_partitions(&expected.exchange)
            })
        });
    Ok(is_as_expected.then_some(plan))
}

#[derive(Default)]
struct StageNumbers {
    /// By place.
    stages: HashMap<usize, ExpectedStage>,
    last: usize,
}

struct ExpectedStage {
    exchange: Arc<dyn ExecutionPlan>,
    number: usize,
}

impl StageNumbers {
    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>, next_place: &mut usize) {
        let is_exchange = is_exchange(plan);
        let place = *next_place;
        *next_place += usize::from(is_exchange);
        for child in plan.children() {
            self.add(child, next_place);
        }
        if is_exchange {
            self.last += 1;
            let stage = ExpectedStage {
                exchange: Arc::clone(plan),
                number: self.last,
            };
            self.stages.insert(place, stage);
        }
    }

    fn resolve(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let resolved = plan.transform_up(|node| {
            let Some(reader) = node.downcast_ref::<UnresolvedShuffleExec>() else {
                return Ok(Transformed::no(node));
            };
            let stage = reader
                .stage_id
                .checked_sub(FIRST_PLACE)
                .and_then(|place| self.stages.get(&place))
                .ok_or_else(|| {
                    DataFusionError::Internal("a reader names no exchange of its plan".to_string())
                })?;
            let reader: Arc<dyn ExecutionPlan> = Arc::new(UnresolvedShuffleExec::new_broadcast(
                stage.number,
                Arc::clone(&reader.schema),
                reader.upstream_partition_count,
            ));
            Ok(Transformed::yes(reader))
        })?;
        Ok(resolved.data)
    }
}
