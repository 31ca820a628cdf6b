//! Manifests of other writers: what the specification allows and the `iceberg` crate does not write.

use std::collections::HashMap;

use iceberg::spec::{Literal, Manifest, PrimitiveLiteral, PrimitiveType, Struct};
use serde_json::{Value, json};
use uuid::Uuid;

use super::avro_file::{AvroFile, Encoded, metadata, small_row, small_schema, table};
use super::{decode, decoded, manifest_of, parse_manifest, partitions_of};

const NANOS: i64 = 1_700_000_000_123_456_789;

/// The partition of a manifest with one entry.
fn only_partition(
    columns: &[(&str, PrimitiveType)],
    partition_fields: Value,
    partition: Encoded,
) -> Struct {
    let metadata = metadata(&table(columns), "2", &small_schema(partition_fields));
    let row = small_row("a", &partition.0);
    let bytes = AvroFile::new(&metadata).block(1, &row).bytes();
    let partitions = partitions_of(&decoded(&bytes));
    let [partition] = partitions.as_slice() else {
        panic!("{partitions:?}");
    };
    partition.clone()
}

fn map_type(name: &str, value: &str) -> Value {
    let fields = json!([{"name": "key", "type": "int"}, {"name": "value", "type": value}]);
    let entry = json!({"type": "record", "name": name, "fields": fields});
    json!({"type": "array", "logicalType": "map", "items": entry})
}

/// Columns in another order, with columns that Iceberg does not know, ints for longs, nulls that
/// come last, and without columns that may be missing.
#[test]
fn columns_are_found_wherever_they_are() {
    let point = json!([{"name": "x", "type": "float"}, {"name": "y", "type": ["null", "double"]}]);
    let colour = json!({"type": "enum", "name": "colour", "symbols": ["RED", "BLUE"]});
    let schema = json!({"type": "record", "name": "manifest_entry", "fields": [
        {"name": "data_file", "type": {"type": "record", "name": "r2", "fields": [
            {"name": "file_format", "type": "string"},
            {"name": "record_count", "type": "int"},
            {"name": "tags", "type": {"type": "map", "values": ["null", "bytes"]}},
            {"name": "colour", "type": colour},
            {"name": "point", "type": {"type": "record", "name": "point", "fields": point}},
            {"name": "partition", "type": {"type": "record", "name": "r102", "fields": [
                {"name": "other", "type": ["null", "string"]},
                {"name": "n", "type": ["int", "null"]},
            ]}},
            {"name": "file_size_in_bytes", "type": ["long", "null"]},
            {"name": "file_path", "type": "string"},
            {"name": "split_offsets", "type": {"type": "array", "items": "int"}},
            {"name": "column_sizes", "type": [map_type("sizes", "int"), "null"]},
            {"name": "upper_bounds", "type": ["null", map_type("bounds", "bytes")]},
        ]}},
        {"name": "sequence_number", "type": "int"},
        {"name": "status", "type": "int"},
    ]});
    let file = Encoded::default()
        .text("avro")
        .long(5)
        .long(1)
        .text("tag")
        .long(1)
        .bytes(b"value")
        .long(0)
        .long(1)
        .raw(&1.5_f32.to_le_bytes())
        .long(0)
        .long(1)
        .text("other")
        .long(0)
        .long(-9)
        .long(0)
        .long(77)
        .text("s3://bucket/file")
        .long(2)
        .long(4)
        .long(8)
        .long(0);
    // A map whose first block tells its bytes, with a negative count.
    let sizes = file.long(0).long(-1).long(2).long(1).long(20);
    let sizes = sizes.long(1).long(2).long(-5).long(0);
    let bounds = sizes
        .long(1)
        .long(1)
        .long(1)
        .bytes(&7_i64.to_le_bytes())
        .long(0);
    let row = bounds.long(12).long(1).0;

    let table = table(&[("n", PrimitiveType::Long)]);
    let metadata = metadata(&table, "2", &schema);
    let bytes = AvroFile::new(&metadata).block(1, &row).bytes();
    let read = decoded(&bytes);
    assert_eq!(read, Manifest::parse_avro(&bytes).unwrap());
    let [entry] = read.entries() else {
        panic!("{read:?}");
    };
    assert_eq!(entry.sequence_number, Some(12));
    let file = entry.data_file();
    assert_eq!(file.partition().fields(), [Some(Literal::long(-9_i64))]);
    assert_eq!(file.column_sizes(), &HashMap::from([(1, 20)]));
    assert_eq!(file.split_offsets(), Some([4, 8].as_slice()));
    assert_eq!((file.record_count(), file.file_size_in_bytes()), (5, 77));
    assert_eq!(file.upper_bounds().len(), 1);
}

/// Java writes UUIDs as fixed bytes, which it declares once.
#[test]
fn uuids_are_read_as_bytes_and_as_text() {
    let uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
    let fixed = json!({"type": "fixed", "name": "uuid_fixed", "size": 16, "logicalType": "uuid"});
    let text = json!({"type": "string", "logicalType": "uuid"});
    let columns = ["a", "b", "c", "d"].map(|name| (name, PrimitiveType::Uuid));
    let partition = only_partition(
        &columns,
        json!([
            {"name": "a", "type": ["null", fixed]},
            {"name": "b", "type": ["null", "uuid_fixed"]},
            {"name": "c", "type": ["null", text]},
            {"name": "d", "type": ["null", "uuid_fixed"]},
        ]),
        Encoded::default()
            .long(1)
            .raw(uuid.as_bytes())
            .long(1)
            .raw(uuid.as_bytes())
            .long(1)
            .text(&uuid.to_string())
            .long(0),
    );
    let value = Some(Literal::uuid(uuid));
    assert_eq!(
        partition.fields(),
        [value.clone(), value.clone(), value, None]
    );
}

