//! `x IN (q)` as `CASE`: true where a row of `q` is `x`; else null where `x` is null and `q` has
//! rows, or where `q` has nulls; else false.
//!
//! The value is computed for each of the parts: that is the same unless it is volatile, and no
//! volatile function gives nulls by chance.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, Spans};
use datafusion::logical_expr::expr::{BinaryExpr, Case, Exists, InSubquery};
use datafusion::logical_expr::{
    Expr, ExprSchemable, FetchType, LogicalPlan, LogicalPlanBuilder, Operator, SkipType, Subquery,
    lit,
};

use crate::aggregates::count_udaf;

/// The column of a subquery whose rows are counted. Its own name may also be one outside of it.
const MEMBER: &str = "$member";

/// What DataFusion can plan at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// `IN` and `EXISTS` as joins with a mark, and scalar subqueries.
    Condition,
    /// Scalar subqueries; those that refer to the outer query do so by `=`.
    List,
}

/// Rewrites one of the conditions of a `Filter`, all of which must hold.
///
/// # Errors
/// Those of making plans and of working out what can be null.
pub(super) fn in_condition(condition: Expr, schema: &DFSchema) -> Result<Expr> {
    let condition = match condition {
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(mut test) => {
                test.negated = !test.negated;
                Expr::InSubquery(test)
            }
            other => Expr::Not(Box::new(other)),
        },
        other => other,
    };
    match condition {
        Expr::InSubquery(test) if test.negated && is_right_as_join(&test, schema)? => {
            Ok(Expr::InSubquery(test))
        }
        other => rewrite_truth(other, schema),
    }
}

/// Rewrites an expression of a `SELECT` list.
///
/// # Errors
/// Those of making plans and of working out what can be null.
pub(super) fn in_list(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let rewritten = expression.transform_up(|part| {
        Ok(match part {
            // References over more than one level are nothing that DataFusion plans.
            Expr::InSubquery(test) if !is_nested(&test.expr) => {
                Transformed::yes(three_valued(test, schema, Place::List)?)
            }
            Expr::Exists(Exists { subquery, negated }) => {
                let exists = has_rows(without_limit(subquery.subquery)?)?;
                Transformed::yes(negated_if(negated, exists))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(rewritten.data)
}

/// Whether DataFusion makes a join of this `NOT IN` that drops the right rows. One that knows nulls
/// has one pair of keys: it takes no further conditions, and no constant.
fn is_right_as_join(test: &InSubquery, schema: &DFSchema) -> Result<bool> {
    if !test.expr.nullable(schema)? && !has_null_members(&test.subquery) {
        return Ok(true);
    }
    let is_correlated = !test.subquery.outer_ref_columns.is_empty();
    Ok(!is_correlated && test.expr.any_column_refs() && !is_nested(&test.expr))
}

/// Rewrites an expression of which only matters whether it is true: a mark that is false instead of
/// null does no harm in it.
fn rewrite_truth(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    match expression {
        Expr::InSubquery(test) if !test.negated => Ok(Expr::InSubquery(test)),
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::And | Operator::Or),
            right,
        }) => {
            let left = rewrite_part(*left, schema)?;
            let right = rewrite_part(*right, schema)?;
            let both = BinaryExpr::new(Box::new(left), op, Box::new(right));
            Ok(Expr::BinaryExpr(both))
        }
        other => rewrite_value(other, schema),
    }
}

/// [`rewrite_truth`] of a part of a condition. `IN` becomes a mark there.
fn rewrite_part(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    match expression {
        Expr::InSubquery(test) if !test.negated => {
            is_found(&test.expr, &test.subquery, schema, Place::Condition)
        }
        other => rewrite_truth(other, schema),
    }
}

/// Rewrites an expression whose nulls matter, too.
fn rewrite_value(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    match expression {
        Expr::InSubquery(test) => three_valued(test, schema, Place::Condition),
        // As those that are made here have.
        Expr::Case(Case {
            expr: None,
            when_then_expr,
            else_expr,
        }) => {
            let mut cases = Vec::with_capacity(when_then_expr.len());
            for (when, then) in when_then_expr {
                let when = rewrite_part(*when, schema)?;
                let then = rewrite_value(*then, schema)?;
                cases.push((Box::new(when), Box::new(then)));
            }
            let otherwise = match else_expr {
                Some(otherwise) => Some(Box::new(rewrite_value(*otherwise, schema)?)),
                None => None,
            };
            Ok(Expr::Case(Case::new(None, cases, otherwise)))
        }
        other => {
            let rewritten =
                other.map_children(|part| Ok(Transformed::yes(rewrite_value(part, schema)?)))?;
            Ok(rewritten.data)
        }
    }
}

fn three_valued(test: InSubquery, schema: &DFSchema, place: Place) -> Result<Expr> {
    let InSubquery {
        expr: value,
        subquery,
        negated,
    } = test;
    let value_may_be_null = value.nullable(schema)?;
    let is_found = is_found(&value, &subquery, schema, place)?;
    let null = || Box::new(lit(ScalarValue::Boolean(None)));
    let mut cases = vec![(Box::new(is_found), Box::new(lit(true)))];
    if value_may_be_null {
        let has_members = exists(subquery.subquery.as_ref().clone(), place)?;
        cases.push((Box::new((*value).is_null().and(has_members)), null()));
    }
    if has_null_members(&subquery) {
        let nulls = members(&subquery)?.filter(member().is_null())?;
        cases.push((Box::new(exists(nulls.build()?, place)?), null()));
    }
    let case = Expr::Case(Case::new(None, cases, Some(Box::new(lit(false)))));
    Ok(negated_if(negated, case))
}

/// Whether a row of a subquery is the value; false where that is not known.
fn is_found(value: &Expr, subquery: &Subquery, schema: &DFSchema, place: Place) -> Result<Expr> {
    let is_fixed = is_constant(value) && subquery.outer_ref_columns.is_empty();
    // DataFusion 55 makes two columns of one whose name has no table when it makes a mark.
    let has_table = subquery
        .subquery
        .schema()
        .iter()
        .all(|(table, _)| table.is_some());
    if place == Place::Condition && has_table && !is_fixed {
        let value = Box::new(value.clone());
        let test = InSubquery::new(value, subquery.clone(), false);
        return Ok(Expr::InSubquery(test));
    }
    let value = as_outer(value.clone(), schema)?;
    let found = members(subquery)?.filter(member().eq(value))?;
    has_rows(found.build()?)
}

/// Whether a query has rows, by the cheaper way of those that a place has.
fn exists(rows: LogicalPlan, place: Place) -> Result<Expr> {
    let outer_ref_columns = rows.all_out_ref_exprs();
    if place == Place::List || outer_ref_columns.is_empty() {
        return has_rows(rows);
    }
    let subquery = Subquery {
        subquery: Arc::new(rows),
        outer_ref_columns,
        spans: Spans::new(),
    };
    Ok(Expr::Exists(Exists::new(subquery, false)))
}

/// Whether a query has rows, as a scalar subquery that counts them.
fn has_rows(rows: LogicalPlan) -> Result<Expr> {
    let count = count_udaf().call(vec![lit(1_i64)]);
    let counted = LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), vec![count])?;
    let columns: Vec<Expr> = counted
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let counted = counted.project(columns)?.build()?;
    let count = Expr::ScalarSubquery(Subquery {
        outer_ref_columns: counted.all_out_ref_exprs(),
        subquery: Arc::new(counted),
        spans: Spans::new(),
    });
    // Never null, but DataFusion's physical plan says of some forms of it that it could be.
    Ok(count.gt(lit(0_i64)))
}

