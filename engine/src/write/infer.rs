//! The schema, partition spec and sort order of a new table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema};
use datafusion::common::DFSchema;
use iceberg::spec::{
    NestedFieldRef, NullOrder, PartitionSpec, PrimitiveType, Schema, SortDirection, SortField,
    SortOrder, Transform, Type, UnboundPartitionField, UnboundPartitionSpec,
};

use crate::error::{EngineError, Result};
use crate::schema::iceberg_schema_of;

/// How alike names must be to be suggested for a wrong one.
const LEAST_SIMILARITY: f64 = 0.7;

/// One partition field of a new table, as `partitioned_by` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionColumn {
    /// Column name, dotted for a field of a struct.
    pub column: String,
    /// How partition values are made of it.
    pub transform: Transform,
}

/// One sort field of a new table, as `sorted_by` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortColumn {
    /// Column name, dotted for a field of a struct.
    pub column: String,
    /// Largest first.
    pub descending: bool,
    /// Nulls before all values.
    pub nulls_first: bool,
}

/// The schema of a table created from a query: the query's columns with fresh field ids.
///
/// Timestamps of any unit become microseconds, unsigned integers the next larger type,
/// string views `string`. Every column can be null, as in Trino: that a query happens to
/// return no nulls is no promise for the rows that come later.
///
/// # Errors
/// `UnsupportedType` naming the column when Iceberg has no such type (an untyped `NULL`, an
/// interval), `InvalidInput` when two columns have one name or a column has none.
pub fn table_schema_of(query: &DFSchema) -> Result<Schema> {
    let arrow_schema: &ArrowSchema = query.as_arrow();
    let mut seen = std::collections::HashSet::new();
    for field in arrow_schema.fields() {
        if field.name().is_empty() {
            return Err(EngineError::InvalidInput(
                "a column of the query has no name: name it with AS".to_string(),
            ));
        }
        if !seen.insert(field.name()) {
            return Err(EngineError::InvalidInput(format!(
                "the query has two columns named {}: name one of them differently with AS",
                field.name()
            )));
        }
    }
    let fields: Fields = arrow_schema.fields().iter().map(nullable).collect();
    iceberg_schema_of(&ArrowSchema::new(fields))
}

/// A field that can be null, and everything in it but the keys of maps.
fn nullable(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::List(element) => DataType::List(nullable(element)),
        DataType::LargeList(element) => DataType::LargeList(nullable(element)),
        DataType::FixedSizeList(element, size) => DataType::FixedSizeList(nullable(element), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable).collect()),
        DataType::Map(entries, sorted) => DataType::Map(nullable_values(entries), *sorted),
        other => other.clone(),
    };
    let field = Field::clone(field)
        .with_data_type(data_type)
        .with_nullable(true);
    Arc::new(field)
}

fn nullable_values(entries: &FieldRef) -> FieldRef {
    let DataType::Struct(fields) = entries.data_type() else {
        return Arc::clone(entries);
    };
    let fields = fields.iter().enumerate().map(|(index, field)| match index {
        0 => Arc::clone(field),
        _ => nullable(field),
    });
    let data_type = DataType::Struct(fields.collect());
    Arc::new(Field::clone(entries).with_data_type(data_type))
}

/// A transform in Trino's spelling: `day`, `bucket` with 16, `truncate` with a width.
///
/// # Errors
/// `InvalidInput` when there is none of this name and number.
pub fn transform_from_text(name: &str, argument: Option<u32>) -> Result<Transform> {
    match (name.to_ascii_lowercase().as_str(), argument) {
        ("identity", None) => Ok(Transform::Identity),
        ("year" | "years", None) => Ok(Transform::Year),
        ("month" | "months", None) => Ok(Transform::Month),
        ("day" | "days" | "date", None) => Ok(Transform::Day),
        ("hour" | "hours" | "date_hour", None) => Ok(Transform::Hour),
        ("void", None) => Ok(Transform::Void),
        ("bucket", Some(count)) if count > 0 => Ok(Transform::Bucket(count)),
        ("truncate", Some(width)) if width > 0 => Ok(Transform::Truncate(width)),
        ("bucket" | "truncate", _) => Err(EngineError::InvalidInput(format!(
            "partition transform {name} needs a positive number: {name}(column, 16)"
        ))),
        _ => Err(EngineError::InvalidInput(format!(
            "there is no partition transform {name}: use year, month, day, hour, bucket(column, n), truncate(column, n) or the column itself"
        ))),
    }
}

