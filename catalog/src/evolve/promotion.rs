//! Which types a column may be given, and what types are called in messages.

use iceberg::spec::{Literal, PrimitiveLiteral, PrimitiveType, Type};

use crate::error::{CatalogError, Result};

/// Checks a change of type. The specification's promotions ("Schema Evolution"), without those
/// that only format version 3 has.
///
/// # Errors
/// `InvalidInput` naming both types and what is allowed.
pub(super) fn check_promotion(column: &str, from: &Type, to: &Type) -> Result<()> {
    let is_promotion = match (from, to) {
        (Type::Primitive(from), Type::Primitive(to)) => is_promotion(from, to),
        _ => false,
    };
    if is_promotion {
        return Ok(());
    }
    Err(CatalogError::InvalidInput(format!(
        "column {column} cannot change from {} to {}: integer may become bigint, real may become \
         double, and a decimal may get more digits at the same scale",
        sql_type_name(from),
        sql_type_name(to)
    )))
}

fn is_promotion(from: &PrimitiveType, to: &PrimitiveType) -> bool {
    match (from, to) {
        (PrimitiveType::Int, PrimitiveType::Long)
        | (PrimitiveType::Float, PrimitiveType::Double) => true,
        (
            PrimitiveType::Decimal { precision, scale },
            PrimitiveType::Decimal {
                precision: new_precision,
                scale: new_scale,
            },
        ) => new_precision > precision && new_scale == scale,
        _ => false,
    }
}

/// A default value of a column as one of the type that the column is promoted to: `iceberg` keeps
/// numbers of different width apart, and panics when it writes one that is not of its column's type.
pub(super) fn promote_default(value: &Literal, to: &Type) -> Literal {
    match (value, to) {
        (
            Literal::Primitive(PrimitiveLiteral::Int(value)),
            Type::Primitive(PrimitiveType::Long),
        ) => Literal::long(*value),
        (
            Literal::Primitive(PrimitiveLiteral::Float(value)),
            Type::Primitive(PrimitiveType::Double),
        ) => Literal::double(value.0),
        // More digits of a decimal change nothing in its value.
        (other, _) => other.clone(),
    }
}

/// An Iceberg type in the spelling of `CREATE TABLE`.
pub fn sql_type_name(field_type: &Type) -> String {
    match field_type {
        Type::Primitive(primitive) => match primitive {
            PrimitiveType::Boolean => "boolean".to_owned(),
            PrimitiveType::Int => "integer".to_owned(),
            PrimitiveType::Long => "bigint".to_owned(),
            PrimitiveType::Float => "real".to_owned(),
            PrimitiveType::Double => "double".to_owned(),
            PrimitiveType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            PrimitiveType::Date => "date".to_owned(),
            PrimitiveType::Time => "time(6)".to_owned(),
            PrimitiveType::Timestamp => "timestamp(6)".to_owned(),
            PrimitiveType::Timestamptz => "timestamp(6) with time zone".to_owned(),
            PrimitiveType::TimestampNs => "timestamp(9)".to_owned(),
            PrimitiveType::TimestamptzNs => "timestamp(9) with time zone".to_owned(),
            PrimitiveType::String => "varchar".to_owned(),
            PrimitiveType::Uuid => "uuid".to_owned(),
            PrimitiveType::Fixed(length) => format!("fixed({length})"),
            PrimitiveType::Binary => "varbinary".to_owned(),
        },
        Type::List(list) => format!("array({})", sql_type_name(&list.element_field.field_type)),
        Type::Map(map) => format!(
            "map({}, {})",
            sql_type_name(&map.key_field.field_type),
            sql_type_name(&map.value_field.field_type)
        ),
        Type::Struct(fields) => {
            let fields: Vec<String> = fields
                .fields()
                .iter()
                .map(|field| {
                    format!(
                        "{} {}",
                        sql_identifier(&field.name),
                        sql_type_name(&field.field_type)
                    )
                })
                .collect();
            format!("row({})", fields.join(", "))
        }
    }
}

/// A name, quoted where it would not be read back as it is.
fn sql_identifier(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|character| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
        });
    match is_plain {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(precision: u32, scale: u32) -> Type {
        Type::Primitive(PrimitiveType::Decimal { precision, scale })
    }

    #[test]
    fn defaults_get_the_type_of_their_column() {
        let cases = [
            (Literal::int(-2), PrimitiveType::Long, Literal::long(-2)),
            (
                Literal::float(1.5),
                PrimitiveType::Double,
                Literal::double(1.5),
            ),
            (
                Literal::decimal(125),
                PrimitiveType::Decimal {
                    precision: 20,
                    scale: 2,
                },
                Literal::decimal(125),
            ),
        ];
        for (value, to, expected) in cases {
            let to = Type::Primitive(to);
            let promoted = promote_default(&value, &to);
            assert_eq!(promoted, expected);
            assert!(promoted.try_into_json(&to).is_ok());
        }
    }

    #[test]
    fn only_the_promotions_of_the_specification_are_allowed() {
        let all = [
            Type::Primitive(PrimitiveType::Int),
            Type::Primitive(PrimitiveType::Long),
            Type::Primitive(PrimitiveType::Float),
            Type::Primitive(PrimitiveType::Double),
            Type::Primitive(PrimitiveType::Date),
            Type::Primitive(PrimitiveType::Timestamp),
            Type::Primitive(PrimitiveType::String),
            decimal(5, 2),
            decimal(7, 2),
            decimal(7, 3),
        ];
        let mut allowed = Vec::new();
        for from in &all {
            for to in &all {
                if check_promotion("c", from, to).is_ok() {
                    allowed.push(format!("{} {}", sql_type_name(from), sql_type_name(to)));
                }
            }
        }
        let expected = ["integer bigint", "real double", "decimal(5,2) decimal(7,2)"];
        assert_eq!(allowed, expected);
        let error = check_promotion("c", &all[1], &all[0]).unwrap_err();
        assert!(
            error.to_string().contains("from bigint to integer"),
            "{error}"
        );
    }
}
