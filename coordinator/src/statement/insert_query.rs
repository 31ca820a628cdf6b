//! The query of an `INSERT`, lined up with its table: column lists, defaults, casts.
//!
//! DataFusion's own plan of an insert casts each value as soon as it is read, and what it was
//! before is forgotten. Here the query is planned by itself, its types are checked
//! ([`check_assignments`]), and then it is cast. A value of `VALUES` belongs to its column and not
//! to the values below it, which may be of other types, so it travels through the planner inside
//! a function that has the column's type ([`ColumnValue`]).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, plan_err};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Values, Volatility,
};
use datafusion::scalar::ScalarValue;
use ingot_catalog::Table;
use ingot_engine::assignment::check_assignments;
use ingot_engine::schema::query_schema_of;
use ingot_engine::table::write_defaults;
use ingot_sql::sqlparser::ast::{self, SetExpr};
use ingot_sql::{Insert, function_call};

use super::context::StatementContext;
use super::row_values::name_fields_of_query;
use crate::error::{CoordinatorError, Result};

/// Plans the rows of an insert as rows of its table.
///
/// # Errors
/// `InvalidInput` for columns that the table does not have, for rows of another length, and for
/// values that their columns do not take without a `CAST`; whatever is wrong with the query.
pub(super) async fn plan_insert_query(
    context: &StatementContext,
    insert: &Insert,
    table: &Table,
) -> Result<LogicalPlan> {
    let name = table.name();
    let schema = query_schema_of(table.metadata.current_schema())?;
    let indices = inserted_columns(&name, &schema, insert)?;
    let columns: Vec<&Field> = indices.iter().map(|&index| schema.field(index)).collect();
    let mut query = insert.query.as_ref().clone();
    let types: Vec<Option<DataType>> = columns
        .iter()
        .map(|column| Some(column.data_type().clone()))
        .collect();
    name_fields_of_query(&mut query.body, &types);
    let source = match values_in_mut(&mut query.body) {
        Some(values) => {
            mark_values(values);
            plan_values(context, query, &name, &columns).await?
        }
        None => {
            let source = context.plan_query(&query).await?;
            let count = source.schema().fields().len();
            check_count(&name, &columns, !insert.columns.is_empty(), count)?;
            check_query(context, &source, &name, &columns)?;
            source
        }
    };
    let defaults = write_defaults(table.metadata.current_schema())?;
    let mut expressions = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        let value = match indices.iter().position(|&inserted| inserted == index) {
            Some(position) => Expr::Column(Column::from(source.schema().qualified_field(position)))
                .cast_to(field.data_type(), source.schema())?,
            None => defaults
                .get(field.name())
                .cloned()
                .unwrap_or(Expr::Literal(ScalarValue::Null, None))
                .cast_to(field.data_type(), &DFSchema::empty())?,
        };
        expressions.push(value.alias(field.name()));
    }
    let aligned = LogicalPlanBuilder::from(source).project(expressions)?;
    Ok(aligned.build()?)
}

/// The table's columns that an insert writes, in the order of its rows.
///
/// # Errors
/// `InvalidInput` for names that the table does not have or that are there twice, and for rows of
/// `VALUES` of another length; `Unsupported` for `DEFAULT` among them.
pub(super) fn inserted_columns(
    table_name: &str,
    schema: &Schema,
    insert: &Insert,
) -> Result<Vec<usize>> {
    let mut indices = Vec::with_capacity(schema.fields().len());
    for column in &insert.columns {
        let Some((index, _)) = schema.fields().find(column) else {
            return Err(CoordinatorError::InvalidInput(format!(
                "table {table_name} has no column {column}"
            )));
        };
        if indices.contains(&index) {
            return Err(CoordinatorError::InvalidInput(format!(
                "column {column} is inserted twice"
            )));
        }
        indices.push(index);
    }
    if insert.columns.is_empty() {
        indices = (0..schema.fields().len()).collect();
    }
    if let Some(values) = values_in(&insert.query.body) {
        let columns: Vec<&Field> = indices.iter().map(|&index| schema.field(index)).collect();
        for row in &values.rows {
            check_count(
                table_name,
                &columns,
                !insert.columns.is_empty(),
                row.content.len(),
            )?;
            for (value, column) in row.content.iter().zip(&columns) {
                refuse_default(value, column.name())?;
            }
        }
    }
    Ok(indices)
}

/// Refuses `DEFAULT` as the value of a column, which the parser takes for a name.
pub(super) fn refuse_default(value: &ast::Expr, column: &str) -> Result<()> {
    match value {
        ast::Expr::Identifier(name)
            if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default") =>
        {
            Err(CoordinatorError::Unsupported(format!(
                "DEFAULT as the value of column {column} (an insert that does not name the column \
                 gives it its default)"
            )))
        }
        _ => Ok(()),
    }
}

fn check_count(table_name: &str, columns: &[&Field], are_named: bool, found: usize) -> Result<()> {
    let expected = columns.len();
    if expected == found {
        return Ok(());
    }
    let names: Vec<&str> = columns
        .iter()
        .map(|column| column.name().as_str())
        .collect();
    let names = names.join(", ");
    Err(CoordinatorError::InvalidInput(match are_named {
        true => format!(
            "the insert into table {table_name} names {expected} columns ({names}), its rows have \
             {found}"
        ),
        false => format!(
            "table {table_name} has {expected} columns ({names}), the inserted rows have {found}: \
             list the columns that they have, as in INSERT INTO t (a, b)"
        ),
    }))
}

