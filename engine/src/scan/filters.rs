//! Filters of a query as Iceberg predicates, for pruning.
//!
//! The result is implied by the filters: what cannot be said in Iceberg's terms is left
//! out of a conjunction, and makes a disjunction or a negation as a whole left out. Only
//! comparisons of a column, as it is, with a constant of its own type are said.

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, PrimitiveType, SchemaRef, Type};

use super::statistics::scalar_of;
use crate::schema::arrow_primitive_of;

/// More values than this in an `IN` list are not looked at one by one.
const MAX_IN_LIST: usize = 200;

/// A predicate that every row that fulfils all `filters` fulfils.
pub fn predicate_of(filters: &[Expr], schema: &SchemaRef) -> Predicate {
    let conversion = Conversion { schema };
    filters
        .iter()
        .filter_map(|filter| conversion.convert(filter, false))
        .fold(Predicate::AlwaysTrue, Predicate::and)
}

struct Conversion<'a> {
    schema: &'a SchemaRef,
}

impl Conversion<'_> {
    /// A predicate implied by `filter` being true, or by it being false when `negated`.
    ///
    /// SQL's third truth value needs no care for it: a row for which the filter is unknown
    /// is not wanted, nor one for which its negation is.
    fn convert(&self, filter: &Expr, negated: bool) -> Option<Predicate> {
        match filter {
            Expr::Alias(alias) => self.convert(&alias.expr, negated),
            Expr::Not(inner) => self.convert(inner, !negated),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (op, negated) {
                (Operator::And, false) | (Operator::Or, true) => {
                    let (left, right) = (self.convert(left, negated), self.convert(right, negated));
                    match (left, right) {
                        (Some(left), Some(right)) => Some(left.and(right)),
                        (Some(one), None) | (None, Some(one)) => Some(one),
                        (None, None) => None,
                    }
                }
                (Operator::Or, false) | (Operator::And, true) => {
                    let left = self.convert(left, negated)?;
                    let right = self.convert(right, negated)?;
                    Some(left.or(right))
                }
                _ => {
                    let op = if negated { op.negate()? } else { *op };
                    self.comparison(left, op, right)
                }
            },
            Expr::IsNull(inner) => self.null_check(inner, negated),
            Expr::IsNotNull(inner) => self.null_check(inner, !negated),
            Expr::Between(Between {
                expr,
                negated: outside,
                low,
                high,
            }) => {
                if *outside == negated {
                    let above = self.comparison(expr, Operator::GtEq, low);
                    let below = self.comparison(expr, Operator::LtEq, high);
                    match (above, below) {
                        (Some(above), Some(below)) => Some(above.and(below)),
                        (one, other) => one.or(other),
                    }
                } else {
                    let below = self.comparison(expr, Operator::Lt, low)?;
                    let above = self.comparison(expr, Operator::Gt, high)?;
                    Some(below.or(above))
                }
            }
            Expr::InList(InList {
                expr,
                list,
                negated: outside,
            }) => {
                if *outside != negated || list.len() > MAX_IN_LIST {
                    return None;
                }
                let (reference, primitive) = self.column(expr)?;
                let values = list
                    .iter()
                    .map(|value| datum_of(value.as_literal()?, primitive))
                    .collect::<Option<Vec<_>>>()?;
                let is_nan = |value: &Datum| value.is_nan();
                if values.is_empty() || values.iter().any(is_nan) {
                    return None;
                }
                Some(reference.is_in(values))
            }
            Expr::Column(_) => {
                let (reference, primitive) = self.column(filter)?;
                let is_boolean = *primitive == PrimitiveType::Boolean;
                is_boolean.then(|| reference.equal_to(Datum::bool(!negated)))
            }
            Expr::Literal(ScalarValue::Boolean(Some(value)), _) if *value == negated => {
                Some(Predicate::AlwaysFalse)
            }
            _ => None,
        }
    }

    /// The column that an expression is, and its type; `None` if it is anything else.
    fn column(&self, expr: &Expr) -> Option<(Reference, &PrimitiveType)> {
        let Expr::Column(Column { name, .. }) = expr else {
            return None;
        };
        // A dot in a column's own name would be taken for a path into a struct.
        let field = self.schema.as_struct().field_by_name(name)?;
        let Type::Primitive(primitive) = field.field_type.as_ref() else {
            return None;
        };
        let resolved = self.schema.field_id_by_name(name);
        (resolved == Some(field.id)).then(|| (Reference::new(name), primitive))
    }

    fn null_check(&self, expr: &Expr, negated: bool) -> Option<Predicate> {
        let (reference, _) = self.column(expr)?;
        Some(if negated {
            reference.is_not_null()
        } else {
            reference.is_null()
        })
    }

    fn comparison(&self, left: &Expr, op: Operator, right: &Expr) -> Option<Predicate> {
        let (column, op, value) = match (left, right) {
            (Expr::Column(_), value) => (left, op, value.as_literal()?),
            (value, Expr::Column(_)) => (right, op.swap()?, value.as_literal()?),
            _ => return None,
        };
        let (reference, primitive) = self.column(column)?;
        let value = datum_of(value, primitive)?;
        if value.is_nan() {
            return None;
        }
        match op {
            Operator::Eq => Some(reference.equal_to(value)),
            Operator::NotEq => Some(reference.not_equal_to(value)),
            Operator::Lt => Some(reference.less_than(value)),
            Operator::LtEq => Some(reference.less_than_or_equal_to(value)),
            Operator::Gt => Some(reference.greater_than(value)),
            Operator::GtEq => Some(reference.greater_than_or_equal_to(value)),
            _ => None,
        }
    }
}

