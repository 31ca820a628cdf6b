//! Which snapshots and references of a table have outlived their retention (Iceberg
//! specification, "Snapshot Retention Policy").

use std::collections::{BTreeMap, HashMap, HashSet};
use std::str::FromStr;

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};

use crate::error::{CatalogError, Result};
use crate::table::Table;

const MAX_SNAPSHOT_AGE_MS: &str = "history.expire.max-snapshot-age-ms";
const MIN_SNAPSHOTS_TO_KEEP: &str = "history.expire.min-snapshots-to-keep";
const MAX_REF_AGE_MS: &str = "history.expire.max-ref-age-ms";

/// How long branches without a retention of their own keep snapshots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    /// The time now, in milliseconds since the epoch.
    pub now_ms: i64,
    /// Snapshots older than this expire.
    pub max_snapshot_age_ms: i64,
    /// So many snapshots of each branch stay, however old.
    pub min_snapshots_to_keep: usize,
    /// References to snapshots older than this go, but `main`.
    pub max_ref_age_ms: i64,
}

impl Retention {
    /// What a statement asks for, else what the table's properties say, else the defaults.
    ///
    /// # Errors
    /// `InvalidInput` for a property that is no number.
    pub(super) fn of(
        table: &Table,
        now_ms: i64,
        max_age_ms: Option<i64>,
        default_max_age_ms: i64,
        retain_last: Option<usize>,
    ) -> Result<Self> {
        let max_snapshot_age_ms = match max_age_ms {
            Some(age) => age,
            None => property(table, MAX_SNAPSHOT_AGE_MS)?.unwrap_or(default_max_age_ms),
        };
        let min_snapshots_to_keep = match retain_last {
            Some(count) => count,
            None => property(table, MIN_SNAPSHOTS_TO_KEEP)?.unwrap_or(1),
        };
        Ok(Self {
            now_ms,
            max_snapshot_age_ms,
            min_snapshots_to_keep: min_snapshots_to_keep.max(1),
            max_ref_age_ms: property(table, MAX_REF_AGE_MS)?.unwrap_or(i64::MAX),
        })
    }
}

fn property<T: FromStr>(table: &Table, name: &str) -> Result<Option<T>> {
    let value = table.metadata.properties().get(name);
    let parsed = value.map(|value| {
        value.trim().parse().map_err(|_| {
            CatalogError::InvalidInput(format!(
                "property {name} of table {} is {value:?}: it must be a whole number",
                table.name()
            ))
        })
    });
    parsed.transpose()
}

/// What a table no longer needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expiry {
    /// Snapshots, in ascending order of their ids.
    pub snapshot_ids: Vec<i64>,
    /// Names of branches and tags.
    pub references: Vec<String>,
}

/// Finds what has outlived its retention. What a branch keeps is its newest snapshots without a
/// gap: history has no holes.
pub(super) fn expiry_of(table: &Table, retention: &Retention) -> Result<Expiry> {
    let metadata = &table.metadata;
    let mut expiry = Expiry::default();
    let mut kept: HashSet<i64> = HashSet::new();
    let mut referenced: HashSet<i64> = HashSet::new();
    for reference in retained(table.references()?, metadata, retention, &mut expiry) {
        kept.insert(reference.snapshot_id);
        referenced.insert(reference.snapshot_id);
        let SnapshotRetention::Branch {
            min_snapshots_to_keep,
            max_snapshot_age_ms,
            ..
        } = reference.retention
        else {
            continue;
        };
        let least = min_snapshots_to_keep
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(retention.min_snapshots_to_keep);
        let max_age_ms = max_snapshot_age_ms.unwrap_or(retention.max_snapshot_age_ms);
        let oldest_ms = retention.now_ms.saturating_sub(max_age_ms);
        let mut keeps = true;
        let ancestors = ancestors(metadata, reference.snapshot_id);
        for (index, (snapshot_id, timestamp_ms)) in ancestors.into_iter().enumerate() {
            referenced.insert(snapshot_id);
            keeps &= index < least || timestamp_ms >= oldest_ms;
            if keeps {
                kept.insert(snapshot_id);
            }
        }
    }
    let oldest_ms = retention
        .now_ms
        .saturating_sub(retention.max_snapshot_age_ms);
    let expired = metadata.snapshots().filter(|snapshot| {
        let id = snapshot.snapshot_id();
        // What no branch has was rolled back or staged: its age alone decides.
        let is_young = !referenced.contains(&id) && snapshot.timestamp_ms() >= oldest_ms;
        !kept.contains(&id) && !is_young
    });
    expiry.snapshot_ids = expired.map(|snapshot| snapshot.snapshot_id()).collect();
    expiry.snapshot_ids.sort_unstable();
    Ok(expiry)
}

/// The references that stay; the names of the others are noted.
fn retained(
    references: BTreeMap<String, SnapshotReference>,
    metadata: &TableMetadata,
    retention: &Retention,
    expiry: &mut Expiry,
) -> Vec<SnapshotReference> {
    let mut retained = Vec::new();
    for (name, reference) in references {
        let own_age_ms = match &reference.retention {
            SnapshotRetention::Branch { max_ref_age_ms, .. }
            | SnapshotRetention::Tag { max_ref_age_ms } => *max_ref_age_ms,
        };
        let max_age_ms = own_age_ms.unwrap_or(retention.max_ref_age_ms);
        let snapshot = metadata.snapshot_by_id(reference.snapshot_id);
        let is_old = snapshot.is_none_or(|snapshot| {
            retention.now_ms.saturating_sub(snapshot.timestamp_ms()) > max_age_ms
        });
        match is_old && name != MAIN_BRANCH {
            true => expiry.references.push(name),
            false => retained.push(reference),
        }
    }
    retained
}

/// A snapshot and those before it, as far as the table has them, with their times.
fn ancestors(metadata: &TableMetadata, snapshot_id: i64) -> Vec<(i64, i64)> {
    let by_id: HashMap<i64, _> = metadata
        .snapshots()
        .map(|snapshot| (snapshot.snapshot_id(), snapshot))
        .collect();
    let mut ancestors = Vec::new();
    let mut next = Some(snapshot_id);
    while let Some(snapshot) = next.and_then(|id| by_id.get(&id)) {
        ancestors.push((snapshot.snapshot_id(), snapshot.timestamp_ms()));
        next = snapshot.parent_snapshot_id();
        if ancestors.len() > by_id.len() {
            break;
        }
    }
    ancestors
}
