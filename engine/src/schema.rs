//! Arrow schemas and Iceberg schemas, in both directions.
//!
//! `iceberg` 0.10.1 converts to Arrow 58; the data path is Arrow 59. This module is
//! the one place that knows both type systems. Columns that queries see carry no
//! field ids (they would travel through every plan as metadata and make equal types
//! unequal); ids are wanted where files are written or matched.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit,
};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema as IcebergSchema,
    StructType, Type,
};

use ingot_catalog::evolve::sql_type_name;

use crate::error::{EngineError, Result};

/// Key of the Iceberg field id in the metadata of an Arrow field; the Parquet writer
/// and reader know it.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";
/// Key of a column's comment in the metadata of an Arrow field.
pub const FIELD_DOC_KEY: &str = "doc";
/// Time zone of `timestamptz` columns. It is the spelling of Parquet's Arrow reader, so
/// that reading needs no cast.
pub const UTC: &str = "UTC";
/// Arrow's canonical extension type of UUIDs in 16 bytes.
const EXTENSION_NAME_KEY: &str = "ARROW:extension:name";
const UUID_EXTENSION: &str = "arrow.uuid";
/// Largest decimal precision of Iceberg and of Arrow's 128-bit decimals.
const MAX_DECIMAL_PRECISION: u8 = 38;

/// The Arrow schema of an Iceberg schema, as data files have it: every field, nested
/// ones too, carries its field id (`PARQUET:field_id`) and its comment.
///
/// # Errors
/// `Unsupported` for a type that Arrow cannot hold.
pub fn arrow_schema_of(schema: &IcebergSchema) -> Result<SchemaRef> {
    schema_with(schema, true)
}

/// The Arrow schema that queries see: as [`arrow_schema_of`], without ids and comments.
///
/// # Errors
/// As [`arrow_schema_of`].
pub fn query_schema_of(schema: &IcebergSchema) -> Result<SchemaRef> {
    schema_with(schema, false)
}

/// The schema of queries with views for the strings of its columns, though not for those inside
/// nested columns.
pub fn with_text_views(schema: &ArrowSchema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(Field::clone(field).with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    });
    let fields = fields.collect::<Vec<_>>();
    Arc::new(ArrowSchema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    ))
}

fn schema_with(schema: &IcebergSchema, with_ids: bool) -> Result<SchemaRef> {
    let fields = arrow_fields(schema.as_struct().fields(), with_ids)?;
    Ok(Arc::new(ArrowSchema::new(fields)))
}

/// The Arrow field of one Iceberg field, with or without field ids.
///
/// # Errors
/// As [`arrow_schema_of`].
pub fn arrow_field_of(field: &NestedField, with_ids: bool) -> Result<Field> {
    let data_type = arrow_type_with(&field.field_type, with_ids)
        .map_err(|error| in_column(error, &field.name))?;
    let mut metadata = HashMap::new();
    if with_ids {
        metadata.insert(FIELD_ID_KEY.to_string(), field.id.to_string());
        if let Some(doc) = &field.doc {
            metadata.insert(FIELD_DOC_KEY.to_string(), doc.clone());
        }
    }
    if *field.field_type == Type::Primitive(PrimitiveType::Uuid) {
        metadata.insert(EXTENSION_NAME_KEY.to_string(), UUID_EXTENSION.to_string());
    }
    Ok(Field::new(&field.name, data_type, !field.required).with_metadata(metadata))
}

fn in_column(error: EngineError, column: &str) -> EngineError {
    match error {
        EngineError::Unsupported(what) if !what.starts_with("column ") => {
            EngineError::Unsupported(format!("column {column:?}: {what}"))
        }
        other => other,
    }
}

fn arrow_fields(fields: &[NestedFieldRef], with_ids: bool) -> Result<Fields> {
    fields
        .iter()
        .map(|field| arrow_field_of(field, with_ids).map(Arc::new))
        .collect()
}

/// The Arrow type of an Iceberg type, without field ids inside.
///
/// # Errors
/// As [`arrow_schema_of`].
pub fn arrow_type_of(field_type: &Type) -> Result<DataType> {
    arrow_type_with(field_type, false)
}

