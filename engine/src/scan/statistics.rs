//! What the metadata says about the values of data files, as DataFusion's statistics.
//!
//! Exact are only: the row count of files without deletes, and the value of a column that
//! the file is partitioned by (identity) when the file has no deletes. Bounds never are, nor are
//! numbers of distinct values.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType, SchemaRef as IcebergSchemaRef};
use ingot_catalog::scan::{ColumnMetrics, FileTask};

use crate::schema::UTC;

/// An Iceberg value as a value of an Arrow type: the column's type, to which the value's
/// own may have been promoted since. `None` when it cannot be converted.
pub(super) fn scalar_of(datum: &Datum, data_type: &DataType) -> Option<ScalarValue> {
    let utc = || Some(Arc::from(UTC));
    let own = match (datum.data_type(), datum.literal()) {
        (PrimitiveType::Boolean, PrimitiveLiteral::Boolean(v)) => ScalarValue::from(*v),
        (PrimitiveType::Int, PrimitiveLiteral::Int(v)) => ScalarValue::from(*v),
        (PrimitiveType::Long, PrimitiveLiteral::Long(v)) => ScalarValue::from(*v),
        (PrimitiveType::Float, PrimitiveLiteral::Float(v)) => ScalarValue::from(v.0),
        (PrimitiveType::Double, PrimitiveLiteral::Double(v)) => ScalarValue::from(v.0),
        (PrimitiveType::Decimal { precision, scale }, PrimitiveLiteral::Int128(v)) => {
            let (precision, scale) = (u8::try_from(*precision).ok()?, i8::try_from(*scale).ok()?);
            ScalarValue::Decimal128(Some(*v), precision, scale)
        }
        (PrimitiveType::Date, PrimitiveLiteral::Int(v)) => ScalarValue::Date32(Some(*v)),
        (PrimitiveType::Time, PrimitiveLiteral::Long(v)) => {
            ScalarValue::Time64Microsecond(Some(*v))
        }
        (PrimitiveType::Timestamp, PrimitiveLiteral::Long(v)) => {
            ScalarValue::TimestampMicrosecond(Some(*v), None)
        }
        (PrimitiveType::Timestamptz, PrimitiveLiteral::Long(v)) => {
            ScalarValue::TimestampMicrosecond(Some(*v), utc())
        }
        (PrimitiveType::TimestampNs, PrimitiveLiteral::Long(v)) => {
            ScalarValue::TimestampNanosecond(Some(*v), None)
        }
        (PrimitiveType::TimestamptzNs, PrimitiveLiteral::Long(v)) => {
            ScalarValue::TimestampNanosecond(Some(*v), utc())
        }
        (PrimitiveType::String, PrimitiveLiteral::String(v)) => ScalarValue::from(v.as_str()),
        (PrimitiveType::Uuid, PrimitiveLiteral::UInt128(v)) => {
            ScalarValue::FixedSizeBinary(16, Some(v.to_be_bytes().to_vec()))
        }
        (PrimitiveType::Fixed(length), PrimitiveLiteral::Binary(v)) => {
            ScalarValue::FixedSizeBinary(i32::try_from(*length).ok()?, Some(v.clone()))
        }
        (PrimitiveType::Binary, PrimitiveLiteral::Binary(v)) => {
            ScalarValue::Binary(Some(v.clone()))
        }
        _ => return None,
    };
    if own.data_type() == *data_type {
        return Some(own);
    }
    let is_promotion = match (own.data_type(), data_type) {
        (DataType::Int32, DataType::Int64) | (DataType::Float32, DataType::Float64) => true,
        (DataType::Utf8, DataType::Utf8View) => true,
        (DataType::Decimal128(_, own_scale), DataType::Decimal128(_, scale)) => own_scale == *scale,
        _ => false,
    };
    if !is_promotion {
        return None;
    }
    own.cast_to(data_type).ok()
}

/// Statistics of one data file over the read schema, and the columns for which a file
/// that lacks them could not be read (an identity partition column of a file with deletes).
pub(super) fn file_statistics(
    task: &FileTask,
    iceberg: &IcebergSchemaRef,
    arrow: &SchemaRef,
) -> (Statistics, Vec<i32>) {
    let is_clean = task.deletes.is_empty();
    let row_count = usize::try_from(task.record_count).unwrap_or(usize::MAX);
    let num_rows = if is_clean {
        Precision::Exact(row_count)
    } else {
        Precision::Inexact(row_count)
    };
    let mut columns_that_must_exist = Vec::new();
    let fields = iceberg.as_struct().fields().iter().zip(arrow.fields());
    let column_statistics = fields
        .map(|(field, arrow_field)| {
            let data_type = arrow_field.data_type();
            let metrics = task.columns.get(&field.id);
            let byte_size = Precision::Inexact(memory_size(data_type, row_count, metrics));
            // A null in every row is what an absent column reads as, too.
            if let Some(Some(constant)) = task.constant(field.id) {
                // Zero has two signs and NaN many forms: only the file knows which.
                let is_exact = is_clean && !data_type.is_floating();
                match scalar_of(constant, data_type) {
                    Some(value) if is_exact => {
                        return ColumnStatistics {
                            null_count: Precision::Exact(0),
                            min_value: Precision::Exact(value.clone()),
                            max_value: Precision::Exact(value),
                            byte_size,
                            ..ColumnStatistics::new_unknown()
                        };
                    }
                    _ => columns_that_must_exist.push(field.id),
                }
            }
            let Some(metrics) = metrics else {
                return ColumnStatistics {
                    byte_size,
                    ..ColumnStatistics::new_unknown()
                };
            };
            let inexact = |count: u64| Precision::Inexact(usize::try_from(count).unwrap_or(0));
            let bound = |datum: &Option<Datum>| {
                let value = datum.as_ref().and_then(|datum| scalar_of(datum, data_type));
                value.map_or(Precision::Absent, Precision::Inexact)
            };
            ColumnStatistics {
                null_count: metrics.null_count.map_or(Precision::Absent, inexact),
                min_value: bound(&metrics.lower_bound),
                max_value: bound(&metrics.upper_bound),
                byte_size,
                ..ColumnStatistics::new_unknown()
            }
        })
        .collect();
    let statistics = Statistics {
        num_rows,
        total_byte_size: Precision::Absent,
        column_statistics,
    };
    (statistics, columns_that_must_exist)
}

