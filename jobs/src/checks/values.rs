//! Reading the results of checks.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};

use crate::error::StatementError;

fn wrong(message: String) -> StatementError {
    StatementError {
        message,
        retryable: false,
        cancelled: false,
    }
}

/// The one row of a result that has one.
fn first_row(batches: &[RecordBatch]) -> Result<&RecordBatch, StatementError> {
    batches
        .iter()
        .find(|batch| batch.num_rows() > 0)
        .ok_or_else(|| wrong("the query of the check returned no row".to_string()))
}

fn cast_column(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, StatementError> {
    cast(column, wanted).map_err(|error| wrong(error.to_string()))
}

/// The counts in the first row.
pub(super) fn first_counts(batches: &[RecordBatch]) -> Result<Vec<u64>, StatementError> {
    first_row(batches)?
        .columns()
        .iter()
        .map(|column| {
            let counts = cast_column(column, &DataType::Int64)?;
            let counts = counts.as_primitive::<Int64Type>();
            match counts.is_null(0) {
                true => Err(wrong(
                    "the query of the check returned no count".to_string(),
                )),
                false => u64::try_from(counts.value(0))
                    .map_err(|_| wrong("the query of the check returned a negative count".into())),
            }
        })
        .collect()
}

/// The time in the first column of the first row; `None` for NULL.
pub(super) fn first_time(batches: &[RecordBatch]) -> Result<Option<DateTime<Utc>>, StatementError> {
    let batch = first_row(batches)?;
    let column = batch.column(0);
    if !matches!(
        column.data_type(),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null
    ) {
        return Err(wrong(format!(
            "freshness needs a timestamp or date column, this one is {}",
            type_name(column.data_type())
        )));
    }
    let times = cast_column(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    if times.is_null(0) {
        return Ok(None);
    }
    DateTime::from_timestamp_micros(times.value(0))
        .map(Some)
        .ok_or_else(|| wrong("the newest time is out of range".to_string()))
}

/// In what a table's columns differ from those expected, in words.
pub(super) fn schema_differences(
    batches: &[RecordBatch],
    expected: &BTreeMap<String, String>,
) -> Result<Vec<String>, StatementError> {
    let batch = batches
        .first()
        .ok_or_else(|| wrong("the query of the check returned no schema".to_string()))?;
    let schema = batch.schema();
    let mut differences = Vec::new();
    for (column, wanted) in expected {
        match schema.field_with_name(column) {
            Err(_) => differences.push(format!("column {column} is missing")),
            Ok(field) => {
                let actual = type_name(field.data_type());
                if actual != normal_type(wanted) {
                    differences.push(format!("column {column} is {actual}, not {wanted}"));
                }
            }
        }
    }
    for field in schema.fields() {
        if !expected.contains_key(field.name()) {
            differences.push(format!("column {} is unexpected", field.name()));
        }
    }
    Ok(differences)
}

/// The SQL name of a type.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_string(),
        DataType::Int8 => "tinyint".to_string(),
        DataType::Int16 => "smallint".to_string(),
        DataType::Int32 => "integer".to_string(),
        DataType::Int64 => "bigint".to_string(),
        DataType::Float32 => "real".to_string(),
        DataType::Float64 => "double".to_string(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar".to_string(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "varbinary".to_string(),
        DataType::Date32 => "date".to_string(),
        DataType::Time64(_) => "time".to_string(),
        DataType::Timestamp(_, None) => "timestamp".to_string(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_string(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => other.to_string().to_lowercase(),
    }
}

/// The name that `type_name` gives to a type that is spelled in another way.
fn normal_type(name: &str) -> String {
    let words: Vec<String> = name
        .to_lowercase()
        .split_whitespace()
        .map(str::to_string)
        .collect();
    let name = words.join(" ").replace(", ", ",").replace(" (", "(");
    match name.as_str() {
        "bool" => "boolean".to_string(),
        "int" => "integer".to_string(),
        "long" => "bigint".to_string(),
        "float" => "real".to_string(),
        "double precision" => "double".to_string(),
        "string" | "text" => "varchar".to_string(),
        "binary" => "varbinary".to_string(),
        "timestamp(6)" | "timestamp without time zone" => "timestamp".to_string(),
        "timestamp with time zone" | "timestamp(6) with time zone" => "timestamptz".to_string(),
        other => match other.strip_prefix("numeric") {
            Some(rest) => format!("decimal{rest}"),
            None => other.to_string(),
        },
    }
}

/// The first rows as JSON objects.
pub(super) fn json_rows(
    batches: &[RecordBatch],
    limit: usize,
) -> Result<Vec<serde_json::Value>, StatementError> {
    let batches: Vec<&RecordBatch> = batches
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .collect();
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::JsonArray>(Vec::new());
    writer
        .write_batches(&batches)
        .and_then(|()| writer.finish())
        .map_err(|error| wrong(error.to_string()))?;
    let bytes = writer.into_inner();
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows: Vec<serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    rows.truncate(limit);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int32Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Schema};
    use serde_json::json;

    use super::*;

    fn batch() -> RecordBatch {
        let amounts = Decimal128Array::from(vec![Some(1250), None])
            .with_precision_and_scale(12, 2)
            .unwrap();
        let times = TimestampMicrosecondArray::from(vec![Some(1_000_000), None]);
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
            ("name", Arc::new(StringArray::from(vec![None, Some("ü")]))),
            ("amount", Arc::new(amounts)),
            ("at", Arc::new(times)),
        ])
        .unwrap()
    }

    #[test]
    fn schemas_are_compared_by_name_and_type() {
        let expected = |columns: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(name, kind): &(&str, &str)| (name.to_string(), kind.to_string());
            columns.iter().map(owned).collect()
        };
        let same = expected(&[
            ("at", "TIMESTAMP(6)"),
            ("amount", "numeric(12, 2)"),
            ("id", "int"),
            ("name", "text"),
        ]);
        let none: Vec<String> = vec![];
        assert_eq!(schema_differences(&[batch()], &same).unwrap(), none);
        let other = expected(&[("at", "date"), ("amount", "decimal(10,2)"), ("more", "int")]);
        assert_eq!(
            schema_differences(&[batch()], &other).unwrap(),
            [
                "column amount is decimal(12,2), not decimal(10,2)",
                "column at is timestamp, not date",
                "column more is missing",
                "column id is unexpected",
                "column name is unexpected",
            ]
        );
    }

    #[test]
    fn rows_become_json() {
        let rows = json_rows(&[batch(), batch()], 3).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0]["id"], json!(1));
        assert_eq!(rows[0]["name"], json!(null));
        assert_eq!(rows[1]["name"], json!("ü"));
        let empty = RecordBatch::new_empty(Arc::new(Schema::new(vec![Field::new(
            "a",
            DataType::Int32,
            true,
        )])));
        assert!(json_rows(&[empty], 3).unwrap().is_empty());
        assert!(json_rows(&[], 3).unwrap().is_empty());
    }

    #[test]
    fn counts_and_times_are_read_or_refused() {
        assert_eq!(
            first_counts(&[batch().project(&[0]).unwrap()]).unwrap(),
            [1]
        );
        assert!(first_counts(&[batch().project(&[1]).unwrap()]).is_err());
        assert!(first_counts(&[]).is_err());
        let time = first_time(&[batch().project(&[3]).unwrap()]).unwrap();
        assert_eq!(time.unwrap().timestamp(), 1);
        let none = first_time(&[batch().slice(1, 1).project(&[3]).unwrap()]).unwrap();
        assert_eq!(none, None);
        let error = first_time(&[batch().project(&[1]).unwrap()]).unwrap_err();
        assert!(error.message.contains("this one is varchar"), "{error}");
    }
}
