//! `IN` and `EXISTS` anywhere in a query, with nulls.
//!
//! DataFusion 55 makes joins of the `IN` and `EXISTS` of a `Filter` only, and where one is not a
//! condition of its own (below `OR`, `NOT`, `IS NULL`, `CASE`) of a mark join, whose mark is never
//! null: `id NOT IN (SELECT …)` would be true where it is null. This rule leaves it what it does
//! right, writes the rest in terms of it, and moves those of other nodes of a plan to a `Filter` or
//! a `Projection` next to them.
//!
//! It works on plans and not on text, since what a subquery's text refers to, and whether a value
//! can be null, is known only here.

mod membership;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, lit,
};
use datafusion::optimizer::{Analyzer, AnalyzerRule};

use self::membership::{in_condition, in_list};

/// Gives `IN` and `EXISTS` their rows wherever they stand. Goes behind DataFusion's own rules,
/// which give both sides of an `IN` one type.
#[derive(Debug, Default)]
pub struct NullsInSubqueries;

/// Puts the rule behind the others.
pub fn install(builder: &mut SessionStateBuilder) {
    let analyzer = builder.analyzer().get_or_insert_with(Analyzer::new);
    analyzer.rules.push(Arc::new(NullsInSubqueries));
}

impl AnalyzerRule for NullsInSubqueries {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(rewrite_node)?;
        if !rewritten.transformed {
            return Ok(rewritten.data);
        }
        // What can be null is not the same for the nodes above, either.
        let recomputed = rewritten
            .data
            .transform_up_with_subqueries(|node| Ok(Transformed::yes(node.recompute_schema()?)))?;
        Ok(recomputed.data)
    }

    fn name(&self) -> &str {
        "nulls_in_subqueries"
    }
}

fn rewrite_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut has_predicates = false;
    plan.apply_expressions(|expression| {
        has_predicates |= has_predicate(expression);
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !has_predicates {
        return Ok(Transformed::no(plan));
    }
    let rewritten = match plan {
        LogicalPlan::Filter(filter) => rewrite_filter(filter)?,
        LogicalPlan::Projection(projection) => rewrite_projection(projection)?,
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => filter_above(join)?,
        LogicalPlan::Join(join) => project_below_join(join)?,
        plan @ (LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_)) => {
            project_below(plan)?
        }
        // An error of the planner tells of the others.
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(rewritten))
}

/// Whether there is an `IN` or an `EXISTS` in an expression.
fn has_predicate(expression: &Expr) -> bool {
    let is_predicate = |part: &Expr| matches!(part, Expr::InSubquery(_) | Expr::Exists(_));
    expression
        .exists(|part| Ok(is_predicate(part)))
        .unwrap_or_default()
}

fn rewrite_filter(filter: Filter) -> Result<LogicalPlan> {
    let schema = Arc::clone(filter.input.schema());
    let conditions = split_conjunction_owned(filter.predicate).into_iter();
    let conditions: Vec<Expr> = conditions
        .map(|condition| in_condition(condition, &schema))
        .collect::<Result<_>>()?;
    let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    Ok(LogicalPlan::Filter(Filter::try_new(
        predicate,
        filter.input,
    )?))
}

fn rewrite_projection(projection: Projection) -> Result<LogicalPlan> {
    let schema = Arc::clone(projection.input.schema());
    let names = NamePreserver::new_for_projection();
    let mut expressions = Vec::with_capacity(projection.expr.len());
    for expression in projection.expr {
        let name = names.save(&expression);
        expressions.push(name.restore(in_list(expression, &schema)?));
    }
    let projection = Projection::try_new(expressions, projection.input)?;
    Ok(LogicalPlan::Projection(projection))
}

/// The conditions of an inner join are as well those of a filter of its rows.
fn filter_above(mut join: Join) -> Result<LogicalPlan> {
    let conditions = join.filter.take().map(split_conjunction_owned);
    let (above, kept): (Vec<Expr>, Vec<Expr>) = conditions
        .unwrap_or_default()
        .into_iter()
        .partition(has_predicate);
    join.filter = conjunction(kept);
    let joined = LogicalPlan::Join(join);
    match conjunction(above) {
        Some(predicate) => rewrite_filter(Filter::try_new(predicate, Arc::new(joined))?),
        None => Ok(joined),
    }
}

