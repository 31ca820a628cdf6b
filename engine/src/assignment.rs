//! What a column takes without a `CAST`: values of which nothing is lost on the way.
//!
//! DataFusion's planner casts whatever is written into a table, and its casts round, cut off and
//! count days: `1.6` becomes `1`, a date `19723`. As in Trino, such a value is an error here. A
//! cast that fails where a value does not fit (text that is no date, a `bigint` too large for an
//! `integer`) is left to fail: it loses nothing.

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};

use crate::error::{EngineError, Result};
use crate::schema::sql_type_of;

/// Checks the values that a statement writes into columns of a table.
///
/// The values are expressions over the columns of `input`; those of a `CASE` and the elements of
/// an array or a row are looked at one by one. Constants may have more digits than the column's
/// type as long as these are zeros.
///
/// # Errors
/// `InvalidInput` naming the column and both types for the first value that its column does not
/// take; errors of analysing the values.
pub fn check_assignments<'a>(
    state: &SessionState,
    table_name: &str,
    input: &LogicalPlan,
    assignments: impl IntoIterator<Item = (&'a Expr, &'a Field)>,
) -> Result<()> {
    let mut parts = Vec::new();
    for (value, column) in assignments {
        collect_parts(value, column.data_type(), column, &mut parts);
    }
    // The types of other expressions are known when they were analysed only.
    let open: Vec<Expr> = parts
        .iter()
        .filter(|part| plain_type(part.value).is_none())
        .map(|part| part.value.clone())
        .collect();
    let mut analyzed = analyzed_types(state, input, open)?.into_iter();
    for part in parts {
        let source = match plain_type(part.value) {
            Some(data_type) => data_type,
            None => analyzed.next().unwrap_or(DataType::Null),
        };
        let fits = takes(part.target, &source)
            || constant_of(part.value).is_some_and(|value| takes_constant(part.target, &value))
            || (*part.target == DataType::Date32 && is_truncated_date(part.value, input.schema()));
        if !fits {
            return Err(mismatch(table_name, part.column, part.target, &source));
        }
    }
    Ok(())
}

/// Checks whether a column takes the values of a column of another type.
///
/// # Errors
/// `InvalidInput` naming the column and both types.
pub fn check_type(table_name: &str, column: &Field, source: &DataType) -> Result<()> {
    match takes(column.data_type(), source) {
        true => Ok(()),
        false => Err(mismatch(table_name, column, column.data_type(), source)),
    }
}

/// A value, or one of those that a value is made of.
struct Part<'a> {
    value: &'a Expr,
    /// The column's type, or that of an element or field in it.
    target: &'a DataType,
    column: &'a Field,
}

fn collect_parts<'a>(
    value: &'a Expr,
    target: &'a DataType,
    column: &'a Field,
    parts: &mut Vec<Part<'a>>,
) {
    match (value, target) {
        (Expr::Alias(alias), _) => collect_parts(&alias.expr, target, column, parts),
        (Expr::Case(case), _) => {
            for (_, then) in &case.when_then_expr {
                collect_parts(then, target, column, parts);
            }
            if let Some(otherwise) = &case.else_expr {
                collect_parts(otherwise, target, column, parts);
            }
        }
        (Expr::ScalarFunction(call), DataType::List(element))
            if call.func.name() == "make_array" =>
        {
            for argument in &call.args {
                collect_parts(argument, element.data_type(), column, parts);
            }
        }
        (Expr::ScalarFunction(call), DataType::Struct(_)) => match fields_of_row(call, target) {
            Some(fields) => {
                for (field_value, field_type) in fields {
                    collect_parts(field_value, field_type, column, parts);
                }
            }
            None => parts.push(Part {
                value,
                target,
                column,
            }),
        },
        _ => parts.push(Part {
            value,
            target,
            column,
        }),
    }
}

/// The values in `named_struct('city', 'Rome', …)` with the types of the fields that have their
/// names; `None` for anything else.
fn fields_of_row<'a>(
    call: &'a ScalarFunction,
    target: &'a DataType,
) -> Option<Vec<(&'a Expr, &'a DataType)>> {
    let DataType::Struct(fields) = target else {
        return None;
    };
    if call.func.name() != "named_struct" {
        return None;
    }
    let mut found = Vec::with_capacity(call.args.len() / 2);
    for argument in call.args.chunks(2) {
        let [Expr::Literal(name, _), value] = argument else {
            return None;
        };
        let name = name.try_as_str().flatten()?;
        let (_, field) = fields.find(name)?;
        found.push((value, field.data_type()));
    }
    Some(found)
}

