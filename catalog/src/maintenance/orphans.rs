//! Deleting files of a table's folder that nothing refers to: what crashed or interrupted
//! statements left behind.

use iceberg::TableIdent;
use uuid::Uuid;

use super::reachable::{
    FileSet, SnapshotFiles, check_owns_files, reachable_states, state_files, visit_manifests,
};
use crate::catalog::Catalog;
use crate::commit::take_turn;
use crate::error::{CatalogError, Result};
use crate::storage::{FileInfo, Location};
use crate::table::object_folder;

/// Which files may go.
#[derive(Debug, Clone, Default)]
pub struct OrphanOptions {
    /// Files that changed later than this stay, in milliseconds since the epoch.
    pub older_than_ms: i64,
    /// Statements that run: their files, whose names begin with these ids, stay.
    pub running: Vec<Uuid>,
    /// Folders whose files stay, whatever they are.
    pub kept_folders: Vec<String>,
}

/// What [`remove_orphan_files`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrphanReport {
    /// Files looked at.
    pub listed: usize,
    /// Files deleted.
    pub deleted: usize,
    /// Their size, in bytes.
    pub deleted_bytes: u64,
    /// Files that could not be deleted.
    pub failed: usize,
}

/// Deletes the files in a table's folder that no state of the table refers to that can still be
/// read ([`Catalog::reachable_metadata`]), and that are old enough. The folders of other tables and
/// views stay as they are ([`Catalog::reachable_within`]).
///
/// No commit to the table is under way in this process while it is listed. Other processes that write to
/// it are safe as long as they commit what they write within the age given.
///
/// # Errors
/// `InvalidInput` for a table with `gc.enabled = false`; `Unsupported` when the catalog does not know
/// all states ([`Catalog::knows_all_states`]), or does not say which metadata file is the newest,
/// which would look like an orphan; errors of listing and of metadata files. Nothing is deleted then.
pub async fn remove_orphan_files(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    options: &OrphanOptions,
) -> Result<OrphanReport> {
    let storage = catalog.storage();
    let table = catalog.load_table(ident).await?;
    let turn = take_turn(storage, table.metadata.uuid()).await;
    // Listed before the states are read: what is committed meanwhile is then known.
    let listed = storage
        .list_with_unfinished(table.metadata.location())
        .await?;
    let table = catalog.load_table(ident).await?;
    check_owns_files(catalog, &table)?;
    if table.metadata_location.is_none() {
        return Err(CatalogError::Unsupported(format!(
            "removing orphan files of table {}, as catalog {} does not say which metadata file \
             is its newest,",
            table.name(),
            catalog.name()
        )));
    }

    let states = reachable_states(catalog, &table).await?;
    let mut needed = FileSet::default();
    for (location, metadata) in &states {
        state_files(location.as_deref(), metadata, &mut needed);
    }
    let of_snapshots = SnapshotFiles::of_states(storage, &states).await?;
    let metadata_files = of_snapshots.lists.iter().chain(&of_snapshots.statistics);
    for path in metadata_files.chain(of_snapshots.manifests.keys()) {
        needed.insert(path);
    }
    visit_manifests(storage, of_snapshots.manifests.values(), |manifest| {
        for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
            needed.insert(entry.file_path());
        }
    })
    .await?;

    let mut kept_folders = FileSet::default();
    for folder in &options.kept_folders {
        kept_folders.insert(folder);
    }
    let own = Location::parse(table.metadata.location())?;
    for metadata_file in catalog.reachable_within(table.metadata.location()).await? {
        // A view in this very folder has no other file.
        needed.insert(&metadata_file);
        if let Some(folder) = object_folder(&metadata_file)
            && Location::parse(folder).is_ok_and(|other| other.path != own.path)
        {
            kept_folders.insert(folder);
        }
    }

    // What a later commit writes is not in the list.
    drop(turn);

    let mut report = OrphanReport {
        listed: listed.len(),
        ..OrphanReport::default()
    };
    let orphans: Vec<FileInfo> = listed
        .into_iter()
        .filter(|file| options.may_delete(file))
        .filter(|file| !needed.contains(&file.location))
        .filter(|file| !kept_folders.has_folder_of(&file.location))
        .collect();
    report.deleted = orphans.len();
    report.deleted_bytes = orphans.iter().map(|file| file.size).sum();
    let locations = orphans.into_iter().map(|file| file.location);
    if let Err((failed, error)) = storage.delete_all(locations).await {
        tracing::warn!(table = table.name(), failed, %error, "cannot delete orphan files");
        report.deleted -= failed.min(report.deleted);
        report.failed = failed;
    }
    Ok(report)
}

impl OrphanOptions {
    pub(super) fn may_delete(&self, file: &FileInfo) -> bool {
        let name = file.location.rsplit('/').next().unwrap_or_default();
        let is_being_written = |id: &Uuid| name.starts_with(&id.to_string());
        file.last_modified_ms < self.older_than_ms && !self.running.iter().any(is_being_written)
    }
}
