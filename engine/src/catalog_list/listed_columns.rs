//! `information_schema.columns`, with the types as SQL names them: DataFusion 55 writes Arrow's.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result as DataFusionResult;

use crate::default_value::default_text;
use crate::schema::sql_type_of;
use crate::table::IcebergTable;

/// Columns without nulls.
const REQUIRED: [&str; 7] = [
    "table_catalog",
    "table_schema",
    "table_name",
    "column_name",
    "ordinal_position",
    "is_nullable",
    "data_type",
];

/// The columns of one table.
pub(super) struct ListedTable {
    pub(super) schema_name: String,
    pub(super) table_name: String,
    pub(super) schema: SchemaRef,
    /// The default values of columns as SQL constants, by column.
    pub(super) defaults: HashMap<String, String>,
}

/// The default values of a table's columns as SQL constants, by column.
pub(super) fn defaults_of(table: &dyn TableProvider) -> HashMap<String, String> {
    let Some(table) = table.downcast_ref::<IcebergTable>() else {
        return HashMap::new();
    };
    let schema = table.table().metadata.current_schema();
    let fields = schema.as_struct().fields().iter();
    fields
        .filter_map(|field| Some((field.name.clone(), default_text(field)?)))
        .collect()
}

/// A column: its table, its index and its field.
type ListedColumn<'tables> = (&'tables ListedTable, usize, &'tables Field);

/// The rows of `information_schema.columns` for the tables of one catalog.
pub(super) fn columns_table(
    catalog: &str,
    tables: &[ListedTable],
) -> DataFusionResult<Arc<dyn TableProvider>> {
    let mut columns: Vec<ListedColumn<'_>> = Vec::new();
    for table in tables {
        let fields = table.schema.fields().iter().enumerate();
        columns.extend(fields.map(|(index, field)| (table, index, field.as_ref())));
    }
    let required = |text: &dyn Fn(&ListedColumn<'_>) -> String| {
        let texts = columns.iter().map(|column| Some(text(column)));
        Arc::new(texts.collect::<StringArray>()) as ArrayRef
    };
    let number = |number: &dyn Fn(&ListedColumn<'_>) -> Option<i64>| {
        Arc::new(columns.iter().map(number).collect::<Int64Array>()) as ArrayRef
    };
    let defaults: StringArray = columns
        .iter()
        .map(|(table, _, field)| table.defaults.get(field.name()))
        .collect();
    let no_text = || Arc::new(StringArray::new_null(columns.len())) as ArrayRef;
    let is_nullable = |field: &Field| match field.is_nullable() {
        true => "YES".to_string(),
        false => "NO".to_string(),
    };
    let arrays = vec![
        ("table_catalog", required(&|_| catalog.to_string())),
        (
            "table_schema",
            required(&|(table, ..)| table.schema_name.clone()),
        ),
        (
            "table_name",
            required(&|(table, ..)| table.table_name.clone()),
        ),
        (
            "column_name",
            required(&|(_, _, field)| field.name().clone()),
        ),
        (
            "ordinal_position",
            number(&|(_, index, _)| i64::try_from(index + 1).ok()),
        ),
        ("column_default", Arc::new(defaults) as ArrayRef),
        ("is_nullable", required(&|(_, _, field)| is_nullable(field))),
        ("data_type", required(&|(_, _, field)| sql_type_of(field))),
        ("character_maximum_length", number(&|_| None)),
        ("character_octet_length", number(&|_| None)),
        (
            "numeric_precision",
            number(&|(_, _, field)| precision_of(field)),
        ),
        (
            "numeric_precision_radix",
            number(&|(_, _, field)| radix_of(field)),
        ),
        ("numeric_scale", number(&|(_, _, field)| scale_of(field))),
        (
            "datetime_precision",
            number(&|(_, _, field)| time_precision_of(field)),
        ),
        ("interval_type", no_text()),
    ];
    let fields: Vec<Field> = arrays
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), !REQUIRED.contains(name)))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = arrays.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

/// Digits of a decimal, bits of another number.
fn precision_of(field: &Field) -> Option<i64> {
    match field.data_type() {
        DataType::Int32 => Some(32),
        DataType::Int64 => Some(64),
        DataType::Float32 => Some(24),
        DataType::Float64 => Some(53),
        DataType::Decimal128(precision, _) => Some(i64::from(*precision)),
        _ => None,
    }
}

fn radix_of(field: &Field) -> Option<i64> {
    match field.data_type() {
        DataType::Decimal128(..) => Some(10),
        _ => precision_of(field).map(|_| 2),
    }
}

fn scale_of(field: &Field) -> Option<i64> {
    match field.data_type() {
        DataType::Decimal128(_, scale) => Some(i64::from(*scale)),
        DataType::Int32 | DataType::Int64 => Some(0),
        _ => None,
    }
}

/// Digits of the fraction of a second.
fn time_precision_of(field: &Field) -> Option<i64> {
    match field.data_type() {
        DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) => {
            Some(match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            })
        }
        _ => None,
    }
}