/// About the memory that a column's values take, in bytes. Planning wants to know which
/// side of a join is smaller.
fn memory_size(data_type: &DataType, rows: usize, metrics: Option<&ColumnMetrics>) -> usize {
    /// How much larger text and nested values are in memory than compressed in a file.
    const EXPANSION: usize = 3;
    /// For a variable-length column of which nothing is known, per row.
    const ASSUMED_WIDTH: usize = 24;
    if let Some(width) = data_type.primitive_width() {
        return rows.saturating_mul(width);
    }
    match metrics.and_then(|metrics| metrics.size_in_bytes) {
        Some(compressed) => usize::try_from(compressed)
            .unwrap_or(usize::MAX)
            .saturating_mul(EXPANSION)
            .max(rows.saturating_mul(size_of::<i32>())),
        None => rows.saturating_mul(ASSUMED_WIDTH),
    }
}

/// Statistics of a whole scan: of all files together, and the size of the columns wanted.
/// Every value is inexact but the row count, which is exact when that of every file is.
pub(super) fn scan_statistics(
    files: &[Arc<Statistics>],
    arrow: &SchemaRef,
    projection: Option<&Vec<usize>>,
) -> Statistics {
    let num_rows = files
        .iter()
        .fold(Precision::Exact(0), |total, file| total.add(&file.num_rows));
    let column_statistics: Vec<ColumnStatistics> = (0..arrow.fields().len())
        .map(|index| {
            let mut columns = files.iter().map(|file| &file.column_statistics[index]);
            let Some(first) = columns.next() else {
                return ColumnStatistics::new_unknown();
            };
            let merged = columns.fold(first.clone(), |merged, column| ColumnStatistics {
                null_count: merged.null_count.add(&column.null_count),
                min_value: merged.min_value.min(&column.min_value),
                max_value: merged.max_value.max(&column.max_value),
                byte_size: merged.byte_size.add(&column.byte_size),
                ..ColumnStatistics::new_unknown()
            });
            merged.to_inexact()
        })
        .collect();
    let wanted: Vec<usize> = match projection {
        Some(projection) => projection.clone(),
        None => (0..column_statistics.len()).collect(),
    };
    let total_byte_size = wanted.iter().fold(Precision::Inexact(0), |total, index| {
        total.add(&column_statistics[*index].byte_size)
    });
    Statistics {
        num_rows,
        total_byte_size,
        column_statistics,
    }
}

/// Adds what `ANALYZE` found out about the table's columns, by field id. It was about the whole
/// table, and rows may have come since: the scan has at most as many distinct values as rows
/// without nulls.
pub(super) fn add_distinct_values(
    statistics: &mut Statistics,
    iceberg: &IcebergSchemaRef,
    distinct_values: &HashMap<i32, u64>,
) {
    let rows = statistics.num_rows.get_value().copied();
    let fields = iceberg.as_struct().fields().iter();
    for (field, column) in fields.zip(&mut statistics.column_statistics) {
        let Some(known) = distinct_values.get(&field.id) else {
            continue;
        };
        let nulls = column.null_count.get_value().copied().unwrap_or(0);
        let most = rows.map_or(usize::MAX, |rows| rows.saturating_sub(nulls));
        let count = usize::try_from(*known).unwrap_or(usize::MAX).min(most);
        column.distinct_count = Precision::Inexact(count);
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};

    use super::*;

    #[test]
    fn distinct_values_are_never_exact_nor_more_than_the_rows() {
        let field = |id: i32, name: &str| {
            let field_type = Type::Primitive(PrimitiveType::Long);
            Arc::new(NestedField::optional(id, name, field_type))
        };
        let schema = Schema::builder()
            .with_fields([field(7, "a"), field(3, "b"), field(9, "c")])
            .build()
            .unwrap();
        let mut statistics = Statistics {
            num_rows: Precision::Exact(10),
            total_byte_size: Precision::Absent,
            column_statistics: vec![ColumnStatistics::new_unknown(); 3],
        };
        statistics.column_statistics[1].null_count = Precision::Inexact(4);
        let known = HashMap::from([(7, 3), (3, 100)]);
        add_distinct_values(&mut statistics, &Arc::new(schema), &known);
        let counts = statistics.column_statistics.iter();
        let counts: Vec<_> = counts.map(|column| column.distinct_count).collect();
        let expected = [
            Precision::Inexact(3),
            Precision::Inexact(6),
            Precision::Absent,
        ];
        assert_eq!(counts, expected);
    }
}
