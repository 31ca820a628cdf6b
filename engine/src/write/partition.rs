//! Splitting rows by partition.

use std::collections::HashMap;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::row::{RowConverter, Rows, SortField};
use iceberg::spec::{Datum, Literal, Struct, StructType, Transform};

use super::align::path_of_field;
use super::metrics::nested_column;
use super::partition_path::partition_path;
use super::target::WriteTarget;
use super::transform::{minimal_big_endian, transform_array};
use super::written::HexBytes;
use crate::error::{EngineError, Result};

/// One partition seen so far.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    /// Its values in Iceberg's single-value bytes, by field of the spec.
    pub(super) values: Vec<Option<HexBytes>>,
    /// Its folder below the data folder; empty when the table is not partitioned.
    pub(super) folder: String,
}

/// Rows of one partition: index of the partition and a batch.
pub(super) type PartitionRows = (usize, RecordBatch);

/// Splits batches by the partition values of their rows. Partitions are numbered as they
/// are first seen.
#[derive(Debug)]
pub(super) struct PartitionSplitter {
    target: WriteTarget,
    types: StructType,
    sources: Vec<Source>,
    /// `None` for an unpartitioned table.
    converter: Option<RowConverter>,
    numbers: HashMap<Box<[u8]>, usize>,
    partitions: Vec<Partition>,
}

#[derive(Debug)]
struct Source {
    transform: Transform,
    path: Vec<usize>,
}

impl PartitionSplitter {
    /// # Errors
    /// `Unsupported` for a partition field inside a list or map, which Iceberg forbids, and
    /// for a transform that Ingot does not know.
    pub(super) fn new(target: &WriteTarget, schema: &arrow::datatypes::Schema) -> Result<Self> {
        let types = target.partition_type()?;
        let mut sources = Vec::new();
        let mut sort_fields = Vec::new();
        for field in target.partition_spec.fields() {
            let path = path_of_field(&target.schema, field.source_id).ok_or_else(|| {
                EngineError::Unsupported(format!(
                    "partition field {} of table {}",
                    field.name, target.table_name
                ))
            })?;
            let empty = RecordBatch::new_empty(schema.clone().into());
            let (column, _) = nested_column(empty.column(path[0]), &path[1..]);
            let values = transform_array(field.transform, &column)?;
            sort_fields.push(SortField::new(values.data_type().clone()));
            sources.push(Source {
                transform: field.transform,
                path,
            });
        }
        let converter = match sort_fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(sort_fields).map_err(arrow_error)?),
        };
        let mut splitter = Self {
            target: target.clone(),
            types,
            sources,
            converter,
            numbers: HashMap::new(),
            partitions: Vec::new(),
        };
        if splitter.converter.is_none() {
            splitter.partitions.push(Partition {
                values: Vec::new(),
                folder: String::new(),
            });
        }
        Ok(splitter)
    }

    pub(super) fn partition(&self, number: usize) -> &Partition {
        &self.partitions[number]
    }

    /// The rows of several batches by partition; within a partition they keep their order.
    ///
    /// # Errors
    /// When a transform does not fit its column.
    pub(super) fn split(&mut self, batches: Vec<RecordBatch>) -> Result<Vec<PartitionRows>> {
        if self.converter.is_none() {
            return Ok(batches.into_iter().map(|batch| (0, batch)).collect());
        }
        // Rows by partition, in order of first appearance within this call.
        let mut order: Vec<usize> = Vec::new();
        let mut rows_of: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
        for (batch_index, batch) in batches.iter().enumerate() {
            let numbers = self.partition_numbers(batch)?;
            let mut start = 0;
            // Runs of one partition are common: input that is sorted or clustered by time.
            for run in numbers.chunk_by(|left, right| left == right) {
                let rows = rows_of.entry(run[0]).or_insert_with(|| {
                    order.push(run[0]);
                    Vec::new()
                });
                rows.extend((start..start + run.len()).map(|row| (batch_index, row)));
                start += run.len();
            }
        }
        let references: Vec<&RecordBatch> = batches.iter().collect();
        let mut result = Vec::with_capacity(order.len());
        for number in order {
            let Some(rows) = rows_of.remove(&number) else {
                continue;
            };
            match contiguous(&rows) {
                // A slice keeps the whole batch in memory, hence not for a small part.
                Some((batch_index, start)) if rows.len() * 2 >= batches[batch_index].num_rows() => {
                    let slice = batches[batch_index].slice(start, rows.len());
                    result.push((number, slice));
                }
                _ => {
                    let batch = interleave_record_batch(&references, &rows).map_err(arrow_error)?;
                    result.push((number, batch));
                }
            }
        }
        Ok(result)
    }

    fn partition_numbers(&mut self, batch: &RecordBatch) -> Result<Vec<usize>> {
        let mut columns = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let (column, nulls) = nested_column(batch.column(source.path[0]), &source.path[1..]);
            let values = transform_array(source.transform, &column)?;
            columns.push(with_nulls(&values, nulls)?);
        }
        let rows = match &self.converter {
            Some(converter) => converter.convert_columns(&columns).map_err(arrow_error)?,
            None => return Ok(vec![0; batch.num_rows()]),
        };
        self.numbers_of_rows(&rows, &columns)
    }

    fn numbers_of_rows(&mut self, rows: &Rows, columns: &[ArrayRef]) -> Result<Vec<usize>> {
        let mut numbers = Vec::with_capacity(rows.num_rows());
        let mut last: Option<(&[u8], usize)> = None;
        for (index, row) in rows.iter().enumerate() {
            let key = row.data();
            let number = match last {
                Some((last_key, number)) if last_key == key => number,
                _ => match self.numbers.get(key) {
                    Some(number) => *number,
                    None => {
                        let number = self.add_partition(columns, index)?;
                        self.numbers.insert(key.into(), number);
                        number
                    }
                },
            };
            last = Some((key, number));
            numbers.push(number);
        }
        Ok(numbers)
    }

    fn add_partition(&mut self, columns: &[ArrayRef], row: usize) -> Result<usize> {
        let mut values = Vec::with_capacity(columns.len());
        let mut literals = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(self.types.fields()) {
            let bytes = single_value_bytes(column, row)?;
            let literal = match (&bytes, field.field_type.as_primitive_type()) {
                (Some(bytes), Some(primitive)) => {
                    let datum =
                        Datum::try_from_bytes(bytes, primitive.clone()).map_err(|source| {
                            let context = format!("partition of table {}", self.target.table_name);
                            EngineError::iceberg(context, source)
                        })?;
                    Some(Literal::Primitive(datum.literal().clone()))
                }
                _ => None,
            };
            literals.push(literal);
            values.push(bytes.map(HexBytes));
        }
        let values_as_struct = Struct::from_iter(literals);
        let folder = partition_path(&self.target.partition_spec, &self.types, &values_as_struct);
        self.partitions.push(Partition { values, folder });
        Ok(self.partitions.len() - 1)
    }
}

