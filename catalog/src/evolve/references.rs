//! Branches and tags of a table.

use std::fmt;

use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, MAIN_BRANCH, SnapshotReference, SnapshotRetention};

use crate::error::{CatalogError, Result};
use crate::table::{Table, TableVersion};

/// A branch or a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceKind {
    /// Moves with the snapshots that are written to it.
    Branch,
    /// Stays at its snapshot.
    Tag,
}

impl fmt::Display for ReferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        })
    }
}

/// What to do when a reference exists, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceMode {
    /// It must not exist.
    Create,
    /// It stays as it is when it exists.
    CreateIfNotExists,
    /// It is replaced when it exists.
    CreateOrReplace,
    /// It must exist.
    Replace,
}

/// A branch or tag that is created or made to point elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceChange {
    /// Branch or tag.
    pub kind: ReferenceKind,
    /// Its name.
    pub name: String,
    /// What to do when it exists, or does not.
    pub mode: ReferenceMode,
    /// What it points to.
    pub version: TableVersion,
    /// How long the reference is kept, in milliseconds.
    pub max_ref_age_ms: Option<i64>,
    /// How many of a branch's snapshots are kept at least.
    pub min_snapshots_to_keep: Option<i32>,
    /// How long a branch's snapshots are kept, in milliseconds.
    pub max_snapshot_age_ms: Option<i64>,
}

/// The updates that create or replace a branch or tag. What is said of its retention replaces
/// what was said before; the rest stays.
///
/// # Errors
/// `InvalidInput` for a name that is taken, is not there, or is `main`, and for a table without
/// a snapshot; `VersionNotFound`.
pub fn set_reference(table: &Table, change: &ReferenceChange) -> Result<Vec<TableUpdate>> {
    let ReferenceChange {
        kind, name, mode, ..
    } = change;
    if name == MAIN_BRANCH {
        return Err(CatalogError::InvalidInput(format!(
            "branch main of table {} always exists: move it with CALL \
             system.set_current_snapshot or rollback_to_snapshot",
            table.name()
        )));
    }
    if table.metadata.format_version() == FormatVersion::V1 {
        return Err(CatalogError::InvalidInput(format!(
            "table {} has format version 1, which has no branches and tags: raise it first with \
             SET PROPERTIES format_version = 2",
            table.name()
        )));
    }
    let existing = table.references()?.remove(name);
    if let Some(existing) = &existing {
        check_kind(table, name, *kind, existing)?;
    }
    match (mode, &existing) {
        (ReferenceMode::CreateIfNotExists, Some(_)) => return Ok(Vec::new()),
        (ReferenceMode::Create, Some(_)) => {
            return Err(CatalogError::InvalidInput(format!(
                "{kind} {name} of table {} already exists",
                table.name()
            )));
        }
        (ReferenceMode::Replace, None) => return Err(not_found(table, *kind, name)),
        _ => {}
    }
    let snapshot = table.snapshot_at(&change.version)?.ok_or_else(|| {
        CatalogError::InvalidInput(format!(
            "table {} has no snapshot that {kind} {name} could point to: write to it first",
            table.name()
        ))
    })?;
    let (old_ref_age, old_count, old_age) = match existing.map(|reference| reference.retention) {
        Some(SnapshotRetention::Branch {
            min_snapshots_to_keep,
            max_snapshot_age_ms,
            max_ref_age_ms,
        }) => (max_ref_age_ms, min_snapshots_to_keep, max_snapshot_age_ms),
        Some(SnapshotRetention::Tag { max_ref_age_ms }) => (max_ref_age_ms, None, None),
        None => (None, None, None),
    };
    let max_ref_age_ms = change.max_ref_age_ms.or(old_ref_age);
    let retention = match kind {
        ReferenceKind::Branch => SnapshotRetention::Branch {
            min_snapshots_to_keep: change.min_snapshots_to_keep.or(old_count),
            max_snapshot_age_ms: change.max_snapshot_age_ms.or(old_age),
            max_ref_age_ms,
        },
        ReferenceKind::Tag => SnapshotRetention::Tag { max_ref_age_ms },
    };
    Ok(vec![TableUpdate::SetSnapshotRef {
        ref_name: name.clone(),
        reference: SnapshotReference::new(snapshot.snapshot_id(), retention),
    }])
}

/// The update that drops a branch or tag. Its snapshots stay until they expire.
///
/// # Errors
/// `InvalidInput` for `main`; `VersionNotFound` for a name that is not there, unless
/// `if_exists`.
pub fn drop_reference(
    table: &Table,
    kind: ReferenceKind,
    name: &str,
    if_exists: bool,
) -> Result<Vec<TableUpdate>> {
    if name == MAIN_BRANCH {
        return Err(CatalogError::InvalidInput(format!(
            "branch main of table {} cannot be dropped",
            table.name()
        )));
    }
    let Some(existing) = table.references()?.remove(name) else {
        return match if_exists {
            true => Ok(Vec::new()),
            false => Err(not_found(table, kind, name)),
        };
    };
    check_kind(table, name, kind, &existing)?;
    Ok(vec![TableUpdate::RemoveSnapshotRef {
        ref_name: name.to_string(),
    }])
}

fn check_kind(
    table: &Table,
    name: &str,
    kind: ReferenceKind,
    existing: &SnapshotReference,
) -> Result<()> {
    let existing_kind = match existing.is_branch() {
        true => ReferenceKind::Branch,
        false => ReferenceKind::Tag,
    };
    if existing_kind == kind {
        return Ok(());
    }
    Err(CatalogError::InvalidInput(format!(
        "{name} of table {} is a {existing_kind}, not a {kind}",
        table.name()
    )))
}

fn not_found(table: &Table, kind: ReferenceKind, name: &str) -> CatalogError {
    CatalogError::VersionNotFound {
        table: table.name(),
        what: format!(
            "{kind} {name:?}{}",
            table.references_near(name, |reference| {
                reference.is_branch() == (kind == ReferenceKind::Branch)
            })
        ),
    }
}
