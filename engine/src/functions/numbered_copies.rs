//! Numbers the copies of each row of a subquery, for `EXCEPT ALL` and `INTERSECT ALL`.

use std::collections::HashSet;

use datafusion::common::Column;
use datafusion::error::Result as DataFusionResult;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::TableFactor;
use ingot_sql::{COPY_COLUMN, NUMBERED_COPIES};

/// Plans a subquery with the alias [`NUMBERED_COPIES`]: its columns, and how many of the same row
/// came before, this one included. Which copy gets which number does not matter.
#[derive(Debug)]
pub struct NumberedCopies;

impl RelationPlanner for NumberedCopies {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DataFusionResult<RelationPlanning> {
        let is_ours = matches!(
            &relation,
            TableFactor::Derived { alias: Some(alias), .. } if alias.name.value == NUMBERED_COPIES
        );
        if !is_ours {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        if let TableFactor::Derived { alias, .. } = &mut relation {
            *alias = None;
        }
        let plan = number_copies(context.plan(relation)?)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, None,
        ))))
    }
}

fn number_copies(rows: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let columns = rows.schema().columns();
    let all: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
    let number = row_number().partition_by(all).build()?;
    let number_column = Column::from_name(number.schema_name().to_string());
    let mut names = HashSet::new();
    let mut shown: Vec<Expr> = Vec::with_capacity(columns.len() + 1);
    for (index, column) in columns.into_iter().enumerate() {
        let name = match names.insert(column.name.clone()) {
            true => column.name.clone(),
            false => format!("{}:{}", column.name, index + 1),
        };
        shown.push(Expr::Column(column).alias(name));
    }
    shown.push(Expr::Column(number_column).alias(COPY_COLUMN));
    LogicalPlanBuilder::from(rows)
        .window(vec![number])?
        .project(shown)?
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::util::display::array_value_to_string;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;
    use datafusion::sql::parser::Statement as PlannerStatement;
    use ingot_sql::Statement;
    use ingot_sql::sqlparser::ast;

    use super::*;

    async fn rows_of(sql: &str) -> Vec<String> {
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_relation_planners(vec![Arc::new(NumberedCopies)])
            .build();
        let Statement::Query(query) = ingot_sql::parse_statement(sql).unwrap() else {
            panic!("{sql} is no query");
        };
        let mut statement = ast::Statement::Query(query);
        ingot_sql::prepare(&mut statement);
        let statement = PlannerStatement::Statement(Box::new(statement));
        let plan = state.statement_to_plan(statement).await.unwrap();
        let context = SessionContext::new_with_state(state);
        let frame = context.execute_logical_plan(plan).await.unwrap();
        let mut rows = Vec::new();
        for batch in frame.collect().await.unwrap() {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter();
                let cells = cells.map(|cells| array_value_to_string(cells, row).unwrap());
                rows.push(cells.collect::<Vec<_>>().join(","));
            }
        }
        rows.sort();
        rows
    }

    /// Counts how often each row is there.
    fn counts(rows: &[String]) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for row in rows {
            *counts.entry(row.as_str()).or_insert(0) += 1;
        }
        counts
    }

    fn values(random: &mut impl FnMut(u64) -> u64) -> (String, Vec<String>) {
        let rows = (0..1 + random(12)).map(|_| (random(4), random(3)));
        let rows: Vec<(u64, u64)> = rows.collect();
        let literal = |number: u64| match number {
            0 => "CAST(NULL AS bigint)".to_string(),
            other => other.to_string(),
        };
        let shown = |number: u64| match number {
            0 => String::new(),
            other => other.to_string(),
        };
        let sql: Vec<String> = rows
            .iter()
            .map(|(a, b)| format!("({}, {})", literal(*a), literal(*b)))
            .collect();
        let texts = rows
            .iter()
            .map(|(a, b)| format!("{},{}", shown(*a), shown(*b)));
        (format!("VALUES {}", sql.join(", ")), texts.collect())
    }

    #[tokio::test]
    async fn multisets_agree_with_counting() {
        let seed: u64 = std::env::var("SEED")
            .ok()
            .map_or(7, |seed| seed.parse().unwrap());
        let mut state = seed;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for case in 0..20 {
            let (left_sql, left) = values(&mut random);
            let (right_sql, right) = values(&mut random);
            let (left, right) = (counts(&left), counts(&right));
            for operation in ["EXCEPT", "INTERSECT"] {
                let mut expected = Vec::new();
                for (row, count) in &left {
                    let other = right.get(row).copied().unwrap_or(0);
                    let copies = match operation {
                        "EXCEPT" => count.saturating_sub(other),
                        _ => *count.min(&other),
                    };
                    expected.extend(std::iter::repeat_n((*row).to_string(), copies));
                }
                let sql = format!(
                    "SELECT * FROM ({left_sql}) AS l {operation} ALL SELECT * FROM ({right_sql}) AS r"
                );
                assert_eq!(
                    rows_of(&sql).await,
                    expected,
                    "seed {seed}, case {case}: {sql}"
                );
            }
        }
    }
}
