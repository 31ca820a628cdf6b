//! Rewriting data files: the same rows in other files (`optimize`).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use iceberg::expr::Predicate;
use iceberg::spec::{DataFile, FormatVersion, MAIN_BRANCH, Operation};

use super::append::validate_files;
use super::produce::SnapshotProducer;
use super::removal::Removal;
use super::row_delta::commit_snapshot;
use super::summary::ParentFiles;
use super::validation::{Isolation, Validation, Validator};
use crate::catalog::Catalog;
use crate::error::Result;
use crate::table::Table;

/// Data files whose rows were written again.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Paths of the data files that leave the table.
    pub removed: HashSet<String>,
    /// Files with the rows that their deletes left, written with the table's current schema and
    /// default partition spec.
    pub added: Vec<DataFile>,
}

/// What a rewrite changed, from the summary of its snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RewriteReport {
    pub removed_data_files: u64,
    pub added_data_files: u64,
    pub removed_delete_files: u64,
    /// Size of the removed data and delete files, in bytes.
    pub removed_bytes: u64,
    /// Size of the added files, in bytes.
    pub added_bytes: u64,
}

/// Commits a rewrite of files of the current state of `table`, as it is passed here, as a
/// snapshot with the operation `replace`. Delete files that apply to no data file afterwards
/// leave the table, too.
///
/// The new files get the data sequence number of the state that was read: equality deletes that
/// others commit meanwhile apply to them as they did to the old ones, if they are of the new files'
/// partition spec or of all partitions. What others append meanwhile does not matter.
///
/// # Errors
/// `CommitConflict` when others removed one of the files meanwhile, or deleted rows of it by
/// position or by equality in another partition spec than the new files'; else as [`commit_row_delta`](super::commit_row_delta).
pub async fn commit_rewrite(
    catalog: &dyn Catalog,
    table: &Table,
    rewrite: Rewrite,
) -> Result<(Table, RewriteReport)> {
    let metadata = &table.metadata;
    let start = metadata.current_snapshot();
    let (Some(start), false) = (start, rewrite.removed.is_empty()) else {
        return Ok((table.clone(), RewriteReport::default()));
    };
    validate_files(table, &rewrite.added)?;
    let validation = Validation {
        isolation: Isolation::Snapshot,
        filter: Predicate::AlwaysTrue,
        reads_other_rows: false,
    };
    let mut validator = Validator::new(
        table,
        MAIN_BRANCH,
        rewrite.removed.clone(),
        Some(validation),
    );
    let mut producer = SnapshotProducer::new(
        catalog.storage(),
        Operation::Replace,
        ParentFiles::Keep,
        rewrite.added,
        (
            Arc::clone(metadata.current_schema()),
            Arc::clone(metadata.default_partition_spec()),
        ),
        BTreeMap::new(),
    )
    .with_row_changes(Vec::new(), Removal::Rewritten(rewrite.removed));
    if metadata.format_version() != FormatVersion::V1 {
        producer = producer.with_data_sequence_number(start.sequence_number());
        validator = validator.with_kept_sequence_number(metadata.default_partition_spec_id());
    }
    let committed = commit_snapshot(catalog, table, MAIN_BRANCH, producer, Some(validator)).await?;
    let report = report_of(&committed);
    Ok((committed, report))
}

fn report_of(committed: &Table) -> RewriteReport {
    let Some(snapshot) = committed.metadata.current_snapshot() else {
        return RewriteReport::default();
    };
    let summary = &snapshot.summary().additional_properties;
    let number = |key: &str| summary.get(key).and_then(|value| value.parse().ok());
    RewriteReport {
        removed_data_files: number("deleted-data-files").unwrap_or(0),
        added_data_files: number("added-data-files").unwrap_or(0),
        removed_delete_files: number("removed-delete-files").unwrap_or(0),
        removed_bytes: number("removed-files-size").unwrap_or(0),
        added_bytes: number("added-files-size").unwrap_or(0),
    }
}
