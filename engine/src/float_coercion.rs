//! Floats meet decimals as floats.
//!
//! Constants such as `0.5` are decimals, as in Trino. DataFusion would then turn a float
//! column that meets one into a decimal: `DOUBLE` becomes `DECIMAL(30, 15)`, which loses
//! small values, fails on large ones, on infinities and on NaN, and hides the column from
//! pruning. As in Trino, the decimal becomes a float instead.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::expr::{Between, BinaryExpr, Case, InList};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Union, cast,
};
use datafusion::optimizer::{Analyzer, AnalyzerRule};

use crate::expressions::rewrite_expressions;

/// Functions whose arguments all take one type.
const UNIFYING_FUNCTIONS: [&str; 7] = [
    "coalesce", "nullif", "ifnull", "nvl", "nvl2", "greatest", "least",
];

/// Casts decimals that are compared, computed or unified with floats to floats. Goes
/// before DataFusion's own type coercion.
#[derive(Debug, Default)]
pub struct FloatsStayFloats;

/// Puts the rule in front of the others.
pub fn install(builder: &mut SessionStateBuilder) {
    let analyzer = builder.analyzer().get_or_insert_with(Analyzer::new);
    analyzer.rules.insert(0, Arc::new(FloatsStayFloats));
}

impl AnalyzerRule for FloatsStayFloats {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(rewrite_plan)?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "floats_stay_floats"
    }
}

fn rewrite_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Union(union) = plan {
        return rewrite_union(union);
    }
    rewrite_expressions(plan, &rewrite_expression)
}

/// The branches of a `UNION` are unified column by column.
fn rewrite_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let unified: Vec<Option<DataType>> = (0..union.schema.fields().len())
        .map(|column| {
            let types = union.inputs.iter().filter_map(|input| {
                let fields = input.schema().fields();
                fields.get(column).map(|field| field.data_type())
            });
            float_of_all(types)
        })
        .collect();
    if unified.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in union.inputs {
        let columns = input.schema().columns();
        let expressions: Vec<Expr> = columns
            .into_iter()
            .zip(&unified)
            .map(|(column, float)| {
                let name = column.name.clone();
                let relation = column.relation.clone();
                match float {
                    Some(float) => {
                        cast(Expr::Column(column), float.clone()).alias_qualified(relation, name)
                    }
                    None => Expr::Column(column),
                }
            })
            .collect();
        let projection = LogicalPlanBuilder::from(input).project(expressions)?;
        inputs.push(Arc::new(projection.build()?));
    }
    let union = Union::try_new_with_loose_types(inputs)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

