//! Live entries of manifests that are written again.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{
    DataFile, DataFileBuilder, Manifest, ManifestContentType, ManifestFile, PartitionSpecRef,
    SchemaRef, StructType, TableMetadata,
};
use iceberg::{Error, ErrorKind};

use super::manifests::{ManifestContext, load_manifest};
use crate::error::{CatalogError, Result};
use crate::scan::first_row_ids;

/// How many manifests to read at once.
const CONCURRENT_READS: usize = 8;

/// A file of the table with what its entry inherits, so that it can stand in any manifest.
#[derive(Debug, Clone)]
pub(super) struct LiveEntry {
    pub file: DataFile,
    pub snapshot_id: i64,
    pub sequence_number: i64,
    pub file_sequence_number: i64,
}

/// The entries of a manifest that are alive, in order. Deletions concern readers of the snapshot
/// that made them, which keeps its own manifest list.
///
/// # Errors
/// `Metadata` when an entry cannot be right.
pub(super) fn live_entries(file: &ManifestFile, manifest: &Manifest) -> Result<Vec<LiveEntry>> {
    let with_ids = manifest.entries().iter().zip(first_row_ids(file, manifest));
    let alive = with_ids.filter(|(entry, _)| entry.is_alive());
    let entries = alive.map(|(entry, first_row_id)| {
        let inherited = file.sequence_number;
        Ok(LiveEntry {
            file: with_first_row_id(file, entry.data_file(), first_row_id)?,
            snapshot_id: entry.snapshot_id().unwrap_or(file.added_snapshot_id),
            sequence_number: entry.sequence_number().unwrap_or(inherited),
            file_sequence_number: entry.file_sequence_number.unwrap_or(inherited),
        })
    });
    entries.collect()
}

/// The same file with its first row id written down: in another manifest it would inherit
/// another one, and its rows would change their identity.
pub(super) fn with_first_row_id(
    manifest: &ManifestFile,
    file: &DataFile,
    first_row_id: Option<i64>,
) -> Result<DataFile> {
    if file.first_row_id() == first_row_id || manifest.content != ManifestContentType::Data {
        return Ok(file.clone());
    }
    let mut builder = DataFileBuilder::default();
    if let Some(sort_order_id) = file.sort_order_id() {
        builder.sort_order_id(sort_order_id);
    }
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_string())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .partition_spec_id(manifest.partition_spec_id)
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(first_row_id)
        .build()
        .map_err(|error| {
            let source = Error::new(ErrorKind::DataInvalid, error.to_string());
            CatalogError::metadata(&manifest.manifest_path, source)
        })
}

/// Manifests whose entries can stand in one.
pub(super) struct EntryGroup {
    /// Types of the partition values; they change when a source column is widened.
    partition_type: Option<StructType>,
    /// The schema that has them.
    pub schema: SchemaRef,
    /// The manifests, with their live entries.
    pub members: Vec<(ManifestFile, Vec<LiveEntry>)>,
    /// Whether an entry of a member is not alive.
    pub has_deletions: bool,
}

/// Reads manifests of one partition spec and groups them by the form that its partition values
/// had when they were written. The first group is that of the current schema.
pub(super) async fn read_groups(
    context: &ManifestContext,
    base: &TableMetadata,
    spec: &PartitionSpecRef,
    files: Vec<ManifestFile>,
) -> Result<Vec<EntryGroup>> {
    let reads: Vec<_> = files
        .iter()
        .map(|file| load_manifest(&context.file_io, file))
        .collect();
    let loaded: Vec<Manifest> = futures::stream::iter(reads)
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await?;
    let current = base.current_schema();
    let mut groups: Vec<EntryGroup> = vec![EntryGroup {
        partition_type: spec.partition_type(current).ok(),
        schema: Arc::clone(current),
        members: Vec::new(),
        has_deletions: false,
    }];
    for (manifest, file) in loaded.into_iter().zip(files) {
        let schema = manifest.metadata().schema();
        let partition_type = spec.partition_type(schema).ok();
        let entries = live_entries(&file, &manifest)?;
        let has_deletions = entries.len() < manifest.entries().len();
        let same = groups
            .iter_mut()
            .find(|group| group.partition_type == partition_type);
        match same {
            Some(group) => {
                group.members.push((file, entries));
                group.has_deletions |= has_deletions;
            }
            None => groups.push(EntryGroup {
                partition_type,
                schema: Arc::clone(schema),
                members: vec![(file, entries)],
                has_deletions,
            }),
        }
    }
    groups.retain(|group| !group.members.is_empty());
    Ok(groups)
}

impl ManifestContext {
    /// Writes a manifest of files that the table has. Adds its path to `written` before.
    pub(super) async fn write_existing(
        &self,
        content: ManifestContentType,
        schema: &SchemaRef,
        spec: &PartitionSpecRef,
        entries: impl IntoIterator<Item = LiveEntry>,
        written: &mut Vec<String>,
    ) -> Result<ManifestFile> {
        let (path, mut writer) = self.writer(content, schema, spec)?;
        for entry in entries {
            let added = writer.add_existing_file(
                entry.file,
                entry.snapshot_id,
                entry.sequence_number,
                Some(entry.file_sequence_number),
            );
            added.map_err(|source| CatalogError::metadata(&path, source))?;
        }
        written.push(path.clone());
        let manifest = writer.write_manifest_file().await;
        manifest.map_err(|source| CatalogError::metadata(path, source))
    }
}