/// The type of a constant or a cast, which analysis does not change.
fn plain_type(value: &Expr) -> Option<DataType> {
    match value {
        Expr::Literal(value, _) => Some(value.data_type()),
        Expr::Cast(cast) => Some(cast.field.data_type().clone()),
        _ => None,
    }
}

/// The types of expressions over the columns of a plan, once operands are brought to one type.
fn analyzed_types(
    state: &SessionState,
    input: &LogicalPlan,
    values: Vec<Expr>,
) -> Result<Vec<DataType>> {
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<Expr> = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| value.alias(format!("value {index}")))
        .collect();
    let plan = LogicalPlanBuilder::from(input.clone())
        .project(values)?
        .build()?;
    let options = state.config_options();
    let plan = state
        .analyzer()
        .execute_and_check(plan, options, |_, _| {})?;
    let fields = plan.schema().fields().iter();
    Ok(fields.map(|field| field.data_type().clone()).collect())
}

/// The value of a constant. A typed constant, such as `DECIMAL '1.5'`, is one too, and so is
/// `2.5e0`, which the parser knows as a cast.
fn constant_of(value: &Expr) -> Option<ScalarValue> {
    match value {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Literal(value, _)
                if cast.field.data_type().is_decimal() || cast.field.data_type().is_floating() =>
            {
                value.cast_to(cast.field.data_type()).ok()
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether values of a type become values of the target's without loss, or fail to.
fn takes(target: &DataType, source: &DataType) -> bool {
    if target == source {
        return true;
    }
    match source {
        DataType::Null => return true,
        DataType::Dictionary(_, values) => return takes(target, values),
        DataType::RunEndEncoded(_, values) => return takes(target, values.data_type()),
        _ => {}
    }
    match target {
        target if target.is_integer() => source.is_integer() || is_text(source),
        target if target.is_decimal() => {
            let keeps_scale = match (scale_of(source), scale_of(target)) {
                (Some(from), Some(to)) => from <= to,
                _ => false,
            };
            keeps_scale || source.is_integer() || is_text(source)
        }
        DataType::Float64 => source.is_numeric() || is_text(source),
        DataType::Float32 => {
            (*source != DataType::Float64 && source.is_numeric()) || is_text(source)
        }
        target if is_text(target) => is_text(source),
        target if is_binary(target) => is_binary(source) || is_text(source),
        DataType::Date32 | DataType::Date64 => is_date(source) || is_text(source),
        DataType::Time32(_) | DataType::Time64(_) => {
            matches!(source, DataType::Time32(_) | DataType::Time64(_)) || is_text(source)
        }
        DataType::Timestamp(_, _) => {
            matches!(source, DataType::Timestamp(_, _)) || is_date(source) || is_text(source)
        }
        DataType::List(element) => match source {
            DataType::List(from)
            | DataType::LargeList(from)
            | DataType::ListView(from)
            | DataType::LargeListView(from)
            | DataType::FixedSizeList(from, _) => takes(element.data_type(), from.data_type()),
            _ => false,
        },
        // Rows are cast by the names of their fields: one that the column lacks would be lost.
        DataType::Struct(fields) => match source {
            DataType::Struct(from) => from.iter().all(|from| {
                let field = fields.find(from.name());
                field.is_some_and(|(_, field)| takes(field.data_type(), from.data_type()))
            }),
            _ => false,
        },
        DataType::Map(entries, _) => match source {
            DataType::Map(from, _) => takes_entries(entries.data_type(), from.data_type()),
            _ => false,
        },
        _ => false,
    }
}

/// The same for the entries of maps: key and value by position.
fn takes_entries(target: &DataType, source: &DataType) -> bool {
    match (target, source) {
        (DataType::Struct(target), DataType::Struct(source)) => {
            let mut pairs = target.iter().zip(source.iter());
            target.len() == source.len()
                && pairs.all(|(to, from)| takes(to.data_type(), from.data_type()))
        }
        _ => false,
    }
}

/// Whether a constant becomes a value of the target's type without loss, though others of its
/// type would not.
fn takes_constant(target: &DataType, value: &ScalarValue) -> bool {
    if value.is_null() {
        return true;
    }
    match target {
        DataType::Boolean => {
            let text = value.try_as_str().flatten();
            text.is_some_and(|text| {
                text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
            })
        }
        target if target.is_decimal() && value.data_type().is_numeric() => {
            let there = value.cast_to(target);
            let back = there.and_then(|cast| cast.cast_to(&value.data_type()));
            back.is_ok_and(|back| back == *value)
        }
        DataType::Float32 => match value {
            ScalarValue::Float64(Some(number)) => {
                // What is infinite or no number stays so; what is finite must.
                !number.is_finite() || number.abs() <= f64::from(f32::MAX)
            }
            _ => false,
        },
        _ => false,
    }
}

/// Whether a value is `date_trunc` of a date, which has no time of day although DataFusion makes
/// a timestamp of it.
fn is_truncated_date(value: &Expr, schema: &DFSchema) -> bool {
    match value {
        Expr::ScalarFunction(call) if call.func.name() == "date_trunc" => {
            let truncated = call.args.get(1).map(|argument| argument.get_type(schema));
            matches!(truncated, Some(Ok(DataType::Date32)))
        }
        _ => false,
    }
}

fn scale_of(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

fn is_date(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Date64)
}

fn mismatch(table_name: &str, column: &Field, target: &DataType, source: &DataType) -> EngineError {
    let name_of = |data_type: &DataType| sql_type_of(&Field::new("", data_type.clone(), true));
    let column_type = sql_type_of(column);
    let (what, wanted) = match target == column.data_type() {
        true => ("the value has", column_type.clone()),
        false => ("a value in it has", name_of(target)),
    };
    EngineError::InvalidInput(format!(
        "column {} of table {table_name} has type {column_type}, {what} type {}: convert it with \
         CAST(… AS {wanted})",
        column.name(),
        name_of(source)
    ))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Fields, TimeUnit};

    use super::*;

    #[test]
    fn types_that_lose_something_are_not_taken() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let decimal = |precision, scale| DataType::Decimal128(precision, scale);
        let list = |element| DataType::new_list(element, true);
        let row =
            |name: &str, field| DataType::Struct(Fields::from(vec![Field::new(name, field, true)]));
        for (target, source, expected) in [
            (DataType::Int64, DataType::Int32, true),
            (DataType::Int32, DataType::Int64, true),
            (DataType::Int32, decimal(2, 1), false),
            (DataType::Int32, DataType::Float64, false),
            (DataType::Int32, DataType::Date32, false),
            (DataType::Int32, DataType::Boolean, false),
            (DataType::Int32, DataType::Utf8, true),
            (DataType::Boolean, DataType::Int64, false),
            (DataType::Boolean, DataType::Utf8, false),
            (DataType::Date32, DataType::Int64, false),
            (DataType::Date32, timestamp.clone(), false),
            (timestamp.clone(), DataType::Date32, true),
            (timestamp.clone(), instant.clone(), true),
            (instant, timestamp.clone(), true),
            (timestamp, DataType::Int64, false),
            (decimal(5, 1), decimal(3, 2), false),
            (decimal(5, 2), decimal(20, 1), true),
            (decimal(5, 2), DataType::Float64, false),
            (DataType::Float64, decimal(5, 2), true),
            (DataType::Float32, DataType::Float64, false),
            (DataType::Utf8, DataType::Int64, false),
            (DataType::Binary, DataType::Utf8, true),
            (list(DataType::Int32), list(DataType::Int64), true),
            (list(DataType::Int32), list(DataType::Float64), false),
            (row("a", DataType::Int32), row("a", DataType::Int64), true),
            (row("a", DataType::Int32), row("b", DataType::Int64), false),
            (row("a", DataType::Date32), DataType::Null, true),
        ] {
            assert_eq!(takes(&target, &source), expected, "{source} into {target}");
        }
    }

    #[test]
    fn constants_are_taken_when_nothing_is_lost() {
        let decimal = ScalarValue::Decimal128;
        for (target, value, expected) in [
            (DataType::Decimal128(5, 1), decimal(Some(150), 3, 2), true),
            (DataType::Decimal128(5, 1), decimal(Some(125), 3, 2), false),
            (DataType::Decimal128(5, 1), ScalarValue::from(0.5f64), true),
            (
                DataType::Decimal128(5, 1),
                ScalarValue::from(0.25f64),
                false,
            ),
            (DataType::Float32, ScalarValue::from(0.1f64), true),
            (DataType::Float32, ScalarValue::from(1e300f64), false),
            (DataType::Float32, ScalarValue::from(f64::NAN), true),
            (DataType::Boolean, ScalarValue::from("True"), true),
            (DataType::Boolean, ScalarValue::from("yes"), false),
            (DataType::Int32, decimal(Some(20), 2, 1), false),
            (DataType::Date32, ScalarValue::Int64(None), true),
        ] {
            assert_eq!(takes_constant(&target, &value), expected, "{value:?}");
        }
    }
}