/// The `VALUES` that are the whole query, if they are.
fn values_in(body: &SetExpr) -> Option<&ast::Values> {
    match body {
        SetExpr::Values(values) => Some(values),
        SetExpr::Query(query) => values_in(&query.body),
        _ => None,
    }
}

/// [`values_in`] to be changed.
fn values_in_mut(body: &mut SetExpr) -> Option<&mut ast::Values> {
    match body {
        SetExpr::Values(values) => Some(values),
        SetExpr::Query(query) => values_in_mut(&mut query.body),
        _ => None,
    }
}

/// Checks the types of a query's columns. Constants are found in the list of its `SELECT`.
fn check_query(
    context: &StatementContext,
    source: &LogicalPlan,
    table_name: &str,
    columns: &[&Field],
) -> Result<()> {
    let mut outermost = source;
    loop {
        outermost = match outermost {
            LogicalPlan::Sort(sort) => sort.input.as_ref(),
            LogicalPlan::Limit(limit) => limit.input.as_ref(),
            _ => break,
        };
    }
    let columns = columns.iter().copied();
    match outermost {
        LogicalPlan::Projection(projection) if projection.expr.len() == columns.len() => {
            let assignments = projection.expr.iter().zip(columns);
            check_assignments(&context.state, table_name, &projection.input, assignments)?;
        }
        _ => {
            let fields = source.schema().iter();
            let values: Vec<Expr> = fields
                .map(|field| Expr::Column(Column::from(field)))
                .collect();
            let assignments = values.iter().zip(columns);
            check_assignments(&context.state, table_name, source, assignments)?;
        }
    }
    Ok(())
}

/// Begins the names of the functions that values of columns are in; the index in the row follows.
const VALUE_OF_COLUMN: &str = "ingot_value_of_column_";

/// A value of `VALUES` as the planner sees it: of the type of its column, whatever it is itself.
/// It is taken out of there before anything is executed.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ColumnValue {
    name: String,
    data_type: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for ColumnValue {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _argument_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        plan_err!("{} stands for a value of an insert only", self.name)
    }
}

fn mark_values(values: &mut ast::Values) {
    for row in &mut values.rows {
        for (index, value) in row.content.iter_mut().enumerate() {
            let name = format!("{VALUE_OF_COLUMN}{index}");
            *value = function_call(&name, vec![value.clone()]);
        }
    }
}

/// Plans a query that is nothing but marked `VALUES`, and casts each of them to its column's type.
async fn plan_values(
    context: &StatementContext,
    query: ast::Query,
    table_name: &str,
    columns: &[&Field],
) -> Result<LogicalPlan> {
    let mut state = context.state.clone();
    for (index, column) in columns.iter().enumerate() {
        state.register_udf(Arc::new(ScalarUDF::from(ColumnValue {
            name: format!("{VALUE_OF_COLUMN}{index}"),
            data_type: column.data_type().clone(),
            signature: Signature::any(1, Volatility::Immutable),
        })))?;
    }
    let statement = ast::Statement::Query(Box::new(query));
    let plan = context.plan_in(&state, statement).await?;
    let transformed = plan.transform_up(|node| match node {
        LogicalPlan::Values(values) => {
            let values = cast_values(context, values, table_name, columns)?;
            Ok(Transformed::yes(LogicalPlan::Values(values)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(transformed.data)
}

fn cast_values(
    context: &StatementContext,
    marked: Values,
    table_name: &str,
    columns: &[&Field],
) -> DataFusionResult<Values> {
    let mut rows = Vec::with_capacity(marked.values.len());
    for row in marked.values {
        let row: DataFusionResult<Vec<Expr>> = row.into_iter().map(without_mark).collect();
        rows.push(row?);
    }
    let no_input = LogicalPlanBuilder::empty(true).build()?;
    let assignments = rows
        .iter()
        .flat_map(|row| row.iter().zip(columns.iter().copied()));
    check_assignments(&context.state, table_name, &no_input, assignments)?;
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let mut cast = Vec::with_capacity(columns.len());
        for (value, column) in row.into_iter().zip(columns) {
            cast.push(match value {
                Expr::Literal(ScalarValue::Null, metadata) => {
                    Expr::Literal(ScalarValue::try_from(column.data_type())?, metadata)
                }
                value => value.cast_to(column.data_type(), no_input.schema())?,
            });
        }
        values.push(cast);
    }
    Ok(Values {
        schema: marked.schema,
        values,
    })
}

fn without_mark(value: Expr) -> DataFusionResult<Expr> {
    match value.unalias() {
        Expr::ScalarFunction(mut call) if call.func.name().starts_with(VALUE_OF_COLUMN) => {
            call.args.pop().ok_or_else(|| lost(call.func.name()))
        }
        other => Err(lost(&other.to_string())),
    }
}

fn lost(what: &str) -> DataFusionError {
    DataFusionError::Internal(format!("a value of an insert was planned as {what}"))
}
