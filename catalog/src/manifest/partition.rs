//! Partition values, whose columns differ from table to table.

use std::collections::HashMap;
use std::fmt::{self, Formatter};

use iceberg::spec::{
    Literal, NestedField, PrimitiveLiteral, PrimitiveType, Struct, StructType, Type,
};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::Value;
use uuid::Uuid;

use super::invalid;

/// The record `partition` of a row, by the names of its fields.
pub(super) type PartitionRow = HashMap<String, PartitionValue>;

/// Which fields of the record hold the values of a table's partition fields.
pub(super) struct PartitionFields {
    /// In the order of the partition type: the field's name in the record, and Iceberg's type.
    fields: Vec<(String, PrimitiveType)>,
}

impl PartitionFields {
    /// Finds the fields in the record that a manifest was written with, by their ids: writers
    /// replace characters of names that Avro does not allow. A field without an id counts by its name.
    ///
    /// # Errors
    /// `DataInvalid` for a record without one of the fields, and for times in milliseconds.
    pub(super) fn new(
        record: &PartitionRecord,
        partition_type: &StructType,
    ) -> iceberg::Result<Self> {
        if record.fields.iter().any(|field| field.is_coarse) {
            return Err(invalid("it has a partition field in milliseconds"));
        }
        let fields = partition_type.fields().iter().map(|field| {
            let Some(found) = record.find(field) else {
                return Err(invalid(format!("it has no partition field {}", field.name)));
            };
            let Type::Primitive(primitive) = field.field_type.as_ref() else {
                return Err(invalid(format!("partition field {} has parts", field.name)));
            };
            Ok((found.name.clone(), primitive.clone()))
        });
        Ok(Self {
            fields: fields.collect::<iceberg::Result<_>>()?,
        })
    }

    /// The values of a row in the order of the partition type.
    ///
    /// # Errors
    /// `DataInvalid` for values of another type.
    pub(super) fn partition_of(&self, mut row: PartitionRow) -> iceberg::Result<Struct> {
        let values = self
            .fields
            .iter()
            .map(|(name, wanted)| match row.remove(name) {
                Some(PartitionValue::Null) => Ok(None),
                Some(value) => literal_of(value, wanted).map(Some),
                None => Err(invalid(format!("it has no partition field {name}"))),
            });
        values.collect()
    }
}

/// The record `partition` as a writer declares it.
#[derive(Default)]
pub(super) struct PartitionRecord {
    fields: Vec<WrittenField>,
}

struct WrittenField {
    name: String,
    id: Option<i64>,
    /// Whether it counts in milliseconds, which Iceberg never does.
    is_coarse: bool,
}

impl PartitionRecord {
    /// Takes the record's declaration out of the schema of a manifest, and the logical types out of
    /// the record: values are read as they are encoded. A record that is not found has no fields.
    pub(super) fn take(schema: &mut Value) -> Self {
        let fields = field_type(schema, "data_file")
            .and_then(|data_file| field_type(data_file, "partition"))
            .and_then(|partition| partition.get_mut("fields"))
            .and_then(Value::as_array_mut);
        let fields = fields.into_iter().flatten().filter_map(|field| {
            let logical_types = take_logical_types(field.get_mut("type")?);
            Some(WrittenField {
                name: field.get("name")?.as_str()?.to_string(),
                id: field.get("field-id").and_then(Value::as_i64),
                is_coarse: logical_types.iter().any(|name| name.ends_with("-millis")),
            })
        });
        Self {
            fields: fields.collect(),
        }
    }

    /// Whether a partition field has another name here than in the table.
    pub(super) fn renames(&self, partition_type: &StructType) -> bool {
        let mut fields = partition_type.fields().iter();
        fields.any(|field| {
            self.find(field)
                .is_some_and(|found| found.name != field.name)
        })
    }

    fn find(&self, field: &NestedField) -> Option<&WrittenField> {
        self.fields.iter().find(|written| match written.id {
            Some(id) => id == i64::from(field.id),
            None => written.name == field.name,
        })
    }
}

