//! Writing and merging manifests.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, FormatVersion, Manifest, ManifestContentType, ManifestFile, ManifestStatus,
    ManifestWriter, ManifestWriterBuilder, PartitionSpecRef, SchemaRef, StructType, TableMetadata,
};
use uuid::Uuid;

use super::retry::number_property;
use crate::error::{CatalogError, Result};

const DEFAULT_TARGET_BYTES: u64 = 8 << 20;
const DEFAULT_MIN_COUNT_TO_MERGE: usize = 100;

/// A manifest entry's sequence number is inherited from the manifest list.
const INHERITED: i64 = -1;

/// How many manifests to read at once when merging.
const CONCURRENT_READS: usize = 8;

/// The table's `commit.manifest.*` properties.
#[derive(Debug, Clone)]
pub(super) struct ManifestOptions {
    target_bytes: u64,
    min_count_to_merge: usize,
    merge: bool,
}

impl ManifestOptions {
    pub(super) fn new(properties: &HashMap<String, String>) -> Result<Self> {
        let merge = properties
            .get("commit.manifest-merge.enabled")
            .is_none_or(|value| !value.eq_ignore_ascii_case("false"));
        Ok(Self {
            target_bytes: number_property(
                properties,
                "commit.manifest.target-size-bytes",
                DEFAULT_TARGET_BYTES,
            )?
            .max(1),
            min_count_to_merge: number_property(
                properties,
                "commit.manifest.min-count-to-merge",
                DEFAULT_MIN_COUNT_TO_MERGE,
            )?
            .max(2),
            merge,
        })
    }
}

/// What manifests are written with: the snapshot that adds them and the layout of its files.
#[derive(Debug, Clone)]
pub(super) struct ManifestContext {
    pub file_io: FileIO,
    /// The table's location.
    pub location: String,
    pub format_version: FormatVersion,
    pub snapshot_id: i64,
    /// The schema that the files were written with.
    pub schema: SchemaRef,
    pub options: ManifestOptions,
}

impl ManifestContext {
    /// A writer of a new manifest and the manifest's path.
    pub(super) fn writer(
        &self,
        content: ManifestContentType,
        schema: &SchemaRef,
        spec: &PartitionSpecRef,
    ) -> Result<(String, ManifestWriter)> {
        let path = format!("{}/metadata/{}-m0.avro", self.location, Uuid::new_v4());
        let output = self
            .file_io
            .new_output(&path)
            .map_err(|source| CatalogError::metadata(&path, source))?;
        let builder = ManifestWriterBuilder::new(
            output,
            Some(self.snapshot_id),
            Arc::clone(schema),
            spec.as_ref().clone(),
        );
        let is_data = content == ManifestContentType::Data;
        let writer = match self.format_version {
            FormatVersion::V1 => builder.build_v1(),
            FormatVersion::V2 if is_data => builder.build_v2_data(),
            FormatVersion::V2 => builder.build_v2_deletes(),
            FormatVersion::V3 if is_data => builder.build_v3_data(),
            FormatVersion::V3 => builder.build_v3_deletes(),
        };
        Ok((path, writer))
    }

    /// Writes the manifests of new files of one kind, all of them under `spec`. Adds each
    /// path to `written` before writing it, so that the caller can clean up after an error.
    pub(super) async fn write_added(
        &self,
        content: ManifestContentType,
        files: &[DataFile],
        spec: &PartitionSpecRef,
        written: &mut Vec<String>,
    ) -> Result<Vec<ManifestFile>> {
        let entry_bytes = files.first().map_or(1, estimated_entry_bytes);
        let files_per_manifest = self.options.target_bytes / entry_bytes;
        let files_per_manifest = usize::try_from(files_per_manifest).unwrap_or(usize::MAX);
        let mut manifests = Vec::new();
        for chunk in files.chunks(files_per_manifest.max(1)) {
            let (path, mut writer) = self.writer(content, &self.schema, spec)?;
            for file in chunk {
                writer
                    .add_file(file.clone(), INHERITED)
                    .map_err(|source| CatalogError::metadata(file.file_path(), source))?;
            }
            written.push(path.clone());
            let manifest = writer.write_manifest_file().await;
            manifests.push(manifest.map_err(|source| CatalogError::metadata(path, source))?);
        }
        Ok(manifests)
    }

