//! A predicate bound to the columns of a read schema, without negations.

use iceberg::expr::{Predicate, PredicateOperator};
use iceberg::spec::{Datum, PrimitiveType, Schema};

use super::values::Comparable;
use crate::error::{CatalogError, Result};

/// A condition on rows, as a tree of [`Leaf`] conditions on single columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    /// Every row may match; also stands for whatever cannot be used.
    True,
    /// No row matches.
    False,
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Leaf(Leaf),
}

/// A condition on one column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaf {
    /// The column.
    pub(super) field_id: i32,
    /// Its type in the read schema.
    pub(super) field_type: PrimitiveType,
    /// Whether it is a column of its own, not a field within a struct.
    pub(super) is_top_level: bool,
    pub(super) condition: Condition,
}

/// What is asked of a column's value. Null satisfies only `IsNull`, and, to be safe with
/// either reading of them, the negative conditions.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    IsNull,
    NotNull,
    IsNan,
    NotNan,
    Compare(Comparison, Comparable),
    /// Equal to one of these; sorted.
    In(Vec<Comparable>),
    /// Equal to none of these.
    NotIn(Vec<Comparable>),
    StartsWith(Vec<u8>),
    NotStartsWith(Vec<u8>),
}

/// How a column's value compares with a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Filter {
    /// Binds a predicate to the columns of `schema`, by name.
    ///
    /// # Errors
    /// `InvalidInput` when it names a column that the schema does not have.
    pub(super) fn bind(predicate: &Predicate, schema: &Schema) -> Result<Self> {
        bind(predicate, schema, false)
    }

    /// Whether a row can match, given whether it can match each leaf.
    pub(super) fn may_match(&self, leaf_may_match: &mut impl FnMut(&Leaf) -> bool) -> bool {
        match self {
            Self::True => true,
            Self::False => false,
            Self::And(filters) => filters
                .iter()
                .all(|filter| filter.may_match(leaf_may_match)),
            Self::Or(filters) => filters
                .iter()
                .any(|filter| filter.may_match(leaf_may_match)),
            Self::Leaf(leaf) => leaf_may_match(leaf),
        }
    }
}

/// Binds a predicate, or its negation. Under SQL's three-valued logic both a condition and
/// its negation reject null, so pushing the negation down to the operators keeps the rows.
fn bind(predicate: &Predicate, schema: &Schema, negated: bool) -> Result<Filter> {
    let both = |inputs: [&Predicate; 2]| -> Result<Vec<Filter>> {
        inputs
            .into_iter()
            .map(|input| bind(input, schema, negated))
            .collect()
    };
    let operator = |operator: PredicateOperator| {
        if negated { operator.negate() } else { operator }
    };
    match predicate {
        Predicate::AlwaysTrue | Predicate::AlwaysFalse => {
            let is_true = matches!(predicate, Predicate::AlwaysTrue) != negated;
            Ok(if is_true { Filter::True } else { Filter::False })
        }
        Predicate::And(expression) | Predicate::Or(expression) => {
            let filters = both(expression.inputs())?;
            let is_and = matches!(predicate, Predicate::And(_)) != negated;
            Ok(if is_and {
                Filter::And(filters)
            } else {
                Filter::Or(filters)
            })
        }
        Predicate::Not(expression) => {
            let [input] = expression.inputs();
            bind(input, schema, !negated)
        }
        Predicate::Unary(expression) => {
            let condition = match operator(expression.op()) {
                PredicateOperator::IsNull => Condition::IsNull,
                PredicateOperator::NotNull => Condition::NotNull,
                PredicateOperator::IsNan => Condition::IsNan,
                PredicateOperator::NotNan => Condition::NotNan,
                _ => return Ok(Filter::True),
            };
            leaf(expression.term().name(), schema, |_| Some(condition))
        }
        Predicate::Binary(expression) => {
            let literal = expression.literal();
            let operator = operator(expression.op());
            leaf(expression.term().name(), schema, |field_type| {
                binary_condition(operator, comparable(literal, field_type)?)
            })
        }
        Predicate::Set(expression) => {
            let operator = operator(expression.op());
            leaf(expression.term().name(), schema, |field_type| {
                let mut literals = expression
                    .literals()
                    .iter()
                    .map(|literal| comparable(literal, field_type))
                    .collect::<Option<Vec<_>>>()?;
                literals.sort_by(|left, right| {
                    left.compare(right).unwrap_or(std::cmp::Ordering::Equal)
                });
                match operator {
                    PredicateOperator::In => Some(Condition::In(literals)),
                    PredicateOperator::NotIn => Some(Condition::NotIn(literals)),
                    _ => None,
                }
            })
        }
    }
}

/// A condition on the named column; `True` if there is no usable one.
fn leaf(
    name: &str,
    schema: &Schema,
    condition: impl FnOnce(&PrimitiveType) -> Option<Condition>,
) -> Result<Filter> {
    let field = schema.field_by_name(name).ok_or_else(|| {
        CatalogError::InvalidInput(format!("cannot filter on {name}: there is no such column"))
    })?;
    // Nested columns have no values of their own to compare, and may have no metrics.
    let Some(field_type) = field.field_type.as_primitive_type() else {
        return Ok(Filter::True);
    };
    let is_top_level = schema.as_struct().field_by_id(field.id).is_some();
    Ok(match condition(field_type) {
        None => Filter::True,
        Some(condition) => Filter::Leaf(Leaf {
            field_id: field.id,
            field_type: field_type.clone(),
            is_top_level,
            condition,
        }),
    })
}

/// The literal in terms of the column's type. NaN literals are not used: bounds say
/// nothing about NaNs.
fn comparable(literal: &Datum, field_type: &PrimitiveType) -> Option<Comparable> {
    Comparable::new(literal.literal(), literal.data_type(), field_type)
        .filter(|value| !value.is_nan())
}

fn binary_condition(operator: PredicateOperator, value: Comparable) -> Option<Condition> {
    let comparison = match operator {
        PredicateOperator::LessThan => Comparison::Less,
        PredicateOperator::LessThanOrEq => Comparison::LessOrEqual,
        PredicateOperator::GreaterThan => Comparison::Greater,
        PredicateOperator::GreaterThanOrEq => Comparison::GreaterOrEqual,
        PredicateOperator::Eq => Comparison::Equal,
        PredicateOperator::NotEq => Comparison::NotEqual,
        PredicateOperator::StartsWith | PredicateOperator::NotStartsWith => {
            let Comparable::Bytes(prefix) = value else {
                return None;
            };
            return Some(if operator == PredicateOperator::StartsWith {
                Condition::StartsWith(prefix)
            } else {
                Condition::NotStartsWith(prefix)
            });
        }
        _ => return None,
    };
    Some(Condition::Compare(comparison, value))
}