fn arrow_type_with(field_type: &Type, with_ids: bool) -> Result<DataType> {
    Ok(match field_type {
        Type::Primitive(primitive) => arrow_primitive_of(primitive)?,
        Type::Struct(nested) => DataType::Struct(arrow_fields(nested.fields(), with_ids)?),
        Type::List(list) => {
            DataType::List(Arc::new(arrow_field_of(&list.element_field, with_ids)?))
        }
        Type::Map(map) => {
            let key = arrow_field_of(&map.key_field, with_ids)?.with_nullable(false);
            let value = arrow_field_of(&map.value_field, with_ids)?;
            let entries = DataType::Struct(Fields::from(vec![key, value]));
            DataType::Map(Arc::new(Field::new("key_value", entries, false)), false)
        }
    })
}

/// The Arrow type of an Iceberg primitive type.
///
/// # Errors
/// `Unsupported` for a decimal or a fixed type that Arrow cannot hold.
pub fn arrow_primitive_of(primitive: &PrimitiveType) -> Result<DataType> {
    Ok(match primitive {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Decimal { precision, scale } => {
            let precision_of_arrow = u8::try_from(*precision).ok();
            let scale_of_arrow = i8::try_from(*scale).ok();
            match (precision_of_arrow, scale_of_arrow) {
                (Some(p @ 1..=MAX_DECIMAL_PRECISION), Some(s)) if s as u8 <= p => {
                    DataType::Decimal128(p, s)
                }
                _ => {
                    return Err(EngineError::Unsupported(format!(
                        "type decimal({precision},{scale})"
                    )));
                }
            }
        }
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        PrimitiveType::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        PrimitiveType::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())),
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Uuid => DataType::FixedSizeBinary(16),
        PrimitiveType::Fixed(length) => match i32::try_from(*length) {
            Ok(length) => DataType::FixedSizeBinary(length),
            Err(_) => return Err(EngineError::Unsupported(format!("type fixed[{length}]"))),
        },
        PrimitiveType::Binary => DataType::Binary,
    })
}

/// The Iceberg schema of an Arrow schema, for a new table: fresh field ids, numbered as
/// Iceberg's own writers do (all columns of a level before what is nested in them),
/// field ids in the metadata ignored. A nullable field is optional; a comment in the
/// metadata (`doc`) is kept.
///
/// Types that Iceberg lacks become the nearest one that holds every value: small
/// integers become `int` or `long`, views and large strings become `string`, any
/// unit of time becomes microseconds (format version 2 has no other), any time zone
/// becomes UTC (the instants stay).
///
/// # Errors
/// `UnsupportedType`, naming the column, when there is no such type.
pub fn iceberg_schema_of(schema: &ArrowSchema) -> Result<IcebergSchema> {
    let mut next_id = 1;
    let fields = fresh_fields(schema.fields(), &mut next_id, "")?;
    IcebergSchema::builder()
        .with_fields(fields)
        .build()
        .map_err(|source| EngineError::iceberg("new table's schema", source))
}

/// The type of a column as SQL writes it: `bigint`, `array(varchar)`.
pub fn sql_type_of(field: &Field) -> String {
    match iceberg_type_of(field, &mut 1, field.name()) {
        Ok(iceberg_type) => sql_type_name(&iceberg_type),
        // What no table can have, such as an interval.
        Err(_) => field.data_type().to_string().to_lowercase(),
    }
}