    /// Joins small data manifests of the parent snapshot when there are many, so that
    /// planning a scan of a table with many commits reads few files. Manifests that stay
    /// come back unchanged. New ones are added to `written`.
    pub(super) async fn merge(
        &self,
        manifests: Vec<ManifestFile>,
        base: &TableMetadata,
        written: &mut Vec<String>,
    ) -> Result<Vec<ManifestFile>> {
        // In format version 3 the rows of a merged manifest would get new row ids: the
        // ids of its entries are inherited from its place in the list, and `iceberg`
        // 0.10.1 does not resolve them when it reads a manifest.
        if !self.options.merge
            || self.format_version == FormatVersion::V3
            || manifests.len() < self.options.min_count_to_merge
        {
            return Ok(manifests);
        }
        let mut kept = Vec::new();
        let mut small: HashMap<i32, Vec<ManifestFile>> = HashMap::new();
        for manifest in manifests {
            let is_small = u64::try_from(manifest.manifest_length)
                .is_ok_and(|length| length < self.options.target_bytes / 2);
            if manifest.content == ManifestContentType::Data && is_small {
                small
                    .entry(manifest.partition_spec_id)
                    .or_default()
                    .push(manifest);
            } else {
                kept.push(manifest);
            }
        }
        let mut spec_ids: Vec<_> = small.keys().copied().collect();
        spec_ids.sort_unstable();
        for spec_id in spec_ids {
            let group = small.remove(&spec_id).unwrap_or_default();
            // A spec on a column that was dropped since cannot be written again.
            let spec = base
                .partition_spec_by_id(spec_id)
                .filter(|spec| spec.partition_type(base.current_schema()).is_ok());
            let (Some(spec), true) = (spec, group.len() >= self.options.min_count_to_merge) else {
                kept.extend(group);
                continue;
            };
            let mut bin = Vec::new();
            let mut bin_bytes = 0;
            for manifest in group {
                let bytes = u64::try_from(manifest.manifest_length).unwrap_or(0);
                if bin_bytes + bytes > self.options.target_bytes && !bin.is_empty() {
                    let full = std::mem::take(&mut bin);
                    kept.extend(self.merge_bin(full, base, spec, written).await?);
                    bin_bytes = 0;
                }
                bin_bytes += bytes;
                bin.push(manifest);
            }
            if !bin.is_empty() {
                kept.extend(self.merge_bin(bin, base, spec, written).await?);
            }
        }
        Ok(kept)
    }

    /// Writes one manifest with the live entries of several; one for each form that the
    /// partition values of their spec have had, because a source column was widened since.
    async fn merge_bin(
        &self,
        bin: Vec<ManifestFile>,
        base: &TableMetadata,
        spec: &PartitionSpecRef,
        written: &mut Vec<String>,
    ) -> Result<Vec<ManifestFile>> {
        if bin.len() < 2 {
            return Ok(bin);
        }
        let reads: Vec<_> = bin
            .iter()
            .map(|manifest| load_manifest(&self.file_io, manifest))
            .collect();
        let loaded: Vec<Manifest> = futures::stream::iter(reads)
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await?;
        let mut groups: Vec<MergeGroup> = vec![MergeGroup {
            partition_type: spec.partition_type(base.current_schema()).ok(),
            schema: Arc::clone(base.current_schema()),
            members: Vec::new(),
        }];
        for (manifest, file) in loaded.into_iter().zip(bin) {
            let schema = manifest.metadata().schema();
            let partition_type = spec.partition_type(schema).ok();
            let same = groups
                .iter_mut()
                .find(|group| group.partition_type == partition_type);
            match same {
                Some(group) => group.members.push((manifest, file)),
                None => groups.push(MergeGroup {
                    partition_type,
                    schema: Arc::clone(schema),
                    members: vec![(manifest, file)],
                }),
            }
        }
        let mut merged = Vec::new();
        for group in groups {
            match group.members.as_slice() {
                [] => {}
                [(_, only)] => merged.push(only.clone()),
                _ => merged.push(self.merge_group(group, spec, written).await?),
            }
        }
        Ok(merged)
    }

    async fn merge_group(
        &self,
        group: MergeGroup,
        spec: &PartitionSpecRef,
        written: &mut Vec<String>,
    ) -> Result<ManifestFile> {
        let (path, mut writer) = self.writer(ManifestContentType::Data, &group.schema, spec)?;
        for (manifest, source_file) in &group.members {
            for entry in manifest.entries() {
                // Deletions concern readers of the snapshot that made them, which keeps
                // its own manifest list.
                if entry.status() == ManifestStatus::Deleted {
                    continue;
                }
                let sequence_number = source_file.sequence_number;
                let added = writer.add_existing_file(
                    entry.data_file().clone(),
                    entry.snapshot_id().unwrap_or(source_file.added_snapshot_id),
                    entry.sequence_number().unwrap_or(sequence_number),
                    Some(entry.file_sequence_number.unwrap_or(sequence_number)),
                );
                added
                    .map_err(|source| CatalogError::metadata(&source_file.manifest_path, source))?;
            }
        }
        written.push(path.clone());
        let manifest = writer.write_manifest_file().await;
        manifest.map_err(|source| CatalogError::metadata(path, source))
    }
}

/// Manifests whose entries can stand in one.
struct MergeGroup {
    /// Types of the partition values.
    partition_type: Option<StructType>,
    /// The schema that has them.
    schema: SchemaRef,
    members: Vec<(Manifest, ManifestFile)>,
}

/// Reads a manifest. Its entries come with what they inherit from the manifest list.
pub(super) async fn load_manifest(file_io: &FileIO, manifest: &ManifestFile) -> Result<Manifest> {
    let loaded = manifest.load_manifest(file_io).await;
    loaded.map_err(|source| CatalogError::metadata(&manifest.manifest_path, source))
}

/// About how many bytes a file's entry takes in a manifest.
fn estimated_entry_bytes(file: &DataFile) -> u64 {
    const FIXED: usize = 150;
    const PER_COLUMN: usize = 80;
    let columns = file.column_sizes().len().max(file.value_counts().len());
    (FIXED + file.file_path().len() + columns * PER_COLUMN) as u64
}
