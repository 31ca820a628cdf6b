//! Writing manifests.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, FormatVersion, Manifest, ManifestContentType, ManifestFile, ManifestWriter,
    ManifestWriterBuilder, PartitionSpecRef, SchemaRef,
};
use uuid::Uuid;

use super::retry::number_property;
use crate::error::{CatalogError, Result};
use crate::manifest::{read_manifest, spec_for_avro};

const DEFAULT_TARGET_BYTES: u64 = 8 << 20;
const DEFAULT_MIN_COUNT_TO_MERGE: usize = 100;

/// A manifest entry's sequence number is inherited from the manifest list.
const INHERITED: i64 = -1;

/// The table's `commit.manifest.*` properties.
#[derive(Debug, Clone)]
pub(super) struct ManifestOptions {
    /// About how large a manifest becomes, in bytes.
    pub target_bytes: u64,
    /// So many small manifests of one kind are joined.
    pub min_count_to_merge: usize,
    /// Whether they are joined at all.
    pub merge: bool,
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
        let spec =
            spec_for_avro(spec, schema).map_err(|source| CatalogError::metadata(&path, source))?;
        let builder =
            ManifestWriterBuilder::new(output, Some(self.snapshot_id), Arc::clone(schema), spec);
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

    /// Writes the manifests of new files of one kind, all of them under `spec`; their data
    /// sequence number is the snapshot's, or the one given. Adds each path to `written` before
    /// writing it, so that the caller can clean up after an error.
    pub(super) async fn write_added(
        &self,
        content: ManifestContentType,
        files: &[DataFile],
        spec: &PartitionSpecRef,
        sequence_number: Option<i64>,
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
                    .add_file(file.clone(), sequence_number.unwrap_or(INHERITED))
                    .map_err(|source| CatalogError::metadata(file.file_path(), source))?;
            }
            written.push(path.clone());
            let manifest = writer.write_manifest_file().await;
            manifests.push(manifest.map_err(|source| CatalogError::metadata(path, source))?);
        }
        Ok(manifests)
    }
}

/// Reads a manifest. Its entries come with what they inherit from the manifest list.
pub(crate) async fn load_manifest(file_io: &FileIO, manifest: &ManifestFile) -> Result<Manifest> {
    let path = &manifest.manifest_path;
    let read = async {
        let bytes = file_io.new_input(path)?.read().await?;
        read_manifest(&bytes, manifest)
    };
    let read = read.await;
    read.map_err(|source| CatalogError::metadata(path, source))
}

/// About how many bytes a file's entry takes in a manifest.
fn estimated_entry_bytes(file: &DataFile) -> u64 {
    const FIXED: usize = 150;
    const PER_COLUMN: usize = 80;
    let columns = file.column_sizes().len().max(file.value_counts().len());
    (FIXED + file.file_path().len() + columns * PER_COLUMN) as u64
}