/// The partition spec of a new table; empty `columns` are an unpartitioned table.
///
/// # Errors
/// `InvalidInput` for an unknown column (with the nearest name), a transform that does not
/// fit the column's type, and a column partitioned twice in the same way.
pub fn partition_spec_of(columns: &[PartitionColumn], schema: &Schema) -> Result<PartitionSpec> {
    if columns.is_empty() {
        return Ok(PartitionSpec::unpartition_spec());
    }
    let mut builder = UnboundPartitionSpec::builder().with_spec_id(0);
    let invalid = |source| EngineError::iceberg("partitioning", source);
    let mut seen: HashMap<(i32, String), Transform> = HashMap::new();
    for partition in columns {
        let field = find_field(schema, &partition.column, "partition")?;
        check_transform(field, partition)?;
        let (column, transform) = (&partition.column, partition.transform);
        if let Some(earlier) = seen.insert((field.id, transform.dedup_name()), transform) {
            let what = match earlier == transform {
                true => format!("{transform} of column {column} twice"),
                false => format!("{earlier} and {transform} of column {column}, one too many"),
            };
            return Err(EngineError::InvalidInput(format!(
                "the partitioning has {what}: leave one of them out"
            )));
        }
        builder = builder
            .add_partition_fields([UnboundPartitionField {
                source_id: field.id,
                field_id: None,
                name: partition_field_name(schema, field, partition),
                transform: partition.transform,
            }])
            .map_err(invalid)?;
    }
    builder
        .build()
        .bind(Arc::new(schema.clone()))
        .map_err(invalid)
}

/// Iceberg's own names: the column, or the column and the transform.
fn partition_field_name(
    schema: &Schema,
    field: &NestedFieldRef,
    partition: &PartitionColumn,
) -> String {
    let column = schema
        .name_by_field_id(field.id)
        .unwrap_or(partition.column.as_str());
    match partition.transform {
        Transform::Identity => column.to_string(),
        Transform::Bucket(_) => format!("{column}_bucket"),
        Transform::Truncate(_) => format!("{column}_trunc"),
        Transform::Void => format!("{column}_null"),
        other => format!("{column}_{other}"),
    }
}

fn check_transform(field: &NestedFieldRef, partition: &PartitionColumn) -> Result<()> {
    let is_float = matches!(
        field.field_type.as_ref(),
        Type::Primitive(PrimitiveType::Float | PrimitiveType::Double)
    );
    let has_result = partition.transform.result_type(&field.field_type).is_ok();
    if !has_result || (is_float && partition.transform != Transform::Void) {
        return Err(EngineError::InvalidInput(format!(
            "column {} of type {} cannot be partitioned by {}",
            partition.column, field.field_type, partition.transform
        )));
    }
    Ok(())
}

/// The sort order of a new table; empty `columns` are an unsorted table.
///
/// # Errors
/// `InvalidInput` for an unknown column (with the nearest name) and for one of a nested type.
pub fn sort_order_of(columns: &[SortColumn], schema: &Schema) -> Result<SortOrder> {
    if columns.is_empty() {
        return Ok(SortOrder::unsorted_order());
    }
    let mut builder = SortOrder::builder();
    builder.with_order_id(1);
    for sort in columns {
        let field = find_field(schema, &sort.column, "sort")?;
        if !field.field_type.is_primitive() {
            return Err(EngineError::InvalidInput(format!(
                "table cannot be sorted by column {} of type {}",
                sort.column, field.field_type
            )));
        }
        let direction = match sort.descending {
            true => SortDirection::Descending,
            false => SortDirection::Ascending,
        };
        let null_order = match sort.nulls_first {
            true => NullOrder::First,
            false => NullOrder::Last,
        };
        builder.with_sort_field(
            SortField::builder()
                .source_id(field.id)
                .transform(Transform::Identity)
                .direction(direction)
                .null_order(null_order)
                .build(),
        );
    }
    builder
        .build(schema)
        .map_err(|source| EngineError::iceberg("sort order", source))
}

fn find_field<'a>(schema: &'a Schema, name: &str, what: &str) -> Result<&'a NestedFieldRef> {
    if let Some(field) = schema.field_by_name(name) {
        return Ok(field);
    }
    let names = schema.field_id_to_name_map().values();
    let nearest = names
        .map(|candidate| (strsim::jaro_winkler(candidate, name), candidate))
        .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    let suggestion = match nearest {
        Some((_, candidate)) => format!("; did you mean {candidate}?"),
        None => String::new(),
    };
    Err(EngineError::InvalidInput(format!(
        "{what} column {name} does not exist in the table{suggestion}"
    )))
}
