//! Manifests that are cut off, damaged or strangely divided into blocks.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use iceberg::spec::Manifest;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::avro_file::{AvroFile, MARKER_BYTES, metadata, small_row, small_schema, table};
use super::random::{Partitions, random_manifest};
use super::{decode, first_seed, manifest_of};

/// A file of these blocks, each with its count of rows, for an unpartitioned table.
fn file_of(blocks: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let file = AvroFile::new(&metadata(&table(&[]), "2", &small_schema(json!([]))));
    let file = blocks
        .iter()
        .fold(file, |file, (rows, data)| file.block(*rows, data));
    file.bytes()
}

/// The rows of files called so.
fn rows(paths: &[&str]) -> Vec<u8> {
    let rows = paths.iter().map(|path| small_row(path, &[]));
    rows.collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn a_cut_manifest_never_has_other_entries() {
    let mut random = StdRng::seed_from_u64(first_seed());
    let written = random_manifest(&mut random, Partitions::Readable, 50..51).await;
    let bytes = written.bytes;
    let first = random.random_range(0..11);
    for length in (first..bytes.len()).step_by(11) {
        let cut = &bytes[..length];
        if let Ok(parts) = decode(cut) {
            let slow = Manifest::parse_avro(cut).unwrap();
            assert_eq!(manifest_of(parts), slow, "{length} bytes");
        }
    }
}

#[tokio::test]
async fn a_damaged_manifest_is_read_as_the_iceberg_crate_reads_it_or_not_at_all() {
    let mut both = 0;
    for seed in first_seed()..first_seed() + 6 {
        println!("INGOT_TEST_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let written = random_manifest(&mut random, Partitions::Readable, 5..15).await;
        let mut bytes = written.bytes.to_vec();
        let marker = bytes[bytes.len() - MARKER_BYTES..].to_vec();
        let header = bytes.windows(MARKER_BYTES).position(|part| part == marker);
        for _ in 0..100 {
            let place = random.random_range(header.unwrap()..bytes.len());
            let value = bytes[place];
            bytes[place] = random.random();
            if let Ok(parts) = decode(&bytes)
                && let Ok(slow) = Manifest::parse_avro(&bytes)
            {
                assert_eq!(manifest_of(parts), slow, "byte {place}");
                both += 1;
            }
            bytes[place] = value;
        }
    }
    assert!(both > 0);
}

/// PyIceberg cuts only one of the four bytes off that zlib adds to a deflated block.
#[test]
fn bytes_behind_a_deflated_block_do_not_matter() {
    let mut metadata = metadata(&table(&[]), "2", &small_schema(json!([])));
    metadata.push(("avro.codec", b"deflate".to_vec()));
    let deflated = |data: &[u8]| {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let mut block = deflated(&rows(&["a", "b"]));
    let cut = block[..block.len() - 2].to_vec();
    block.extend([1, 2, 3]);
    let file = AvroFile::new(&metadata).block(2, &block);
    let bytes = file.block(1, &deflated(&rows(&["c"]))).bytes();
    let read = manifest_of(decode(&bytes).unwrap());
    assert_eq!(read, Manifest::parse_avro(&bytes).unwrap());
    assert_eq!(read.entries().len(), 3);
    assert!(decode(&AvroFile::new(&metadata).block(2, &cut).bytes()).is_err());
}

#[test]
fn blocks_have_the_rows_that_they_count() {
    let read = |blocks: &[(usize, Vec<u8>)]| {
        let (_, entries) = decode(&file_of(blocks)).ok()?;
        Some(entries.len())
    };
    let (two, one) = (rows(&["a", "b"]), rows(&["c"]));
    assert_eq!(read(&[]), Some(0));
    assert_eq!(read(&[(2, two.clone()), (1, one.clone())]), Some(3));
    assert_eq!(read(&[(1, two.clone()), (1, one.clone())]), None);
    assert_eq!(read(&[(1, two.clone()), (2, one.clone())]), None);
    assert_eq!(read(&[(3, two.clone()), (1, one.clone())]), None);
    assert_eq!(read(&[(0, two.clone()), (1, one.clone())]), None);
    assert_eq!(read(&[(usize::MAX >> 1, two.clone())]), None);
    // Nothing says that a block without rows is the last one.
    assert_eq!(read(&[(2, two), (0, Vec::new()), (1, one)]), Some(3));
}
