//! Predicates evaluated on rows, one by one, as SQL does.

use std::cmp::Ordering;

use iceberg::expr::{Predicate, PredicateOperator};
use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType};

/// How floats compare.
#[derive(Debug, Clone, Copy)]
pub enum FloatOrder {
    /// In total order: NaN is the greatest, -0.0 is less than 0.0.
    Total,
    /// As IEEE 754 does: NaN is unordered, zeros are equal.
    Ieee,
}

/// The truth of a predicate for a row: `None` is SQL's unknown.
pub fn evaluate<'a>(
    predicate: &Predicate,
    value_of: &impl Fn(&str) -> Option<&'a Datum>,
    order: FloatOrder,
) -> Option<bool> {
    match predicate {
        Predicate::AlwaysTrue => Some(true),
        Predicate::AlwaysFalse => Some(false),
        Predicate::And(expression) => {
            let inputs = expression.inputs();
            let values = inputs.map(|input| evaluate(input, value_of, order));
            match values {
                [Some(false), _] | [_, Some(false)] => Some(false),
                [Some(true), Some(true)] => Some(true),
                _ => None,
            }
        }
        Predicate::Or(expression) => {
            let inputs = expression.inputs();
            let values = inputs.map(|input| evaluate(input, value_of, order));
            match values {
                [Some(true), _] | [_, Some(true)] => Some(true),
                [Some(false), Some(false)] => Some(false),
                _ => None,
            }
        }
        Predicate::Not(expression) => {
            let [input] = expression.inputs();
            evaluate(input, value_of, order).map(|value| !value)
        }
        Predicate::Unary(expression) => {
            let value = value_of(expression.term().name());
            match expression.op() {
                PredicateOperator::IsNull => Some(value.is_none()),
                PredicateOperator::NotNull => Some(value.is_some()),
                PredicateOperator::IsNan => value.map(Datum::is_nan),
                PredicateOperator::NotNan => value.map(|value| !value.is_nan()),
                other => panic!("{other}"),
            }
        }
        Predicate::Binary(expression) => {
            let value = value_of(expression.term().name())?;
            let literal = expression.literal();
            Some(match expression.op() {
                PredicateOperator::StartsWith => starts_with(value, literal),
                PredicateOperator::NotStartsWith => !starts_with(value, literal),
                operator => {
                    let ordering = compare(value, literal, order);
                    match operator {
                        PredicateOperator::LessThan => ordering == Some(Ordering::Less),
                        PredicateOperator::LessThanOrEq => {
                            matches!(ordering, Some(Ordering::Less | Ordering::Equal))
                        }
                        PredicateOperator::GreaterThan => ordering == Some(Ordering::Greater),
                        PredicateOperator::GreaterThanOrEq => {
                            matches!(ordering, Some(Ordering::Greater | Ordering::Equal))
                        }
                        PredicateOperator::Eq => ordering == Some(Ordering::Equal),
                        PredicateOperator::NotEq => ordering != Some(Ordering::Equal),
                        other => panic!("{other}"),
                    }
                }
            })
        }
        Predicate::Set(expression) => {
            let value = value_of(expression.term().name())?;
            let is_in = expression
                .literals()
                .iter()
                .any(|literal| compare(value, literal, order) == Some(Ordering::Equal));
            Some(is_in == (expression.op() == PredicateOperator::In))
        }
    }
}

fn starts_with(value: &Datum, prefix: &Datum) -> bool {
    match (value.literal(), prefix.literal()) {
        (PrimitiveLiteral::String(value), PrimitiveLiteral::String(prefix)) => {
            value.starts_with(prefix.as_str())
        }
        other => panic!("{other:?}"),
    }
}

/// Order of two values of one column, whose types may differ by a promotion.
pub fn compare(left: &Datum, right: &Datum, order: FloatOrder) -> Option<Ordering> {
    use PrimitiveLiteral as L;
    let integer = |datum: &Datum| match datum.literal() {
        L::Int(value) => Some(i128::from(*value)),
        L::Long(value) => Some(i128::from(*value)),
        L::Int128(value) => Some(*value),
        _ => None,
    };
    let float = |datum: &Datum| match datum.literal() {
        L::Float(value) => Some(f64::from(value.0)),
        L::Double(value) => Some(value.0),
        _ => None,
    };
    if let (Some(left), Some(right)) = (integer(left), integer(right)) {
        return Some(left.cmp(&right));
    }
    if let (Some(left), Some(right)) = (float(left), float(right)) {
        return match order {
            FloatOrder::Total => Some(left.total_cmp(&right)),
            FloatOrder::Ieee => left.partial_cmp(&right),
        };
    }
    match (left.literal(), right.literal()) {
        (L::Boolean(left), L::Boolean(right)) => Some(left.cmp(right)),
        (L::String(left), L::String(right)) => Some(left.cmp(right)),
        (L::Binary(left), L::Binary(right)) => Some(left.cmp(right)),
        (L::UInt128(left), L::UInt128(right)) => Some(left.cmp(right)),
        other => panic!("{other:?}"),
    }
}

/// A value after its column's type was promoted.
pub fn promote(datum: &Datum, target: &PrimitiveType) -> Datum {
    match (datum.literal(), target) {
        (PrimitiveLiteral::Int(value), PrimitiveType::Long) => Datum::long(*value),
        (PrimitiveLiteral::Float(value), PrimitiveType::Double) => Datum::double(value.0),
        (PrimitiveLiteral::Int128(value), PrimitiveType::Decimal { .. }) => {
            Datum::try_from_bytes(&value.to_be_bytes(), target.clone()).unwrap()
        }
        _ => datum.clone(),
    }
}