/// The Iceberg type of an Arrow type, with field ids taken from `next_id` on.
///
/// # Errors
/// As [`iceberg_schema_of`]; `column` names the column.
pub fn iceberg_type_of(field: &Field, next_id: &mut i32, column: &str) -> Result<Type> {
    let unsupported = |remedy| {
        Err(EngineError::UnsupportedType {
            column: column.to_string(),
            data_type: field.data_type().to_string(),
            remedy,
        })
    };
    let primitive = match field.data_type() {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            PrimitiveType::Int
        }
        DataType::Int64 | DataType::UInt32 => PrimitiveType::Long,
        DataType::UInt64 => PrimitiveType::Decimal {
            precision: 20,
            scale: 0,
        },
        DataType::Float16 | DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            if *scale < 0 {
                return unsupported("cast it to a decimal of scale 0 or more");
            }
            if *precision > MAX_DECIMAL_PRECISION {
                return unsupported("cast it to a decimal of precision 38 or less");
            }
            PrimitiveType::Decimal {
                precision: u32::from(*precision),
                scale: u32::from(scale.unsigned_abs()),
            }
        }
        DataType::Date32 | DataType::Date64 => PrimitiveType::Date,
        DataType::Time32(_) | DataType::Time64(_) => PrimitiveType::Time,
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PrimitiveType::Binary,
        DataType::FixedSizeBinary(16) if is_uuid(field) => PrimitiveType::Uuid,
        DataType::FixedSizeBinary(length) => PrimitiveType::Fixed(u64::from(length.unsigned_abs())),
        DataType::Dictionary(_, value_type) => {
            let plain = Field::new(field.name(), value_type.as_ref().clone(), true);
            return iceberg_type_of(&plain, next_id, column);
        }
        DataType::RunEndEncoded(_, values) => {
            let plain = Field::new(field.name(), values.data_type().clone(), true);
            return iceberg_type_of(&plain, next_id, column);
        }
        DataType::Struct(fields) => {
            let fields = fresh_fields(fields, next_id, &format!("{column}."))?;
            return Ok(Type::Struct(StructType::new(fields)));
        }
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => {
            let element_id = take_id(next_id);
            let path = format!("{column}.element");
            let element_type = iceberg_type_of(element, next_id, &path)?;
            let element_field =
                NestedField::list_element(element_id, element_type, !element.is_nullable());
            return Ok(Type::List(ListType::new(Arc::new(element_field))));
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(key_and_value) = entries.data_type() else {
                return unsupported("make it a map of keys to values");
            };
            let [key, value] = key_and_value.as_ref() else {
                return unsupported("make it a map of keys to values");
            };
            let key_id = take_id(next_id);
            let value_id = take_id(next_id);
            let key_type = iceberg_type_of(key, next_id, &format!("{column}.key"))?;
            let value_type = iceberg_type_of(value, next_id, &format!("{column}.value"))?;
            return Ok(Type::Map(MapType::new(
                Arc::new(NestedField::map_key_element(key_id, key_type)),
                Arc::new(NestedField::map_value_element(
                    value_id,
                    value_type,
                    !value.is_nullable(),
                )),
            )));
        }
        DataType::Null => return unsupported("cast the null to the type wanted"),
        DataType::Interval(_) | DataType::Duration(_) => {
            return unsupported("cast it to a number or to varchar");
        }
        _ => return unsupported("cast it to a type that iceberg has"),
    };
    Ok(Type::Primitive(primitive))
}

fn fresh_fields(fields: &Fields, next_id: &mut i32, prefix: &str) -> Result<Vec<NestedFieldRef>> {
    // Ids of one level come before the ids inside it, as in Iceberg's own writers.
    let ids: Vec<i32> = fields.iter().map(|_| take_id(next_id)).collect();
    fields
        .iter()
        .zip(ids)
        .map(|(field, id): (&FieldRef, i32)| {
            let path = format!("{prefix}{}", field.name());
            let field_type = iceberg_type_of(field, next_id, &path)?;
            let mut nested = NestedField::new(id, field.name(), field_type, !field.is_nullable());
            if let Some(doc) = field.metadata().get(FIELD_DOC_KEY) {
                nested = nested.with_doc(doc);
            }
            Ok(Arc::new(nested))
        })
        .collect()
}

fn take_id(next_id: &mut i32) -> i32 {
    let id = *next_id;
    *next_id += 1;
    id
}

fn is_uuid(field: &Field) -> bool {
    field
        .metadata()
        .get(EXTENSION_NAME_KEY)
        .is_some_and(|name| name == UUID_EXTENSION)
}

