//! Functions between instants and what a clock on the wall shows.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono::{DateTime, FixedOffset, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::is_utc;
use crate::schema::UTC;

/// The type of instants.
pub(super) fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// The type of what a clock shows.
pub(super) fn wall_clock_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// The type of instants with a zone of their own. `UTC` itself stands for instants that have
/// none, so an explicit UTC is written as an offset.
pub(super) fn zoned_type(zone: &str) -> DataType {
    let zone = match is_utc(zone) {
        true => "+00:00",
        false => zone,
    };
    DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()))
}

/// `at_timezone(instant, zone)`, also written `instant AT TIME ZONE zone`: the same instant with
/// another zone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AtTimeZone {
    signature: Signature,
}

/// `with_timezone(timestamp, zone)`: the instant at which a clock in a zone shows the timestamp.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct WithTimeZone {
    signature: Signature,
}

/// `timestamp_in_zone(text, zone, is_try)`: the instant that a text is, in a zone unless it has
/// one of its own. A text that is none is an error, or null if `is_try`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimestampInZone {
    signature: Signature,
}

/// `timestamp_text(text)`: the text with the seconds that a time may go without in SQL, and not in
/// Arrow's casts.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimestampText {
    signature: Signature,
}

/// `now()`, `current_timestamp`: the instant at which the statement began. DataFusion's own has
/// the session's zone in its type and cannot be compared with columns, whose zone is UTC.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Now {
    signature: Signature,
    aliases: [String; 1],
}

impl AtTimeZone {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl WithTimeZone {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl TimestampInZone {
    pub(super) fn new() -> Self {
        let types = vec![DataType::Utf8, DataType::Utf8, DataType::Boolean];
        Self {
            signature: Signature::exact(types, Volatility::Immutable),
        }
    }
}

impl TimestampText {
    pub(super) const NAME: &'static str = "timestamp_text";

    pub(super) fn new() -> Self {
        Self {
            signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable),
        }
    }
}

impl Now {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::nullary(Volatility::Stable),
            aliases: ["current_timestamp".to_string()],
        }
    }
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &str {
        "at_timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, _zone] = types else {
            return plan_err!("at_timezone takes a timestamp and a time zone");
        };
        let value = match value {
            DataType::Timestamp(_, Some(zone)) => {
                DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone)))
            }
            _ => instant_type(),
        };
        Ok(vec![value, DataType::Utf8])
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        internal_err!("the type of at_timezone depends on the value of its second argument")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        zoned_field(self.name(), &arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let target = arguments.return_field.data_type().clone();
        map_first(&arguments, |values| Ok(cast(values, &target)?))
    }
}

impl ScalarUDFImpl for WithTimeZone {
    fn name(&self) -> &str {
        "with_timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [_value, _zone] = types else {
            return plan_err!("with_timezone takes a timestamp without time zone and a time zone");
        };
        Ok(vec![wall_clock_type(), DataType::Utf8])
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        internal_err!("the type of with_timezone depends on the value of its second argument")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        zoned_field(self.name(), &arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::Timestamp(_, Some(name)) = arguments.return_field.data_type() else {
            return internal_err!("with_timezone has no time zone");
        };
        let zone = parse_zone(name)?;
        map_first(&arguments, |values| {
            let clock = values.as_primitive::<TimestampMicrosecondType>();
            let instants = clock.try_unary::<_, TimestampMicrosecondType, _>(|local| {
                instant_of(local, zone).ok_or_else(|| out_of_range(local))
            })?;
            Ok(Arc::new(instants.with_timezone(Arc::clone(name))))
        })
    }
}

impl ScalarUDFImpl for TimestampInZone {
    fn name(&self) -> &str {
        "timestamp_in_zone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(instant_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = match arguments.args.get(1) {
            Some(ColumnarValue::Scalar(zone)) => parse_zone(zone_name(Some(zone))?)?,
            _ => return exec_err!("the time zone of timestamp_in_zone must be a constant"),
        };
        let is_try = matches!(
            arguments.args.get(2),
            Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
        );
        map_first(&arguments, |values| {
            let texts = values.as_string::<i32>().iter();
            let instants = texts.map(|text| match text.map(|text| parse_instant(text, zone)) {
                None => Ok(None),
                Some(Ok(instant)) => Ok(Some(instant)),
                Some(Err(_)) if is_try => Ok(None),
                Some(Err(error)) => Err(error),
            });
            let instants: TimestampMicrosecondArray =
                instants.collect::<Result<_, ArrowError>>()?;
            Ok(Arc::new(instants.with_timezone(UTC)))
        })
    }
}

