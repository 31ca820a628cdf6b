//! Puts the session's time zone into plans.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions::datetime::to_local_time;
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, ScalarUDF, ScalarUDFImpl, cast, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::functions::{
    TimestampInZone, TimestampText, WithTimeZone, instant_type, wall_clock_type, with_seconds,
};
use super::is_utc;
use crate::expressions::rewrite_expressions;
use crate::schema::UTC;

/// Makes conversions between instants and what is shown of them those of the session's zone.
/// Goes after DataFusion's type coercion, which adds casts.
#[derive(Debug, Default)]
pub struct SessionTimeZone;

impl AnalyzerRule for SessionTimeZone {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let zone = config.execution.time_zone.as_deref().unwrap_or(UTC);
        let rewrite = |part: Expr, schema: &DFSchema| rewrite_part(part, schema, zone);
        let rewritten =
            plan.transform_up_with_subqueries(|node| rewrite_expressions(node, &rewrite))?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "session_time_zone"
    }
}

/// An expression by itself with its conversions in the session's zone.
///
/// # Errors
/// Those of working out the types of its parts.
pub fn in_session_zone(expression: Expr, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let rewritten = expression.transform_up(|part| rewrite_part(part, schema, zone))?;
    Ok(rewritten.data)
}

fn rewrite_part(part: Expr, schema: &DFSchema, zone: &str) -> Result<Transformed<Expr>> {
    match part {
        Expr::Cast(Cast { expr, field }) => {
            let conversion = Conversion {
                field,
                is_try: false,
            };
            Ok(conversion.rewrite(*expr, schema, zone))
        }
        Expr::TryCast(TryCast { expr, field }) => {
            let conversion = Conversion {
                field,
                is_try: true,
            };
            Ok(conversion.rewrite(*expr, schema, zone))
        }
        Expr::ScalarFunction(call) if !is_utc(zone) => Ok(rewrite_call(call, schema, zone)),
        other => Ok(Transformed::no(other)),
    }
}

/// A cast to a type.
struct Conversion {
    field: FieldRef,
    is_try: bool,
}

impl Conversion {
    fn of(&self, expression: Expr) -> Expr {
        let (expr, field) = (Box::new(expression), Arc::clone(&self.field));
        match self.is_try {
            true => Expr::TryCast(TryCast::new_from_field(expr, field)),
            false => Expr::Cast(Cast::new_from_field(expr, field)),
        }
    }

    /// The cast of an expression, where the zone counts by way of it.
    fn rewrite(
        &self,
        expression: Expr,
        schema: &DFSchema,
        session_zone: &str,
    ) -> Transformed<Expr> {
        // What has no type yet is left to the planner's own errors.
        let Ok(source) = expression.get_type(schema) else {
            return Transformed::no(self.of(expression));
        };
        match (&source, self.field.data_type()) {
            (source, DataType::Timestamp(_, Some(target_zone)))
                if is_clock_or_text(source) && !is_time(source) =>
            {
                if is_utc(session_zone) && is_utc(target_zone) {
                    return complete_text(expression, source).update_data(|text| self.of(text));
                }
                let instant = match source.is_string() {
                    true => self.parse(expression, source, session_zone),
                    false => {
                        let clock = cast_unless(expression, source, wall_clock_type());
                        call(WithTimeZone::new(), vec![clock, lit(session_zone)])
                    }
                };
                Transformed::yes(
                    match *self.field.data_type() == instant_type() && source.is_string() {
                        true => instant,
                        false => self.of(instant),
                    },
                )
            }
            (source, DataType::Timestamp(_, None)) if source.is_string() => {
                complete_text(expression, source).update_data(|text| self.of(text))
            }
            (DataType::Timestamp(unit, Some(zone)), target) if is_clock_or_text(target) => {
                let own_zone = match has_no_zone(zone) {
                    true => session_zone,
                    false => zone,
                };
                if is_utc(own_zone) {
                    return Transformed::no(self.of(expression));
                }
                let is_in_zone = own_zone == zone.as_ref();
                if target.is_string() && is_in_zone {
                    return Transformed::no(self.of(expression));
                }
                let zoned = DataType::Timestamp(*unit, Some(own_zone.into()));
                let zoned = cast_unless(expression, &source, zoned);
                Transformed::yes(match target.is_string() {
                    true => self.of(zoned),
                    false => self.of(wall_clock(zoned)),
                })
            }
            _ => Transformed::no(self.of(expression)),
        }
    }