/// The Iceberg field id in an Arrow field's metadata, if there is one.
pub fn field_id_of(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID_KEY)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_type() -> IcebergSchema {
        let primitives = [
            PrimitiveType::Boolean,
            PrimitiveType::Int,
            PrimitiveType::Long,
            PrimitiveType::Float,
            PrimitiveType::Double,
            PrimitiveType::Decimal {
                precision: 38,
                scale: 9,
            },
            PrimitiveType::Date,
            PrimitiveType::Time,
            PrimitiveType::Timestamp,
            PrimitiveType::Timestamptz,
            PrimitiveType::String,
            PrimitiveType::Uuid,
            PrimitiveType::Fixed(7),
            PrimitiveType::Binary,
        ];
        let mut fields: Vec<NestedFieldRef> = primitives
            .into_iter()
            .zip(1..)
            .map(|(primitive, id)| {
                let name = format!("c{id}");
                let field = NestedField::new(id, name, Type::Primitive(primitive), id % 2 == 0);
                Arc::new(field.with_doc(format!("column {id}")))
            })
            .collect();
        let text = || Type::Primitive(PrimitiveType::String);
        let point = StructType::new(vec![
            NestedField::required(18, "x", Type::Primitive(PrimitiveType::Double)).into(),
            NestedField::optional(19, "y", Type::Primitive(PrimitiveType::Double)).into(),
        ]);
        fields.push(NestedField::optional(15, "point", Type::Struct(point)).into());
        let list = ListType::new(NestedField::list_element(20, text(), false).into());
        fields.push(NestedField::required(16, "tags", Type::List(list)).into());
        let map = MapType::new(
            NestedField::map_key_element(21, text()).into(),
            NestedField::map_value_element(22, text(), false).into(),
        );
        fields.push(NestedField::optional(17, "labels", Type::Map(map)).into());
        IcebergSchema::builder()
            .with_fields(fields)
            .build()
            .unwrap()
    }

    #[test]
    fn every_iceberg_type_survives_the_way_to_arrow_and_back() {
        let iceberg = every_type();
        let arrow = arrow_schema_of(&iceberg).unwrap();
        let back = iceberg_schema_of(&arrow).unwrap();
        assert_eq!(back.as_struct(), iceberg.as_struct());
        for field in arrow.fields() {
            assert_eq!(
                field_id_of(field),
                iceberg.field_id_by_name(field.name()),
                "{field}"
            );
        }
    }

    #[test]
    fn query_schemas_have_no_ids_at_any_depth() {
        let arrow = query_schema_of(&every_type()).unwrap();
        assert!(!format!("{arrow:?}").contains(FIELD_ID_KEY), "{arrow:?}");
        assert_eq!(
            arrow.field(9).data_type().to_string(),
            "Timestamp(µs, \"UTC\")"
        );
    }

    #[test]
    fn foreign_types_become_the_nearest_that_holds_them() {
        let cases = [
            (DataType::UInt16, "int"),
            (DataType::UInt32, "long"),
            (DataType::UInt64, "decimal(20, 0)"),
            (DataType::Utf8View, "string"),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), "timestamp"),
            (
                DataType::Timestamp(TimeUnit::Second, Some("+02:00".into())),
                "timestamptz",
            ),
            (
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
                "string",
            ),
        ];
        for (data_type, expected) in cases {
            let schema = ArrowSchema::new(vec![Field::new("a", data_type, true)]);
            let iceberg = iceberg_schema_of(&schema).unwrap();
            let found = iceberg.as_struct().fields()[0].field_type.to_string();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn types_without_an_iceberg_counterpart_name_the_column() {
        let point = DataType::Struct(Fields::from(vec![Field::new("x", DataType::Null, true)]));
        let schema = ArrowSchema::new(vec![Field::new("point", point, true)]);
        let error = iceberg_schema_of(&schema).unwrap_err().to_string();
        assert_eq!(
            error,
            "column point.x has type Null, which iceberg does not have: cast the null to the type wanted"
        );
    }
}