/// Predicates of an outer join become columns of the side that they are about.
fn project_below_join(mut join: Join) -> Result<LogicalPlan> {
    let shown = join.schema.columns();
    let Some(filter) = join.filter.take() else {
        return Ok(LogicalPlan::Join(join));
    };
    let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
    let filter = replace_predicates(filter, &mut |predicate: &Expr| {
        let name = hidden_name(of_left.len() + of_right.len());
        let side = if refers_only_to(predicate, join.left.schema()) {
            &mut of_left
        } else if refers_only_to(predicate, join.right.schema()) {
            &mut of_right
        } else {
            return None;
        };
        side.push(predicate.clone().alias(name.clone()));
        Some(Expr::Column(Column::new_unqualified(name)))
    })?;
    let left = with_predicates(join.left, of_left)?;
    let right = with_predicates(join.right, of_right)?;
    let join = Join::try_new(
        left,
        right,
        join.on,
        Some(filter),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    only_columns(LogicalPlan::Join(join), shown)
}

/// Predicates of a node with one input become columns of this.
fn project_below(plan: LogicalPlan) -> Result<LogicalPlan> {
    let Some(input) = plan.inputs().first().copied().cloned() else {
        return Ok(plan);
    };
    // A grouping set has no name that could be kept.
    let is_grouping_set = |part: &Expr| matches!(part, Expr::GroupingSet(_)) && has_predicate(part);
    if plan.expressions().iter().any(is_grouping_set) {
        return Ok(plan);
    }
    let shown = plan.schema().columns();
    let names = NamePreserver::new(&plan);
    let mut predicates = Vec::new();
    let mut expressions = Vec::new();
    for expression in plan.expressions() {
        let name = names.save(&expression);
        let replaced = replace_predicates(expression, &mut |predicate: &Expr| {
            let name = hidden_name(predicates.len());
            predicates.push(predicate.clone().alias(name.clone()));
            Some(Expr::Column(Column::new_unqualified(name)))
        })?;
        expressions.push(name.restore(replaced));
    }
    let input = with_predicates(Arc::new(input), predicates)?;
    let rewritten = plan.with_new_exprs(expressions, vec![Arc::unwrap_or_clone(input)])?;
    only_columns(rewritten, shown)
}

/// The name of a column that a predicate becomes. No table's column begins like that.
fn hidden_name(number: usize) -> String {
    format!("$predicate {number}")
}

/// Puts what `replace` gives in the place of each `IN` and `EXISTS`; those without stay.
fn replace_predicates(
    expression: Expr,
    replace: &mut dyn FnMut(&Expr) -> Option<Expr>,
) -> Result<Expr> {
    let replaced = expression.transform_down(|part| {
        if !matches!(part, Expr::InSubquery(_) | Expr::Exists(_)) {
            return Ok(Transformed::no(part));
        }
        Ok(match replace(&part) {
            Some(column) => Transformed::new(column, true, TreeNodeRecursion::Jump),
            None => Transformed::new(part, false, TreeNodeRecursion::Jump),
        })
    })?;
    Ok(replaced.data)
}

/// Whether all columns of a predicate, those that its subquery refers to included, are of a schema.
fn refers_only_to(predicate: &Expr, schema: &DFSchemaRef) -> bool {
    let subquery = match predicate {
        Expr::InSubquery(test) => &test.subquery,
        Expr::Exists(test) => &test.subquery,
        _ => return false,
    };
    let own = predicate.column_refs();
    let is_outer_known = subquery.outer_ref_columns.iter().all(|part| match part {
        Expr::OuterReferenceColumn(_, column) => schema.is_column_from_schema(column),
        _ => false,
    });
    is_outer_known
        && own
            .into_iter()
            .all(|column| schema.is_column_from_schema(column))
}

/// A plan with these predicates behind its columns.
fn with_predicates(plan: Arc<LogicalPlan>, predicates: Vec<Expr>) -> Result<Arc<LogicalPlan>> {
    if predicates.is_empty() {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let columns = columns.chain(predicates).collect();
    let projection = rewrite_projection(Projection::try_new(columns, plan)?)?;
    Ok(Arc::new(projection))
}

/// A plan without columns other than these, of which it has all.
fn only_columns(plan: LogicalPlan, columns: Vec<Column>) -> Result<LogicalPlan> {
    if plan.schema().fields().len() == columns.len() {
        return Ok(plan);
    }
    let columns = columns.into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

#[cfg(test)]
mod tests;
