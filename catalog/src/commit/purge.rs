//! Deleting the files of a dropped table.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use iceberg::spec::ManifestFile;

use super::manifests::load_manifest;
use super::produce::read_manifest_list;
use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::Table;

const CONCURRENT_READS: usize = 8;

/// What [`delete_table_files`] did; shown as `12 data and 5 metadata` (files).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Data and delete files.
    pub data_files: usize,
    /// Metadata files, manifest lists, manifests and statistics.
    pub metadata_files: usize,
}

impl fmt::Display for PurgeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            data_files,
            metadata_files,
        } = self;
        write!(f, "{data_files} data and {metadata_files} metadata")
    }
}

/// Deletes all files that a dropped table's metadata refers to, in any snapshot, and
/// nothing else: files of others in its folder stay. On a local file system, folders
/// that are empty afterwards go too.
///
/// Call it only after the table left the catalog. Metadata is deleted last, so a purge
/// that was interrupted can be repeated.
///
/// # Errors
/// `InvalidInput` when the table's property `gc.enabled` is `false` (its files may
/// belong to other tables too); `Metadata` when a manifest cannot be read, before
/// anything is deleted; `Storage` when files could not be deleted.
pub async fn delete_table_files(storage: &Arc<Storage>, table: &Table) -> Result<PurgeReport> {
    let metadata = &table.metadata;
    let keeps_files = metadata
        .properties()
        .get("gc.enabled")
        .is_some_and(|value| value.eq_ignore_ascii_case("false"));
    if keeps_files {
        return Err(CatalogError::InvalidInput(format!(
            "table {} has gc.enabled = false, so its files are not deleted: drop it without purge",
            table.name()
        )));
    }

    let mut metadata_files: HashSet<String> = HashSet::new();
    let mut manifests: HashMap<String, ManifestFile> = HashMap::new();
    let reads: Vec<_> = metadata
        .snapshots()
        .map(|snapshot| read_manifest_list(storage, metadata, snapshot))
        .collect();
    let lists: Vec<_> = futures::stream::iter(reads)
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await?;
    for (snapshot, list) in metadata.snapshots().zip(lists) {
        metadata_files.insert(snapshot.manifest_list().to_string());
        for manifest in list {
            manifests
                .entry(manifest.manifest_path.clone())
                .or_insert(manifest);
        }
    }

    let file_io = storage.file_io();
    let mut data_files: HashSet<String> = HashSet::new();
    let reads: Vec<_> = manifests
        .values()
        .map(|manifest| load_manifest(&file_io, manifest))
        .collect();
    let mut loaded = futures::stream::iter(reads).buffered(CONCURRENT_READS);
    while let Some(manifest) = loaded.try_next().await? {
        // Entries of deleted files too: no other table's snapshots can need them.
        let paths = manifest.entries().iter().map(|entry| entry.file_path());
        data_files.extend(paths.map(str::to_string));
    }
    drop(loaded);

    metadata_files.extend(manifests.into_keys());
    let statistics = metadata.statistics_iter();
    metadata_files.extend(statistics.map(|file| file.statistics_path.clone()));
    let statistics = metadata.partition_statistics_iter();
    metadata_files.extend(statistics.map(|file| file.statistics_path.clone()));
    let log = metadata.metadata_log().iter();
    metadata_files.extend(log.map(|entry| entry.metadata_file.clone()));
    metadata_files.extend(table.metadata_location.clone());

    let report = PurgeReport {
        data_files: data_files.len(),
        metadata_files: metadata_files.len(),
    };
    let error = |(_, error): (usize, CatalogError)| error;
    storage.delete_all(data_files).await.map_err(error)?;
    storage.delete_all(metadata_files).await.map_err(error)?;
    storage.remove_empty_folders(metadata.location()).await?;
    Ok(report)
}
