//! Deleting what is left below a schema's folder and belongs to no table: the folders of tables that
//! never came to be, as those of a `CREATE TABLE … AS` whose process ended before it committed, and
//! the metadata files of views that were dropped when something could still read them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::orphans::{OrphanOptions, OrphanReport};
use super::reachable::FileSet;
use crate::catalog::Catalog;
use crate::error::Result;
use crate::storage::{FileInfo, Storage};
use crate::table::object_folder;

/// What [`remove_abandoned_folders`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AbandonedReport {
    /// Folders whose files were deleted.
    pub folders: usize,
    /// Metadata files of views that were deleted.
    pub view_files: usize,
    /// All files looked at, and those deleted, of views too.
    pub files: OrphanReport,
}

/// Deletes the folders below a schema's in which no table or view ever was, on any branch and in
/// any transaction ([`Catalog::is_known_folder`]), all of whose files may go.
///
/// A folder is left alone if it has a name that the catalog would not make, since it belongs to
/// somebody else, and if it has metadata files of a table: such a table can be registered.
///
/// Deletes the metadata files of views, too, that were dropped or replaced and that no branch, tag
/// or kept version of the catalog has any more ([`Catalog::unread_view_files`]). A drop leaves them
/// where something still had them then, and where it was part of a transaction.
///
/// # Errors
/// `SchemaNotFound`; `Unsupported` for catalogs that do not know which folders were used; errors
/// of the listing and of the catalog. Folders before the one concerned are deleted then.
pub async fn remove_abandoned_folders(
    catalog: &dyn Catalog,
    schema: &str,
    options: &OrphanOptions,
) -> Result<AbandonedReport> {
    let storage = catalog.storage();
    let parent = catalog.table_folder(schema).await?;
    let parent = parent.trim_end_matches('/');
    // Before the catalog is asked: what is committed meanwhile is then known.
    let listed = storage.list_with_unfinished(parent).await?;
    let mut report = AbandonedReport::default();
    report.files.listed = listed.len();
    let mut unread = FileSet::default();
    for file in catalog.unread_view_files(parent).await? {
        unread.insert(&file);
    }
    let (of_views, listed): (Vec<FileInfo>, Vec<FileInfo>) = listed
        .into_iter()
        .partition(|file| unread.contains(&file.location));
    delete_view_files(storage, of_views, options, &mut report).await?;
    let mut folders: BTreeMap<String, Vec<FileInfo>> = BTreeMap::new();
    for file in listed {
        let path = file.location.strip_prefix(parent);
        let path = path.and_then(|path| path.strip_prefix('/'));
        let name = path.and_then(|path| path.split_once('/'));
        let Some(name) = name.map(|(name, _)| name.to_string()) else {
            continue;
        };
        folders.entry(name).or_default().push(file);
    }
    for (name, files) in folders {
        let may_go = |file: &FileInfo| options.may_delete(file) && !is_table_metadata(file);
        if !is_fresh_name(&name)
            || !files.iter().all(may_go)
            || catalog.is_known_folder(&name).await?
        {
            continue;
        }
        let (count, bytes) = (files.len(), files.iter().map(|file| file.size).sum::<u64>());
        let locations = files.into_iter().map(|file| file.location);
        match storage.delete_all(locations).await {
            Ok(()) => {
                report.folders += 1;
                report.files.deleted += count;
                report.files.deleted_bytes += bytes;
                let folder = format!("{parent}/{name}");
                storage.remove_empty_folders(&folder).await?;
            }
            Err((failed, error)) => {
                tracing::warn!(folder = %name, failed, %error, "cannot delete an abandoned folder");
                report.files.deleted += count.saturating_sub(failed);
                report.files.failed += failed;
            }
        }
    }
    Ok(report)
}

/// Deletes metadata files of views that are old enough, and the folders that are empty then.
async fn delete_view_files(
    storage: &Arc<Storage>,
    mut files: Vec<FileInfo>,
    options: &OrphanOptions,
    report: &mut AbandonedReport,
) -> Result<()> {
    files.retain(|file| options.may_delete(file));
    let folders: BTreeSet<String> = files
        .iter()
        .filter_map(|file| object_folder(&file.location).map(str::to_string))
        .collect();
    let (count, bytes) = (files.len(), files.iter().map(|file| file.size).sum::<u64>());
    let locations = files.into_iter().map(|file| file.location);
    match storage.delete_all(locations).await {
        Ok(()) => {
            report.view_files = count;
            report.files.deleted_bytes += bytes;
        }
        Err((failed, error)) => {
            tracing::warn!(failed, %error, "cannot delete metadata files of dropped views");
            report.view_files = count.saturating_sub(failed);
            report.files.failed += failed;
        }
    }
    report.files.deleted += report.view_files;
    for folder in folders {
        storage.remove_empty_folders(&folder).await?;
    }
    Ok(())
}

/// Whether the catalog makes such names: `name-` and the 32 digits of an id.
fn is_fresh_name(name: &str) -> bool {
    let id = name.rsplit_once('-').map_or("", |(_, id)| id);
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_table_metadata(file: &FileInfo) -> bool {
    [".metadata.json", ".metadata.json.gz"]
        .iter()
        .any(|ending| file.location.ends_with(ending))
}
