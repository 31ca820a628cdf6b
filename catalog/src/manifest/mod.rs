//! Manifests as files: reading them fast, and the names that their columns have in Avro.
//!
//! `Manifest::parse_avro` makes a tree of values of every entry, fits that into Iceberg's schema,
//! and makes the entry from what comes out. Here serde_avro_fast decodes the rows of a file's blocks
//! ([`container`]) into structs ([`rows`], and [`partition`] for what has other fields in every table). What these do not take,
//! such as other codecs than deflate or a corrupt manifest, is left to `Manifest::parse_avro`: to read
//! or to explain.

mod avro_names;
mod container;
mod partition;
mod rows;
#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::sync::Arc;

use iceberg::spec::{
    FormatVersion, Manifest, ManifestEntry, ManifestFile, ManifestMetadata, ManifestStatus,
};
use iceberg::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_avro_fast::Schema;
use serde_avro_fast::de::DeserializerState;
use serde_json::Value;

pub(crate) use self::avro_names::spec_for_avro;
use self::container::{Block, Container};
use self::partition::{PartitionFields, PartitionRecord};
use self::rows::EntryRow;

/// What a manifest says of itself, and its entries.
type ManifestParts = (ManifestMetadata, Vec<ManifestEntry>);

/// Reads a manifest, and lets its entries inherit from their manifest list's entry, as the
/// specification says under "Sequence number inheritance".
///
/// # Errors
/// What `Manifest::parse_avro` says of a manifest that is corrupt.
pub(crate) fn read_manifest(bytes: &[u8], file: &ManifestFile) -> Result<Manifest> {
    let (metadata, mut entries) = parse_manifest(bytes)?;
    for entry in &mut entries {
        let inherits = entry.status == ManifestStatus::Added || file.sequence_number == 0;
        entry.snapshot_id.get_or_insert(file.added_snapshot_id);
        if inherits {
            entry.sequence_number.get_or_insert(file.sequence_number);
            entry
                .file_sequence_number
                .get_or_insert(file.sequence_number);
        }
    }
    Ok(Manifest::new(metadata, entries))
}

/// The manifest without what its entries inherit.
fn parse_manifest(bytes: &[u8]) -> Result<ManifestParts> {
    let refused = match decode(bytes) {
        Ok(parts) => return Ok(parts),
        Err(Refused::Always(error)) => return Err(error),
        Err(Refused::Here(error)) => error,
    };
    tracing::debug!(error = %refused, "a manifest is not read the fast way");
    let (entries, metadata) = Manifest::parse_avro(bytes)?.into_parts();
    let entries = entries.into_iter().map(Arc::unwrap_or_clone).collect();
    Ok((metadata, entries))
}

/// Why the fast way does not read a manifest.
#[derive(Debug)]
enum Refused {
    /// `Manifest::parse_avro` knows more, of this manifest or of what is wrong with it.
    Here(Error),
    /// `Manifest::parse_avro` would find nulls instead of partition values.
    Always(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

/// The fast way.
fn decode(bytes: &[u8]) -> std::result::Result<ManifestParts, Refused> {
    let container = Container::parse(bytes)?;
    let metadata = ManifestMetadata::parse(&container.metadata)?;
    let partition_type = metadata.partition_spec.partition_type(&metadata.schema)?;
    let mut schema: Value = serde_json::from_str(container.schema()?).map_err(invalid)?;
    let record = PartitionRecord::take(&mut schema);
    let entries = PartitionFields::new(&record, &partition_type)
        .and_then(|fields| decode_entries(&container, &schema, &metadata, &fields));
    match entries {
        Ok(entries) => Ok((metadata, entries)),
        Err(error) if record.renames(&partition_type) => Err(Refused::Always(error)),
        Err(error) => Err(Refused::Here(error)),
    }
}

fn decode_entries(
    container: &Container<'_>,
    schema: &Value,
    metadata: &ManifestMetadata,
    fields: &PartitionFields,
) -> Result<Vec<ManifestEntry>> {
    let schema: Schema = schema.to_string().parse().map_err(invalid)?;
    let mut entries = Vec::new();
    for block in &container.blocks {
        decode_rows(container, block, &schema, |row| {
            entries.push(row.into_entry(metadata, fields)?);
            Ok(())
        })?;
    }
    Ok(entries)
}

/// Hands out the rows of a block, which have to be as many as it counts.
fn decode_rows(
    container: &Container<'_>,
    block: &Block<'_>,
    schema: &Schema,
    mut with_row: impl FnMut(EntryRow) -> Result<()>,
) -> Result<()> {
    let data = container.decompress(block)?;
    let mut rows = DeserializerState::from_slice(&data, schema);
    for _ in 0..block.rows {
        with_row(EntryRow::deserialize(rows.deserializer()).map_err(invalid)?)?;
    }
    match rows.into_reader().fill_buf() {
        Ok([]) => Ok(()),
        _ => Err(invalid("a block has more rows than it counts")),
    }
}

fn invalid(reason: impl ToString) -> Error {
    Error::new(ErrorKind::DataInvalid, reason.to_string())
}

/// Whether the manifest is of the first format version, which has no sequence numbers and no
/// deletes.
fn is_version_one(metadata: &ManifestMetadata) -> bool {
    metadata.format_version == FormatVersion::V1
}
