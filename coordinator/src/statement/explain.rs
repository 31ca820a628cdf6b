//! `EXPLAIN [ANALYZE]`

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use ingot_sql::{Explain, ExplainKind, Statement};

use super::context::StatementContext;
use super::insert_query::plan_insert_query;
use super::row_change;
use super::rows::{text_rows, text_schema};
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

pub(super) fn schema() -> SchemaRef {
    text_schema(&["Query Plan"])
}

pub(super) async fn execute(
    context: &StatementContext,
    explain: &Explain,
) -> Result<StatementOutcome> {
    if explain.analyze && !matches!(*explain.statement, Statement::Query(_)) {
        return Err(CoordinatorError::Unsupported(
            "EXPLAIN ANALYZE of a statement that is no query (EXPLAIN shows its plan, EXPLAIN \
             ANALYZE runs its query by itself)"
                .to_owned(),
        ));
    }
    let plan = plan_of(context, &explain.statement).await?;
    let text = match explain.kind {
        ExplainKind::Validate => "valid".to_owned(),
        ExplainKind::Logical => context.state.optimize(&plan)?.display_indent().to_string(),
        ExplainKind::Distributed => {
            context
                .core
                .engine
                .explain(
                    &context.state,
                    plan,
                    context.execute_options(),
                    explain.analyze,
                )
                .await?
        }
    };
    let rows = text.lines().map(|line| vec![Some(line.to_owned())]);
    text_rows(schema(), rows.collect::<Vec<_>>())
}

/// The query inside a statement: what of it can be explained.
async fn plan_of(context: &StatementContext, statement: &Statement) -> Result<LogicalPlan> {
    match statement {
        Statement::Query(query) => context.plan_query(query).await,
        Statement::CreateTableAs(create) => context.plan_query(&create.query).await,
        Statement::Insert(insert) => {
            let target = context.resolve_changed_table(&insert.table)?;
            let table = target.catalog.load_table(&target.ident).await?;
            plan_insert_query(context, insert, &table).await
        }
        changes => match row_change::plan_changes(context, changes).await? {
            Some(plan) => Ok(plan),
            None => Err(CoordinatorError::Unsupported(
                "EXPLAIN of a statement that runs no query".to_owned(),
            )),
        },
    }
}
