//! Random manifests, written by the `iceberg` crate.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, Literal,
    ManifestContentType, ManifestWriter, ManifestWriterBuilder, PartitionSpec, SchemaRef, Struct,
    StructType,
};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::columns::{
    columns, random_bounds, random_bytes, random_counts, random_text, random_value, schema,
};

const SNAPSHOT_ID: i64 = 7;
const SPEC_ID: i32 = 3;

/// Which partition fields a manifest may have.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Partitions {
    /// Those whose values the `iceberg` crate can read.
    Readable,
    /// Those with timestamps in nanoseconds, too.
    Nanoseconds,
}

/// A manifest and the partitions of its entries.
pub(super) struct Written {
    pub bytes: Bytes,
    pub partitions: Vec<Struct>,
}

/// A manifest of any format version and content, with so many entries.
pub(super) async fn random_manifest(
    random: &mut StdRng,
    partitions: Partitions,
    entries: Range<usize>,
) -> Written {
    let schema = schema();
    let spec = random_spec(random, &schema, partitions);
    let partition_type = spec.partition_type(&schema).unwrap();
    let versions = [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3];
    let version = *versions.choose(random).unwrap();
    let has_deletes = version != FormatVersion::V1 && random.random_bool(0.4);
    let content = if has_deletes {
        ManifestContentType::Deletes
    } else {
        ManifestContentType::Data
    };

    let file_io = FileIO::new_with_memory();
    let output = file_io.new_output("manifest.avro").unwrap();
    let builder = ManifestWriterBuilder::new(output, Some(SNAPSHOT_ID), schema, spec);
    let mut writer = match (version, content) {
        (FormatVersion::V1, _) => builder.build_v1(),
        (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
        (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
        (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
        (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
    };
    let mut written = Vec::new();
    for index in 0..random.random_range(entries) {
        let file = random_file(random, index, content, &partition_type);
        written.push(file.partition().clone());
        add(random, &mut writer, file);
    }
    writer.write_manifest_file().await.unwrap();
    let input = file_io.new_input("manifest.avro").unwrap();
    Written {
        bytes: input.read().await.unwrap(),
        partitions: written,
    }
}

fn random_spec(random: &mut StdRng, schema: &SchemaRef, partitions: Partitions) -> PartitionSpec {
    let mut builder = PartitionSpec::builder(Arc::clone(schema)).with_spec_id(SPEC_ID);
    for column in columns() {
        let is_nanoseconds = column.name.ends_with("_ns");
        let is_allowed = !is_nanoseconds || partitions == Partitions::Nanoseconds;
        let share = if is_nanoseconds { 0.8 } else { 0.2 };
        if is_allowed && random.random_bool(share) {
            let transform = *column.transforms.choose(random).unwrap();
            let name = format!("{}_part", column.name);
            builder = builder
                .add_partition_field(column.name, name, transform)
                .unwrap();
        }
    }
    builder.build().unwrap()
}

/// Adds an entry of any status, with its own sequence numbers or inherited ones.
fn add(random: &mut StdRng, writer: &mut ManifestWriter, file: DataFile) {
    let snapshot_id = random.random_range(1..1000_i64);
    let sequence = random.random_range(0..1000_i64);
    let file_sequence = Some(sequence + random.random_range(0..10_i64));
    let result = match random.random_range(0..4) {
        0 => writer.add_file(file, -1),
        1 => writer.add_file(file, sequence),
        2 => writer.add_existing_file(file, snapshot_id, sequence, file_sequence),
        _ => writer.add_delete_file(file, sequence, file_sequence),
    };
    result.unwrap();
}

fn random_file(
    random: &mut StdRng,
    index: usize,
    content: ManifestContentType,
    partition_type: &StructType,
) -> DataFile {
    let formats = [
        DataFileFormat::Parquet,
        DataFileFormat::Avro,
        DataFileFormat::Orc,
    ];
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(format!("s3://bucket/{}-{index}", random_text(random)))
        .file_format(*formats.choose(random).unwrap())
        .partition(random_partition(random, partition_type))
        .partition_spec_id(SPEC_ID)
        .record_count(random.random_range(0..1_000_000_000_000))
        .file_size_in_bytes(random.random_range(0..1_000_000_000_000))
        .column_sizes(random_counts(random))
        .value_counts(random_counts(random))
        .null_value_counts(random_counts(random))
        .nan_value_counts(random_counts(random))
        .lower_bounds(random_bounds(random))
        .upper_bounds(random_bounds(random))
        .key_metadata(maybe(random, |random| random_bytes(random, 9)))
        .split_offsets(maybe(random, random_offsets))
        .first_row_id(maybe(random, |random| random.random_range(0..1_000_000)));
    if random.random_bool(0.5) {
        builder.sort_order_id(random.random_range(0..3));
    }
    if content == ManifestContentType::Deletes {
        make_delete(random, &mut builder);
    }
    builder.build().unwrap()
}

fn random_partition(random: &mut StdRng, partition_type: &StructType) -> Struct {
    let fields = partition_type.fields().iter();
    let values = fields.map(|field| {
        let field_type = field.field_type.as_primitive_type().unwrap();
        maybe(random, |random| {
            Literal::from(random_value(random, field_type))
        })
    });
    values.collect()
}

fn make_delete(random: &mut StdRng, builder: &mut DataFileBuilder) {
    let ids: Vec<i32> = (0..random.random_range(0..4)).collect();
    match random.random_range(0..3) {
        0 => builder
            .content(DataContentType::EqualityDeletes)
            .equality_ids(Some(ids)),
        1 => builder
            .content(DataContentType::PositionDeletes)
            .referenced_data_file(maybe(random, random_text)),
        _ => builder
            .content(DataContentType::PositionDeletes)
            .file_format(DataFileFormat::Puffin)
            .referenced_data_file(Some(random_text(random)))
            .content_offset(Some(random.random_range(4..10_000_000_000)))
            .content_size_in_bytes(Some(random.random_range(0..10_000_000_000))),
    };
}

fn maybe<T>(random: &mut StdRng, make: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    random.random_bool(0.5).then(|| make(random))
}

fn random_offsets(random: &mut StdRng) -> Vec<i64> {
    let length = random.random_range(0..5);
    (0..length).map(|_| random.random::<i64>()).collect()
}