fn field_type<'a>(record: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let mut fields = record.get_mut("fields")?.as_array_mut()?.iter_mut();
    let field = fields.find(|field| field.get("name").and_then(Value::as_str) == Some(name))?;
    field.get_mut("type")
}

/// Takes the logical types out of a type and the branches of a union.
fn take_logical_types(written: &mut Value) -> Vec<String> {
    match written {
        Value::Array(branches) => branches.iter_mut().flat_map(take_logical_types).collect(),
        Value::Object(declaration) => {
            let logical = declaration.remove("logicalType");
            let name = logical.as_ref().and_then(Value::as_str);
            name.map(str::to_string).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// A partition value as Avro has it.
#[derive(Debug)]
pub(super) enum PartitionValue {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl<'de> Deserialize<'de> for PartitionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartitionVisitor)
    }
}

/// Takes whatever type the writer's schema says.
struct PartitionVisitor;

impl Visitor<'_> for PartitionVisitor {
    type Value = PartitionValue;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a partition value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(PartitionValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(PartitionValue::Boolean(value))
    }

    fn visit_i32<E>(self, value: i32) -> Result<Self::Value, E> {
        Ok(PartitionValue::Int(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(PartitionValue::Long(value))
    }

    fn visit_f32<E>(self, value: f32) -> Result<Self::Value, E> {
        Ok(PartitionValue::Float(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(PartitionValue::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(PartitionValue::Text(value.to_string()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Self::Value, E> {
        Ok(PartitionValue::Bytes(value.to_vec()))
    }
}

fn literal_of(value: PartitionValue, wanted: &PrimitiveType) -> iceberg::Result<Literal> {
    use PartitionValue::{Boolean, Bytes, Double, Float, Int, Long, Text};
    let misfit = || invalid(format!("it has a partition value that is no {wanted}"));
    Ok(match (wanted, value) {
        (PrimitiveType::Boolean, Boolean(value)) => Literal::bool(value),
        (PrimitiveType::Int, Int(value)) => Literal::int(value),
        (PrimitiveType::Date, Int(value)) => Literal::date(value),
        (PrimitiveType::Long, Int(value)) => Literal::long(i64::from(value)),
        (
            PrimitiveType::Long
            | PrimitiveType::Time
            | PrimitiveType::Timestamp
            | PrimitiveType::Timestamptz
            | PrimitiveType::TimestampNs
            | PrimitiveType::TimestamptzNs,
            Long(value),
        ) => Literal::Primitive(PrimitiveLiteral::Long(value)),
        (PrimitiveType::Float, Float(value)) => Literal::float(value),
        (PrimitiveType::Double, Float(value)) => Literal::double(f64::from(value)),
        (PrimitiveType::Double, Double(value)) => Literal::double(value),
        (PrimitiveType::String, Text(value)) => Literal::string(value),
        (PrimitiveType::Uuid, Text(value)) => {
            Literal::uuid(Uuid::parse_str(&value).map_err(|_| misfit())?)
        }
        (PrimitiveType::Uuid, Bytes(value)) => {
            Literal::uuid(Uuid::from_slice(&value).map_err(|_| misfit())?)
        }
        (PrimitiveType::Fixed(size), Bytes(value)) if value.len() as u64 == *size => {
            Literal::fixed(value)
        }
        (PrimitiveType::Binary, Bytes(value)) => Literal::binary(value),
        (PrimitiveType::Decimal { .. }, Bytes(value)) => {
            Literal::decimal(unscaled(&value).ok_or_else(misfit)?)
        }
        _ => return Err(misfit()),
    })
}

/// A decimal's number of its smallest units, from two's complement with the highest byte first.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let is_negative = bytes.first()? & 0x80 != 0;
    if bytes.len() > size_of::<i128>() {
        return None;
    }
    let sign = if is_negative { -1 } else { 0 };
    let shifted = |value: i128, byte: &u8| (value << 8) | i128::from(*byte);
    Some(bytes.iter().fold(sign, shifted))
}