/// A constant as an Iceberg value of the column's type, if it is of exactly that type.
pub(crate) fn datum_of(value: &ScalarValue, primitive: &PrimitiveType) -> Option<Datum> {
    let data_type = arrow_primitive_of(primitive).ok()?;
    let value = match (value, &data_type) {
        // Text has several forms in plans, one in tables.
        (ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text), DataType::Utf8) => {
            ScalarValue::Utf8(text.clone())
        }
        _ => value.clone(),
    };
    if value.is_null() {
        return None;
    }
    let same_kind = match (value.data_type(), &data_type) {
        // Instants are instants, whatever the time zone they are shown in.
        (DataType::Timestamp(own, Some(_)), DataType::Timestamp(unit, Some(_))) => own == *unit,
        (own, data_type) => own == *data_type,
    };
    if !same_kind {
        return None;
    }
    let datum = match value {
        ScalarValue::Boolean(Some(v)) => Datum::bool(v),
        ScalarValue::Int32(Some(v)) => Datum::int(v),
        ScalarValue::Date32(Some(v)) => Datum::date(v),
        ScalarValue::Int64(Some(v)) => Datum::long(v),
        ScalarValue::Time64Microsecond(Some(v)) => Datum::time_micros(v).ok()?,
        ScalarValue::TimestampMicrosecond(Some(v), None) => Datum::timestamp_micros(v),
        ScalarValue::TimestampMicrosecond(Some(v), Some(_)) => Datum::timestamptz_micros(v),
        ScalarValue::TimestampNanosecond(Some(v), None) => Datum::timestamp_nanos(v),
        ScalarValue::TimestampNanosecond(Some(v), Some(_)) => Datum::timestamptz_nanos(v),
        ScalarValue::Float32(Some(v)) => Datum::float(v),
        ScalarValue::Float64(Some(v)) => Datum::double(v),
        ScalarValue::Decimal128(Some(v), _, _) => {
            Datum::try_from_bytes(&v.to_be_bytes(), primitive.clone()).ok()?
        }
        ScalarValue::Utf8(Some(v)) => Datum::string(v),
        ScalarValue::Binary(Some(v)) => Datum::binary(v),
        ScalarValue::FixedSizeBinary(16, Some(v)) if *primitive == PrimitiveType::Uuid => {
            Datum::uuid(uuid::Uuid::from_slice(&v).ok()?)
        }
        ScalarValue::FixedSizeBinary(_, Some(v)) => Datum::fixed(v),
        _ => return None,
    };
    // The way back must give the same: a guard against any disagreement of the two types.
    scalar_of(&datum, &data_type).map(|_| datum)
}