fn with_nulls(values: &ArrayRef, nulls: Option<arrow::buffer::NullBuffer>) -> Result<ArrayRef> {
    if nulls.as_ref().map(|nulls| nulls.null_count()) == Some(values.null_count())
        || nulls.is_none()
    {
        return Ok(values.clone());
    }
    // A field of a null struct: its own value, if any, does not count.
    let mask = nulls.map(|nulls| arrow::array::BooleanArray::new(!nulls.inner(), None));
    match mask {
        Some(mask) => arrow::compute::nullif(values, &mask).map_err(arrow_error),
        None => Ok(values.clone()),
    }
}

/// First batch and row when the rows are consecutive in one batch.
fn contiguous(rows: &[(usize, usize)]) -> Option<(usize, usize)> {
    let (first_batch, first_row) = *rows.first()?;
    let (last_batch, last_row) = *rows.last()?;
    // Rows of one batch come in ascending order.
    (first_batch == last_batch && last_row - first_row + 1 == rows.len())
        .then_some((first_batch, first_row))
}

/// Iceberg's "binary single-value serialization" of one value of a partition column.
pub(super) fn single_value_bytes(column: &ArrayRef, row: usize) -> Result<Option<Vec<u8>>> {
    if column.is_null(row) {
        return Ok(None);
    }
    let bytes = match column.data_type() {
        DataType::Boolean => vec![u8::from(column.as_boolean().value(row))],
        DataType::Int32 => column
            .as_primitive::<Int32Type>()
            .value(row)
            .to_le_bytes()
            .to_vec(),
        DataType::Date32 => column
            .as_primitive::<Date32Type>()
            .value(row)
            .to_le_bytes()
            .to_vec(),
        DataType::Int64 => column
            .as_primitive::<Int64Type>()
            .value(row)
            .to_le_bytes()
            .to_vec(),
        DataType::Float32 => column
            .as_primitive::<Float32Type>()
            .value(row)
            .to_le_bytes()
            .to_vec(),
        DataType::Float64 => column
            .as_primitive::<Float64Type>()
            .value(row)
            .to_le_bytes()
            .to_vec(),
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = column.as_primitive::<Time64MicrosecondType>().value(row);
            micros.to_le_bytes().to_vec()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            micros.to_le_bytes().to_vec()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let nanos = column.as_primitive::<TimestampNanosecondType>().value(row);
            nanos.to_le_bytes().to_vec()
        }
        DataType::Decimal128(_, _) => {
            let unscaled = column.as_primitive::<Decimal128Type>().value(row);
            minimal_big_endian(&unscaled.to_be_bytes()).to_vec()
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).as_bytes().to_vec(),
        DataType::Binary => column.as_binary::<i32>().value(row).to_vec(),
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary().value(row).to_vec(),
        other => {
            return Err(EngineError::Unsupported(format!(
                "partitioning by type {other}"
            )));
        }
    };
    Ok(Some(bytes))
}

fn arrow_error(error: arrow::error::ArrowError) -> EngineError {
    EngineError::DataFusion(Box::new(error.into()))
}
