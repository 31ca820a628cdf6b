//! Deleting the folders of tables that never came to be: what is left of a `CREATE TABLE … AS`
//! whose process ended before it committed.

use std::collections::BTreeMap;

use super::orphans::{OrphanOptions, OrphanReport};
use crate::catalog::Catalog;
use crate::error::Result;
use crate::storage::FileInfo;

/// What [`remove_abandoned_folders`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AbandonedReport {
    /// Folders whose files were deleted.
    pub folders: usize,
    /// The files looked at, and those deleted.
    pub files: OrphanReport,
}

/// Deletes the folders below a schema's in which no table or view ever was, on any branch and in
/// any transaction ([`Catalog::is_known_folder`]), all of whose files may go.
///
/// A folder is left alone if it has a name that the catalog would not make, since it belongs to
/// somebody else, and if it has metadata files of a table: such a table can be registered.
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
