//! Column definitions as an Iceberg schema.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};
use ingot_engine::default_value::evaluate_default;
use ingot_engine::scan::row_ids::INTERNAL_COLUMN_PREFIX;
use ingot_sql::hidden_columns::HIDDEN_COLUMNS;
use ingot_sql::{ColumnDefinition, ColumnType};

use crate::error::{CoordinatorError, Result};

/// The schema of `CREATE TABLE (columns)`, with fresh field ids: columns first, then what is
/// nested in them, as Iceberg's own writers number them.
pub(super) fn schema_of_columns(columns: &[ColumnDefinition], time_zone: &str) -> Result<Schema> {
    let mut names = HashSet::new();
    if let Some(column) = columns.iter().find(|column| !names.insert(&column.name)) {
        return Err(CoordinatorError::InvalidInput(format!(
            "column {} is defined twice",
            column.name
        )));
    }
    check_names(columns.iter().map(|column| column.name.as_str()))?;
    let mut ids = FieldIds { last: 0 };
    let column_ids: Vec<i32> = columns.iter().map(|_| ids.next()).collect();
    let mut fields: Vec<NestedFieldRef> = Vec::with_capacity(columns.len());
    for (column, id) in columns.iter().zip(column_ids) {
        let field_type = ids.type_of(&column.column_type);
        let mut field = NestedField::new(id, &column.name, field_type, column.not_null);
        field.doc = column.comment.clone();
        set_default(&mut field, column, time_zone)?;
        fields.push(Arc::new(field));
    }
    Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(|error| CoordinatorError::InvalidInput(error.to_string()))
}

/// Refuses names that columns of every table have already.
///
/// # Errors
/// `InvalidInput` with the first of them.
pub(super) fn check_names<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<()> {
    let is_taken =
        |name: &&str| HIDDEN_COLUMNS.contains(name) || name.starts_with(INTERNAL_COLUMN_PREFIX);
    match names.find(is_taken) {
        None => Ok(()),
        Some(name) => Err(CoordinatorError::InvalidInput(format!(
            "a column cannot be named {name}: every table has a hidden column of this name"
        ))),
    }
}

/// One column by itself, with field ids that only tell its parts apart.
pub(super) fn field_of_column(column: &ColumnDefinition, time_zone: &str) -> Result<NestedField> {
    let mut ids = FieldIds { last: 0 };
    let id = ids.next();
    let field_type = ids.type_of(&column.column_type);
    let mut field = NestedField::new(id, &column.name, field_type, column.not_null);
    field.doc.clone_from(&column.comment);
    set_default(&mut field, column, time_zone)?;
    Ok(field)
}

/// Gives a new column its default value: for rows that exist, and for new ones.
fn set_default(field: &mut NestedField, column: &ColumnDefinition, time_zone: &str) -> Result<()> {
    if let Some(text) = &column.default {
        let value = evaluate_default(text, &field.field_type, time_zone)?;
        field.initial_default = Some(value.clone());
        field.write_default = Some(value);
    }
    Ok(())
}

/// A type by itself, with field ids that only tell its parts apart.
pub(super) fn type_of_column(column_type: &ColumnType) -> Type {
    FieldIds { last: 0 }.type_of(column_type)
}

struct FieldIds {
    last: i32,
}

impl FieldIds {
    fn next(&mut self) -> i32 {
        self.last += 1;
        self.last
    }

    fn type_of(&mut self, column_type: &ColumnType) -> Type {
        let primitive = match column_type {
            ColumnType::Boolean => PrimitiveType::Boolean,
            ColumnType::Integer => PrimitiveType::Int,
            ColumnType::Bigint => PrimitiveType::Long,
            ColumnType::Real => PrimitiveType::Float,
            ColumnType::Double => PrimitiveType::Double,
            ColumnType::Decimal { precision, scale } => PrimitiveType::Decimal {
                precision: u32::from(*precision),
                scale: u32::from(*scale),
            },
            ColumnType::Varchar => PrimitiveType::String,
            ColumnType::Varbinary => PrimitiveType::Binary,
            ColumnType::Fixed(length) => PrimitiveType::Fixed(*length),
            ColumnType::Uuid => PrimitiveType::Uuid,
            ColumnType::Date => PrimitiveType::Date,
            ColumnType::Time => PrimitiveType::Time,
            ColumnType::Timestamp => PrimitiveType::Timestamp,
            ColumnType::TimestampWithTimeZone => PrimitiveType::Timestamptz,
            ColumnType::Array(element) => {
                let id = self.next();
                let element = self.type_of(element);
                let field = NestedField::list_element(id, element, false);
                return Type::List(ListType::new(Arc::new(field)));
            }
            ColumnType::Map(key, value) => {
                let (key_id, value_id) = (self.next(), self.next());
                let key = NestedField::map_key_element(key_id, self.type_of(key));
                let value = NestedField::map_value_element(value_id, self.type_of(value), false);
                return Type::Map(MapType::new(Arc::new(key), Arc::new(value)));
            }
            ColumnType::Row(fields) => {
                let ids: Vec<i32> = fields.iter().map(|_| self.next()).collect();
                let fields = fields.iter().zip(ids).map(|(field, id)| {
                    let field_type = self.type_of(&field.field_type);
                    Arc::new(NestedField::optional(id, &field.name, field_type))
                });
                return Type::Struct(StructType::new(fields.collect()));
            }
        };
        Type::Primitive(primitive)
    }
}
