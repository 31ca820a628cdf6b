//! Trino's functions of dates and times that DataFusion 55 does not have, or has under the same
//! name with another meaning: `date_add`, `date_diff`, `date_format`, `date_parse` and
//! `from_unixtime`.
//!
//! Days and what is longer are counted by a clock in the zone of the argument's type, which the
//! session's zone becomes on the way (see [`crate::time_zone`]).

mod calendar;
mod format;

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use self::calendar::{Unit, add, difference};
use self::format::MySqlFormat;
use crate::schema::UTC;

/// The functions of this module.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [
        DateFunction::Add,
        DateFunction::Diff,
        DateFunction::Format,
        DateFunction::Parse,
        DateFunction::FromUnixtime,
    ];
    all.into_iter()
        .map(|function| {
            Arc::new(ScalarUDF::from(DateUdf {
                function,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum DateFunction {
    /// `date_add(unit, count, value)`
    Add,
    /// `date_diff(unit, from, to)`: whole units, negative when `to` is earlier.
    Diff,
    /// `date_format(value, format)`, the format as in MySQL. DataFusion has another function of this
    /// name, hence its own (see `ingot_sql::prepare`).
    Format,
    /// `date_parse(text, format)`
    Parse,
    /// `from_unixtime(seconds)`
    FromUnixtime,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateUdf {
    function: DateFunction,
    signature: Signature,
}

impl ScalarUDFImpl for DateUdf {
    fn name(&self) -> &str {
        match self.function {
            DateFunction::Add => "date_add",
            DateFunction::Diff => "date_diff",
            DateFunction::Format => "mysql_date_format",
            DateFunction::Parse => "date_parse",
            DateFunction::FromUnixtime => "from_unixtime",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.function, types) {
            (DateFunction::Add, [_, _, DataType::Date32]) => {
                Ok(vec![DataType::Utf8, DataType::Int64, DataType::Date32])
            }
            (DateFunction::Add, [_, _, value]) => {
                Ok(vec![DataType::Utf8, DataType::Int64, timestamp_of(value)])
            }
            (DateFunction::Diff, [_, from, to]) => {
                let common = match (from, to) {
                    (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, None)) => from,
                    (_, DataType::Timestamp(_, Some(_))) => to,
                    _ => from,
                };
                let common = timestamp_of(common);
                Ok(vec![DataType::Utf8, common.clone(), common])
            }
            (DateFunction::Format, [value, _]) => Ok(vec![timestamp_of(value), DataType::Utf8]),
            (DateFunction::Parse, [_, _]) => Ok(vec![DataType::Utf8, DataType::Utf8]),
            (DateFunction::FromUnixtime, [_]) => Ok(vec![DataType::Float64]),
            (function, _) => plan_err!(
                "write {}",
                match function {
                    DateFunction::Add => "date_add('day', 1, value)",
                    DateFunction::Diff => "date_diff('day', from, to)",
                    DateFunction::Format => "date_format(value, '%Y-%m-%d')",
                    DateFunction::Parse => "date_parse(text, '%Y-%m-%d')",
                    DateFunction::FromUnixtime => "from_unixtime(seconds)",
                }
            ),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            DateFunction::Add => types.get(2).cloned().unwrap_or(DataType::Null),
            DateFunction::Diff => DataType::Int64,
            DateFunction::Format => DataType::Utf8,
            DateFunction::Parse => DataType::Timestamp(TimeUnit::Microsecond, None),
            DateFunction::FromUnixtime => {
                DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
            }
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let are_constants = arguments
            .args
            .iter()
            .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = match are_constants {
            true => 1,
            false => arguments.number_rows,
        };
        let columns: Vec<ArrayRef> = arguments
            .args
            .iter()
            .map(|argument| argument.to_array(rows))
            .collect::<Result<_>>()?;
        let values = match (self.function, columns.as_slice()) {
            (DateFunction::Add, [units, counts, values]) => add_all(units, counts, values)?,
            (DateFunction::Diff, [units, from, to]) => differences(units, from, to)?,
            (DateFunction::Format, [values, formats]) => format_all(values, formats)?,
            (DateFunction::Parse, [texts, formats]) => parse_all(texts, formats)?,
            (DateFunction::FromUnixtime, [seconds]) => instants_of(seconds.as_primitive())?,
            _ => return exec_err!("{} has other arguments", self.name()),
        };
        match are_constants {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &values, 0,
            )?)),
            false => Ok(ColumnarValue::Array(values)),
        }
    }
}

/// The timestamp type in microseconds of a value that is one or can become one.
fn timestamp_of(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// The zone of a timestamp type; UTC for one without: its clock is never changed.
fn zone_of(data_type: &DataType) -> Result<Tz> {
    let name = match data_type {
        DataType::Timestamp(_, Some(zone)) => zone.as_ref(),
        _ => UTC,
    };
    Ok(name.parse()?)
}

fn out_of_range() -> DataFusionError {
    DataFusionError::Execution("the timestamp is out of range".to_string())
}

fn add_all(units: &ArrayRef, counts: &ArrayRef, values: &ArrayRef) -> Result<ArrayRef> {
    let target = values.data_type().clone();
    let timestamps = cast(values, &timestamp_of(&target))?;
    let timestamps = timestamps.as_primitive::<TimestampMicrosecondType>();
    let zone = zone_of(&target)?;
    let counts = counts.as_primitive::<Int64Type>();
    let units = Unit::column(units.as_string());
    let is_date = target == DataType::Date32;
    let rows = units
        .zip(counts)
        .zip(timestamps)
        .map(|((unit, count), value)| {
            let (Some(unit), Some(count), Some(value)) = (unit?, count, value) else {
                return Ok(None);
            };
            if is_date && !unit.is_of_dates() {
                return exec_err!("a date has no smaller unit than a day: cast it to a timestamp");
            }
            add(unit, count, value, zone)
                .map(Some)
                .ok_or_else(out_of_range)
        });
    let sums: TimestampMicrosecondArray = rows.collect::<Result<_>>()?;
    match &target {
        DataType::Timestamp(_, zone) => Ok(Arc::new(sums.with_timezone_opt(zone.clone()))),
        _ => Ok(cast(&sums, &target)?),
    }
}

fn differences(units: &ArrayRef, from: &ArrayRef, to: &ArrayRef) -> Result<ArrayRef> {
    let zone = zone_of(from.data_type())?;
    let units = Unit::column(units.as_string());
    let from = from.as_primitive::<TimestampMicrosecondType>();
    let to = to.as_primitive::<TimestampMicrosecondType>();
    let rows = units.zip(from).zip(to).map(|((unit, from), to)| {
        let (Some(unit), Some(from), Some(to)) = (unit?, from, to) else {
            return Ok(None);
        };
        difference(unit, from, to, zone)
            .map(Some)
            .ok_or_else(out_of_range)
    });
    let differences: Int64Array = rows.collect::<Result<_>>()?;
    Ok(Arc::new(differences))
}

fn format_all(values: &ArrayRef, formats: &ArrayRef) -> Result<ArrayRef> {
    let zone = zone_of(values.data_type())?;
    let values = values.as_primitive::<TimestampMicrosecondType>();
    let mut format = MySqlFormat::default();
    let rows = values
        .iter()
        .zip(formats.as_string::<i32>())
        .map(|(value, text)| {
            let (Some(value), Some(text)) = (value, text) else {
                return Ok(None);
            };
            let local = calendar::local_of(value, zone).ok_or_else(out_of_range)?;
            format.set(text)?;
            Ok(Some(format.write(local)))
        });
    let texts: StringArray = rows.collect::<Result<_>>()?;
    Ok(Arc::new(texts))
}

fn parse_all(texts: &ArrayRef, formats: &ArrayRef) -> Result<ArrayRef> {
    let mut format = MySqlFormat::default();
    let rows = texts
        .as_string::<i32>()
        .iter()
        .zip(formats.as_string::<i32>());
    let rows = rows.map(|(text, format_text)| {
        let (Some(text), Some(format_text)) = (text, format_text) else {
            return Ok(None);
        };
        format.set(format_text)?;
        format.read(text).map(Some)
    });
    let timestamps: TimestampMicrosecondArray = rows.collect::<Result<_>>()?;
    Ok(Arc::new(timestamps))
}

fn instants_of(seconds: &Float64Array) -> Result<ArrayRef> {
    let instants =
        seconds.try_unary::<_, TimestampMicrosecondType, DataFusionError>(|seconds| {
            let micros = (seconds * 1e6).round();
            // The nearest doubles to the ends of the range are exact.
            match micros >= i64::MIN as f64 && micros < i64::MAX as f64 {
                true => Ok(micros as i64),
                false => exec_err!("{seconds} seconds are out of range"),
            }
        })?;
    Ok(Arc::new(instants.with_timezone(UTC)))
}
