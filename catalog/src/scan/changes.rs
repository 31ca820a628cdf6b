//! What was added to a table between two of its snapshots.

use std::sync::Arc;

use iceberg::spec::{
    DataContentType, ManifestContentType, ManifestFile, ManifestStatus, Operation, SchemaRef,
    Snapshot, SnapshotRef,
};

use super::files::{Specs, file_task, first_row_ids};
use super::plan::{load_list, load_manifests};
use super::{FileTask, ManifestCache};
use crate::error::Result;
use crate::storage::Storage;
use crate::table::Table;

/// What happened to the rows of a table between two of its snapshots.
#[derive(Debug, Clone)]
pub enum Appends {
    /// Rows were added and none was removed or changed: the snapshots that added some, oldest
    /// first.
    Only(Vec<SnapshotAppend>),
    /// Rows may also have been removed or changed, or the history between the snapshots is not
    /// known. The reason is the end of a sentence that begins with the table's name.
    NotOnly {
        /// Such as `had rows removed or changed by snapshot 5 (overwrite)`.
        reason: String,
    },
}

/// The data files that one snapshot added.
#[derive(Debug, Clone)]
pub struct SnapshotAppend {
    /// The snapshot.
    pub snapshot: SnapshotRef,
    /// Its new data files, without deletes: those can only come with a later snapshot.
    pub files: Vec<FileTask>,
}

/// The data files that the snapshots of `table` after `from_exclusive` (`None`: from its
/// beginning) up to `to_inclusive` added, if adding rows is all that they did.
///
/// The snapshots are followed from parent to parent, so branches count by themselves. A snapshot
/// that says that it left the rows as they were (operation `replace`: compaction) adds nothing.
/// Column metrics of the files are those of the columns of `schema`.
///
/// # Errors
/// `Storage` and `Metadata` when a manifest list or manifest cannot be read.
pub async fn appended_files(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    from_exclusive: Option<i64>,
    to_inclusive: i64,
    schema: &SchemaRef,
) -> Result<Appends> {
    let Some(snapshots) = snapshots_between(table, from_exclusive, to_inclusive) else {
        let reason = match from_exclusive {
            Some(from) => {
                format!("does not have snapshot {from} in the history of snapshot {to_inclusive}")
            }
            None => format!("no longer has the first snapshots before snapshot {to_inclusive}"),
        };
        return Ok(Appends::NotOnly { reason });
    };
    let mut appends = Vec::new();
    for snapshot in snapshots {
        match snapshot.summary().operation {
            Operation::Replace => continue,
            Operation::Append => {}
            Operation::Overwrite | Operation::Delete => return Ok(not_only(&snapshot)),
        }
        let added = SnapshotReader {
            storage,
            cache,
            table,
            schema,
        };
        match added.files(&snapshot).await? {
            Some(files) => appends.push(SnapshotAppend { snapshot, files }),
            None => return Ok(not_only(&snapshot)),
        }
    }
    Ok(Appends::Only(appends))
}

fn not_only(snapshot: &Snapshot) -> Appends {
    Appends::NotOnly {
        reason: format!(
            "had rows removed or changed by snapshot {} ({})",
            snapshot.snapshot_id(),
            snapshot.summary().operation.as_str()
        ),
    }
}

/// The snapshots from after `from` to `to`, oldest first; `None` when `from` is no ancestor of
/// `to`, or one between them has expired.
fn snapshots_between(table: &Table, from: Option<i64>, to: i64) -> Option<Vec<SnapshotRef>> {
    let mut snapshots = Vec::new();
    let mut next = Some(to);
    while next != from {
        let snapshot = table.metadata.snapshot_by_id(next?)?;
        next = snapshot.parent_snapshot_id();
        snapshots.push(Arc::clone(snapshot));
    }
    snapshots.reverse();
    Some(snapshots)
}

struct SnapshotReader<'a> {
    storage: &'a Arc<Storage>,
    cache: &'a ManifestCache,
    table: &'a Table,
    schema: &'a SchemaRef,
}

impl SnapshotReader<'_> {
    /// The data files that a snapshot added; `None` when it did anything else.
    async fn files(&self, snapshot: &Snapshot) -> Result<Option<Vec<FileTask>>> {
        let (list, _) = load_list(self.storage, self.cache, snapshot, self.table).await?;
        let of_snapshot: Vec<&ManifestFile> = list
            .entries()
            .iter()
            .filter(|manifest| manifest.added_snapshot_id == snapshot.snapshot_id())
            .collect();
        let read = (self.table, Some(snapshot.snapshot_id()));
        let loaded = load_manifests(self.storage, self.cache, read, of_snapshot).await?;
        let specs = Specs::new(&self.table.metadata, self.schema);
        let mut files = Vec::new();
        for (manifest, content) in &loaded.manifests {
            let resolved = specs.of_manifest(manifest)?;
            let first_row_ids = first_row_ids(manifest, content);
            for (entry, first_row_id) in content.entries().iter().zip(first_row_ids) {
                // A merged manifest also lists what earlier snapshots did.
                let is_of_snapshot = entry.snapshot_id() == Some(snapshot.snapshot_id());
                if !is_of_snapshot || entry.status() == ManifestStatus::Existing {
                    continue;
                }
                let is_added_data = entry.status() == ManifestStatus::Added
                    && manifest.content == ManifestContentType::Data
                    && entry.data_file().content_type() == DataContentType::Data;
                if !is_added_data {
                    return Ok(None);
                }
                files.push(file_task(
                    manifest,
                    entry,
                    first_row_id,
                    &resolved,
                    self.schema,
                )?);
            }
        }
        Ok(Some(files))
    }
}
