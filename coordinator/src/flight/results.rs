//! Results in the types that Flight SQL clients understand.
//!
//! Several clients reject a stream whose schema differs from the announced one, nullability
//! included, and several do not know the newer or rarer Arrow types. So one function decides the
//! schema that is announced, and every batch is converted to exactly that.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use ingot_engine::results::result_schema;

use crate::error::{CoordinatorError, Result};

/// The schema announced and sent for a result: the types of [`result_schema`], nullability kept,
/// without metadata of the schema as a whole.
pub fn client_schema(schema: &Schema) -> SchemaRef {
    let plain = result_schema(schema);
    if plain.metadata().is_empty() {
        return plain;
    }
    Arc::new(Schema::new(plain.fields().clone()))
}

fn client_type(data_type: &DataType) -> DataType {
    let field = Field::new("", data_type.clone(), true);
    let plain = result_schema(&Schema::new(vec![field]));
    plain.field(0).data_type().clone()
}

/// Converts a batch to the announced schema. Types may differ as [`client_schema`] makes them
/// differ, and in nullability; anything else means that the statement's tables have changed since
/// it was described, which is an error: a client must not read columns it does not expect.
pub fn conform(batch: &RecordBatch, announced: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == announced {
        return Ok(batch.clone());
    }
    if batch.num_columns() != announced.fields().len() {
        return Err(changed(format!(
            "{} columns were announced and there are {}",
            announced.fields().len(),
            batch.num_columns()
        )));
    }
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (column, target) in batch.columns().iter().zip(announced.fields()) {
        if column.data_type() == target.data_type() {
            columns.push(Arc::clone(column));
            continue;
        }
        let converted = client_type(column.data_type());
        if anonymous_type(&converted) != anonymous_type(target.data_type()) {
            return Err(changed(format!(
                "column {} was announced as {} and is {}",
                target.name(),
                target.data_type(),
                converted
            )));
        }
        // Not `safe`: a value that does not fit is an error, never a silent NULL.
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let cast = cast_with_options(column, target.data_type(), &options).map_err(|error| {
            CoordinatorError::InvalidInput(format!("column {}: {error}", target.name()))
        })?;
        columns.push(cast);
    }
    for (column, target) in columns.iter().zip(announced.fields()) {
        if !target.is_nullable() && column.logical_null_count() > 0 {
            return Err(CoordinatorError::Internal(format!(
                "column {} was announced as NOT NULL and has nulls",
                target.name()
            )));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(announced),
        columns,
        &options,
    )?)
}

fn changed(difference: String) -> CoordinatorError {
    CoordinatorError::FailedPrecondition(format!(
        "the result of the statement has changed since it was prepared ({difference}): prepare it again"
    ))
}

/// The type without what does not change its values: nullability, metadata and the names of list
/// items and map entries.
fn anonymous_type(data_type: &DataType) -> DataType {
    let item =
        |field: &FieldRef| Arc::new(Field::new("item", anonymous_type(field.data_type()), true));
    match data_type {
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(item(field), *length),
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| Field::new(field.name(), anonymous_type(field.data_type()), true))
                .collect(),
        ),
        DataType::Map(entries, sorted) => {
            let anonymous_entries = match entries.data_type() {
                DataType::Struct(fields) => DataType::Struct(
                    fields
                        .iter()
                        .enumerate()
                        .map(|(index, field)| {
                            let name = if index == 0 { "key" } else { "value" };
                            Field::new(name, anonymous_type(field.data_type()), true)
                        })
                        .collect(),
                ),
                other => anonymous_type(other),
            };
            DataType::Map(
                Arc::new(Field::new("entries", anonymous_entries, true)),
                *sorted,
            )
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, AsArray, BinaryViewArray, DictionaryArray, Int32Array, ListArray, StringArray,
        StringViewArray, StructArray, UInt64Array,
    };
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    #[test]
    fn rare_types_become_common_ones_at_any_depth() {
        let views: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
        let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter([
            Some("x"),
            Some("x"),
        ]));
        let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX >> 1, 0]));
        let binary: ArrayRef = Arc::new(BinaryViewArray::from(vec![&b"b"[..], &b"c"[..]]));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("v", DataType::Utf8View, true)),
            Arc::clone(&views),
        )]));
        let list: ArrayRef = Arc::new(ListArray::new(
            Arc::new(Field::new("item", DataType::UInt64, true)),
            arrow::buffer::OffsetBuffer::from_lengths([1, 1]),
            Arc::clone(&unsigned),
            None,
        ));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("views", views, true),
            ("dictionary", dictionary, false),
            ("unsigned", unsigned, false),
            ("binary", binary, false),
            ("nested", nested, false),
            ("list", list, false),
        ])
        .unwrap();
        let announced = client_schema(batch.schema_ref());
        let types: Vec<String> = announced
            .fields()
            .iter()
            .map(|field| field.data_type().to_string())
            .collect();
        assert!(types.iter().all(|name| !name.contains("View")
            && !name.contains("Dictionary")
            && !name.contains("UInt64")));
        let sent = conform(&batch, &announced).unwrap();
        assert_eq!(sent.schema(), announced);
        assert_eq!(sent.column(1).as_string::<i32>().value(1), "x");
        assert_eq!(
            sent.column(2).as_primitive::<Int64Type>().value(0),
            i64::MAX
        );
        assert!(!announced.field(2).is_nullable());
    }

    #[test]
    fn a_number_that_does_not_fit_is_an_error() {
        let values: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        let batch = RecordBatch::try_from_iter([("n", values)]).unwrap();
        let error = conform(&batch, &client_schema(batch.schema_ref())).unwrap_err();
        assert!(error.to_string().starts_with("column n: "), "{error}");
    }

    #[test]
    fn nullability_of_the_announcement_wins_and_is_checked() {
        let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        let batch = RecordBatch::try_from_iter_with_nullable([("n", values, true)]).unwrap();
        let strict = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
        assert!(conform(&batch, &strict).is_err());
        let first = batch.slice(0, 1);
        assert_eq!(conform(&first, &strict).unwrap().schema(), strict);
    }

    #[test]
    fn a_result_that_changed_its_columns_is_refused() {
        let values: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
        let batch = RecordBatch::try_from_iter([("n", values)]).unwrap();
        let announced = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, true)]));
        let error = conform(&batch, &announced).unwrap_err();
        assert!(error.to_string().contains("prepare it again"), "{error}");
    }

    #[test]
    fn a_batch_without_columns_keeps_its_rows() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let empty = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(empty, vec![], &options).unwrap();
        let announced = client_schema(batch.schema_ref());
        assert_eq!(conform(&batch, &announced).unwrap().num_rows(), 3);
    }
}
