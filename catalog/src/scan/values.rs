//! Values of Iceberg's types: conversion between them, and comparison as the engine compares.

use std::cmp::Ordering;

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType};

/// A literal as a datum of a column's type, following Iceberg's type promotions (int to
/// long, float to double, wider decimals). `None` if the literal is not of such a type.
pub(super) fn datum_of(literal: &PrimitiveLiteral, data_type: &PrimitiveType) -> Option<Datum> {
    use PrimitiveLiteral as Literal;
    match (data_type, literal) {
        (PrimitiveType::Boolean, Literal::Boolean(value)) => Some(Datum::bool(*value)),
        (PrimitiveType::Int, Literal::Int(value)) => Some(Datum::int(*value)),
        (PrimitiveType::Long, Literal::Int(value)) => Some(Datum::long(*value)),
        (PrimitiveType::Long, Literal::Long(value)) => Some(Datum::long(*value)),
        (PrimitiveType::Float, Literal::Float(value)) => Some(Datum::float(value.0)),
        (PrimitiveType::Double, Literal::Float(value)) => Some(Datum::double(value.0)),
        (PrimitiveType::Double, Literal::Double(value)) => Some(Datum::double(value.0)),
        (PrimitiveType::Date, Literal::Int(value)) => Some(Datum::date(*value)),
        (PrimitiveType::Time, Literal::Long(value)) => Datum::time_micros(*value).ok(),
        (PrimitiveType::Timestamp, Literal::Long(value)) => Some(Datum::timestamp_micros(*value)),
        (PrimitiveType::Timestamptz, Literal::Long(value)) => {
            Some(Datum::timestamptz_micros(*value))
        }
        (PrimitiveType::TimestampNs, Literal::Long(value)) => Some(Datum::timestamp_nanos(*value)),
        (PrimitiveType::TimestamptzNs, Literal::Long(value)) => {
            Some(Datum::timestamptz_nanos(*value))
        }
        (PrimitiveType::String, Literal::String(value)) => Some(Datum::string(value)),
        (PrimitiveType::Uuid, Literal::UInt128(value)) => {
            Some(Datum::uuid(uuid::Uuid::from_u128(*value)))
        }
        (PrimitiveType::Fixed(length), Literal::Binary(value)) => {
            let has_length = u64::try_from(value.len()).is_ok_and(|actual| actual == *length);
            has_length.then(|| Datum::fixed(value.iter().copied()))
        }
        (PrimitiveType::Binary, Literal::Binary(value)) => {
            Some(Datum::binary(value.iter().copied()))
        }
        (PrimitiveType::Decimal { .. }, Literal::Int128(value)) => {
            Datum::try_from_bytes(&value.to_be_bytes(), data_type.clone()).ok()
        }
        _ => None,
    }
}

/// A value to compare with others of the same column.
///
/// Integers of any width, decimals (unscaled, at the column's scale), dates and times are
/// integers; strings compare by their UTF-8 bytes; floats compare in total order, as the
/// engine does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Comparable {
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Bytes(Vec<u8>),
    Uuid(u128),
}

