//! Metadata tables that come from the table metadata alone.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{Literal, PrimitiveType, SnapshotRetention};

use super::columns::{
    BIGINT, BOOLEAN, Column, ColumnType, INTEGER, TIMESTAMP_TZ, VARCHAR, map, optional, required,
    text, time_of_millis,
};
use crate::error::Result;
use crate::table::Table;

type Rows = Vec<Vec<Option<Literal>>>;

pub(super) fn snapshots_columns() -> Vec<Column> {
    let summary = ColumnType::Map(PrimitiveType::String, Box::new(VARCHAR));
    vec![
        required("committed_at", TIMESTAMP_TZ),
        required("snapshot_id", BIGINT),
        optional("parent_id", BIGINT),
        optional("operation", VARCHAR),
        optional("manifest_list", VARCHAR),
        optional("summary", summary),
    ]
}

/// All snapshots, oldest first.
pub(super) fn snapshots(table: &Table) -> Rows {
    let mut snapshots: Vec<_> = table.metadata.snapshots().collect();
    snapshots.sort_by_key(|snapshot| {
        (
            snapshot.timestamp_ms(),
            snapshot.sequence_number(),
            snapshot.snapshot_id(),
        )
    });
    let row_of = |snapshot: &iceberg::spec::SnapshotRef| {
        let summary = snapshot.summary();
        let properties: BTreeMap<_, _> = summary.additional_properties.iter().collect();
        let properties = properties
            .into_iter()
            .map(|(key, value)| (Literal::string(key), Literal::string(value)));
        vec![
            time_of_millis(snapshot.timestamp_ms()),
            Some(Literal::long(snapshot.snapshot_id())),
            snapshot.parent_snapshot_id().map(Literal::long),
            text(summary.operation.as_str()),
            text(snapshot.manifest_list()),
            map(properties),
        ]
    };
    snapshots.into_iter().map(row_of).collect()
}

pub(super) fn history_columns() -> Vec<Column> {
    vec![
        required("made_current_at", TIMESTAMP_TZ),
        required("snapshot_id", BIGINT),
        optional("parent_id", BIGINT),
        required("is_current_ancestor", BOOLEAN),
    ]
}

/// The snapshot log, in its order.
pub(super) fn history(table: &Table) -> Rows {
    let metadata = &table.metadata;
    let mut ancestors = HashSet::new();
    let mut next = metadata.current_snapshot_id();
    while let Some(snapshot_id) = next {
        // Stops at an id seen before: broken metadata must not hang the reader.
        if !ancestors.insert(snapshot_id) {
            break;
        }
        let snapshot = metadata.snapshot_by_id(snapshot_id);
        next = snapshot.and_then(|snapshot| snapshot.parent_snapshot_id());
    }
    let row_of = |entry: &iceberg::spec::SnapshotLog| {
        let snapshot = metadata.snapshot_by_id(entry.snapshot_id);
        let parent_id = snapshot.and_then(|snapshot| snapshot.parent_snapshot_id());
        vec![
            time_of_millis(entry.timestamp_ms),
            Some(Literal::long(entry.snapshot_id)),
            parent_id.map(Literal::long),
            Some(Literal::bool(ancestors.contains(&entry.snapshot_id))),
        ]
    };
    metadata.history().iter().map(row_of).collect()
}

pub(super) fn refs_columns() -> Vec<Column> {
    vec![
        required("name", VARCHAR),
        required("type", VARCHAR),
        required("snapshot_id", BIGINT),
        optional("max_reference_age_in_ms", BIGINT),
        optional("min_snapshots_to_keep", INTEGER),
        optional("max_snapshot_age_in_ms", BIGINT),
    ]
}

/// Branches and tags by name.
pub(super) fn refs(table: &Table) -> Result<Rows> {
    let row_of = |(name, reference): (String, iceberg::spec::SnapshotReference)| {
        let (kind, max_ref_age, min_snapshots, max_snapshot_age) = match reference.retention {
            SnapshotRetention::Branch {
                min_snapshots_to_keep,
                max_snapshot_age_ms,
                max_ref_age_ms,
            } => (
                "BRANCH",
                max_ref_age_ms,
                min_snapshots_to_keep,
                max_snapshot_age_ms,
            ),
            SnapshotRetention::Tag { max_ref_age_ms } => ("TAG", max_ref_age_ms, None, None),
        };
        vec![
            text(name),
            text(kind),
            Some(Literal::long(reference.snapshot_id)),
            max_ref_age.map(Literal::long),
            min_snapshots.map(Literal::int),
            max_snapshot_age.map(Literal::long),
        ]
    };
    Ok(table.references()?.into_iter().map(row_of).collect())
}

pub(super) fn properties_columns() -> Vec<Column> {
    vec![required("key", VARCHAR), optional("value", VARCHAR)]
}

/// Table properties by key.
pub(super) fn properties(table: &Table) -> Rows {
    let properties: BTreeMap<_, _> = table.metadata.properties().iter().collect();
    let row_of = |(key, value): (&String, &String)| vec![text(key), text(value)];
    properties.into_iter().map(row_of).collect()
}

pub(super) fn metadata_log_columns() -> Vec<Column> {
    vec![
        required("timestamp", TIMESTAMP_TZ),
        required("file", VARCHAR),
        optional("latest_snapshot_id", BIGINT),
        optional("latest_schema_id", INTEGER),
        optional("latest_sequence_number", BIGINT),
    ]
}

/// The metadata log and the current metadata file, oldest first.
pub(super) fn metadata_log(table: &Table) -> Rows {
    let metadata = &table.metadata;
    let previous = metadata
        .metadata_log()
        .iter()
        .map(|entry| (entry.timestamp_ms, entry.metadata_file.as_str()));
    let current = table
        .metadata_location
        .as_deref()
        .map(|location| (metadata.last_updated_ms(), location));
    let row_of = |(timestamp_ms, file): (i64, &str)| {
        // What was current when that file was written, by the snapshot log.
        let log = metadata.history();
        let entry = log.iter().rfind(|entry| entry.timestamp_ms <= timestamp_ms);
        let snapshot = entry.and_then(|entry| metadata.snapshot_by_id(entry.snapshot_id));
        let schema_id = snapshot.and_then(|snapshot| snapshot.schema_id());
        let sequence_number = snapshot.map(|snapshot| snapshot.sequence_number());
        vec![
            time_of_millis(timestamp_ms),
            text(file),
            entry.map(|entry| Literal::long(entry.snapshot_id)),
            schema_id.map(Literal::int),
            sequence_number.map(Literal::long),
        ]
    };
    previous.chain(current).map(row_of).collect()
}
