//! Plans that read text as string views.
//!
//! DataFusion compares, filters and groups views of strings (`Utf8View`) faster than strings: views
//! hold short values and the first bytes of long ones in place. But a batch of views refers to whole
//! buffers of which it may need little, which shuffle files and clients would get too. So plans
//! read strings (`Utf8`), and those that run within one process are rewritten to views here;
//! [`plain_text_schema`](crate::results::plain_text_schema) tells what their results have to
//! become again. See `docs/decisions/0003-text-columns.md`.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery, TableScan, TableScanBuilder, Union};

use crate::table::IcebergTable;

/// Plans with more levels read strings: they are followed on the stack.
const DEEPEST_PLAN: usize = 200;

/// The plan of a query with every Iceberg table's text as views; `None` when nothing would change,
/// or the plan has a part whose types cannot be followed.
///
/// The plan must not have been analyzed: constants and functions are fitted to the views by that.
///
/// # Errors
/// When a part of the plan does not take the types that its inputs have now.
pub fn with_text_views(plan: &LogicalPlan) -> DataFusionResult<Option<LogicalPlan>> {
    if is_deep(plan) || !can_be_followed(plan)? {
        return Ok(None);
    }
    let rewritten = rewrite(plan.clone(), &mut Vec::new())?;
    Ok(rewritten.transformed.then_some(rewritten.data))
}

/// Whether the plan is so deep that following it could take more stack than there is.
fn is_deep(plan: &LogicalPlan) -> bool {
    let mut waiting = vec![(plan, 0)];
    while let Some((node, depth)) = waiting.pop() {
        if depth > DEEPEST_PLAN {
            return true;
        }
        let inputs = node.inputs().into_iter();
        waiting.extend(inputs.map(|input| (input, depth + 1)));
    }
    false
}

/// Whether every part of the plan derives its types from its inputs, and none shows them.
fn can_be_followed(plan: &LogicalPlan) -> DataFusionResult<bool> {
    let mut is_known = true;
    plan.apply_with_subqueries(|node| {
        let has_constant_types = matches!(node, LogicalPlan::Values(_));
        is_known &= has_constant_types || derives_types(node);
        // As an input it is a lateral join; it is also how queries in expressions come here.
        let mut inputs = node.inputs().into_iter();
        is_known &= !inputs.any(|input| matches!(input, LogicalPlan::Subquery(_)));
        node.apply_expressions(|expression| {
            is_known &= !expression.exists(|part| {
                Ok(shows_types(part) || (has_constant_types && is_subquery(part)))
            })?;
            Ok(continue_while(is_known))
        })?;
        Ok(continue_while(is_known))
    })?;
    Ok(is_known)
}

fn continue_while(goes_on: bool) -> TreeNodeRecursion {
    match goes_on {
        true => TreeNodeRecursion::Continue,
        false => TreeNodeRecursion::Stop,
    }
}

/// Whether the node's columns are made from those of its inputs, if it has any.
fn derives_types(node: &LogicalPlan) -> bool {
    matches!(
        node,
        LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Distinct(_)
    )
}

/// Lambdas carry the types of their parameters, and some functions would tell where a query runs.
fn shows_types(expression: &Expr) -> bool {
    match expression {
        Expr::HigherOrderFunction(_) | Expr::Lambda(_) | Expr::LambdaVariable(_) => true,
        Expr::ScalarFunction(call) => ["arrow_typeof", "arrow_field"].contains(&call.func.name()),
        _ => false,
    }
}

fn is_subquery(expression: &Expr) -> bool {
    matches!(
        expression,
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_)
    )
}

/// Rewrites a plan from its scans upwards. `outer` has the columns of the queries around it, the
/// nearest last.
fn rewrite(
    plan: LogicalPlan,
    outer: &mut Vec<DFSchemaRef>,
) -> DataFusionResult<Transformed<LogicalPlan>> {
    if let LogicalPlan::TableScan(scan) = plan {
        return rewrite_scan(scan);
    }
    let inputs = plan.map_children(|input| rewrite(input, outer))?;
    let inputs_changed = inputs.transformed;
    let plan = inputs.data;

    let enclosing = outer.len();
    outer.extend(
        plan.inputs()
            .into_iter()
            .map(|input| Arc::clone(input.schema())),
    );
    let expressions = plan.map_expressions(|expression| {
        expression.transform_down(|part| rewrite_expression(part, outer, enclosing))
    });
    outer.truncate(enclosing);
    let expressions = expressions?;

    let changed = inputs_changed || expressions.transformed;
    let plan = match expressions.data {
        plan if !changed => plan,
        // Would keep the types that it had.
        LogicalPlan::Union(union) => {
            LogicalPlan::Union(Union::try_new_with_loose_types(union.inputs)?)
        }
        plan => plan.recompute_schema()?,
    };
    Ok(Transformed::new_transformed(plan, changed))
}

