//! Moving `main`, or another branch, to a snapshot that exists.

use iceberg::TableUpdate;
use iceberg::spec::{
    MAIN_BRANCH, SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata,
};

use crate::error::{CatalogError, Result};
use crate::table::{Table, TableVersion, format_millis};

/// The update that makes a snapshot the current one, which must be an ancestor of it.
///
/// # Errors
/// `VersionNotFound`; `InvalidInput` for a snapshot that is no ancestor.
pub fn rollback_to_snapshot(table: &Table, snapshot_id: i64) -> Result<Vec<TableUpdate>> {
    table.snapshot_at(&TableVersion::SnapshotId(snapshot_id))?;
    let current = table.metadata.current_snapshot_id();
    if !current.is_some_and(|current| is_ancestor(&table.metadata, snapshot_id, current)) {
        return Err(CatalogError::InvalidInput(format!(
            "snapshot {snapshot_id} is no ancestor of the current state of table {}: a rollback \
             goes back along its history; to make any snapshot current call \
             system.set_current_snapshot",
            table.name()
        )));
    }
    set_branch(table, MAIN_BRANCH, snapshot_id)
}

/// The update that makes the newest ancestor of the current state that is not later than this
/// time, in milliseconds since the epoch, current.
///
/// # Errors
/// `VersionNotFound` when all of them are later.
pub fn rollback_to_time(table: &Table, timestamp_ms: i64) -> Result<Vec<TableUpdate>> {
    let metadata = &table.metadata;
    let current = metadata.current_snapshot().cloned();
    let found =
        ancestors(metadata, current).find(|snapshot| snapshot.timestamp_ms() <= timestamp_ms);
    match found {
        Some(snapshot) => set_branch(table, MAIN_BRANCH, snapshot.snapshot_id()),
        None => Err(CatalogError::VersionNotFound {
            table: table.name(),
            what: format!(
                "snapshot at or before {} in the history of its state",
                format_millis(timestamp_ms)
            ),
        }),
    }
}

/// The update that makes any snapshot of the table, or that of a branch or tag, current.
///
/// # Errors
/// `VersionNotFound`.
pub fn set_current_snapshot(table: &Table, version: &TableVersion) -> Result<Vec<TableUpdate>> {
    match table.snapshot_at(version)? {
        Some(snapshot) => set_branch(table, MAIN_BRANCH, snapshot.snapshot_id()),
        None => Err(CatalogError::InvalidInput(format!(
            "table {} has no snapshot yet",
            table.name()
        ))),
    }
}

/// The update that moves a branch on to where another branch or tag is, which must come after
/// it in history. Only `main` may not exist yet, in a table without snapshots of its own.
///
/// # Errors
/// `VersionNotFound` for either; `InvalidInput` when `branch` is a tag, or has snapshots that
/// `to` has not.
pub fn fast_forward(table: &Table, branch: &str, to: &str) -> Result<Vec<TableUpdate>> {
    let target = table.snapshot_at(&TableVersion::Reference(to.to_string()))?;
    let Some(target) = target else {
        return Err(CatalogError::InvalidInput(format!(
            "branch {to} of table {} has no snapshot yet",
            table.name()
        )));
    };
    let references = table.references()?;
    let Some(reference) = references.get(branch) else {
        if branch == MAIN_BRANCH {
            return set_branch(table, branch, target.snapshot_id());
        }
        return Err(CatalogError::VersionNotFound {
            table: table.name(),
            what: format!("branch {branch}"),
        });
    };
    if !reference.is_branch() {
        return Err(CatalogError::InvalidInput(format!(
            "{branch} of table {} is a tag, which does not move",
            table.name()
        )));
    }
    if !is_ancestor(&table.metadata, reference.snapshot_id, target.snapshot_id()) {
        return Err(CatalogError::InvalidInput(format!(
            "branch {branch} of table {} is no ancestor of {to}: it has snapshots that {to} has not",
            table.name()
        )));
    }
    set_branch(table, branch, target.snapshot_id())
}

/// Points a branch at a snapshot; how long its snapshots are kept stays as it is.
fn set_branch(table: &Table, branch: &str, snapshot_id: i64) -> Result<Vec<TableUpdate>> {
    let existing = table.references()?.remove(branch);
    if let Some(existing) = &existing
        && existing.snapshot_id == snapshot_id
    {
        return Ok(Vec::new());
    }
    let retention = match existing {
        Some(existing) => existing.retention,
        None => SnapshotRetention::branch(None, None, None),
    };
    Ok(vec![TableUpdate::SetSnapshotRef {
        ref_name: branch.to_string(),
        reference: SnapshotReference::new(snapshot_id, retention),
    }])
}

/// Whether `ancestor` is `snapshot` or comes before it in its history, as far as that is kept.
pub(crate) fn is_ancestor(metadata: &TableMetadata, ancestor: i64, snapshot: i64) -> bool {
    let snapshot = metadata.snapshot_by_id(snapshot).cloned();
    ancestors(metadata, snapshot).any(|found| found.snapshot_id() == ancestor)
}

/// A snapshot and those before it, as far as they are kept, newest first.
pub(crate) fn ancestors(
    metadata: &TableMetadata,
    newest: Option<SnapshotRef>,
) -> impl Iterator<Item = SnapshotRef> {
    std::iter::successors(newest, |snapshot| {
        let parent_id = snapshot.parent_snapshot_id()?;
        metadata.snapshot_by_id(parent_id).cloned()
    })
    // Broken metadata must not lead in a circle.
    .take(metadata.snapshots().len())
}
