//! Avro files made by hand, for what the `iceberg` crate never writes.

use iceberg::spec::{NestedField, PartitionSpec, PrimitiveType, Schema, Transform, Type};
use serde_json::{Value, json};

const MAGIC: &[u8] = b"Obj\x01";
pub(super) const MARKER_BYTES: usize = 16;

const MARKER: [u8; MARKER_BYTES] = [7; MARKER_BYTES];

/// Writes a long: zigzag, seven bits a byte, lowest first.
fn put_long(value: i64, output: &mut Vec<u8>) {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    while bits >= 0x80 {
        output.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    output.push(bits as u8);
}

fn put_length(length: usize, output: &mut Vec<u8>) {
    put_long(length as i64, output);
}

fn put_bytes(bytes: &[u8], output: &mut Vec<u8>) {
    put_length(bytes.len(), output);
    output.extend_from_slice(bytes);
}

/// An Avro file in the making.
pub(super) struct AvroFile {
    bytes: Vec<u8>,
}

impl AvroFile {
    pub(super) fn new(metadata: &[(&str, Vec<u8>)]) -> Self {
        let mut bytes = MAGIC.to_vec();
        put_length(metadata.len(), &mut bytes);
        for (key, value) in metadata {
            put_bytes(key.as_bytes(), &mut bytes);
            put_bytes(value, &mut bytes);
        }
        put_length(0, &mut bytes);
        bytes.extend(MARKER);
        Self { bytes }
    }

    /// Adds a block that says to have so many rows.
    pub(super) fn block(mut self, rows: usize, data: &[u8]) -> Self {
        put_length(rows, &mut self.bytes);
        put_bytes(data, &mut self.bytes);
        self.bytes.extend(MARKER);
        self
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Values of a row in Avro's encoding.
#[derive(Clone, Default)]
pub(super) struct Encoded(pub Vec<u8>);

impl Encoded {
    /// A number, a count, or the index of a union's type.
    pub(super) fn long(mut self, value: i64) -> Self {
        put_long(value, &mut self.0);
        self
    }

    pub(super) fn text(mut self, value: &str) -> Self {
        put_bytes(value.as_bytes(), &mut self.0);
        self
    }

    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        put_bytes(value, &mut self.0);
        self
    }

    /// What has no length before it.
    pub(super) fn raw(mut self, value: &[u8]) -> Self {
        self.0.extend(value);
        self
    }
}

/// A table's columns with ids from 1, partitioned by all of them as they are.
pub(super) fn table(columns: &[(&str, PrimitiveType)]) -> (Schema, PartitionSpec) {
    let fields = (1..).zip(columns).map(|(id, (name, column_type))| {
        NestedField::optional(id, *name, Type::Primitive(column_type.clone())).into()
    });
    let schema = Schema::builder().with_fields(fields).build().unwrap();
    let mut spec = PartitionSpec::builder(schema.clone()).with_spec_id(2);
    for (name, _) in columns {
        spec = spec
            .add_partition_field(*name, *name, Transform::Identity)
            .unwrap();
    }
    let spec = spec.build().unwrap();
    (schema, spec)
}

/// A manifest's metadata, of data files.
pub(super) fn metadata(
    table: &(Schema, PartitionSpec),
    format_version: &str,
    avro_schema: &Value,
) -> Vec<(&'static str, Vec<u8>)> {
    let (schema, spec) = table;
    vec![
        ("avro.schema", serde_json::to_vec(avro_schema).unwrap()),
        ("schema", serde_json::to_vec(schema).unwrap()),
        ("partition-spec", serde_json::to_vec(spec.fields()).unwrap()),
        ("partition-spec-id", spec.spec_id().to_string().into_bytes()),
        ("format-version", format_version.as_bytes().to_vec()),
        ("content", b"data".to_vec()),
    ]
}

/// The least that an entry of version 2 has, with these fields of `partition`.
pub(super) fn small_schema(partition_fields: Value) -> Value {
    json!({
        "type": "record",
        "name": "manifest_entry",
        "fields": [
            {"name": "status", "type": "int", "field-id": 0},
            {"name": "data_file", "field-id": 2, "type": {
                "type": "record",
                "name": "r2",
                "fields": [
                    {"name": "file_path", "type": "string", "field-id": 100},
                    {"name": "file_format", "type": "string", "field-id": 101},
                    {"name": "partition", "field-id": 102, "type": {
                        "type": "record",
                        "name": "r102",
                        "fields": partition_fields,
                    }},
                    {"name": "record_count", "type": "long", "field-id": 103},
                    {"name": "file_size_in_bytes", "type": "long", "field-id": 104},
                ],
            }},
        ],
    })
}

/// A row of [`small_schema`], of an added file.
pub(super) fn small_row(path: &str, partition: &[u8]) -> Vec<u8> {
    let row = Encoded::default().long(1).text(path).text("PARQUET");
    row.raw(partition).long(3).long(10).0
}
