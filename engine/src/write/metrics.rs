//! Iceberg's column metrics of a data file, from its Parquet footer.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use iceberg::spec::{NestedFieldRef, PrimitiveType, Schema, Type};
use parquet::file::metadata::ParquetMetaData;

use super::bounds::ColumnBounds;
use super::properties::MetricsMode;
use super::written::HexBytes;

/// Metrics by field id, as a manifest holds them. Fields inside lists and maps have sizes
/// only: their values are not one per row.
#[derive(Debug, Default)]
pub(super) struct FileMetrics {
    pub(super) column_sizes: BTreeMap<i32, u64>,
    pub(super) value_counts: BTreeMap<i32, u64>,
    pub(super) null_value_counts: BTreeMap<i32, u64>,
    pub(super) nan_value_counts: BTreeMap<i32, u64>,
    pub(super) lower_bounds: BTreeMap<i32, HexBytes>,
    pub(super) upper_bounds: BTreeMap<i32, HexBytes>,
    /// Where the row groups begin.
    pub(super) split_offsets: Vec<i64>,
}

impl FileMetrics {
    /// The metrics of a finished file. `nan_counts` has every float field outside lists and
    /// maps.
    pub(super) fn of(
        parquet: &ParquetMetaData,
        schema: &Schema,
        modes: &BTreeMap<i32, MetricsMode>,
        nan_counts: &BTreeMap<i32, u64>,
    ) -> Self {
        let mut metrics = Self::default();
        for row_group in parquet.row_groups() {
            let start = row_group.columns().first().map(|column| {
                let (start, _) = column.byte_range();
                start as i64
            });
            metrics.split_offsets.extend(start);
        }
        let descriptor = parquet.file_metadata().schema_descr();
        for (index, column) in descriptor.columns().iter().enumerate() {
            let info = column.self_type().get_basic_info();
            if !info.has_id() {
                continue;
            }
            let field_id = info.id();
            let mode = modes.get(&field_id).copied().unwrap_or(MetricsMode::None);
            let primitive = schema
                .field_by_id(field_id)
                .and_then(|field| field.field_type.as_primitive_type());
            if let (Some(primitive), true) = (primitive, mode != MetricsMode::None) {
                metrics.add_column(parquet, index, field_id, primitive, mode, nan_counts);
            }
        }
        metrics
    }

    fn add_column(
        &mut self,
        parquet: &ParquetMetaData,
        index: usize,
        field_id: i32,
        primitive: &PrimitiveType,
        mode: MetricsMode,
        nan_counts: &BTreeMap<i32, u64>,
    ) {
        let columns = || parquet.row_groups().iter().map(|group| group.column(index));
        let size = columns()
            .map(|column| column.compressed_size() as u64)
            .sum();
        self.column_sizes.insert(field_id, size);
        let is_repeated = columns().any(|column| column.column_descr().max_rep_level() > 0);
        if is_repeated {
            return;
        }
        let values: u64 = columns().map(|column| column.num_values() as u64).sum();
        self.value_counts.insert(field_id, values);
        let nulls: Option<u64> = columns()
            .map(|column| column.statistics().and_then(|found| found.null_count_opt()))
            .sum();
        if let Some(nulls) = nulls {
            self.null_value_counts.insert(field_id, nulls);
        }
        let nans = nan_counts.get(&field_id).copied();
        if let Some(nans) = nans {
            self.nan_value_counts.insert(field_id, nans);
        }
        // A row group without bounds has no values, only NaN, or values with unknown bounds;
        // NaN are counted per file, so that with any NaN a row group may have only them.
        let mut bounds = ColumnBounds::default();
        for column in columns() {
            let statistics = column.statistics();
            let nulls = statistics.and_then(|found| found.null_count_opt());
            let has_values = nulls != Some(column.num_values() as u64);
            let may_be_only_nan = nans.is_some_and(|count| count > 0)
                && statistics.is_some_and(|found| found.min_bytes_opt().is_none());
            bounds.widen(primitive, statistics, has_values && !may_be_only_nan);
        }
        if let Some(bytes) = bounds.lower_bytes(mode) {
            self.lower_bounds.insert(field_id, HexBytes(bytes));
        }
        if let Some(bytes) = bounds.upper_bytes(mode) {
            self.upper_bounds.insert(field_id, HexBytes(bytes));
        }
    }
}

/// Counts NaN in the float fields of the batches of one file: Parquet's statistics do not.
#[derive(Debug, Clone)]
pub(super) struct NanCounter {
    fields: Vec<FloatField>,
}

#[derive(Debug, Clone)]
struct FloatField {
    field_id: i32,
    /// Indexes of the column and of the struct fields below it.
    path: Vec<usize>,
    count: u64,
}

impl NanCounter {
    pub(super) fn new(schema: &Schema) -> Self {
        let mut fields = Vec::new();
        collect_float_fields(schema.as_struct().fields(), &mut Vec::new(), &mut fields);
        Self { fields }
    }

    pub(super) fn count(&mut self, batch: &RecordBatch) {
        for field in &mut self.fields {
            field.count += count_nan(batch, &field.path);
        }
    }

    pub(super) fn counts(&self) -> BTreeMap<i32, u64> {
        let counts = self
            .fields
            .iter()
            .map(|field| (field.field_id, field.count));
        counts.collect()
    }
}

fn collect_float_fields(
    fields: &[NestedFieldRef],
    path: &mut Vec<usize>,
    found: &mut Vec<FloatField>,
) {
    for (index, field) in fields.iter().enumerate() {
        path.push(index);
        match field.field_type.as_ref() {
            Type::Primitive(PrimitiveType::Float | PrimitiveType::Double) => {
                found.push(FloatField {
                    field_id: field.id,
                    path: path.clone(),
                    count: 0,
                });
            }
            Type::Struct(nested) => collect_float_fields(nested.fields(), path, found),
            Type::Primitive(_) | Type::List(_) | Type::Map(_) => {}
        }
        path.pop();
    }
}

fn count_nan(batch: &RecordBatch, path: &[usize]) -> u64 {
    let Some((column, nested)) = path.split_first() else {
        return 0;
    };
    let (array, nulls) = nested_column(batch.column(*column), nested);
    let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let count = match array.data_type() {
        DataType::Float32 => {
            let values: &Float32Array = array.as_primitive::<Float32Type>();
            let nan = values.values().iter().enumerate();
            nan.filter(|(row, value)| value.is_nan() && is_valid(*row))
                .count()
        }
        DataType::Float64 => {
            let values: &Float64Array = array.as_primitive::<Float64Type>();
            let nan = values.values().iter().enumerate();
            nan.filter(|(row, value)| value.is_nan() && is_valid(*row))
                .count()
        }
        _ => 0,
    };
    count as u64
}

/// A field inside structs, and which rows have it: a value below a null struct is none.
pub(super) fn nested_column(column: &ArrayRef, path: &[usize]) -> (ArrayRef, Option<NullBuffer>) {
    let mut array = column.clone();
    let mut nulls = array.nulls().cloned();
    for index in path {
        let child = array.as_struct().column(*index).clone();
        nulls = NullBuffer::union(nulls.as_ref(), child.nulls());
        array = child;
    }
    (array, nulls)
}