    fn parse(&self, text: Expr, source: &DataType, zone: &str) -> Expr {
        let text = cast_unless(text, source, DataType::Utf8);
        call(
            TimestampInZone::new(),
            vec![text, lit(zone), lit(self.is_try)],
        )
    }
}

/// The text of a timestamp with the seconds that Arrow's casts need; any other value as it is.
fn complete_text(expression: Expr, source: &DataType) -> Transformed<Expr> {
    if !source.is_string() {
        return Transformed::no(expression);
    }
    match &expression {
        Expr::Literal(value, _) => {
            let text = value.try_as_str().flatten();
            let completed = text.and_then(|text| match with_seconds(text) {
                Cow::Owned(completed) => Some(completed),
                Cow::Borrowed(_) => None,
            });
            match completed {
                Some(completed) => Transformed::yes(lit(completed)),
                None => Transformed::no(expression),
            }
        }
        Expr::ScalarFunction(function) if function.func.name() == TimestampText::NAME => {
            Transformed::no(expression)
        }
        _ => {
            let text = cast_unless(expression, source, DataType::Utf8);
            Transformed::yes(call(TimestampText::new(), vec![text]))
        }
    }
}

/// What a clock shows or a text says: what needs a zone to become an instant.
fn is_clock_or_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64
    ) || is_time(data_type)
        || data_type.is_string()
}

/// Whether the zone of a type stands for instants without one of their own: an explicit UTC is
/// written as an offset.
fn has_no_zone(zone: &str) -> bool {
    zone == UTC
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Time32(_) | DataType::Time64(_))
}

/// Functions that look at the parts of an instant: their arguments get the zone.
fn rewrite_call(mut function: ScalarFunction, schema: &DFSchema, zone: &str) -> Transformed<Expr> {
    let indices: &[usize] = match function.func.name() {
        "date_part" if is_epoch(function.args.first()) => &[],
        "to_char" | "mysql_date_format" => &[0],
        "date_part" | "date_trunc" => &[1],
        "date_add" => &[2],
        "date_diff" => &[1, 2],
        _ => &[],
    };
    let mut instants: Option<DataType> = None;
    for index in indices {
        let value = function.args.get(*index);
        let data_type = value.and_then(|value| value.get_type(schema).ok());
        let Some(DataType::Timestamp(unit, Some(own_zone))) = data_type else {
            continue;
        };
        if !has_no_zone(&own_zone) {
            continue;
        }
        let zoned = DataType::Timestamp(unit, Some(zone.into()));
        let zoned = cast(std::mem::take(&mut function.args[*index]), zoned);
        function.args[*index] = match function.func.name() {
            "date_part" => wall_clock(zoned),
            _ => zoned,
        };
        instants = Some(DataType::Timestamp(unit, Some(own_zone)));
    }
    let Some(instants) = instants else {
        return Transformed::no(Expr::ScalarFunction(function));
    };
    let gives_instants = matches!(function.func.name(), "date_trunc" | "date_add");
    let call = Expr::ScalarFunction(function);
    Transformed::yes(match gives_instants {
        true => cast(call, instants),
        false => call,
    })
}

/// `date_part('epoch', …)` counts from one instant, in every zone.
fn is_epoch(part: Option<&Expr>) -> bool {
    let part = part.and_then(Expr::as_literal);
    let part = part.and_then(ScalarValue::try_as_str).flatten();
    part.is_some_and(|part| part.trim_matches(['\'', '"']).eq_ignore_ascii_case("epoch"))
}

/// What a clock in the zone of an instant's type shows.
fn wall_clock(zoned: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(to_local_time(), vec![zoned]))
}

fn call(function: impl ScalarUDFImpl + 'static, arguments: Vec<Expr>) -> Expr {
    let function = Arc::new(ScalarUDF::from(function));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))
}

fn cast_unless(expression: Expr, source: &DataType, target: DataType) -> Expr {
    match *source == target {
        true => expression,
        false => cast(expression, target),
    }
}