fn rewrite_scan(scan: TableScan) -> DataFusionResult<Transformed<LogicalPlan>> {
    let provider = source_as_provider(&scan.source).ok();
    let table = provider
        .as_ref()
        .and_then(|provider| provider.downcast_ref::<IcebergTable>());
    let Some(table) = table else {
        return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
    };
    let viewed = table.with_text_views().map_err(DataFusionError::from)?;
    let scan = TableScanBuilder::new(scan.table_name, provider_as_source(Arc::new(viewed)))
        .with_projection(scan.projection)
        .with_filters(scan.filters)
        .with_fetch(scan.fetch)
        .with_statistics_requests(scan.statistics_requests)
        .build()?;
    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
}

/// Rewrites the queries within an expression, and what it takes from the queries around its own:
/// the first `enclosing` of `columns`. The others are those of its own query.
fn rewrite_expression(
    expression: Expr,
    columns: &mut Vec<DFSchemaRef>,
    enclosing: usize,
) -> DataFusionResult<Transformed<Expr>> {
    Ok(match expression {
        Expr::OuterReferenceColumn(field, column) => {
            let found = outer_column(&column, &columns[..enclosing])?;
            let changed = found.data_type() != field.data_type();
            let renewed = Expr::OuterReferenceColumn(found, column);
            Transformed::new_transformed(renewed, changed)
        }
        Expr::Exists(exists) => {
            rewrite_subquery(exists.subquery, columns)?.update_data(|subquery| {
                Expr::Exists(Exists {
                    subquery,
                    negated: exists.negated,
                })
            })
        }
        Expr::InSubquery(membership) => rewrite_subquery(membership.subquery, columns)?
            .update_data(|subquery| {
                Expr::InSubquery(InSubquery {
                    expr: membership.expr,
                    subquery,
                    negated: membership.negated,
                })
            }),
        Expr::SetComparison(comparison) => rewrite_subquery(comparison.subquery, columns)?
            .update_data(|subquery| {
                Expr::SetComparison(SetComparison {
                    expr: comparison.expr,
                    subquery,
                    op: comparison.op,
                    quantifier: comparison.quantifier,
                })
            }),
        Expr::ScalarSubquery(subquery) => {
            rewrite_subquery(subquery, columns)?.update_data(Expr::ScalarSubquery)
        }
        other => Transformed::no(other),
    })
}

/// Rewrites a query within a query, whose own columns and those around it are `outer`.
fn rewrite_subquery(
    subquery: Subquery,
    outer: &mut Vec<DFSchemaRef>,
) -> DataFusionResult<Transformed<Subquery>> {
    let plan = rewrite(Arc::unwrap_or_clone(subquery.subquery), outer)?;
    let references = subquery
        .outer_ref_columns
        .into_iter()
        .map(|reference| match reference {
            Expr::OuterReferenceColumn(_, column) => {
                let found = outer_column(&column, outer)?;
                Ok(Expr::OuterReferenceColumn(found, column))
            }
            other => Ok(other),
        });
    let references = references.collect::<DataFusionResult<Vec<_>>>()?;
    Ok(Transformed::new_transformed(
        Subquery {
            subquery: Arc::new(plan.data),
            outer_ref_columns: references,
            spans: subquery.spans,
        },
        // The types of outer references may have changed though the query's own tables did not.
        true,
    ))
}

/// The column of the nearest query that has one of this name.
fn outer_column(column: &Column, outer: &[DFSchemaRef]) -> DataFusionResult<FieldRef> {
    for schema in outer.iter().rev() {
        if let Some(index) = schema.maybe_index_of_column(column) {
            return Ok(Arc::clone(schema.field(index)));
        }
    }
    Err(DataFusionError::Internal(format!(
        "no query around has the column {column}"
    )))
}
