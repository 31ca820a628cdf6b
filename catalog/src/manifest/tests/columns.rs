//! The table of the random manifests, and random values for its columns.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{
    Datum, ListType, NestedField, NestedFieldRef, PrimitiveType, Schema, SchemaRef, Transform, Type,
};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use uuid::Uuid;

/// An id that no column has.
const UNKNOWN_ID: i32 = 55;
/// The column of lists, and their elements.
const LIST_ID: i32 = 100;
const ELEMENT_ID: i32 = 101;
/// Iceberg's ids of the columns of position deletes.
const DELETE_PATH_ID: i32 = i32::MAX - 101;
const DELETE_POSITION_ID: i32 = i32::MAX - 102;

/// A column and what tables may be partitioned by.
pub(super) struct Column {
    pub name: &'static str,
    pub column_type: PrimitiveType,
    pub transforms: &'static [Transform],
}

fn column(
    name: &'static str,
    column_type: PrimitiveType,
    transforms: &'static [Transform],
) -> Column {
    Column {
        name,
        column_type,
        transforms,
    }
}

/// All primitive types, with ids from 1. None is in the list that would give two partition fields a
/// fixed type of one name, nor is the identity of UUIDs: the `iceberg` crate cannot write either.
pub(super) fn columns() -> Vec<Column> {
    use Transform::{Bucket, Day, Hour, Identity, Month, Truncate, Void, Year};

    let decimal = |precision, scale| PrimitiveType::Decimal { precision, scale };
    vec![
        column("flag", PrimitiveType::Boolean, &[Identity]),
        column("int", PrimitiveType::Int, &[Identity, Bucket(7)]),
        column("long", PrimitiveType::Long, &[Identity, Truncate(10)]),
        column("float", PrimitiveType::Float, &[Identity]),
        column("double", PrimitiveType::Double, &[Identity]),
        column("date", PrimitiveType::Date, &[Identity, Year, Day]),
        column("time", PrimitiveType::Time, &[Identity, Bucket(3)]),
        column("instant", PrimitiveType::Timestamptz, &[Identity, Month]),
        column("local", PrimitiveType::Timestamp, &[Identity, Day, Hour]),
        column("text", PrimitiveType::String, &[Identity, Void]),
        column("uuid", PrimitiveType::Uuid, &[Bucket(4)]),
        column("fixed", PrimitiveType::Fixed(5), &[Identity]),
        column("binary", PrimitiveType::Binary, &[Identity, Truncate(2)]),
        column("decimal", decimal(9, 2), &[Identity, Truncate(50)]),
        column("wide_decimal", decimal(38, 10), &[Identity]),
        column("local_ns", PrimitiveType::TimestampNs, &[Identity]),
        column("instant_ns", PrimitiveType::TimestamptzNs, &[Identity]),
    ]
}

/// The columns, and one of lists.
pub(super) fn schema() -> SchemaRef {
    let mut fields: Vec<NestedFieldRef> = Vec::new();
    for (id, column) in (1..).zip(columns()) {
        let column_type = Type::Primitive(column.column_type);
        fields.push(NestedField::optional(id, column.name, column_type).into());
    }
    let element_type = Type::Primitive(PrimitiveType::Int);
    let element_field = NestedField::list_element(ELEMENT_ID, element_type, false).into();
    let list = Type::List(ListType { element_field });
    fields.push(NestedField::optional(LIST_ID, "list", list).into());
    let builder = Schema::builder().with_schema_id(4).with_fields(fields);
    Arc::new(builder.build().unwrap())
}

/// Counts of columns, and of some that are not there.
pub(super) fn random_counts(random: &mut StdRng) -> HashMap<i32, u64> {
    let mut counts = HashMap::new();
    for _ in 0..random.random_range(0..12) {
        let count = random.random_range(0..=i64::MAX as u64);
        counts.insert(random.random_range(1..30), count);
    }
    counts
}

/// Bounds of columns, of an element of a list, of reserved columns and of one that is not there.
pub(super) fn random_bounds(random: &mut StdRng) -> HashMap<i32, Datum> {
    let ids = (1..).zip(columns());
    let mut types: Vec<(i32, PrimitiveType)> =
        ids.map(|(id, column)| (id, column.column_type)).collect();
    types.push((ELEMENT_ID, PrimitiveType::Int));
    types.push((DELETE_PATH_ID, PrimitiveType::String));
    types.push((DELETE_POSITION_ID, PrimitiveType::Long));
    types.push((UNKNOWN_ID, PrimitiveType::Binary));
    let mut bounds = HashMap::new();
    for (id, data_type) in types {
        if random.random_bool(0.4) {
            bounds.insert(id, random_value(random, &data_type));
        }
    }
    bounds
}

pub(super) fn random_value(random: &mut StdRng, data_type: &PrimitiveType) -> Datum {
    match data_type {
        PrimitiveType::Boolean => Datum::bool(random.random::<bool>()),
        PrimitiveType::Int => Datum::int(random.random::<i32>()),
        PrimitiveType::Long => Datum::long(random.random::<i64>()),
        PrimitiveType::Float => {
            let values = [f32::NAN, f32::INFINITY, -0.0, 0.1];
            Datum::float(*values.choose(random).unwrap())
        }
        PrimitiveType::Double => {
            let values = [f64::NAN, f64::NEG_INFINITY, -0.0, 0.1];
            Datum::double(*values.choose(random).unwrap())
        }
        PrimitiveType::Date => Datum::date(random.random::<i32>()),
        PrimitiveType::Time => Datum::time_micros(random.random_range(0..86_400_000_000)).unwrap(),
        PrimitiveType::Timestamp => Datum::timestamp_micros(random.random::<i64>()),
        PrimitiveType::Timestamptz => Datum::timestamptz_micros(random.random::<i64>()),
        PrimitiveType::TimestampNs => Datum::timestamp_nanos(random.random::<i64>()),
        PrimitiveType::TimestamptzNs => Datum::timestamptz_nanos(random.random::<i64>()),
        PrimitiveType::String => Datum::string(random_text(random)),
        PrimitiveType::Uuid => Datum::uuid(Uuid::from_u128(random.random::<u128>())),
        PrimitiveType::Fixed(size) => Datum::fixed(random_bytes(random, *size as usize)),
        PrimitiveType::Binary => {
            let length = random.random_range(0..20);
            Datum::binary(random_bytes(random, length))
        }
        PrimitiveType::Decimal { precision, .. } => {
            let limit = 10_i128.pow(*precision);
            let unscaled = random.random_range(1 - limit..limit);
            Datum::try_from_bytes(&unscaled.to_be_bytes(), data_type.clone()).unwrap()
        }
    }
}

pub(super) fn random_text(random: &mut StdRng) -> String {
    let letters = ['a', 'Z', '0', ' ', '/', '"', 'ñ', '\u{1F600}'];
    let length = random.random_range(0..12);
    (0..length)
        .map(|_| *letters.choose(random).unwrap())
        .collect()
}

pub(super) fn random_bytes(random: &mut StdRng, length: usize) -> Vec<u8> {
    (0..length).map(|_| random.random::<u8>()).collect()
}
