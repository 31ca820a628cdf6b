//! Parameter values bound to prepared statements.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, Schema};
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Status;

use super::results;
use crate::error::{CoordinatorError, Result};

/// How many sets of parameters one call may bind. Each row is one execution.
pub(super) const MAX_PARAMETER_ROWS: usize = 100_000;

/// Reads the parameter rows of a `DoPut` call; `None` when it carries none at all.
pub(super) async fn read_parameters<S>(stream: S) -> Result<Option<RecordBatch>>
where
    S: Stream<Item = Result<FlightData, Status>> + Send + 'static,
{
    // The first message of a client without parameters has a descriptor and no data.
    let messages = stream.filter_map(|message| async move {
        match message {
            Ok(data) if data.data_header.is_empty() => None,
            other => Some(other.map_err(FlightError::from)),
        }
    });
    let mut decoder = FlightRecordBatchStream::new_from_flight_data(messages);
    let mut batches = Vec::new();
    let mut rows = 0;
    while let Some(batch) = decoder.try_next().await.map_err(malformed)? {
        rows += batch.num_rows();
        if rows > MAX_PARAMETER_ROWS {
            return Err(CoordinatorError::InvalidInput(format!(
                "more than {MAX_PARAMETER_ROWS} parameter rows in one call: bind fewer at a time"
            )));
        }
        batches.push(batch);
    }
    match decoder.schema() {
        Some(schema) if !schema.fields().is_empty() => Ok(Some(concat_batches(schema, &batches)?)),
        _ => Ok(None),
    }
}

fn malformed(error: FlightError) -> CoordinatorError {
    match error {
        FlightError::Tonic(status) => {
            CoordinatorError::Unavailable(format!("reading parameters: {}", status.message()))
        }
        other => CoordinatorError::InvalidInput(format!("malformed parameters: {other}")),
    }
}

/// Converts bound values to the types that the statement expects, by position.
pub(super) fn convert_parameters(bound: &RecordBatch, expected: &Schema) -> Result<RecordBatch> {
    if bound.num_columns() != expected.fields().len() {
        return Err(CoordinatorError::InvalidInput(format!(
            "the statement has {} parameters and {} were bound",
            expected.fields().len(),
            bound.num_columns()
        )));
    }
    let mut fields: Vec<FieldRef> = Vec::with_capacity(bound.num_columns());
    let mut columns = Vec::with_capacity(bound.num_columns());
    for (index, (column, field)) in bound.columns().iter().zip(expected.fields()).enumerate() {
        let target = match field.data_type() {
            // The statement does not say: keep the client's type, in a form that is understood.
            DataType::Null => results::client_schema(&Schema::new(vec![Field::new(
                field.name(),
                column.data_type().clone(),
                true,
            )]))
            .field(0)
            .data_type()
            .clone(),
            known => known.clone(),
        };
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let converted = cast_with_options(column, &target, &options).map_err(|error| {
            CoordinatorError::InvalidInput(format!(
                "parameter {} is {} and cannot be used as {target}: {error}",
                index + 1,
                column.data_type()
            ))
        })?;
        if is_changed(column, &converted)? {
            return Err(CoordinatorError::InvalidInput(format!(
                "parameter {} is {} and has a value that is none of {target}: bind one of that \
                 type, or write CAST(? AS …)",
                index + 1,
                column.data_type()
            )));
        }
        fields.push(Arc::new(Field::new(
            field.name(),
            converted.data_type().clone(),
            true,
        )));
        columns.push(converted);
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// Whether numbers became other numbers, or something else, when they were cast.
fn is_changed(bound: &ArrayRef, converted: &ArrayRef) -> Result<bool> {
    let (from, to) = (bound.data_type(), converted.data_type());
    if !from.is_numeric() || from == to {
        return Ok(false);
    }
    if !to.is_numeric() {
        return Ok(to.is_temporal() || *to == DataType::Boolean);
    }
    if to.is_floating() {
        // A float rounds; it must not become infinite.
        let doubles = bound.as_primitive_opt::<Float64Type>();
        let reals = converted.as_primitive_opt::<Float32Type>();
        return Ok(match (doubles, reals) {
            (Some(doubles), Some(reals)) => doubles.iter().zip(reals).any(|pair| {
                matches!(pair, (Some(double), Some(real)) if double.is_finite() && real.is_infinite())
            }),
            _ => false,
        });
    }
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let back = cast_with_options(converted, from, &options)?;
    Ok(back.as_ref() != bound.as_ref())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn bound(values: Vec<Option<i64>>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(values));
        RecordBatch::try_from_iter_with_nullable([("0", column, true)]).unwrap()
    }

    fn expects(data_type: DataType) -> Schema {
        Schema::new(vec![Field::new("$1", data_type, true)])
    }

    #[test]
    fn values_take_the_types_of_the_statement() {
        let converted =
            convert_parameters(&bound(vec![Some(3), None]), &expects(DataType::Int32)).unwrap();
        let column = converted.column(0).as_primitive::<Int32Type>();
        assert_eq!(column.value(0), 3);
        assert!(column.is_null(1));
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_not_a_null() {
        let error =
            convert_parameters(&bound(vec![Some(1 << 40)]), &expects(DataType::Int32)).unwrap_err();
        assert!(
            error.to_string().starts_with("parameter 1 is Int64"),
            "{error}"
        );
        let text: ArrayRef = Arc::new(StringArray::from(vec!["abc"]));
        let batch = RecordBatch::try_from_iter([("0", text)]).unwrap();
        assert!(convert_parameters(&batch, &expects(DataType::Date32)).is_err());
    }

    #[test]
    fn numbers_are_not_rounded() {
        let bound = |value: f64| {
            let column: ArrayRef = Arc::new(Float64Array::from(vec![Some(value), None]));
            RecordBatch::try_from_iter_with_nullable([("0", column, true)]).unwrap()
        };
        for (value, target, is_taken) in [
            (2.0, DataType::Int32, true),
            (1.6, DataType::Int32, false),
            (1.5, DataType::Decimal128(5, 1), true),
            (1.25, DataType::Decimal128(5, 1), false),
            (0.1, DataType::Float32, true),
            (1e300, DataType::Float32, false),
        ] {
            let converted = convert_parameters(&bound(value), &expects(target.clone()));
            assert_eq!(converted.is_ok(), is_taken, "{value} as {target}");
        }
        let days = convert_parameters(&self::bound(vec![Some(5)]), &expects(DataType::Date32));
        assert!(days.is_err());
    }

    #[test]
    fn the_number_of_parameters_is_checked() {
        let error = convert_parameters(&bound(vec![Some(1)]), &Schema::empty()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the statement has 0 parameters and 1 were bound"
        );
    }
}
