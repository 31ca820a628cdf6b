//! What states of a table refer to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{Manifest, ManifestFile, SnapshotRef, TableMetadata};

use crate::catalog::Catalog;
use crate::commit::{CONTENT_PROPERTY_PREFIX, load_manifest, owns_files, read_manifest_list};
use crate::error::{CatalogError, Result};
use crate::storage::{Location, Storage};
use crate::table::Table;

/// How many metadata files to read at once.
const CONCURRENT_READS: usize = 8;

/// Locations, whatever their spelling (`s3a://` and `s3://`, `file:///` and a bare path).
#[derive(Debug, Clone, Default)]
pub(super) struct FileSet {
    keys: HashSet<String>,
}

impl FileSet {
    pub(super) fn insert(&mut self, location: &str) {
        self.keys.insert(key_of(location));
    }

    pub(super) fn contains(&self, location: &str) -> bool {
        self.keys.contains(&key_of(location))
    }

    /// Whether one of them is a folder that this location is in.
    pub(super) fn has_folder_of(&self, location: &str) -> bool {
        let key = key_of(location);
        let mut folders = key.match_indices('/').map(|(end, _)| &key[..end]);
        folders.any(|folder| self.keys.contains(folder))
    }
}

fn key_of(location: &str) -> String {
    match Location::parse(location) {
        Ok(parsed) => parsed.canonical(),
        Err(_) => location.to_string(),
    }
}

/// The states of a table that can still be read, the one given among them.
///
/// # Errors
/// When one of them cannot be read: what it refers to is not known then.
pub(super) async fn reachable_states(
    catalog: &dyn Catalog,
    table: &Table,
) -> Result<Vec<(Option<String>, Arc<TableMetadata>)>> {
    let file_io = catalog.storage().file_io();
    let mut states = vec![(table.metadata_location.clone(), Arc::clone(&table.metadata))];
    for location in catalog.reachable_metadata(table).await? {
        if Some(&location) == table.metadata_location.as_ref() {
            continue;
        }
        let metadata = TableMetadata::read_from(&file_io, &location).await;
        let metadata = metadata.map_err(|source| CatalogError::metadata(&location, source))?;
        states.push((Some(location), Arc::new(metadata)));
    }
    Ok(states)
}

/// Metadata files that snapshots refer to.
#[derive(Debug, Default)]
pub(super) struct SnapshotFiles {
    /// Manifest lists.
    pub lists: HashSet<String>,
    /// Manifests by path.
    pub manifests: HashMap<String, ManifestFile>,
    /// Statistics files.
    pub statistics: HashSet<String>,
}

impl SnapshotFiles {
    /// Adds the files of some snapshots of a state.
    pub(super) async fn add(
        &mut self,
        storage: &Arc<Storage>,
        metadata: &TableMetadata,
        snapshots: &[SnapshotRef],
    ) -> Result<()> {
        let unread = snapshots
            .iter()
            .filter(|snapshot| !self.lists.contains(snapshot.manifest_list()));
        let reads: Vec<_> = unread
            .map(|snapshot| read_manifest_list(storage, metadata, snapshot))
            .collect();
        let mut lists = futures::stream::iter(reads).buffer_unordered(CONCURRENT_READS);
        while let Some(list) = lists.try_next().await? {
            for manifest in list {
                let path = manifest.manifest_path.clone();
                self.manifests.entry(path).or_insert(manifest);
            }
        }
        drop(lists);
        let paths = snapshots.iter();
        self.lists
            .extend(paths.map(|snapshot| snapshot.manifest_list().to_string()));
        let ids: HashSet<i64> = snapshots.iter().map(|one| one.snapshot_id()).collect();
        let statistics = metadata.statistics_iter();
        let statistics = statistics.filter(|file| ids.contains(&file.snapshot_id));
        self.statistics
            .extend(statistics.map(|file| file.statistics_path.clone()));
        let statistics = metadata.partition_statistics_iter();
        let statistics = statistics.filter(|file| ids.contains(&file.snapshot_id));
        self.statistics
            .extend(statistics.map(|file| file.statistics_path.clone()));
        Ok(())
    }

    /// Adds the files of every snapshot of some states.
    pub(super) async fn of_states(
        storage: &Arc<Storage>,
        states: &[(Option<String>, Arc<TableMetadata>)],
    ) -> Result<Self> {
        let mut files = Self::default();
        for (_, metadata) in states {
            let snapshots: Vec<SnapshotRef> = metadata.snapshots().cloned().collect();
            files.add(storage, metadata, &snapshots).await?;
        }
        Ok(files)
    }
}

/// Calls `visit` with each of some manifests.
pub(super) async fn visit_manifests<'a>(
    storage: &Arc<Storage>,
    manifests: impl IntoIterator<Item = &'a ManifestFile>,
    mut visit: impl FnMut(&Manifest),
) -> Result<()> {
    let file_io = storage.file_io();
    let reads: Vec<_> = manifests
        .into_iter()
        .map(|manifest| load_manifest(&file_io, manifest))
        .collect();
    let mut loaded = futures::stream::iter(reads).buffer_unordered(CONCURRENT_READS);
    while let Some(manifest) = loaded.try_next().await? {
        visit(&manifest);
    }
    Ok(())
}

/// The files of a state itself: its metadata file, those that it logs, and what its properties
/// name.
pub(super) fn state_files(location: Option<&str>, metadata: &TableMetadata, files: &mut FileSet) {
    if let Some(location) = location {
        files.insert(location);
    }
    for entry in metadata.metadata_log() {
        files.insert(&entry.metadata_file);
    }
    let properties = metadata.properties().iter();
    for (_, value) in properties.filter(|(name, _)| name.starts_with(CONTENT_PROPERTY_PREFIX)) {
        files.insert(value);
    }
}

/// Refuses to delete files of a table that does not own them, and of one that may be read in states
/// which the catalog does not tell.
pub(super) fn check_owns_files(catalog: &dyn Catalog, table: &Table) -> Result<()> {
    if !catalog.knows_all_states() {
        return Err(CatalogError::Unsupported(format!(
            "deleting files of table {} in catalog {}, whose other branches and versions may read \
             them (use the catalog's own garbage collection),",
            table.name(),
            catalog.name()
        )));
    }
    match owns_files(table) {
        true => Ok(()),
        false => Err(CatalogError::InvalidInput(format!(
            "table {} has gc.enabled = false: its files may belong to other tables, and none is \
             deleted",
            table.name()
        ))),
    }
}