fn rewrite_expression(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if takes_numbers(op) => {
            let mut operands = vec![*left, *right];
            let changed = unify(&mut operands, schema);
            let [left, right] = two(operands)?;
            let expression = BinaryExpr::new(Box::new(left), op, Box::new(right));
            Ok(transformed(Expr::BinaryExpr(expression), changed))
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) => {
            let mut operands = vec![*expr, *low, *high];
            let changed = unify(&mut operands, schema);
            let [expr, low, high] = three(operands)?;
            let expression = Between::new(Box::new(expr), negated, Box::new(low), Box::new(high));
            Ok(transformed(Expr::Between(expression), changed))
        }
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) => {
            let mut operands = list;
            operands.insert(0, *expr);
            let changed = unify(&mut operands, schema);
            let expr = operands.remove(0);
            let expression = InList::new(Box::new(expr), operands, negated);
            Ok(transformed(Expr::InList(expression), changed))
        }
        Expr::Case(case) => rewrite_case(case, schema),
        Expr::ScalarFunction(mut function)
            if UNIFYING_FUNCTIONS.contains(&function.func.name()) =>
        {
            let changed = unify(&mut function.args, schema);
            Ok(transformed(Expr::ScalarFunction(function), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// The results of a `CASE` are one group of values; its operand and the values that this
/// is compared with are another.
fn rewrite_case(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let has_operand = case.expr.is_some();
    let has_else = case.else_expr.is_some();
    let (whens, mut results): (Vec<_>, Vec<_>) = case
        .when_then_expr
        .into_iter()
        .map(|(when, then)| (*when, *then))
        .unzip();
    results.extend(case.else_expr.map(|expression| *expression));
    let mut changed = unify(&mut results, schema);
    let else_expr = if has_else { results.pop() } else { None };

    let mut compared: Vec<Expr> = case.expr.map(|operand| *operand).into_iter().collect();
    compared.extend(whens);
    if has_operand {
        changed |= unify(&mut compared, schema);
    }
    let mut compared = compared.into_iter();
    let expr = if has_operand { compared.next() } else { None };
    let when_then_expr = compared
        .zip(results)
        .map(|(when, then)| (Box::new(when), Box::new(then)))
        .collect();
    let case = Case::new(expr.map(Box::new), when_then_expr, else_expr.map(Box::new));
    Ok(transformed(Expr::Case(case), changed))
}

fn transformed(expression: Expr, changed: bool) -> Transformed<Expr> {
    if changed {
        Transformed::yes(expression)
    } else {
        Transformed::no(expression)
    }
}

fn takes_numbers(operator: Operator) -> bool {
    use Operator as Op;
    matches!(
        operator,
        Op::Eq
            | Op::NotEq
            | Op::Lt
            | Op::LtEq
            | Op::Gt
            | Op::GtEq
            | Op::IsDistinctFrom
            | Op::IsNotDistinctFrom
            | Op::Plus
            | Op::Minus
            | Op::Multiply
            | Op::Divide
            | Op::Modulo
    )
}

/// If there are floats and decimals among the operands, casts the decimals to the widest
/// of the floats. Returns whether it did.
fn unify(operands: &mut [Expr], schema: &DFSchema) -> bool {
    // What has no type yet is left to the planner's own errors.
    let types: Vec<Option<DataType>> = operands
        .iter()
        .map(|operand| operand.get_type(schema).ok())
        .collect();
    let Some(float) = float_of_all(types.iter().flatten()) else {
        return false;
    };
    let mut changed = false;
    for (operand, operand_type) in operands.iter_mut().zip(&types) {
        if operand_type.as_ref().is_some_and(DataType::is_decimal) {
            *operand = cast(std::mem::take(operand), float.clone());
            changed = true;
        }
    }
    changed
}

/// The widest float among types of which some are floats and some decimals.
fn float_of_all<'a>(types: impl Iterator<Item = &'a DataType>) -> Option<DataType> {
    let (mut float, mut has_decimals) = (None, false);
    for data_type in types {
        match data_type {
            DataType::Float64 => float = Some(DataType::Float64),
            DataType::Float32 if float.is_none() => float = Some(DataType::Float32),
            other => has_decimals |= other.is_decimal(),
        }
    }
    float.filter(|_| has_decimals)
}

fn two(operands: Vec<Expr>) -> Result<[Expr; 2]> {
    operands.try_into().map_err(lost_operands)
}

fn three(operands: Vec<Expr>) -> Result<[Expr; 3]> {
    operands.try_into().map_err(lost_operands)
}

fn lost_operands(operands: Vec<Expr>) -> datafusion::error::DataFusionError {
    let message = format!("operands were lost: {operands:?}");
    datafusion::error::DataFusionError::Internal(message)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::{Float32Type, Float64Type};
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    fn context() -> SessionContext {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.parse_float_as_decimal = true;
        let mut builder = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features();
        install(&mut builder);
        SessionContext::new_with_state(builder.build())
    }

    async fn column_types(sql: &str) -> Vec<DataType> {
        let frame = context().sql(sql).await.unwrap();
        let plan = frame.into_optimized_plan().unwrap();
        plan.schema()
            .fields()
            .iter()
            .map(|field| field.data_type().clone())
            .collect()
    }

    const VALUES: &str = "(SELECT CAST(v AS double) AS d, CAST(v AS real) AS r, i FROM \
        (VALUES ('NaN', 1), ('1e300', 2), ('0.1', 3), ('-inf', 4), ('1e-20', 5)) AS t(v, i))";

    #[tokio::test]
    async fn floats_are_compared_as_floats() {
        for (condition, expected) in [
            ("d = 0.1", "3"),
            ("r = 0.1", "3"),
            ("d > 0.0 AND d < 0.05", "5"),
            ("d BETWEEN 0.0 AND 0.05", "5"),
            ("d IN (0.1, 7.5)", "3"),
            ("0.05 > d AND i <> 4", "5"),
            ("CASE d WHEN 0.1 THEN true ELSE false END", "3"),
            ("coalesce(d, 0.0) = 0.1", "3"),
            ("d * 10.0 = 1.0", "3"),
        ] {
            let sql = format!("SELECT i FROM {VALUES} WHERE {condition} ORDER BY i");
            let batches = context().sql(&sql).await.unwrap().collect().await.unwrap();
            let found: Vec<String> = batches
                .iter()
                .flat_map(|batch| {
                    let values = batch
                        .column(0)
                        .as_primitive::<datafusion::arrow::datatypes::Int64Type>();
                    values
                        .values()
                        .iter()
                        .map(i64::to_string)
                        .collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(found.join(","), expected, "{condition}");
        }
    }

    #[tokio::test]
    async fn results_with_floats_are_floats() {
        let sql = format!(
            "SELECT d * 0.5, r + 0.5, coalesce(d, 0.0), CASE WHEN i = 1 THEN d ELSE 0.0 END, \
             i * 0.5, sum(d) OVER () / 2.0 FROM {VALUES}"
        );
        let types = column_types(&sql).await;
        assert_eq!(types[0], DataType::Float64);
        assert_eq!(types[1], DataType::Float32);
        assert_eq!(types[2..4], [DataType::Float64, DataType::Float64]);
        assert!(
            types[4].is_decimal(),
            "whole numbers stay exact: {}",
            types[4]
        );
        assert_eq!(types[5], DataType::Float64);
        let sql = format!(
            "SELECT d, r, i FROM {VALUES} UNION ALL SELECT 0.5, 0.25, 7 UNION SELECT 1.0, 2, 3"
        );
        let types = column_types(&sql).await;
        assert_eq!(
            types,
            [DataType::Float64, DataType::Float32, DataType::Int64]
        );
    }

    #[tokio::test]
    async fn no_value_is_lost_on_the_way_to_a_float() {
        let sql = format!("SELECT d * 0.5, r + 0.5 FROM {VALUES} UNION ALL SELECT 0.5, 0.25");
        let batches = context().sql(&sql).await.unwrap().collect().await.unwrap();
        assert!(
            batches[0]
                .column(0)
                .as_primitive::<Float64Type>()
                .value(0)
                .is_nan()
        );
        assert!(
            batches[0]
                .column(1)
                .as_primitive::<Float32Type>()
                .value(0)
                .is_nan()
        );
    }

    #[tokio::test]
    async fn names_stay_as_they_were() {
        let sql = format!("SELECT d > 0.5, sum(d * 0.5) FROM {VALUES} GROUP BY d > 0.5");
        let frame = context().sql(&sql).await.unwrap();
        let before: Vec<_> = frame.schema().field_names();
        let after: Vec<_> = frame.into_optimized_plan().unwrap().schema().field_names();
        assert_eq!(before, after);
    }
}
