//! Drops rows early that a join further up drops anyway.
//!
//! When one side of a join is small and filtered, most rows of its other side have no match. If they
//! pass an exchange or an aggregation on their way to the join, that work is for nothing. A stage
//! writes the small side's rows in any case, so the tasks that scan the other side read them too and
//! keep only rows whose keys are among them: a semi join. Within one process DataFusion's dynamic
//! filters do the same; they do not pass from stage to stage.

use std::sync::Arc;

use ballista_core::execution_plans::UnresolvedShuffleExec;
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::config::ConfigOptions;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use ingot_engine::broadcast_join::BroadcastJoinExec;

use super::collected_joins::{known_bytes, known_rows};
use super::column_origins::origins;
use super::placement::any_node;
use super::stage_numbers::{Exchanges, has_known_stages, is_exchange};

/// Fewer rows are not worth a filter.
const MIN_FILTERED_ROWS: usize = 100_000;

/// Rows that no join sends to every task anyway are sent if they take less memory than this, in
/// bytes, and are so many times fewer than those that they filter.
const SENT_LIMIT_BYTES: usize = 16 << 20;
const SENT_LIMIT_FACTOR: usize = 4;

/// The plan with filters by the keys of its joins, where they are worth it. It must be complete: no
/// exchange may be added to it or taken from it before Ballista cuts it into stages.
///
/// # Errors
/// When Ballista cannot cut the plan.
pub(super) fn with_key_filters(
    plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    if !has_known_stages(&plan) {
        return Ok(plan);
    }
    let filtering = Filtering {
        exchanges: Exchanges::of(&plan),
    };
    let filtered = filtering.rewrite(&plan, Vec::new())?;
    if Arc::ptr_eq(&filtered, &plan) {
        return Ok(plan);
    }
    if filtering.exchanges.are_stages_of(&filtered, config)? {
        return Ok(filtered);
    }
    tracing::warn!(
        "the stages of a query are not numbered as expected: its joins do not filter early"
    );
    Ok(plan)
}

/// A column of the rows whose keys are wanted, and the column that is compared with it.
type Key = (Column, Column);

/// Keys of one side of a join, on their way down its other side.
#[derive(Clone)]
struct KeyFilter {
    /// Reads the rows that have the keys.
    source: Arc<UnresolvedShuffleExec>,
    /// About how many rows come from there.
    source_rows: usize,
    /// Whether a join sends these rows to every task anyway.
    is_collected: bool,
    keys: Vec<Key>,
    null_equality: NullEquality,
    /// Whether an exchange or an aggregation stands between here and the join.
    saves_work: bool,
}

