//! Default values of columns, as SQL writes them.

use datafusion::common::ScalarValue;
use iceberg::spec::{Literal, NestedField, PrimitiveType, Type};
use ingot_catalog::scan::metadata_tables::value_text;

use crate::catalog_list::evaluate_constant;
use crate::error::{EngineError, Result};
use crate::scan::filters::datum_of;
use crate::schema::arrow_primitive_of;

/// The constant that the SQL expression `text` is, as a value of a column's type; a time without
/// a zone is one of `time_zone`.
///
/// # Errors
/// `InvalidInput` when it is no constant, is null, or is no value of the type; `Unsupported` for
/// columns of nested types.
pub fn evaluate_default(text: &str, column_type: &Type, time_zone: &str) -> Result<Literal> {
    let Type::Primitive(primitive) = column_type else {
        return Err(EngineError::Unsupported(format!(
            "a default value of the nested type {column_type}"
        )));
    };
    let invalid = |reason: &str| {
        EngineError::InvalidInput(format!(
            "default {text} of a column of type {primitive}: {reason}"
        ))
    };
    let value = evaluate_constant(text, time_zone).map_err(|reason| invalid(&reason))?;
    if value.is_null() {
        return Err(invalid(
            "it must not be null; without a default a column is null",
        ));
    }
    let data_type = arrow_primitive_of(primitive)?;
    let cast = value
        .cast_to(&data_type)
        .map_err(|error| invalid(&error.strip_backtrace()))?;
    // 1.5 is no integer, though it can be cast to one.
    let is_number = |value: &ScalarValue| value.data_type().is_numeric();
    if is_number(&value) && is_number(&cast) && !data_type.is_floating() {
        let back = cast.cast_to(&value.data_type());
        if back.ok().as_ref() != Some(&value) {
            return Err(invalid("it is no value of this type"));
        }
    }
    let datum = datum_of(&cast, primitive).ok_or_else(|| invalid("it is no value of this type"))?;
    Ok(Literal::Primitive(datum.literal().clone()))
}

/// The default value of a column in new rows as a SQL constant, if it has one.
pub fn default_text(field: &NestedField) -> Option<String> {
    let value = field.write_default.as_ref()?.as_primitive_literal()?;
    let value_type = field.field_type.as_primitive_type()?;
    let text = value_text(&value, value_type);
    Some(match value_type {
        PrimitiveType::Boolean
        | PrimitiveType::Int
        | PrimitiveType::Long
        | PrimitiveType::Decimal { .. } => text,
        PrimitiveType::Date => format!("DATE {}", quoted(&text)),
        PrimitiveType::Timestamp | PrimitiveType::Timestamptz => {
            format!("TIMESTAMP {}", quoted(&text))
        }
        _ => quoted(&text),
    })
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
