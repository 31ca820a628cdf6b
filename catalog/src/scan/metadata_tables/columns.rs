//! Building schemas and values of metadata tables.

use std::sync::Arc;

use iceberg::spec::{
    ListType, Literal, Map, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, Struct,
    StructType, Type,
};

/// A column, or a field of a row, before it has a field id.
pub(super) struct Column {
    name: String,
    column_type: ColumnType,
    required: bool,
}

/// Its type.
pub(super) enum ColumnType {
    Primitive(PrimitiveType),
    List(Box<ColumnType>),
    Map(PrimitiveType, Box<ColumnType>),
    Row(Vec<Column>),
}

pub(super) const BOOLEAN: ColumnType = ColumnType::Primitive(PrimitiveType::Boolean);
pub(super) const INTEGER: ColumnType = ColumnType::Primitive(PrimitiveType::Int);
pub(super) const BIGINT: ColumnType = ColumnType::Primitive(PrimitiveType::Long);
pub(super) const VARCHAR: ColumnType = ColumnType::Primitive(PrimitiveType::String);
pub(super) const VARBINARY: ColumnType = ColumnType::Primitive(PrimitiveType::Binary);
pub(super) const TIMESTAMP_TZ: ColumnType = ColumnType::Primitive(PrimitiveType::Timestamptz);

/// A column that has no nulls.
pub(super) fn required(name: &str, column_type: ColumnType) -> Column {
    Column {
        name: name.to_string(),
        column_type,
        required: true,
    }
}

/// A column that may have nulls.
pub(super) fn optional(name: &str, column_type: ColumnType) -> Column {
    Column {
        name: name.to_string(),
        column_type,
        required: false,
    }
}

/// The columns as a schema with fresh field ids.
pub(super) fn schema_of(columns: Vec<Column>) -> iceberg::Result<Schema> {
    let mut next_id = 1;
    let fields = fields_of(columns, &mut next_id);
    Schema::builder().with_fields(fields).build()
}

fn fields_of(columns: Vec<Column>, next_id: &mut i32) -> Vec<NestedFieldRef> {
    let field_of = |column: Column| {
        let id = fresh(next_id);
        let field_type = type_of(column.column_type, next_id);
        Arc::new(NestedField::new(
            id,
            column.name,
            field_type,
            column.required,
        ))
    };
    columns.into_iter().map(field_of).collect()
}

fn fresh(next_id: &mut i32) -> i32 {
    let id = *next_id;
    *next_id += 1;
    id
}

fn type_of(column_type: ColumnType, next_id: &mut i32) -> Type {
    match column_type {
        ColumnType::Primitive(primitive) => Type::Primitive(primitive),
        ColumnType::List(element) => {
            let id = fresh(next_id);
            let element_type = type_of(*element, next_id);
            let element = NestedField::list_element(id, element_type, true);
            Type::List(ListType::new(Arc::new(element)))
        }
        ColumnType::Map(key, value) => {
            let (key_id, value_id) = (fresh(next_id), fresh(next_id));
            let value_type = type_of(*value, next_id);
            Type::Map(MapType::optional(
                key_id,
                Type::Primitive(key),
                value_id,
                value_type,
            ))
        }
        ColumnType::Row(columns) => Type::Struct(StructType::new(fields_of(columns, next_id))),
    }
}

/// A 64-bit count; larger ones do not occur.
pub(super) fn bigint(value: u64) -> Option<Literal> {
    Some(Literal::long(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// A time in milliseconds since the epoch.
pub(super) fn time_of_millis(millis: i64) -> Option<Literal> {
    millis.checked_mul(1000).map(Literal::timestamptz)
}

/// A text.
pub(super) fn text(value: impl ToString) -> Option<Literal> {
    Some(Literal::string(value))
}

/// A map, in the order given.
pub(super) fn map(pairs: impl IntoIterator<Item = (Literal, Literal)>) -> Option<Literal> {
    let mut map = Map::new();
    for (key, value) in pairs {
        map.insert(key, Some(value));
    }
    Some(Literal::Map(map))
}

/// A row.
pub(super) fn row(values: Vec<Option<Literal>>) -> Option<Literal> {
    Some(Literal::Struct(Struct::from_iter(values)))
}