/// The values of a subquery in a column [`MEMBER`].
fn members(subquery: &Subquery) -> Result<LogicalPlanBuilder> {
    let rows = subquery.subquery.as_ref().clone();
    let columns = rows.schema().columns().into_iter();
    let columns: Vec<Expr> = columns
        .map(|column| Expr::Column(column).alias(MEMBER))
        .collect();
    LogicalPlanBuilder::from(rows).project(columns)
}

fn member() -> Expr {
    Expr::Column(Column::new_unqualified(MEMBER))
}

fn has_null_members(subquery: &Subquery) -> bool {
    let fields = subquery.subquery.schema().fields();
    fields.iter().any(|field| field.is_nullable())
}

/// A query of which only matters whether it has rows: a limit at its end, which stands in the way
/// of references to the outer query, then makes no difference.
fn without_limit(rows: Arc<LogicalPlan>) -> Result<LogicalPlan> {
    match Arc::unwrap_or_clone(rows) {
        LogicalPlan::Limit(limit)
            if matches!(limit.get_skip_type()?, SkipType::Literal(0))
                && matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1..))) =>
        {
            Ok(Arc::unwrap_or_clone(limit.input))
        }
        other => Ok(other),
    }
}

/// An expression of a query's columns as it is written in a subquery of the query.
fn as_outer(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let outer = expression.transform_up(|part| match part {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            let outer = Expr::OuterReferenceColumn(field, column);
            Ok(Transformed::yes(outer))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(outer.data)
}

/// Whether a value refers to a query further out, or has a subquery.
fn is_nested(value: &Expr) -> bool {
    let is_subquery = |part: &Expr| {
        matches!(
            part,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        )
    };
    value
        .exists(|part| Ok(is_subquery(part)))
        .unwrap_or_default()
}

/// Whether a value is the same for all rows.
fn is_constant(value: &Expr) -> bool {
    !value.any_column_refs() && !is_nested(value)
}

fn negated_if(negated: bool, expression: Expr) -> Expr {
    match negated {
        true => Expr::Not(Box::new(expression)),
        false => expression,
    }
}
