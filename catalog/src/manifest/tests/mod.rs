//! Manifests as the `iceberg` crate writes them are read as it reads them; those of other
//! writers as the specification says.

mod avro_file;
mod columns;
mod damaged;
mod foreign;
mod random;

use std::sync::Arc;

use iceberg::spec::{Manifest, PartitionSpec, Struct, Transform};
use rand::SeedableRng;
use rand::rngs::StdRng;

use self::random::{Partitions, random_manifest};
use super::{ManifestParts, decode, parse_manifest, spec_for_avro};

/// How many random manifests a test reads.
const MANIFESTS: u64 = 80;

fn first_seed() -> u64 {
    match std::env::var("INGOT_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 20_261_122,
    }
}

fn manifest_of((metadata, entries): ManifestParts) -> Manifest {
    Manifest::new(metadata, entries)
}

/// The manifest that the fast way reads, without the slow one's help.
fn decoded(bytes: &[u8]) -> Manifest {
    manifest_of(decode(bytes).unwrap())
}

fn partitions_of(manifest: &Manifest) -> Vec<Struct> {
    let entries = manifest.entries().iter();
    entries
        .map(|entry| entry.data_file().partition().clone())
        .collect()
}

#[tokio::test]
async fn manifests_are_read_as_the_iceberg_crate_reads_them() {
    let mut entries = 0;
    for seed in first_seed()..first_seed() + MANIFESTS {
        println!("INGOT_TEST_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let written = random_manifest(&mut random, Partitions::Readable, 0..25).await;
        let read = decoded(&written.bytes);
        assert_eq!(read, Manifest::parse_avro(&written.bytes).unwrap());
        assert_eq!(partitions_of(&read), written.partitions);
        entries += read.entries().len();
    }
    assert!(entries > 0);
}

/// The `iceberg` crate writes them, but reads only nulls.
#[tokio::test]
async fn partitions_of_nanoseconds_are_read() {
    for seed in first_seed()..first_seed() + MANIFESTS / 8 {
        println!("INGOT_TEST_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let written = random_manifest(&mut random, Partitions::Nanoseconds, 1..25).await;
        assert_eq!(partitions_of(&decoded(&written.bytes)), written.partitions);
    }
}

/// Several blocks, as the writer begins one every 16,000 bytes.
#[tokio::test]
async fn rows_of_all_blocks_are_read() {
    let mut random = StdRng::seed_from_u64(first_seed());
    let written = random_manifest(&mut random, Partitions::Nanoseconds, 300..301).await;
    assert!(written.bytes.len() > 3 * 16_000);
    assert_eq!(partitions_of(&decoded(&written.bytes)), written.partitions);
}

#[test]
fn only_names_that_avro_does_not_allow_change() {
    let schema = columns::schema();
    let spec = |names: [&str; 2]| {
        PartitionSpec::builder(Arc::clone(&schema))
            .with_spec_id(5)
            .add_partition_field("int", names[0], Transform::Bucket(3))
            .and_then(|spec| spec.add_partition_field("date", names[1], Transform::Year))
            .and_then(|spec| spec.build())
            .unwrap()
    };
    let plain = spec(["a", "b_1"]);
    assert_eq!(spec_for_avro(&plain, &schema).unwrap(), plain);
    let written = spec_for_avro(&spec(["a b", "a_x20b"]), &schema).unwrap();
    let fields = written.fields().iter();
    let names: Vec<&str> = fields.map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["a_x20b_", "a_x20b"]);
    let ids = |spec: &PartitionSpec| -> Vec<(i32, i32)> {
        let fields = spec.fields().iter();
        fields
            .map(|field| (field.source_id, field.field_id))
            .collect()
    };
    assert_eq!(ids(&written), ids(&plain));
    assert_eq!(written.spec_id(), 5);
}