/// Writers replace characters that Avro does not allow in names, but not the id.
#[test]
fn partition_fields_are_found_by_id() {
    let columns = [("a b", PrimitiveType::String), ("c", PrimitiveType::Int)];
    let partition = only_partition(
        &columns,
        json!([
            {"name": "c", "type": ["null", "int"], "field-id": 1001},
            {"name": "a_x20b", "type": ["null", "string"], "field-id": 1000},
        ]),
        Encoded::default().long(1).long(4).long(1).text("x"),
    );
    let expected = [Some(Literal::string("x")), Some(Literal::int(4))];
    assert_eq!(partition.fields(), expected);
}

#[test]
fn logical_types_of_other_writers_are_read() {
    let decimal = PrimitiveType::Decimal {
        precision: 20,
        scale: 2,
    };
    let columns = [
        ("nanos", PrimitiveType::TimestampNs),
        ("local", PrimitiveType::Timestamp),
        ("short", decimal.clone()),
        ("wide", decimal),
        ("double", PrimitiveType::Double),
        ("a-millis", PrimitiveType::Int),
    ];
    let long = |name: &str| json!({"type": "long", "logicalType": name, "adjust-to-utc": false});
    let bytes = json!({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2});
    let fixed = json!({"type": "fixed", "name": "d", "size": 9, "logicalType": "decimal",
        "precision": 20, "scale": 2});
    let partition = only_partition(
        &columns,
        json!([
            {"name": "nanos", "type": ["null", long("timestamp-nanos")]},
            {"name": "local", "type": ["null", long("local-timestamp-micros")]},
            {"name": "short", "type": ["null", bytes]},
            {"name": "wide", "type": ["null", fixed]},
            {"name": "double", "type": ["null", "float"]},
            {"name": "a_x2Dmillis", "type": ["null", "int"], "field-id": 1005,
             "iceberg-field-name": "a-millis"},
        ]),
        Encoded::default()
            .long(1)
            .long(NANOS)
            .long(1)
            .long(-1)
            .long(1)
            .bytes(&[0xff, 0x00])
            .long(1)
            .raw(&[0, 0, 0, 0, 0, 0, 0, 1, 0])
            .long(1)
            .raw(&0.5_f32.to_le_bytes())
            .long(1)
            .long(7),
    );
    let expected = [
        Some(Literal::Primitive(PrimitiveLiteral::Long(NANOS))),
        Some(Literal::timestamp(-1)),
        Some(Literal::decimal(-256)),
        Some(Literal::decimal(256)),
        Some(Literal::double(0.5)),
        Some(Literal::int(7)),
    ];
    assert_eq!(partition.fields(), expected);
}

/// A manifest of one entry whose only partition field is an int in the table.
fn file_of(column: &str, written: Value, partition: Encoded) -> Vec<u8> {
    let table = table(&[(column, PrimitiveType::Int)]);
    let schema = small_schema(json!([written]));
    AvroFile::new(&metadata(&table, "2", &schema))
        .block(1, &small_row("a", &partition.0))
        .bytes()
}

#[test]
fn what_is_not_read_fast_is_left_to_the_iceberg_crate() {
    // A long for an int: the `iceberg` crate takes its lower half.
    let written = json!({"name": "n", "type": ["null", "long"], "field-id": 1000});
    let bytes = file_of("n", written, Encoded::default().long(1).long(5));
    assert!(decode(&bytes).is_err());
    let read = manifest_of(parse_manifest(&bytes).unwrap());
    assert_eq!(read, Manifest::parse_avro(&bytes).unwrap());
    let five = Some(Literal::int(5));
    assert_eq!(partitions_of(&read)[0].fields(), [five]);
}

#[test]
fn renamed_partition_fields_are_not_left_to_the_iceberg_crate() {
    for (value_type, problem) in [
        (json!("long"), "partition value"),
        (
            json!({"type": "int", "logicalType": "time-millis"}),
            "milliseconds",
        ),
        (json!({"type": "unheard-of"}), ""),
    ] {
        let written = json!({"name": "n_x20n", "type": ["null", value_type], "field-id": 1000});
        let bytes = file_of("n n", written, Encoded::default().long(1).long(5));
        let message = parse_manifest(&bytes).unwrap_err().to_string();
        assert!(message.contains(problem), "{message}");
    }
}

#[test]
fn errors_are_those_of_the_iceberg_crate() {
    let mut unknown = metadata(&table(&[]), "2", &small_schema(json!([])));
    unknown.push(("avro.codec", b"lzma".to_vec()));
    let bytes = AvroFile::new(&unknown).block(1, &[0]).bytes();
    let message = parse_manifest(&bytes).unwrap_err().to_string();
    let expected = Manifest::parse_avro(&bytes).unwrap_err().to_string();
    assert_eq!(message, expected);
}
