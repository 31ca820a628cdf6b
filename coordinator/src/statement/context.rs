//! One statement while it is executed.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use ingot_engine::hidden_columns::plan_statement;
use ingot_engine::write::WriteOptions;
use ingot_sql::ObjectName;
use ingot_sql::sqlparser::ast;

use super::materialized_views::refuse_storage_table;
use crate::cluster::{ExecuteOptions, ExecutedQuery};
use crate::core::Core;
use crate::error::{CoordinatorError, Result};
use crate::queries::RunningQuery;
use crate::service::SessionId;
use crate::session_properties;
use crate::sessions::Session;
use crate::statement_catalogs::{ResolvedTable, StatementCatalogs};

/// One statement with everything that it needs: the session as it was when the statement began,
/// and one planner state, so that all its parts see the same catalog and clock.
pub struct StatementContext {
    pub core: Arc<Core>,
    pub session_id: SessionId,
    pub session: Arc<Session>,
    /// The catalogs on the session's branches, or in its transaction.
    pub catalogs: StatementCatalogs,
    pub query: Arc<RunningQuery>,
    pub state: SessionState,
    /// One row with a column for each parameter.
    pub parameters: Option<RecordBatch>,
}

impl StatementContext {
    /// The catalog and table that a name means here.
    pub fn resolve_table(&self, name: &ObjectName) -> Result<ResolvedTable> {
        self.catalogs.resolve_table(name)
    }

    /// The session's time zone.
    pub fn time_zone(&self) -> String {
        let options = self.state.config_options();
        options
            .execution
            .time_zone
            .clone()
            .unwrap_or_else(|| self.core.time_zone.clone())
    }

    /// [`StatementContext::resolve_table`] for a statement that changes the table.
    ///
    /// # Errors
    /// `InvalidInput` for a table that only the refreshes of its materialized view change.
    pub fn resolve_changed_table(&self, name: &ObjectName) -> Result<ResolvedTable> {
        let target = self.resolve_table(name)?;
        refuse_storage_table(&target)?;
        Ok(target)
    }

    /// Plans a query and puts the parameters in.
    pub async fn plan_query(&self, query: &ast::Query) -> Result<LogicalPlan> {
        self.plan(ast::Statement::Query(Box::new(query.clone())))
            .await
    }

    /// Plans any statement that DataFusion knows and puts the parameters in.
    pub async fn plan(&self, statement: ast::Statement) -> Result<LogicalPlan> {
        self.plan_in(&self.state, statement).await
    }

    /// [`StatementContext::plan`] in a session that knows further tables.
    pub async fn plan_in(
        &self,
        state: &SessionState,
        statement: ast::Statement,
    ) -> Result<LogicalPlan> {
        let plan = plan_unbound(state, statement).await?;
        self.bind(plan)
    }

    fn bind(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        bind_parameters(plan, self.parameters.as_ref())
    }

    /// Begins a planned query where the session wants it to run.
    pub async fn run(&self, plan: LogicalPlan) -> Result<ExecutedQuery> {
        self.run_in(&self.state, plan).await
    }

    /// Runs a planned query to its end and keeps its rows: for results known to be small.
    pub async fn collect(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>> {
        let executed = self.run(plan).await?;
        Ok(executed.stream.try_collect().await?)
    }

    /// Runs a plan that writes files, whose names will begin with the statement's id.
    pub async fn collect_written(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>> {
        let options = WriteOptions::new(self.query.id());
        self.collect_written_with(plan, options).await
    }

    /// Runs a plan that writes files as `options` say.
    pub async fn collect_written_with(
        &self,
        plan: LogicalPlan,
        options: WriteOptions,
    ) -> Result<Vec<RecordBatch>> {
        let mut state = self.state.clone();
        state.config_mut().set_extension(Arc::new(options));
        let executed = self.run_in(&state, plan).await?;
        Ok(executed.stream.try_collect().await?)
    }

    async fn run_in(&self, state: &SessionState, plan: LogicalPlan) -> Result<ExecutedQuery> {
        let options = self.execute_options();
        let executed = self.core.engine.run(state, plan, options).await?;
        self.query.set_placement(executed.placement.as_str());
        Ok(executed)
    }

    /// How this statement's queries run.
    pub fn execute_options(&self) -> ExecuteOptions {
        ExecuteOptions {
            placement: session_properties::placement(&self.session.properties),
            query_id: self.query.id(),
            cancel: self.query.cancel.clone(),
            progress: self.query.progress.clone(),
        }
    }
}

/// Plans a statement; parameters stay open. Columns of a result have the planner's names (see
/// `headings`).
pub async fn plan_unbound(state: &SessionState, statement: ast::Statement) -> Result<LogicalPlan> {
    Ok(plan_statement(state, statement).await?)
}

/// Puts one row of parameters into a plan.
///
/// # Errors
/// `InvalidInput` when there are more or fewer of them than the plan has.
pub(super) fn bind_parameters(
    plan: LogicalPlan,
    parameters: Option<&RecordBatch>,
) -> Result<LogicalPlan> {
    let expected = plan.get_parameter_names()?.len();
    let given = parameters.map_or(0, RecordBatch::num_columns);
    if expected != given {
        return Err(CoordinatorError::InvalidInput(format!(
            "the statement has {expected} parameters and {given} values were given"
        )));
    }
    match parameters {
        Some(parameters) => Ok(plan.with_param_values(parameter_values(parameters)?)?),
        None => Ok(plan),
    }
}

fn parameter_values(parameters: &RecordBatch) -> Result<ParamValues> {
    if parameters.num_rows() != 1 {
        return Err(CoordinatorError::InvalidInput(format!(
            "a query takes one row of parameters, {} were given",
            parameters.num_rows()
        )));
    }
    let mut values = Vec::with_capacity(parameters.num_columns());
    for column in parameters.columns() {
        let value = ScalarValue::try_from_array(column.as_ref() as &dyn Array, 0)?;
        values.push(ScalarAndMetadata::from(value));
    }
    Ok(ParamValues::List(values))
}