impl Comparable {
    /// Order within a column; `None` for values of different kinds.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Boolean(left), Self::Boolean(right)) => Some(left.cmp(right)),
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(right)),
            (Self::Float(left), Self::Float(right)) => Some(left.total_cmp(right)),
            (Self::Bytes(left), Self::Bytes(right)) => Some(left.cmp(right)),
            (Self::Uuid(left), Self::Uuid(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }

    /// Whether this is a NaN.
    pub(super) fn is_nan(&self) -> bool {
        matches!(self, Self::Float(value) if value.is_nan())
    }

    /// The value of a literal in terms of a column's type, exactly; `None` if it has no
    /// exact counterpart there, or none that is certain.
    pub(super) fn new(
        literal: &PrimitiveLiteral,
        literal_type: &PrimitiveType,
        column_type: &PrimitiveType,
    ) -> Option<Self> {
        use PrimitiveLiteral as Literal;
        use PrimitiveType as Type;
        match (column_type, literal_type, literal) {
            (Type::Boolean, Type::Boolean, Literal::Boolean(value)) => Some(Self::Boolean(*value)),
            (Type::Float | Type::Double, Type::Float, Literal::Float(value)) => {
                Some(Self::Float(f64::from(value.0)))
            }
            (Type::Float | Type::Double, Type::Double, Literal::Double(value)) => {
                Some(Self::Float(value.0))
            }
            (Type::String, Type::String, Literal::String(value)) => {
                Some(Self::Bytes(value.as_bytes().to_vec()))
            }
            (
                Type::Binary | Type::Fixed(_),
                Type::Binary | Type::Fixed(_),
                Literal::Binary(value),
            ) => Some(Self::Bytes(value.clone())),
            (Type::Uuid, Type::Uuid, Literal::UInt128(value)) => Some(Self::Uuid(*value)),
            (Type::Int | Type::Long, _, _) => {
                let (unscaled, scale) = unscaled(literal, literal_type)?;
                rescale(unscaled, scale, 0).map(Self::Integer)
            }
            (
                Type::Decimal {
                    scale: column_scale,
                    ..
                },
                _,
                _,
            ) => {
                let (unscaled, scale) = unscaled(literal, literal_type)?;
                rescale(unscaled, scale, *column_scale).map(Self::Integer)
            }
            (
                Type::Date
                | Type::Time
                | Type::Timestamp
                | Type::Timestamptz
                | Type::TimestampNs
                | Type::TimestamptzNs,
                _,
                _,
            ) if literal_type == column_type => match literal {
                Literal::Int(value) => Some(Self::Integer(i128::from(*value))),
                Literal::Long(value) => Some(Self::Integer(i128::from(*value))),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value as a datum of a column's type, for hashing.
    pub(super) fn to_datum(&self, column_type: &PrimitiveType) -> Option<Datum> {
        use PrimitiveLiteral as Literal;
        use PrimitiveType as Type;
        let literal = match (self, column_type) {
            (Self::Integer(value), Type::Int | Type::Date) => {
                Literal::Int(i32::try_from(*value).ok()?)
            }
            (Self::Integer(value), Type::Decimal { .. }) => Literal::Int128(*value),
            (Self::Integer(value), _) => Literal::Long(i64::try_from(*value).ok()?),
            (Self::Bytes(value), Type::String) => {
                Literal::String(String::from_utf8(value.clone()).ok()?)
            }
            (Self::Bytes(value), _) => Literal::Binary(value.clone()),
            (Self::Uuid(value), _) => Literal::UInt128(*value),
            (Self::Boolean(_) | Self::Float(_), _) => return None,
        };
        datum_of(&literal, column_type)
    }
}

/// A whole number or decimal as an unscaled integer and its scale.
fn unscaled(literal: &PrimitiveLiteral, literal_type: &PrimitiveType) -> Option<(i128, u32)> {
    match (literal_type, literal) {
        (PrimitiveType::Int, PrimitiveLiteral::Int(value)) => Some((i128::from(*value), 0)),
        (PrimitiveType::Long, PrimitiveLiteral::Long(value)) => Some((i128::from(*value), 0)),
        (PrimitiveType::Decimal { scale, .. }, PrimitiveLiteral::Int128(value)) => {
            Some((*value, *scale))
        }
        _ => None,
    }
}

/// The same number at another scale, if that is exact.
fn rescale(unscaled: i128, from: u32, to: u32) -> Option<i128> {
    if to >= from {
        unscaled.checked_mul(10_i128.checked_pow(to - from)?)
    } else {
        let divisor = 10_i128.checked_pow(from - to)?;
        (unscaled % divisor == 0).then(|| unscaled / divisor)
    }
}
