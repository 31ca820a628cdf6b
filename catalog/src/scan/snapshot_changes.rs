//! What the snapshots between two states of a table changed, as data files to compare.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::expr::Predicate;
use iceberg::spec::{
    ManifestContentType, ManifestFile, ManifestStatus, Operation, SchemaRef, SnapshotRef,
};

use super::files::{Specs, file_task, first_row_ids};
use super::plan::{load_list, load_manifests, plan_snapshot};
use super::{DeleteKind, FileTask, ManifestCache};
use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::{Table, TableVersion};

/// What happened to a table from one snapshot to a later one.
#[derive(Debug, Clone)]
pub struct TableChanges {
    /// The schema of the later snapshot, with which all rows are read.
    pub schema: SchemaRef,
    /// Changes of each snapshot that changed rows, oldest first.
    pub snapshots: Vec<SnapshotChanges>,
}

/// The files that a snapshot's rows went from and to. Rows that are in both are no change.
#[derive(Debug, Clone)]
pub struct SnapshotChanges {
    /// The snapshot.
    pub snapshot: SnapshotRef,
    /// Files with rows of the state before that may be gone, with the deletes of that state.
    pub before: Vec<FileTask>,
    /// Files with rows of the state after that may be new, with the deletes of that state.
    pub after: Vec<FileTask>,
}

/// The changes of the snapshots after `from`, up to and with `to`. Snapshots that only rewrote
/// files (`replace`) are left out.
///
/// # Errors
/// `VersionNotFound` for an unknown snapshot, `InvalidInput` when `to` does not descend from
/// `from`, `Storage` and `Metadata` when manifests cannot be read.
pub async fn table_changes(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    from: i64,
    to: i64,
) -> Result<TableChanges> {
    let schema = table.schema_at(&TableVersion::SnapshotId(to))?;
    let mut snapshots = Vec::new();
    for (parent, snapshot) in snapshots_between(table, from, to)? {
        if snapshot.summary().operation == Operation::Replace {
            continue;
        }
        let scan = Scan {
            storage,
            cache,
            table,
            schema: &schema,
        };
        let changes = match scan.appended(&snapshot).await? {
            Some(after) => SnapshotChanges {
                snapshot,
                before: Vec::new(),
                after,
            },
            None => scan.compared(parent, snapshot).await?,
        };
        snapshots.push(changes);
    }
    Ok(TableChanges { schema, snapshots })
}

/// The snapshots after `from`, up to and with `to`, each with the one before it, oldest first.
fn snapshots_between(table: &Table, from: i64, to: i64) -> Result<Vec<(SnapshotRef, SnapshotRef)>> {
    let snapshot_of = |snapshot_id: i64| {
        let found = table.snapshot_at(&TableVersion::SnapshotId(snapshot_id))?;
        found.ok_or_else(|| {
            CatalogError::InvalidInput(format!(
                "table {} has no snapshot {snapshot_id}",
                table.name()
            ))
        })
    };
    snapshot_of(from)?;
    let mut pairs = Vec::new();
    let mut seen = BTreeSet::new();
    let mut snapshot = snapshot_of(to)?;
    while snapshot.snapshot_id() != from {
        let parent = snapshot.parent_snapshot_id();
        // Stops at an id seen before: broken metadata must not hang the reader.
        let parent = parent.filter(|parent| seen.insert(*parent)).ok_or_else(|| {
            CatalogError::InvalidInput(format!(
                "snapshot {to} of table {} does not descend from snapshot {from}: there is no way \
                 from one to the other",
                table.name()
            ))
        })?;
        let parent = snapshot_of(parent)?;
        pairs.push((Arc::clone(&parent), snapshot));
        snapshot = parent;
    }
    pairs.reverse();
    Ok(pairs)
}

/// Reads the manifests of one table.
struct Scan<'a> {
    storage: &'a Arc<Storage>,
    cache: &'a ManifestCache,
    table: &'a Table,
    schema: &'a SchemaRef,
}

impl Scan<'_> {
    /// The files that a snapshot added, if adding files is all that it did: then only its own
    /// manifests are read.
    async fn appended(&self, snapshot: &SnapshotRef) -> Result<Option<Vec<FileTask>>> {
        if snapshot.summary().operation != Operation::Append {
            return Ok(None);
        }
        let (list, _) = load_list(self.storage, self.cache, snapshot, self.table).await?;
        let own = |file: &&ManifestFile| file.added_snapshot_id == snapshot.snapshot_id();
        let own: Vec<&ManifestFile> = list.entries().iter().filter(own).collect();
        let is_data = |file: &&ManifestFile| file.content == ManifestContentType::Data;
        if !own.iter().all(is_data) {
            return Ok(None);
        }
        let specs = Specs::new(&self.table.metadata, self.schema);
        let read = (self.table, Some(snapshot.snapshot_id()));
        let loaded = load_manifests(self.storage, self.cache, read, own).await?;
        let mut added = Vec::new();
        for (file, manifest) in &loaded.manifests {
            let resolved = specs.of_manifest(file)?;
            let first_row_ids = first_row_ids(file, manifest);
            for (entry, first_row_id) in manifest.entries().iter().zip(first_row_ids) {
                let is_own = entry.snapshot_id == Some(snapshot.snapshot_id());
                match entry.status {
                    ManifestStatus::Added if is_own => {
                        added.push(file_task(
                            file,
                            entry,
                            first_row_id,
                            &resolved,
                            self.schema,
                        )?);
                    }
                    ManifestStatus::Deleted if is_own => return Ok(None),
                    _ => {}
                }
            }
        }
        Ok(Some(added))
    }

    /// The files that are not the same, or do not have the same deletes, in two states.
    async fn compared(
        &self,
        parent: SnapshotRef,
        snapshot: SnapshotRef,
    ) -> Result<SnapshotChanges> {
        let before = self.files_of(parent).await?;
        let after = self.files_of(Arc::clone(&snapshot)).await?;
        let counts_before = counts(&before);
        let counts_after = counts(&after);
        let is_changed = |file: &&FileTask| {
            let key = key_of(file);
            counts_before.get(&key) != counts_after.get(&key)
        };
        Ok(SnapshotChanges {
            snapshot,
            before: before.iter().filter(is_changed).cloned().collect(),
            after: after.iter().filter(is_changed).cloned().collect(),
        })
    }

    async fn files_of(&self, snapshot: SnapshotRef) -> Result<Vec<FileTask>> {
        let plan = plan_snapshot(
            self.storage,
            self.cache,
            self.table,
            Some(snapshot),
            Arc::clone(self.schema),
            &Predicate::AlwaysTrue,
        );
        Ok(plan.await?.tasks)
    }
}

/// A file with its deletes: files of the same key have the same rows.
type FileKey<'a> = (&'a str, BTreeSet<(&'a str, u64)>);

fn key_of(file: &FileTask) -> FileKey<'_> {
    let deletes = file.deletes.iter().map(|delete| match &delete.kind {
        // A Puffin file has the vectors of many files.
        DeleteKind::DeletionVector { offset, .. } => (delete.path.as_str(), *offset),
        DeleteKind::Positions | DeleteKind::Equality { .. } => (delete.path.as_str(), 0),
    });
    (file.path.as_str(), deletes.collect())
}

/// How often a state has each file: nothing keeps a writer from adding one twice.
fn counts(files: &[FileTask]) -> HashMap<FileKey<'_>, usize> {
    let mut counts = HashMap::new();
    for file in files {
        *counts.entry(key_of(file)).or_default() += 1;
    }
    counts
}
