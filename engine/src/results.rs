//! Results as every client can take them.
//!
//! Several clients cannot read string views, dictionaries or unsigned 64-bit integers, and
//! timestamps are microseconds throughout.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

/// The schema in which results of `schema` go out. Nullability and metadata stay.
pub fn result_schema(schema: &Schema) -> SchemaRef {
    schema_with(schema, plain_type)
}

/// The schema with strings for views of strings, which is how plans within one process read text
/// (see [`text_views`](crate::text_views)). Nullability and metadata stay.
pub fn plain_text_schema(schema: &Schema) -> SchemaRef {
    schema_with(schema, plain_text_type)
}

fn schema_with(schema: &Schema, plain: fn(&DataType) -> DataType) -> SchemaRef {
    let fields: Fields = schema
        .fields()
        .iter()
        .map(|field| field_with(field, plain))
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn field_with(field: &FieldRef, plain: fn(&DataType) -> DataType) -> FieldRef {
    let data_type = plain(field.data_type());
    if data_type == *field.data_type() {
        return Arc::clone(field);
    }
    Arc::new(Field::clone(field).with_data_type(data_type))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::UInt64 => DataType::Int64,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt16 | DataType::UInt8 => DataType::Int32,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => DataType::List(field_with(element, plain_type)),
        other => nested_with(other, plain_type),
    }
}

fn plain_text_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        other => nested_with(other, plain_text_type),
    }
}

/// The type with its inner types made plain, if it has any.
fn nested_with(data_type: &DataType, plain: fn(&DataType) -> DataType) -> DataType {
    match data_type {
        DataType::List(element) => DataType::List(field_with(element, plain)),
        DataType::LargeList(element) => DataType::LargeList(field_with(element, plain)),
        DataType::FixedSizeList(element, size) => {
            DataType::FixedSizeList(field_with(element, plain), *size)
        }
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| field_with(field, plain))
                .collect(),
        ),
        DataType::Map(entries, ordered) => DataType::Map(field_with(entries, plain), *ordered),
        other => other.clone(),
    }
}

/// A batch in the schema that [`result_schema`] or [`plain_text_schema`] gave.
///
/// # Errors
/// When a value does not fit, such as an unsigned integer above the largest signed one.
pub fn result_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast_with_options(column, field.data_type(), &options)
            }
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        AsArray, DictionaryArray, StringViewArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

    #[test]
    fn results_have_types_that_every_client_reads() {
        let dictionary: DictionaryArray<Int32Type> = vec!["a", "b"].into_iter().collect();
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(UInt64Array::from(vec![1, 2])) as ArrayRef),
            (
                "s",
                Arc::new(StringViewArray::from(vec!["x", "y"])) as ArrayRef,
            ),
            ("d", Arc::new(dictionary) as ArrayRef),
            (
                "t",
                Arc::new(TimestampNanosecondArray::from(vec![1_999, 2_000])) as ArrayRef,
            ),
        ])
        .unwrap();
        let schema = result_schema(&batch.schema());
        let plain = result_batch(&batch, &schema).unwrap();
        assert_eq!(
            plain.column(0).as_primitive::<Int64Type>().values(),
            &[1, 2]
        );
        assert_eq!(plain.column(1).as_string::<i32>().value(1), "y");
        assert_eq!(plain.column(2).as_string::<i32>().value(0), "a");
        let times = plain.column(3).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.values(), &[1, 2]);
    }

    #[test]
    fn numbers_that_do_not_fit_are_errors() {
        let column = Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let schema = result_schema(&batch.schema());
        assert!(result_batch(&batch, &schema).is_err());
    }
}
