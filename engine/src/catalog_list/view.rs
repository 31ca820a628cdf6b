//! Views as DataFusion sees them: the plan of their query, made anew for each statement.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use iceberg::spec::{NestedField, NestedFieldRef, Schema as IcebergSchema};
use ingot_catalog::View;
use ingot_catalog::evolve::sql_type_name;
use ingot_catalog::materialized_view::SourceView;
use ingot_sql::Statement;
use ingot_sql::sqlparser::ast;

use super::{CatalogList, PlanningScope};
use crate::error::{EngineError, Result};
use crate::hidden_columns::plan_statement;
use crate::materialized_view::{StoredRows, UsedViews};
use crate::schema::{arrow_field_of, query_schema_of};
use crate::session::{SessionOptions, new_session_state};
use crate::write::table_schema_of;

/// Deeper nesting of views is taken for a mistake: every level is planned on the stack of the one
/// above.
const DEEPEST_NESTING: usize = 32;

/// The view as a table whose rows are those of its query, with the names that unqualified tables
/// had where the view was made.
///
/// # Errors
/// `InvalidInput` for a view that reads itself, through whatever other views, for views nested too
/// deep, and for one whose query has other columns now than it had when the view was made (for a
/// materialized view, of other types); errors of planning the query, naming the view.
pub(super) async fn plan_view(
    list: &Arc<CatalogList>,
    scope: &PlanningScope,
    catalog: &str,
    view: &View,
) -> Result<Arc<dyn TableProvider>> {
    let plan = plan_query_of_view(list, scope, catalog, view).await?;
    Ok(Arc::new(ViewTable::new(plan, Some(view.definition()?.sql))))
}

/// The query of a materialized view as a refresh runs it: it looks into every view that it reads,
/// but for materialized ones whose stored rows are up to date.
#[derive(Debug, Clone)]
pub struct RefreshQuery {
    /// Its plan, not optimized; the columns are those of the view.
    pub plan: LogicalPlan,
    /// The views that it read.
    pub views: Vec<SourceView>,
}

/// Plans the query of a materialized view of `catalog` for a refresh in a session's time zone.
///
/// # Errors
/// As reading the view.
pub async fn plan_refresh(
    list: &Arc<CatalogList>,
    catalog: &str,
    view: &View,
    time_zone: &str,
    runtime: &Arc<RuntimeEnv>,
) -> Result<RefreshQuery> {
    let used_views = UsedViews::default();
    let scope = PlanningScope {
        time_zone: time_zone.into(),
        runtime: Arc::clone(runtime),
        views: Vec::new().into(),
        stored_rows: StoredRows::OnlyFresh,
        used_views: Some(used_views.clone()),
    };
    let plan = plan_query_of_view(list, &scope, catalog, view).await?;
    let mut views = used_views.all();
    views.retain(|used| used.uuid != view.metadata.uuid());
    Ok(RefreshQuery { plan, views })
}

async fn plan_query_of_view(
    list: &Arc<CatalogList>,
    scope: &PlanningScope,
    catalog: &str,
    view: &View,
) -> Result<LogicalPlan> {
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
    if let Some(used_views) = &scope.used_views {
        used_views.note(catalog, view);
    }
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
        stored_rows: scope.stored_rows,
        used_views: scope.used_views.clone(),
        ..SessionOptions::default()
    };
    let state = new_session_state(Arc::clone(&scope.runtime), list, &options);
    let Statement::Query(query) = ingot_sql::parse_statement(&definition.sql)? else {
        return Err(EngineError::InvalidInput(format!(
            "view {name} is no query: replace it"
        )));
    };
    let plan = plan_statement(&state, ast::Statement::Query(query))
        .await
        .map_err(|error| EngineError::View {
            view: name.clone(),
            source: Box::new(DataFusionError::from(error)),
        })?;
    let columns: Vec<String> = definition
        .schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| field.name.clone())
        .collect();
    let plan = rename_columns(&name, plan, &definition.query_columns, &columns)?;
    match definition.materialization {
        Some(_) => with_stored_types(&name, plan, &definition.schema),
        None => Ok(plan),
    }
}

/// The columns in the types that they are stored in: those of a materialized view do not depend on
/// where its rows come from.
fn with_stored_types(view: &str, plan: LogicalPlan, stored: &IcebergSchema) -> Result<LogicalPlan> {
    let now = table_schema_of(plan.schema())?;
    for (now, stored) in fields_of(&now).zip(fields_of(stored)) {
        // Field ids, of nested fields too, tell nothing here.
        let as_arrow = |field: &NestedField| {
            arrow_field_of(field, false).map(|field| field.data_type().clone())
        };
        if as_arrow(now)? != as_arrow(stored)? {
            return Err(EngineError::InvalidInput(format!(
                "column {} of materialized view {view} is stored as {}, and its query now returns \
                 {}: replace the view",
                stored.name,
                sql_type_name(&stored.field_type),
                sql_type_name(&now.field_type)
            )));
        }
    }
    let stored = query_schema_of(stored)?;
    let schema = Arc::clone(plan.schema());
    let is_stored_so = schema
        .fields()
        .iter()
        .zip(stored.fields())
        .all(|(field, stored)| field.data_type() == stored.data_type());
    if is_stored_so {
        return Ok(plan);
    }
    let mut cast = Vec::new();
    for (column, stored) in schema.columns().into_iter().zip(stored.fields()) {
        let value = Expr::Column(column).cast_to(stored.data_type(), &schema)?;
        cast.push(value.alias(stored.name()));
    }
    Ok(LogicalPlanBuilder::from(plan).project(cast)?.build()?)
}

fn fields_of(schema: &IcebergSchema) -> impl Iterator<Item = &NestedFieldRef> {
    schema.as_struct().fields().iter()
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

/// A view as `information_schema` lists it, whether or not its query can still be planned: without
/// a plan it has the columns that it was made with.
#[derive(Debug)]
pub(super) struct ListedView {
    schema: SchemaRef,
    sql: String,
}

impl ListedView {
    pub(super) fn new(view: &View, planned: Option<Arc<dyn TableProvider>>) -> Result<Self> {
        let definition = view.definition()?;
        Ok(Self {
            schema: match planned {
                Some(planned) => planned.schema(),
                None => query_schema_of(&definition.schema)?,
            },
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
