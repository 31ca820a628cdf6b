//! From which columns of its inputs a plan's columns come.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use ingot_engine::broadcast_join::BroadcastJoinExec;

use super::stage_numbers::is_exchange;

/// The columns of one child, by its index: for each of the columns asked for, the one it comes from,
/// or `None` if that is not one of this child.
pub(super) type Origin = (usize, Vec<Option<Column>>);

/// The children from which `columns` of `plan` come. None for operators that are not known here.
///
/// Every value of a column is one of the child's column. And as long as `plan` has no limit, rows may
/// be taken from one child, or from several, by the values of these columns: that takes those rows
/// from the result that have the same values, takes no others, and adds none.
pub(super) fn origins(plan: &Arc<dyn ExecutionPlan>, columns: &[Column]) -> Vec<Origin> {
    if is_exchange(plan)
        || plan.downcast_ref::<RepartitionExec>().is_some()
        || plan.downcast_ref::<SortExec>().is_some()
    {
        return vec![(0, columns.iter().cloned().map(Some).collect())];
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let schema = filter.input().schema();
        let below = columns.iter().map(|column| {
            let index = match filter.projection() {
                Some(projection) => *projection.get(column.index())?,
                None => column.index(),
            };
            column_at(&schema, index)
        });
        return vec![(0, below.collect())];
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let below = columns.iter().map(|column| {
            let projected = projection.expr().get(column.index())?;
            projected.expr.downcast_ref::<Column>().cloned()
        });
        return vec![(0, below.collect())];
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let groups = aggregate.group_expr();
        if !groups.is_single() || aggregate.limit_options().is_some() {
            return Vec::new();
        }
        let below = columns.iter().map(|column| {
            let (group, _) = groups.expr().get(column.index())?;
            group.downcast_ref::<Column>().cloned()
        });
        return vec![(0, below.collect())];
    }
    match plan.downcast_ref::<BroadcastJoinExec>() {
        Some(broadcast) => of_join(broadcast.join(), columns),
        None => plan
            .downcast_ref::<HashJoinExec>()
            .map(|join| of_join(join, columns))
            .unwrap_or_default(),
    }
}

fn of_join(join: &HashJoinExec, columns: &[Column]) -> Vec<Origin> {
    if join.null_aware {
        return Vec::new();
    }
    let join_type = *join.join_type();
    // Sides of which every row that comes out is one that went in, and not nulls in its place.
    let is_left_as_is = matches!(
        join_type,
        JoinType::Inner
            | JoinType::Left
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
    );
    let is_right_as_is = matches!(
        join_type,
        JoinType::Inner
            | JoinType::Right
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark
    );
    let (left_schema, right_schema) = (join.left().schema(), join.right().schema());
    // Where the right columns begin in the join's result, before its projection.
    let first_right = match join_type {
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => 0,
        _ => left_schema.fields().len(),
    };
    let mut left = Vec::with_capacity(columns.len());
    let mut right = Vec::with_capacity(columns.len());
    for column in columns {
        let index = match &join.projection {
            Some(projection) => projection.get(column.index()).copied(),
            None => Some(column.index()),
        };
        let of_left = index
            .filter(|index| is_left_as_is && *index < first_right)
            .and_then(|index| column_at(&left_schema, index));
        let of_right = index
            .filter(|_| is_right_as_is)
            .and_then(|index| index.checked_sub(first_right))
            .and_then(|index| column_at(&right_schema, index));
        // The keys of an inner join are equal.
        let (left_twin, right_twin) = match join_type {
            JoinType::Inner => (
                of_right.as_ref().and_then(|key| left_key(join, key)),
                of_left.as_ref().and_then(|key| right_key(join, key)),
            ),
            _ => (None, None),
        };
        left.push(of_left.or(left_twin));
        right.push(of_right.or(right_twin));
    }
    [left, right]
        .into_iter()
        .enumerate()
        .filter(|(_, columns)| columns.iter().any(Option::is_some))
        .collect()
}

fn column_at(schema: &SchemaRef, index: usize) -> Option<Column> {
    let field = schema.fields().get(index)?;
    Some(Column::new(field.name(), index))
}

/// The left column that a join compares with a right one.
fn left_key(join: &HashJoinExec, right: &Column) -> Option<Column> {
    join.on().iter().find_map(|(left, key)| {
        let is_same = key.downcast_ref::<Column>()?.index() == right.index();
        let left = left.downcast_ref::<Column>()?;
        is_same.then(|| left.clone())
    })
}

/// The right column that a join compares with a left one.
fn right_key(join: &HashJoinExec, left: &Column) -> Option<Column> {
    join.on().iter().find_map(|(key, right)| {
        let is_same = key.downcast_ref::<Column>()?.index() == left.index();
        let right = right.downcast_ref::<Column>()?;
        is_same.then(|| right.clone())
    })
}
