//! Snapshot summaries: what a snapshot added and what the table has in total.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{
    DataFile, Operation, PartitionSpecRef, SchemaRef, Snapshot, SnapshotSummaryCollector, Summary,
};

/// Pairs of (total, added, removed) summary keys.
const TOTALS: [(&str, &str, &str); 6] = [
    ("total-data-files", "added-data-files", "deleted-data-files"),
    (
        "total-delete-files",
        "added-delete-files",
        "removed-delete-files",
    ),
    ("total-records", "added-records", "deleted-records"),
    ("total-files-size", "added-files-size", "removed-files-size"),
    (
        "total-position-deletes",
        "added-position-deletes",
        "removed-position-deletes",
    ),
    (
        "total-equality-deletes",
        "added-equality-deletes",
        "removed-equality-deletes",
    ),
];

/// What a snapshot does with the files of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParentFiles {
    /// They stay.
    Keep,
    /// They leave the table (and stay reachable through the parent).
    Remove,
}

/// A file that a snapshot adds or removes, with what it was written with.
#[derive(Debug, Clone)]
pub(super) struct ChangedFile {
    pub file: DataFile,
    pub schema: SchemaRef,
    pub spec: PartitionSpecRef,
}

/// The summary of a snapshot that adds and removes these files, as the specification's
/// "Optional Snapshot Summary Fields" lists them, with the caller's own entries.
pub(super) fn summary(
    operation: Operation,
    added: &[ChangedFile],
    removed: &[ChangedFile],
    parent: Option<&Snapshot>,
    parent_files: ParentFiles,
    extra: &BTreeMap<String, String>,
) -> Summary {
    let mut collector = SnapshotSummaryCollector::default();
    for ChangedFile { file, schema, spec } in added {
        collector.add_file(file, schema.clone(), spec.clone());
    }
    for ChangedFile { file, schema, spec } in removed {
        collector.remove_file(file, schema.clone(), spec.clone());
    }
    let mut properties: HashMap<String, String> = extra
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // Counted numbers win over what a caller says they are.
    properties.extend(collector.build());
    let parent = parent.map(Snapshot::summary);
    for (total_key, added_key, removed_key) in TOTALS {
        let number = |properties: &HashMap<String, String>, key: &str| {
            properties.get(key).and_then(|value| value.parse().ok())
        };
        let added: u64 = number(&properties, added_key).unwrap_or(0);
        let removed: u64 = number(&properties, removed_key).unwrap_or(0);
        // A parent written by a library that keeps no totals makes ours unknown.
        let before: Option<u64> = match parent {
            None => Some(0),
            Some(parent) => number(&parent.additional_properties, total_key),
        };
        match parent_files {
            ParentFiles::Keep => {
                if let Some(before) = before {
                    let total = (before + added).saturating_sub(removed);
                    properties.insert(total_key.to_string(), total.to_string());
                }
            }
            ParentFiles::Remove => {
                if let Some(before) = before.filter(|before| *before > 0) {
                    properties.insert(removed_key.to_string(), before.to_string());
                }
                properties.insert(total_key.to_string(), added.to_string());
            }
        }
    }
    properties.insert("engine-name".to_string(), "ingot".to_string());
    properties.insert(
        "engine-version".to_string(),
        env!("CARGO_PKG_VERSION").to_string(),
    );
    Summary {
        operation,
        additional_properties: properties,
    }
}