impl ScalarUDFImpl for TimestampText {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        map_first(&arguments, |values| {
            let texts = values.as_string::<i32>();
            let texts = texts.iter().map(|text| text.map(with_seconds));
            Ok(Arc::new(texts.collect::<StringArray>()))
        })
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        "now"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(instant_type())
    }

    fn return_field_from_args(&self, _arguments: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), instant_type(), false)))
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("now() is a constant of the statement")
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        let Some(now) = context.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(arguments));
        };
        let now = ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), Some(UTC.into()));
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(now, None)))
    }
}

/// The result of a function whose second argument is the zone of its type.
fn zoned_field(name: &str, arguments: &ReturnFieldArgs) -> Result<FieldRef> {
    let zone = zone_name(arguments.scalar_arguments.get(1).copied().flatten())?;
    parse_zone(zone)?;
    let nullable = arguments
        .arg_fields
        .first()
        .is_none_or(|field| field.is_nullable());
    Ok(Arc::new(Field::new(name, zoned_type(zone), nullable)))
}

fn zone_name(value: Option<&ScalarValue>) -> Result<&str> {
    match value.and_then(ScalarValue::try_as_str) {
        Some(Some(zone)) => Ok(zone),
        _ => plan_err!("the time zone must be a constant, such as 'Europe/Berlin' or '+02:00'"),
    }
}

fn parse_zone(name: &str) -> Result<Tz> {
    name.parse().map_err(|_| {
        let message = format!("there is no time zone '{name}', write 'Europe/Berlin' or '+02:00'");
        DataFusionError::Plan(message)
    })
}

/// Applies a function of arrays to the first argument.
fn map_first(
    arguments: &ScalarFunctionArgs,
    function: impl FnOnce(&dyn Array) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    match arguments.args.first() {
        Some(ColumnarValue::Array(values)) => Ok(ColumnarValue::Array(function(values.as_ref())?)),
        Some(ColumnarValue::Scalar(value)) => {
            let value = function(value.to_array()?.as_ref())?;
            let value = ScalarValue::try_from_array(&value, 0)?;
            Ok(ColumnarValue::Scalar(value))
        }
        None => internal_err!("a function of time zones has no arguments"),
    }
}

fn out_of_range(micros: i64) -> ArrowError {
    ArrowError::CastError(format!("timestamp {micros} µs is out of range"))
}

/// The instant at which a clock in `zone` shows `local_micros`. Where clocks were put back, the
/// first of the two; a time that was skipped is as much later as clocks were put forward.
pub(crate) fn instant_of(local_micros: i64, zone: Tz) -> Option<i64> {
    let local = DateTime::from_timestamp_micros(local_micros)?.naive_utc();
    let offset = match zone.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => seconds_of(&offset),
        LocalResult::None => offset_before_gap(local, zone)?,
    };
    local_micros.checked_sub(i64::from(offset) * 1_000_000)
}

/// The offset that was in force before the gap that `local` is in. Neither that offset nor the one
/// after the gap gives an instant at which it is in force: each leads to the other. The earlier
/// one is the smaller, as clocks were put forward.
fn offset_before_gap(local: NaiveDateTime, zone: Tz) -> Option<i32> {
    let offset_at = |instant: NaiveDateTime| seconds_of(&zone.offset_from_utc_datetime(&instant));
    let after =
        |offset: i32| local.checked_sub_signed(chrono::TimeDelta::try_seconds(i64::from(offset))?);
    let first = offset_at(after(offset_at(local))?);
    let second = offset_at(after(first)?);
    Some(first.min(second))
}

fn seconds_of(offset: &impl Offset) -> i32 {
    offset.fix().local_minus_utc()
}

