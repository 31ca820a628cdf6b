//! Changing rows: from where rows are to which rows of which files are gone.
//!
//! A plan that changes rows returns one row per change: the table's columns as they will be,
//! then [`ROW_DELTA_COLUMNS`]. [`super::IcebergWriteExec`] writes the new rows and notes the
//! positions of the old ones, and the coordinator gets both at once.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    new_null_array,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{
    DataType, Field, Int32Type, Int64Type, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef,
};
use iceberg::spec::DataFile;
use ingot_catalog::Table;
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use super::written::{WrittenFile, decode_written_files, encode_written_files};
use crate::error::{EngineError, Result};
use crate::scan::row_ids::{FILE_COLUMN, POSITION_COLUMN};

/// Name of the column that says whether a change has a new row.
pub const NEW_ROW_COLUMN: &str = "$row_is_new";

/// The last columns of a change: the old row's file and position (null when there is no old
/// row), and whether there is a new row.
pub const ROW_DELTA_COLUMNS: [&str; 3] = [FILE_COLUMN, POSITION_COLUMN, NEW_ROW_COLUMN];

/// What a plan that changes rows returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowDeltaInput {
    /// [`ROW_DELTA_COLUMNS`] only: no change has a new row.
    Deletes,
    /// The table's columns, then [`ROW_DELTA_COLUMNS`].
    Changes,
}

/// Schema of the rows that a write of changes emits: `data_file` and `record_count` as in
/// [`super::WRITTEN_FILES_SCHEMA`] for a new file, or `file` (a number) and `positions` (a
/// Roaring bitmap in its portable form) for deleted rows; `changes` is the task's number of
/// changes in its first row and 0 in others.
pub static ROW_DELTA_SCHEMA: LazyLock<ArrowSchemaRef> = LazyLock::new(|| {
    Arc::new(ArrowSchema::new(vec![
        Field::new("data_file", DataType::Utf8, true),
        Field::new("file", DataType::Int32, true),
        Field::new("positions", DataType::Binary, true),
        Field::new("changes", DataType::Int64, false),
    ]))
});

/// Collects the positions of one task's changes.
#[derive(Debug, Default)]
pub(super) struct DeltaCollector {
    positions: BTreeMap<i32, RoaringTreemap>,
    changes: i64,
}

impl DeltaCollector {
    /// Notes the changes of a batch and returns the new rows, without [`ROW_DELTA_COLUMNS`].
    ///
    /// # Errors
    /// `InvalidInput` when a row is changed twice.
    pub(super) fn add(&mut self, table_name: &str, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.num_columns().saturating_sub(ROW_DELTA_COLUMNS.len());
        let last = |index: usize, data_type: &DataType| {
            let column = batch.columns().get(columns + index);
            let column = column.ok_or_else(|| not_a_change(table_name))?;
            cast(column, data_type).map_err(arrow_error)
        };
        let files = last(0, &DataType::Int32)?;
        let files = files.as_primitive::<Int32Type>();
        let positions = last(1, &DataType::Int64)?;
        let positions = positions.as_primitive::<Int64Type>();
        let has_new_row = last(2, &DataType::Boolean)?;
        for row in 0..batch.num_rows() {
            if files.is_null(row) {
                continue;
            }
            let position = u64::try_from(positions.value(row)).ok();
            let position = position.filter(|_| positions.is_valid(row));
            let position = position.ok_or_else(|| not_a_change(table_name))?;
            let set = self.positions.entry(files.value(row)).or_default();
            if !set.insert(position) {
                return Err(changed_twice(table_name));
            }
        }
        self.changes += batch.num_rows() as i64;
        let indices: Vec<usize> = (0..columns).collect();
        let new_rows = batch.project(&indices).map_err(arrow_error)?;
        filter_record_batch(&new_rows, has_new_row.as_boolean()).map_err(arrow_error)
    }

