//! What a statement takes and returns, found without executing it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use ingot_sql::Statement;
use ingot_sql::sqlparser::ast;

use super::context::{bind_parameters, plan_unbound};
use super::headings::with_headings;
use super::insert_query::inserted_columns;
use super::row_values::{insert_statement, table_of};
use super::session_commands::query_of_values;
use super::{explain, show};
use crate::error::Result;
use crate::service::StatementDescription;
use crate::sessions::Session;
use crate::statement_catalogs::StatementCatalogs;

/// Describes one statement of a session.
pub async fn describe(
    catalogs: &StatementCatalogs,
    state: &SessionState,
    session: &Session,
    statement: &Statement,
) -> Result<StatementDescription> {
    if let Some(schema) = show::schema_of(catalogs, statement) {
        return Ok(rows_of(schema, Schema::empty()));
    }
    match statement {
        Statement::Query(query) => {
            let plan = plan_unbound(state, ast::Statement::Query(query.clone())).await?;
            let parameters = parameters_of(&plan)?;
            // The physical plan knows the nullability that batches will have. One with open
            // parameters cannot be made.
            let schema = match parameters.fields().is_empty() {
                true => state.create_physical_plan(&plan).await?.schema(),
                false => Arc::new(plan.schema().as_arrow().clone()),
            };
            Ok(rows_of(with_headings(&schema, query), parameters))
        }
        Statement::Explain(_) => Ok(rows_of(explain::schema(), Schema::empty())),
        Statement::Execute { name, parameters } => match session.prepared.get(name) {
            Some(Statement::Query(query)) if !parameters.is_empty() => {
                let plan = plan_unbound(state, ast::Statement::Query(query.clone())).await?;
                let values = values_of(state, parameters).await?;
                let plan = bind_parameters(plan, Some(&values))?;
                let schema = state.create_physical_plan(&plan).await?.schema();
                Ok(rows_of(with_headings(&schema, query), Schema::empty()))
            }
            Some(prepared) => {
                let mut description =
                    Box::pin(describe(catalogs, state, session, prepared)).await?;
                description.parameter_schema = Arc::new(Schema::empty());
                Ok(description)
            }
            None => Ok(no_rows()),
        },
        Statement::Insert(insert) => {
            if let Some((name, schema)) = table_of(state, &insert.table).await {
                inserted_columns(&name, &schema, insert)?;
            }
            let plan = plan_unbound(state, insert_statement(state, insert).await).await?;
            Ok(without_rows(parameters_of(&plan)?))
        }
        Statement::CreateTableAs(create) => {
            let plan = plan_unbound(state, ast::Statement::Query(create.query.clone())).await?;
            Ok(without_rows(parameters_of(&plan)?))
        }
        Statement::Delete(change) | Statement::Update(change) | Statement::Merge(change) => {
            Ok(without_rows(untyped_parameters(&change.statement)))
        }
        _ => Ok(no_rows()),
    }
}

/// The values after `USING`, whose types are those of the parameters. Where reading tables would
/// tell the values, nulls of their types.
async fn values_of(state: &SessionState, values: &[ast::Expr]) -> Result<RecordBatch> {
    let plan = plan_unbound(state, ast::Statement::Query(query_of_values(values)?)).await?;
    let mut reads_tables = false;
    plan.apply_with_subqueries(|node| {
        reads_tables |= matches!(node, LogicalPlan::TableScan(_));
        Ok(match reads_tables {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    let plan = state.create_physical_plan(&plan).await?;
    let schema = plan.schema();
    if !reads_tables {
        let batches = collect(plan, state.task_ctx()).await?;
        return Ok(concat_batches(&schema, &batches)?);
    }
    let fields = schema.fields().iter();
    let nulls: Vec<ArrayRef> = fields
        .clone()
        .map(|field| new_null_array(field.data_type(), 1))
        .collect();
    let fields: Vec<Field> = fields
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), nulls)?)
}

/// The parameters of a statement that is not planned here, of any type.
fn untyped_parameters(statement: &ast::Statement) -> Schema {
    let mut positions = BTreeSet::new();
    let _ = ast::visit_expressions(statement, |expression| {
        if let ast::Expr::Value(value) = expression
            && let ast::Value::Placeholder(name) = &value.value
            && let Ok(position) = name.trim_start_matches('$').parse::<usize>()
        {
            positions.insert(position);
        }
        ControlFlow::<()>::Continue(())
    });
    let fields = positions.into_iter();
    let fields = fields.map(|position| Field::new(format!("${position}"), DataType::Null, true));
    Schema::new(fields.collect::<Vec<_>>())
}

fn rows_of(schema: arrow::datatypes::SchemaRef, parameters: Schema) -> StatementDescription {
    StatementDescription {
        result_schema: schema,
        parameter_schema: Arc::new(parameters),
        returns_rows: true,
    }
}

/// The description of a statement without rows and parameters.
pub fn no_rows() -> StatementDescription {
    without_rows(Schema::empty())
}

fn without_rows(parameters: Schema) -> StatementDescription {
    StatementDescription {
        result_schema: Arc::new(Schema::empty()),
        parameter_schema: Arc::new(parameters),
        returns_rows: false,
    }
}

/// One field for each parameter, `$1` first.
fn parameters_of(plan: &LogicalPlan) -> Result<Schema> {
    let mut fields = Vec::new();
    for (name, data_type) in plan.get_parameter_types()? {
        let position = name
            .trim_start_matches('$')
            .parse::<usize>()
            .unwrap_or(usize::MAX);
        let data_type = data_type.unwrap_or(DataType::Null);
        fields.push((position, Field::new(name, data_type, true)));
    }
    fields.sort_by_key(|(position, _)| *position);
    let fields: Vec<Field> = fields.into_iter().map(|(_, field)| field).collect();
    Ok(Schema::new(fields))
}
