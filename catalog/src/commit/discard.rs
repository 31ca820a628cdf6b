//! Deleting what a transaction wrote that was rolled back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use iceberg::spec::{ManifestStatus, TableMetadata, TableMetadataRef};
use uuid::Uuid;

use super::cherry_pick::SOURCE_SNAPSHOT;
use super::manifests::load_manifest;
use super::produce::read_manifest_list;
use crate::error::{CatalogError, Result};
use crate::storage::Storage;

/// A state of a table that nobody will see, with its metadata file.
#[derive(Debug, Clone)]
pub(crate) struct WrittenTable {
    pub location: String,
    pub metadata: TableMetadataRef,
}

/// Deletes the metadata files of `written`, and of their snapshots that no table of
/// `inherited` has: manifest lists, manifests, data files and delete files that these
/// snapshots added. Files of older snapshots stay. Statistics go unless a table of `inherited`
/// has them: a transaction may gather those of older snapshots, too.
///
/// Metadata files go last, so that a deletion that was interrupted can be repeated.
///
/// # Errors
/// `Storage` and `Metadata` when a list or manifest cannot be read, before anything of its
/// table is deleted, and when files could not be deleted.
pub(crate) async fn delete_written_files(
    storage: &Arc<Storage>,
    written: &[WrittenTable],
    inherited: &[TableMetadataRef],
) -> Result<()> {
    let mut inherited_files: HashMap<Uuid, Inherited> = HashMap::new();
    for metadata in inherited {
        let kept = inherited_files.entry(metadata.uuid()).or_default();
        let snapshots = metadata.snapshots().map(|snapshot| snapshot.snapshot_id());
        kept.snapshots.extend(snapshots);
        kept.statistics
            .extend(statistics_of(metadata).map(str::to_string));
    }
    let mut by_table: HashMap<Uuid, Vec<&WrittenTable>> = HashMap::new();
    for table in written {
        by_table
            .entry(table.metadata.uuid())
            .or_default()
            .push(table);
    }
    for (uuid, states) in by_table {
        let kept = inherited_files.remove(&uuid).unwrap_or_default();
        delete_states(storage, &states, &kept).await?;
    }
    Ok(())
}

/// What the states of one table that stay have.
#[derive(Default)]
struct Inherited {
    snapshots: HashSet<i64>,
    statistics: HashSet<String>,
}

/// The statistics files that a state of a table names.
fn statistics_of(metadata: &TableMetadata) -> impl Iterator<Item = &str> {
    let of_columns = metadata.statistics_iter();
    let of_partitions = metadata.partition_statistics_iter();
    of_columns
        .map(|file| file.statistics_path.as_str())
        .chain(of_partitions.map(|file| file.statistics_path.as_str()))
}

/// Deletes some states of one table.
async fn delete_states(
    storage: &Arc<Storage>,
    states: &[&WrittenTable],
    kept: &Inherited,
) -> Result<()> {
    let mut files = Files::default();
    for state in states {
        let new_snapshots: HashSet<i64> = state
            .metadata
            .snapshots()
            .map(|snapshot| snapshot.snapshot_id())
            .filter(|id| !kept.snapshots.contains(id))
            .collect();
        files
            .add_snapshots(storage, &state.metadata, &new_snapshots)
            .await?;
        let statistics =
            statistics_of(&state.metadata).filter(|path| !kept.statistics.contains(*path));
        files.metadata.extend(statistics.map(str::to_string));
    }
    let error = |(_, error): (usize, CatalogError)| error;
    storage.delete_all(files.data).await.map_err(error)?;
    storage.delete_all(files.metadata).await.map_err(error)?;
    let locations = states.iter().map(|state| state.location.clone());
    let locations: Vec<String> = locations.collect();
    storage.delete_all(locations).await.map_err(error)?;
    if let (true, Some(state)) = (kept.snapshots.is_empty(), states.first()) {
        let folder = state.metadata.location();
        storage.remove_empty_folders(folder).await?;
    }
    Ok(())
}

#[derive(Default)]
struct Files {
    data: HashSet<String>,
    metadata: HashSet<String>,
    seen_snapshots: HashSet<i64>,
}

impl Files {
    /// Adds what these snapshots of a table wrote.
    async fn add_snapshots(
        &mut self,
        storage: &Arc<Storage>,
        metadata: &TableMetadataRef,
        new_snapshots: &HashSet<i64>,
    ) -> Result<()> {
        let file_io = storage.file_io();
        for snapshot in metadata.snapshots() {
            let id = snapshot.snapshot_id();
            if !new_snapshots.contains(&id) || !self.seen_snapshots.insert(id) {
                continue;
            }
            // Its files were written for another snapshot, which has them still.
            let is_cherry_picked = snapshot
                .summary()
                .additional_properties
                .contains_key(SOURCE_SNAPSHOT);
            let listed = read_manifest_list(storage, metadata, snapshot).await;
            for manifest_file in unless_gone(storage, snapshot.manifest_list(), listed)
                .await?
                .unwrap_or_default()
            {
                if !new_snapshots.contains(&manifest_file.added_snapshot_id) {
                    continue;
                }
                if !self.metadata.insert(manifest_file.manifest_path.clone()) || is_cherry_picked {
                    continue;
                }
                let path = manifest_file.manifest_path.as_str();
                let loaded = load_manifest(&file_io, &manifest_file).await;
                let Some(manifest) = unless_gone(storage, path, loaded).await? else {
                    continue;
                };
                let added = manifest.entries().iter().filter(|entry| {
                    entry.status() == ManifestStatus::Added
                        && entry
                            .snapshot_id()
                            .is_none_or(|id| new_snapshots.contains(&id))
                });
                self.data
                    .extend(added.map(|entry| entry.file_path().to_string()));
            }
            self.metadata.insert(snapshot.manifest_list().to_string());
        }
        Ok(())
    }
}

/// What was read, or nothing when an earlier attempt deleted the file.
async fn unless_gone<T>(storage: &Storage, path: &str, read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(_) if !storage.exists(path).await? => Ok(None),
        Err(error) => Err(error),
    }
}
