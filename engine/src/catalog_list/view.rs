//! Views as DataFusion sees them: the plan of their query, made anew for each statement.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement as PlannerStatement;
use ingot_catalog::View;
use ingot_sql::Statement;
use ingot_sql::sqlparser::ast;

use super::{CatalogList, PlanningScope};
use crate::error::{EngineError, Result};
use crate::schema::query_schema_of;
use crate::session::{SessionOptions, new_session_state};

/// Deeper nesting of views is taken for a mistake: every level is planned on the stack of the one
/// above.
const DEEPEST_NESTING: usize = 32;

/// The view as a table whose rows are those of its query, with the names that unqualified tables
/// had where the view was made.
///
/// # Errors
/// `InvalidInput` for a view that reads itself, through whatever other views, for views nested too
/// deep, and for one whose query has other columns now than it had when the view was made; errors
/// of planning the query, naming the view.
pub(super) async fn plan_view(
    list: &Arc<CatalogList>,
    scope: &PlanningScope,
    catalog: &str,
    view: &View,
) -> Result<Arc<dyn TableProvider>> {
    let name = format!("{catalog}.{}", view.name());
    if scope.views.contains(&name) {
        return Err(EngineError::InvalidInput(format!(
            "view {name} reads itself: {} → {name}",
            scope.views.join(" → ")
        )));
    }
    if scope.views.len() >= DEEPEST_NESTING {
        return Err(EngineError::InvalidInput(format!(
            "view {name} is nested in more than {DEEPEST_NESTING} others: {}",
            scope.views.join(" → ")
        )));
    }
    let definition = view.definition()?;
    let mut views = scope.views.to_vec();
    views.push(name.clone());
    let options = SessionOptions {
        time_zone: scope.time_zone.to_string(),
        default_catalog: definition
            .default_catalog
            .clone()
            .unwrap_or_else(|| catalog.to_string()),
        default_schema: definition.default_schema.clone(),
        views_in_planning: views,
        ..SessionOptions::default()
    };
    let state = new_session_state(Arc::clone(&scope.runtime), list, &options);
    let Statement::Query(query) = ingot_sql::parse_statement(&definition.sql)? else {
        return Err(EngineError::InvalidInput(format!(
            "view {name} is no query: replace it"
        )));
    };
    let statement = PlannerStatement::Statement(Box::new(ast::Statement::Query(query)));
    let plan = state
        .statement_to_plan(statement)
        .await
        .map_err(|error| error.context(format!("view {name}")))?;
    let columns: Vec<String> = definition
        .schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| field.name.clone())
        .collect();
    let plan = rename_columns(&name, plan, &definition.query_columns, &columns)?;
    Ok(Arc::new(ViewTable::new(plan, Some(definition.sql))))
}

/// Gives the query's columns their names in the view, if they are still those that it was made
/// with: `SELECT *` may mean others now.
fn rename_columns(
    view: &str,
    plan: LogicalPlan,
    expected: &[String],
    names: &[String],
) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    let found: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    if found != expected || names.len() != expected.len() {
        return Err(EngineError::InvalidInput(format!(
            "view {view} was made when its query had the columns {}, and now it has {}: replace \
             the view",
            expected.join(", "),
            found.join(", ")
        )));
    }
    let renamed = columns
        .into_iter()
        .zip(names)
        .map(|(column, name)| Expr::Column(column).alias(name));
    let renamed: Vec<Expr> = renamed.collect();
    Ok(LogicalPlanBuilder::from(plan).project(renamed)?.build()?)
}

/// A view as `information_schema` lists it: with the columns that it was made with, whether or not
/// its query can still be planned.
#[derive(Debug)]
pub(super) struct ListedView {
    schema: SchemaRef,
    sql: String,
}

impl ListedView {
    pub(super) fn new(view: &View) -> Result<Self> {
        let definition = view.definition()?;
        Ok(Self {
            schema: query_schema_of(&definition.schema)?,
            sql: definition.sql,
        })
    }
}

#[async_trait]
impl TableProvider for ListedView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_table_definition(&self) -> Option<&str> {
        Some(&self.sql)
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Err(EngineError::Unsupported("reading a view that is only listed".to_string()).into())
    }
}
