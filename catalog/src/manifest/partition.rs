//! Partition values, whose columns differ from table to table.

use std::collections::HashMap;
use std::fmt::{self, Formatter};

use iceberg::spec::{Literal, PrimitiveLiteral, PrimitiveType, Struct, StructType, Type};
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
    are_renamed: bool,
}

impl PartitionFields {
    /// Finds the fields in the schema that a manifest was written with, by their ids: writers
    /// replace characters of names that Avro does not allow. A field without an id counts by its name.
    ///
    /// # Errors
    /// `DataInvalid` for a schema without one of the fields.
    pub(super) fn new(avro_schema: &str, partition_type: &StructType) -> iceberg::Result<Self> {
        let schema: Value = serde_json::from_str(avro_schema).map_err(invalid)?;
        let written = written_fields(&schema).unwrap_or_default();
        let mut fields = Vec::with_capacity(partition_type.fields().len());
        let mut are_renamed = false;
        for field in partition_type.fields() {
            let is_meant = |written: &&WrittenField| match written.id {
                Some(id) => id == i64::from(field.id),
                None => written.name == field.name,
            };
            let Some(found) = written.iter().find(is_meant) else {
                return Err(invalid(format!("it has no partition field {}", field.name)));
            };
            let Type::Primitive(primitive) = field.field_type.as_ref() else {
                return Err(invalid(format!("partition field {} has parts", field.name)));
            };
            are_renamed |= found.name != field.name;
            fields.push((found.name.to_string(), primitive.clone()));
        }
        Ok(Self {
            fields,
            are_renamed,
        })
    }

    /// Whether a field has another name in the manifest than in the table.
    pub(super) fn are_renamed(&self) -> bool {
        self.are_renamed
    }

    /// The values of a row in the order of the partition type.
    ///
    /// # Errors
    /// `DataInvalid` for values that Avro has in several forms, such as decimals, and for those of
    /// another type.
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

/// A field of the record `partition` as a writer declares it.
struct WrittenField<'a> {
    name: &'a str,
    id: Option<i64>,
}

fn written_fields(schema: &Value) -> Option<Vec<WrittenField<'_>>> {
    let data_file = field_type(schema, "data_file")?;
    let partition = field_type(data_file, "partition")?;
    let fields = partition.get("fields")?.as_array()?;
    let fields = fields.iter().map(|field| {
        // Whoever counts in milliseconds is not understood here.
        let is_coarse = field.to_string().contains("-millis");
        Some(WrittenField {
            name: field.get("name")?.as_str().filter(|_| !is_coarse)?,
            id: field.get("field-id").and_then(Value::as_i64),
        })
    });
    fields.collect()
}

fn field_type<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    let mut fields = record.get("fields")?.as_array()?.iter();
    let field = fields.find(|field| field.get("name").and_then(Value::as_str) == Some(name))?;
    field.get("type")
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
        _ => return Err(misfit()),
    })
}
