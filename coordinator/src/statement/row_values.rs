//! `ROW('Rome', 1)` and `struct('Rome', 1)` as values of a column: their fields are those of the
//! column, by position.
//!
//! DataFusion 55 casts rows by the names of their fields, and a row written so has none.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::TableReference;
use datafusion::execution::SessionState;
use ingot_engine::table::IcebergTable;
use ingot_sql::sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, SelectItem, SetExpr,
    Value,
};
use ingot_sql::{Insert, ObjectName};

/// An insert as a statement of the planner.
pub(super) async fn insert_statement(state: &SessionState, insert: &Insert) -> ast::Statement {
    let mut insert = insert.clone();
    if has_rows(&insert.query.body)
        && let Some((_, schema)) = table_of(state, &insert.table).await
    {
        let types: Vec<Option<DataType>> = match insert.columns.as_slice() {
            [] => {
                let fields = schema.fields().iter();
                fields
                    .map(|field| Some(field.data_type().clone()))
                    .collect()
            }
            columns => {
                let types = columns.iter().map(|column| {
                    let field = schema.field_with_name(column).ok()?;
                    Some(field.data_type().clone())
                });
                types.collect()
            }
        };
        name_fields_of_query(&mut insert.query.body, &types);
    }
    insert.to_ast()
}

/// The name for messages and the columns of a table; `None` is left to the planner's own error.
pub(super) async fn table_of(
    state: &SessionState,
    table: &ObjectName,
) -> Option<(String, SchemaRef)> {
    let reference = match table.parts.as_slice() {
        [table] => TableReference::bare(table.as_str()),
        [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
        [catalog, schema, table] => {
            TableReference::full(catalog.as_str(), schema.as_str(), table.as_str())
        }
        _ => return None,
    };
    let schema = state.schema_for_ref(reference).ok()?;
    let provider = schema.table(table.object()).await.ok()??;
    let name = match provider.downcast_ref::<IcebergTable>() {
        Some(known) => known.table().name(),
        None => table.parts.join("."),
    };
    Some((name, provider.schema()))
}

/// Whether a row is one of a query's own values: most inserts need not look at their table.
fn has_rows(body: &SetExpr) -> bool {
    let mut found = false;
    values_of(body, &mut |_, value| found |= is_row(value));
    found
}

fn is_row(value: &Expr) -> bool {
    match value {
        Expr::Struct { .. } => true,
        Expr::Array(array) => array.elem.iter().any(is_row),
        Expr::Function(function) => is_row_call(function),
        _ => false,
    }
}

fn is_row_call(function: &Function) -> bool {
    let name = function.name.to_string().to_lowercase();
    matches!(name.as_str(), "row" | "struct")
}

/// Shows the values that are the columns of a query, with their positions.
fn values_of(body: &SetExpr, visit: &mut impl FnMut(usize, &Expr)) {
    match body {
        SetExpr::Select(select) => {
            for (index, item) in select.projection.iter().enumerate() {
                if let SelectItem::UnnamedExpr(value)
                | SelectItem::ExprWithAlias { expr: value, .. } = item
                {
                    visit(index, value);
                }
            }
        }
        SetExpr::Values(values) => {
            for row in &values.rows {
                row.iter()
                    .enumerate()
                    .for_each(|(index, value)| visit(index, value));
            }
        }
        SetExpr::Query(query) => values_of(&query.body, visit),
        SetExpr::SetOperation { left, right, .. } => {
            values_of(left, visit);
            values_of(right, visit);
        }
        _ => {}
    }
}

/// Gives the fields of rows among a query's own values the names that they have in the types of
/// its columns.
pub(super) fn name_fields_of_query(body: &mut SetExpr, types: &[Option<DataType>]) {
    let name = |index: usize, value: &mut Expr| {
        if let Some(Some(data_type)) = types.get(index) {
            name_fields(value, data_type);
        }
    };
    match body {
        SetExpr::Select(select) => {
            let is_one = |item: &SelectItem| {
                matches!(
                    item,
                    SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
                )
            };
            // Behind a `*` positions are not known.
            let known = select.projection.iter_mut().take_while(|item| is_one(item));
            for (index, item) in known.enumerate() {
                if let SelectItem::UnnamedExpr(value)
                | SelectItem::ExprWithAlias { expr: value, .. } = item
                {
                    name(index, value);
                }
            }
        }
        SetExpr::Values(values) => {
            for row in &mut values.rows {
                for (index, value) in row.iter_mut().enumerate() {
                    name(index, value);
                }
            }
        }
        SetExpr::Query(query) => name_fields_of_query(&mut query.body, types),
        SetExpr::SetOperation { left, right, .. } => {
            name_fields_of_query(left, types);
            name_fields_of_query(right, types);
        }
        _ => {}
    }
}

/// Gives the fields of a row, and of rows in it, the names that they have in the type.
pub(super) fn name_fields(value: &mut Expr, data_type: &DataType) {
    match data_type {
        DataType::List(element) => {
            if let Expr::Array(array) = value {
                for element_value in &mut array.elem {
                    name_fields(element_value, element.data_type());
                }
            }
        }
        DataType::Struct(fields) => {
            let Some(mut values) = fields_of_row(value) else {
                return;
            };
            if values.len() != fields.len() {
                return;
            }
            let mut arguments = Vec::with_capacity(2 * values.len());
            for (field_value, field) in values.iter_mut().zip(fields) {
                name_fields(field_value, field.data_type());
                arguments.push(Expr::value(Value::SingleQuotedString(field.name().clone())));
                arguments.push(field_value.clone());
            }
            *value = ingot_sql::function_call("named_struct", arguments);
        }
        _ => {}
    }
}

/// The values of a row whose fields have no names.
fn fields_of_row(value: &Expr) -> Option<Vec<Expr>> {
    match value {
        Expr::Struct { values, fields } if fields.is_empty() => {
            let is_plain = values
                .iter()
                .all(|value| !matches!(value, Expr::Named { .. }));
            is_plain.then(|| values.clone())
        }
        Expr::Function(function) if is_row_call(function) => {
            let FunctionArguments::List(list) = &function.args else {
                return None;
            };
            let arguments = list.args.iter();
            arguments
                .map(|argument| match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
                    _ => None,
                })
                .collect()
        }
        _ => None,
    }
}