/// The text of a timestamp with its seconds: `2026-01-31 12:00` is `2026-01-31 12:00:00`. Any other
/// text stays as it is.
pub(super) fn with_seconds(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let are_digits = |first: usize, end: usize| {
        let part = bytes.get(first..end);
        part.is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let is_time = matches!(bytes.get(10), Some(b' ' | b'T' | b't'))
        && are_digits(11, 13)
        && bytes.get(13) == Some(&b':')
        && are_digits(14, 16);
    let ends = matches!(bytes.get(16), None | Some(b' ' | b'+' | b'-' | b'Z' | b'z'));
    match text.split_at_checked(16) {
        Some((time, zone)) if is_time && ends => Cow::Owned(format!("{time}:00{zone}")),
        _ => Cow::Borrowed(text),
    }
}

/// The instant that a text is: in `zone`, unless it has one of its own.
pub(crate) fn parse_instant(text: &str, zone: Tz) -> Result<i64, ArrowError> {
    let text = with_seconds(text);
    let text = text.as_ref();
    let in_utc = string_to_datetime(&Utc, text)?;
    let Some(elsewhere) = FixedOffset::east_opt(3600) else {
        return Err(ArrowError::CastError("an hour is no offset".to_string()));
    };
    let micros = in_utc.timestamp_micros();
    // A text with a zone is the same instant everywhere.
    if string_to_datetime(&elsewhere, text)?.timestamp_micros() == micros {
        return Ok(micros);
    }
    instant_of(micros, zone).ok_or_else(|| out_of_range(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(local: &str, zone: &str) -> String {
        let local = string_to_datetime(&Utc, local).unwrap().timestamp_micros();
        let instant = instant_of(local, zone.parse().unwrap()).unwrap();
        let instant = DateTime::from_timestamp_micros(instant).unwrap();
        instant.format("%Y-%m-%d %H:%M:%S").to_string()
    }

    #[test]
    fn skipped_times_are_later_and_repeated_ones_are_the_first() {
        for (zone, local, expected) in [
            ("Europe/Rome", "2024-01-31 12:00:00", "2024-01-31 11:00:00"),
            ("Europe/Rome", "2024-07-31 12:00:00", "2024-07-31 10:00:00"),
            // From 02:00 to 03:00 on the last Sunday in March.
            ("Europe/Rome", "2024-03-31 01:59:59", "2024-03-31 00:59:59"),
            ("Europe/Rome", "2024-03-31 02:00:00", "2024-03-31 01:00:00"),
            ("Europe/Rome", "2024-03-31 02:30:00", "2024-03-31 01:30:00"),
            ("Europe/Rome", "2024-03-31 03:00:00", "2024-03-31 01:00:00"),
            // From 03:00 back to 02:00 in October.
            ("Europe/Rome", "2024-10-27 01:59:59", "2024-10-26 23:59:59"),
            ("Europe/Rome", "2024-10-27 02:30:00", "2024-10-27 00:30:00"),
            ("Europe/Rome", "2024-10-27 03:00:00", "2024-10-27 02:00:00"),
            (
                "America/New_York",
                "2024-03-10 02:30:00",
                "2024-03-10 07:30:00",
            ),
            (
                "America/New_York",
                "2024-11-03 01:30:00",
                "2024-11-03 05:30:00",
            ),
            // Half an hour.
            (
                "Australia/Lord_Howe",
                "2024-10-06 02:15:00",
                "2024-10-05 15:45:00",
            ),
            // A whole day that never was.
            ("Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30 22:00:00"),
            ("+02:00", "2024-03-31 02:30:00", "2024-03-31 00:30:00"),
            (
                "America/New_York",
                "1883-01-01 00:00:00",
                "1883-01-01 04:56:02",
            ),
        ] {
            assert_eq!(instant(local, zone), expected, "{local} in {zone}");
        }
    }

    #[test]
    fn texts_with_a_zone_keep_it() {
        let zone: Tz = "Europe/Rome".parse().unwrap();
        for (text, expected) in [
            ("2024-01-31 12:00:00", "2024-01-31T11:00:00Z"),
            ("2024-01-31T12:00:00.5", "2024-01-31T11:00:00.5Z"),
            ("2024-01-31", "2024-01-30T23:00:00Z"),
            ("2024-01-31 12:00", "2024-01-31T11:00:00Z"),
            ("2024-01-31T12:00Z", "2024-01-31T12:00:00Z"),
            ("2024-01-31 12:00+05:30", "2024-01-31T06:30:00Z"),
            ("2024-01-31 12:00 -08", "2024-01-31T20:00:00Z"),
            ("2024-01-31 12:00 America/New_York", "2024-01-31T17:00:00Z"),
            ("2024-01-31 12:00:00Z", "2024-01-31T12:00:00Z"),
            ("2024-01-31 12:00:00+05:30", "2024-01-31T06:30:00Z"),
            (
                "2024-01-31 12:00:00 America/New_York",
                "2024-01-31T17:00:00Z",
            ),
            ("2024-03-31 02:30:00", "2024-03-31T01:30:00Z"),
        ] {
            let expected = string_to_datetime(&Utc, expected)
                .unwrap()
                .timestamp_micros();
            assert_eq!(parse_instant(text, zone).unwrap(), expected, "{text}");
        }
        for text in [
            "soon",
            "2024-01-31 12",
            "2024-01-31 12:00.5",
            "2024-01-31 12:0",
        ] {
            assert!(parse_instant(text, zone).is_err(), "{text}");
        }
    }
}