struct Filtering {
    exchanges: Exchanges,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Filtering {
    /// The plan with these filters and with those of its own joins.
    fn rewrite(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        filters: Vec<KeyFilter>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let children = plan.children();
        let mut passed: Vec<Vec<KeyFilter>> = vec![Vec::new(); children.len()];
        let mut kept = Vec::new();
        let own = self.filter_of_join(plan).into_iter();
        let below = filters.into_iter().flat_map(|filter| {
            let below = filter.below(plan);
            if below.is_empty() {
                kept.push(filter);
            }
            below
        });
        for (child, filter) in own.chain(below) {
            if let Some(filters) = passed.get_mut(child) {
                filters.push(filter);
            }
        }
        let mut has_changed = false;
        let mut rewritten = Vec::with_capacity(children.len());
        for (child, filters) in children.into_iter().zip(passed) {
            let new = self.rewrite(child, filters)?;
            has_changed |= !Arc::ptr_eq(child, &new);
            rewritten.push(new);
        }
        let mut filtered = match has_changed {
            true => Arc::clone(plan).replace_children(
                rewritten,
                ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
            )?,
            false => Arc::clone(plan),
        };
        for filter in kept {
            if filter.is_worth_it(plan) {
                filtered = filter.over(filtered)?;
            }
        }
        Ok(filtered)
    }

    /// The filter that a join has for one of its children. Never for both, so that no stage waits for
    /// itself: what one side reads of the other, it reads in this direction only, and what is further
    /// up reads of neither or is read by both.
    fn filter_of_join(&self, plan: &Arc<dyn ExecutionPlan>) -> Option<(usize, KeyFilter)> {
        if let Some(broadcast) = plan.downcast_ref::<BroadcastJoinExec>() {
            let join = broadcast.join();
            let filter = drops_unmatched_right(*join.join_type())
                .then(|| self.keys_of(Side::Left, join, true));
            return filter.flatten().map(|filter| (1, filter));
        }
        let join = plan.downcast_ref::<HashJoinExec>()?;
        if *join.partition_mode() != PartitionMode::Partitioned || join.null_aware {
            return None;
        }
        let left =
            drops_unmatched_right(*join.join_type()).then(|| self.keys_of(Side::Left, join, false));
        let right =
            drops_unmatched_left(*join.join_type()).then(|| self.keys_of(Side::Right, join, false));
        match (left.flatten(), right.flatten()) {
            (Some(left), Some(right)) if right.source_rows < left.source_rows => Some((0, right)),
            (Some(left), _) => Some((1, left)),
            (None, right) => right.map(|filter| (0, filter)),
        }
    }

    /// The filter by the keys of one side of a join.
    fn keys_of(&self, side: Side, join: &HashJoinExec, is_collected: bool) -> Option<KeyFilter> {
        let keys = join.on().iter().filter_map(|(left, right)| {
            let left = left.downcast_ref::<Column>()?.clone();
            let right = right.downcast_ref::<Column>()?.clone();
            Some(match side {
                Side::Left => (left, right),
                Side::Right => (right, left),
            })
        });
        let rows = match side {
            Side::Left => join.left(),
            Side::Right => join.right(),
        };
        if !is_filtered(rows) {
            return None;
        }
        let (source, keys) = exchange_with(rows, keys.collect())?;
        let written = source.children().into_iter().next()?;
        let is_sent = is_collected
            || known_bytes(written.as_ref()).is_some_and(|bytes| bytes < SENT_LIMIT_BYTES);
        if !is_sent {
            return None;
        }
        Some(KeyFilter {
            source: Arc::new(self.exchanges.reader_of(&source)?),
            source_rows: known_rows(written.as_ref())?,
            is_collected,
            keys,
            null_equality: join.null_equality(),
            saves_work: false,
        })
    }
}

/// Whether right rows without match lead to no row of a result of this type of join.
fn drops_unmatched_right(join_type: JoinType) -> bool {
    matches!(
        join_type,
        JoinType::Inner
            | JoinType::Left
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
            | JoinType::RightSemi
    )
}

/// Whether left rows without match lead to no row of a result of this type of join.
fn drops_unmatched_left(join_type: JoinType) -> bool {
    drops_unmatched_right(join_type.swap())
}

/// Whether something chooses among the rows. Else they have most keys of the other side.
fn is_filtered(plan: &Arc<dyn ExecutionPlan>) -> bool {
    any_node(plan, &|node| {
        node.downcast_ref::<FilterExec>().is_some()
            || node
                .downcast_ref::<DataSourceExec>()
                .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
                .is_some_and(|scan| scan.file_source().filter().is_some())
    })
}

fn is_aggregate(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<AggregateExec>().is_some()
}

/// An exchange below `plan`, or `plan` itself, whose rows have all values of the keys, with the keys'
/// columns there.
fn exchange_with(
    plan: &Arc<dyn ExecutionPlan>,
    keys: Vec<Key>,
) -> Option<(Arc<dyn ExecutionPlan>, Vec<Key>)> {
    if keys.is_empty() {
        return None;
    }
    if is_exchange(plan) {
        return Some((Arc::clone(plan), keys));
    }
    let columns: Vec<Column> = keys.iter().map(|(source, _)| source.clone()).collect();
    let children = plan.children();
    origins(plan, &columns)
        .into_iter()
        .find_map(|(child, columns)| {
            let keys = keys.iter().zip(columns);
            let keys = keys.filter_map(|((_, filtered), source)| Some((source?, filtered.clone())));
            exchange_with(children.get(child)?, keys.collect())
        })
}

impl KeyFilter {
    /// The filter for children of `plan`, where it drops only what it would drop above.
    fn below(&self, plan: &Arc<dyn ExecutionPlan>) -> Vec<(usize, Self)> {
        // To evaluate a condition is cheaper than to look for a key, unless there is more to save.
        let comes_after = plan.downcast_ref::<FilterExec>().is_some()
            && !any_node(plan, &|node| is_exchange(node) || is_aggregate(node));
        if comes_after || plan.fetch().is_some() {
            return Vec::new();
        }
        let columns: Vec<Column> = self.keys.iter().map(|(_, column)| column.clone()).collect();
        let saves_work = self.saves_work || is_exchange(plan) || is_aggregate(plan);
        let mut below = Vec::new();
        for (child, columns) in origins(plan, &columns) {
            let keys = self.keys.iter().zip(columns);
            let keys: Vec<Key> = keys
                .filter_map(|((source, _), column)| Some((source.clone(), column?)))
                .collect();
            if !keys.is_empty() {
                let filter = Self {
                    keys,
                    saves_work,
                    ..self.clone()
                };
                below.push((child, filter));
            }
        }
        below
    }

    fn is_worth_it(&self, plan: &Arc<dyn ExecutionPlan>) -> bool {
        let factor = match self.is_collected {
            true => 1,
            false => SENT_LIMIT_FACTOR,
        };
        let is_worth = |rows: usize| rows >= MIN_FILTERED_ROWS && rows / factor >= self.source_rows;
        self.saves_work && known_rows(plan.as_ref()).is_some_and(is_worth)
    }

    /// The rows of `plan` whose keys are among those of the filter.
    fn over(self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut wanted: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::new();
        let mut on: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)> = Vec::new();
        for (index, (source, filtered)) in self.keys.into_iter().enumerate() {
            let name = source.name().to_string();
            on.push((Arc::new(Column::new(&name, index)), Arc::new(filtered)));
            wanted.push((Arc::new(source), name));
        }
        let schema = self.source.schema();
        // Each key once: a semi join looks at all rows that have it.
        let keys = AggregateExec::try_new(
            AggregateMode::Single,
            PhysicalGroupBy::new_single(wanted),
            Vec::new(),
            Vec::new(),
            self.source,
            schema,
        )?;
        let join = HashJoinExec::try_new(
            Arc::new(keys),
            plan,
            on,
            None,
            &JoinType::RightSemi,
            None,
            PartitionMode::CollectLeft,
            self.null_equality,
            false,
        )?;
        Ok(Arc::new(BroadcastJoinExec::try_new(join)?))
    }
}
