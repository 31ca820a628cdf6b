//! Deleting the files of a dropped table.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use iceberg::spec::ManifestFile;

use super::manifests::load_manifest;
use super::produce::read_manifest_list;
use crate::catalog::Catalog;
use crate::error::{CatalogError, Result};
use crate::storage::{Location, Storage};
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
    let files = referenced_files(storage, table).await?;
    delete(storage, table, files).await
}

/// Like [`delete_table_files`], and leaves files that are where the catalog allows no tables:
/// metadata is data, which a client may have written, and must not make this process delete
/// whatever it can.
///
/// # Errors
/// As [`delete_table_files`].
pub async fn purge_table(catalog: &dyn Catalog, table: &Table) -> Result<PurgeReport> {
    let storage = catalog.storage();
    let mut files = referenced_files(storage, table).await?;
    let mut judge = LocationJudge::new(catalog, table)?;
    for paths in [&mut files.data, &mut files.metadata] {
        *paths = judge.allowed(paths.drain()).await.into_iter().collect();
    }
    delete(storage, table, files).await
}

/// Refuses to delete the files of a table whose property `gc.enabled` is `false`. Ask before the
/// table is dropped: afterwards only its files are left.
///
/// # Errors
/// `InvalidInput`.
pub fn check_purge(table: &Table) -> Result<()> {
    if owns_files(table) {
        return Ok(());
    }
    Err(CatalogError::InvalidInput(format!(
        "table {} has gc.enabled = false, so its files are not deleted: drop it without purge",
        table.name()
    )))
}

/// Whether nobody else may have a table's files (`gc.enabled`).
pub(crate) fn owns_files(table: &Table) -> bool {
    let property = table.metadata.properties().get("gc.enabled");
    !property.is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

/// Tells which files of a table are where the catalog allows tables.
pub(crate) struct LocationJudge<'a> {
    catalog: &'a dyn Catalog,
    table: &'a Table,
    own: Location,
    /// Folders that were asked about.
    folders: HashMap<String, bool>,
}

impl<'a> LocationJudge<'a> {
    pub(crate) fn new(catalog: &'a dyn Catalog, table: &'a Table) -> Result<Self> {
        Ok(Self {
            catalog,
            table,
            own: Location::parse(table.metadata.location())?,
            folders: HashMap::new(),
        })
    }

    /// Those of `paths` that may be deleted; the others are logged.
    pub(crate) async fn allowed(&mut self, paths: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut allowed = Vec::new();
        for path in paths {
            if self.allows(&path).await {
                allowed.push(path);
            } else {
                tracing::warn!(table = %self.table.name(), file = %path, "not deleted: it is outside of the places for tables");
            }
        }
        allowed
    }

    async fn allows(&mut self, path: &str) -> bool {
        let Ok(location) = Location::parse(path) else {
            return false;
        };
        if location.is_within(&self.own) {
            return true;
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if let Some(known) = self.folders.get(folder) {
            return *known;
        }
        let checked = self
            .catalog
            .check_table_location(&self.table.ident, folder)
            .await;
        self.folders.insert(folder.to_string(), checked.is_ok());
        checked.is_ok()
    }
}

/// The files that a table's metadata refers to.
struct ReferencedFiles {
    data: HashSet<String>,
    metadata: HashSet<String>,
}

async fn referenced_files(storage: &Arc<Storage>, table: &Table) -> Result<ReferencedFiles> {
    let metadata = &table.metadata;
    check_purge(table)?;
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

    Ok(ReferencedFiles {
        data: data_files,
        metadata: metadata_files,
    })
}

async fn delete(
    storage: &Arc<Storage>,
    table: &Table,
    files: ReferencedFiles,
) -> Result<PurgeReport> {
    let report = PurgeReport {
        data_files: files.data.len(),
        metadata_files: files.metadata.len(),
    };
    let error = |(_, error): (usize, CatalogError)| error;
    storage.delete_all(files.data).await.map_err(error)?;
    storage.delete_all(files.metadata).await.map_err(error)?;
    storage
        .remove_empty_folders(table.metadata.location())
        .await?;
    Ok(report)
}