    /// One batch of [`ROW_DELTA_SCHEMA`] with the task's outcome.
    pub(super) fn encode(&self, files: &[WrittenFile]) -> Result<RecordBatch> {
        let written = encode_written_files(files)?;
        let deleted = self.positions.len();
        let rows = files.len() + deleted + 1;
        let nulls = |count: usize, data_type: &DataType| new_null_array(data_type, count);
        let concat = |parts: &[&dyn Array]| arrow::compute::concat(parts).map_err(arrow_error);

        let data_files = concat(&[
            &nulls(1, &DataType::Utf8),
            &written.column(0),
            &nulls(deleted, &DataType::Utf8),
        ])?;
        let numbers = Int32Array::from_iter_values(self.positions.keys().copied());
        let numbers = concat(&[&nulls(1 + files.len(), &DataType::Int32), &numbers])?;
        let mut bitmaps = Vec::with_capacity(deleted);
        for set in self.positions.values() {
            let mut bytes = Vec::with_capacity(set.serialized_size());
            set.serialize_into(&mut bytes)
                .map_err(|error| EngineError::InvalidInput(format!("row positions: {error}")))?;
            bitmaps.push(bytes);
        }
        let bitmaps = BinaryArray::from_iter_values(bitmaps);
        let bitmaps = concat(&[&nulls(1 + files.len(), &DataType::Binary), &bitmaps])?;
        let changes = std::iter::once(self.changes).chain(std::iter::repeat_n(0, rows - 1));
        let changes: ArrayRef = Arc::new(Int64Array::from_iter_values(changes));
        let columns = vec![data_files, numbers, bitmaps, changes];
        RecordBatch::try_new(Arc::clone(&ROW_DELTA_SCHEMA), columns).map_err(arrow_error)
    }
}

/// What the tasks of a statement changed.
#[derive(Debug, Clone, Default)]
pub struct WrittenDelta {
    /// Files with the new rows.
    pub files: Vec<DataFile>,
    /// Positions of the old rows, by the number of their file.
    pub positions: BTreeMap<i32, RoaringTreemap>,
    /// Changes: rows deleted, updated and inserted.
    pub changes: u64,
}

/// Reads what a write of changes to `table` emitted.
///
/// # Errors
/// `InvalidInput` when a row is changed twice, and when the batches are not of
/// [`ROW_DELTA_SCHEMA`].
pub fn decode_row_delta(batches: &[RecordBatch], table: &Table) -> Result<WrittenDelta> {
    let table_name = table.name();
    let unexpected = || {
        EngineError::InvalidInput(format!(
            "a change of {table_name} returned rows of another schema"
        ))
    };
    let mut delta = WrittenDelta::default();
    for batch in batches {
        let column = |name: &str, data_type: &DataType| {
            let column = batch.column_by_name(name).ok_or_else(unexpected)?;
            cast(column, data_type).map_err(arrow_error)
        };
        let data_files = column("data_file", &DataType::Utf8)?;
        let numbers = column("file", &DataType::Int32)?;
        let numbers = numbers.as_primitive::<Int32Type>();
        let bitmaps = column("positions", &DataType::Binary)?;
        let bitmaps = bitmaps.as_binary::<i32>();
        let changes = column("changes", &DataType::Int64)?;
        let changes = changes.as_primitive::<Int64Type>();
        delta.changes += changes.values().iter().sum::<i64>().max(0) as u64;

        let json: Vec<&str> = data_files.as_string::<i32>().iter().flatten().collect();
        let json = RecordBatch::try_from_iter([(
            "data_file",
            Arc::new(StringArray::from(json)) as ArrayRef,
        )])
        .map_err(arrow_error)?;
        delta.files.extend(decode_written_files(&[json], table)?);
        for row in (0..batch.num_rows()).filter(|row| numbers.is_valid(*row)) {
            let positions = RoaringTreemap::deserialize_from(bitmaps.value(row))
                .map_err(|error| EngineError::InvalidInput(format!("row positions: {error}")))?;
            let all = delta.positions.entry(numbers.value(row)).or_default();
            if !all.is_disjoint(&positions) {
                return Err(changed_twice(&table_name));
            }
            *all |= positions;
        }
    }
    Ok(delta)
}

/// Only a MERGE can get there: its source has several rows for one of the table.
fn changed_twice(table_name: &str) -> EngineError {
    EngineError::InvalidInput(format!(
        "a row of table {table_name} matches more than one row of the source: \
         make the source's rows distinct in the columns of the on condition"
    ))
}

fn not_a_change(table_name: &str) -> EngineError {
    EngineError::InvalidInput(format!(
        "a change of table {table_name} does not say which row it changes"
    ))
}

fn arrow_error(error: arrow::error::ArrowError) -> EngineError {
    EngineError::DataFusion(Box::new(error.into()))
}
