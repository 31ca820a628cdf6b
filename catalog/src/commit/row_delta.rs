//! Changing rows: removing data files, adding data files and adding position deletes, in one
//! snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use iceberg::TableRequirement;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, FormatVersion, MAIN_BRANCH, Operation,
    PartitionSpecRef,
};

use super::append::{
    check_branch, check_branch_is_there, one_table, validate_files, validate_rebase,
};
use super::produce::SnapshotProducer;
use super::removal::Removal;
use super::retry::Backoff;
use super::summary::ParentFiles;
use super::turns::take_turn;
use super::validation::{Validation, Validator};
use crate::catalog::{Catalog, TableCommit};
use crate::error::{CatalogError, Result};
use crate::table::Table;

/// What a statement changes in a table.
#[derive(Debug, Clone, Default)]
pub struct RowDelta {
    /// The branch that it changes; `main` when there is none.
    pub branch: Option<String>,
    /// New data files, written with the table's current schema and default partition spec.
    pub data_files: Vec<DataFile>,
    /// New position delete files or, in format version 3, deletion vectors, each with the id of its partition spec.
    pub delete_files: Vec<(i32, DataFile)>,
    /// The paths of the data files that `delete_files` delete from.
    pub deleted_from: HashSet<String>,
    /// The files that leave the table.
    pub removal: Removal,
    /// What concurrent commits must not have done; `None` lets this one come after any other.
    pub validation: Option<Validation>,
    /// The change was worked out from all rows of the branch: no other snapshot may have come between.
    pub replaces_snapshot: bool,
    /// Added to the snapshot's summary.
    pub summary: BTreeMap<String, String>,
}

impl RowDelta {
    /// The snapshot's operation (Iceberg specification, "Snapshots").
    fn operation(&self) -> Operation {
        let removes = !self.removal.is_nothing() || !self.delete_files.is_empty();
        match (removes, self.data_files.is_empty()) {
            (true, true) => Operation::Delete,
            (true, false) => Operation::Overwrite,
            (false, _) => Operation::Append,
        }
    }

    /// Data files of the start snapshot that this change relies on.
    fn touched_files(&self) -> HashSet<String> {
        let mut touched = self.deleted_from.clone();
        if let Removal::Files(paths) | Removal::Rewritten(paths) = &self.removal {
            touched.extend(paths.iter().cloned());
        }
        touched
    }
}

/// Commits a change of rows that was made on the current state of `table`, or of its branch, as
/// it is passed here. When another writer was first, the change is validated against what was
/// committed since, and tried again on top of it. A change of nothing is not committed, unless the
/// summary has something to tell; `table` comes back.
///
/// # Errors
/// `CommitConflict` when a concurrent commit broke the validation, and in the cases of
/// [`append_files`](super::append_files); `Unsupported` for delete files that the table's
/// format version does not have; `CommitStateUnknown`, see the module.
pub async fn commit_row_delta(
    catalog: &dyn Catalog,
    table: &Table,
    delta: RowDelta,
) -> Result<Table> {
    let changes_nothing =
        delta.removal.is_nothing() && delta.data_files.is_empty() && delta.delete_files.is_empty();
    if changes_nothing && delta.summary.is_empty() {
        return Ok(table.clone());
    }
    validate_files(table, &delta.data_files)?;
    let delete_files = delete_files_by_spec(table, &delta)?;
    let touched = delta.touched_files();
    let branch = delta.branch.as_deref().unwrap_or(MAIN_BRANCH).to_string();
    check_branch(table, &branch)?;
    let validator = Validator::new(table, &branch, touched, delta.validation.clone())
        .on_same_snapshot_only(delta.replaces_snapshot);
    let producer = SnapshotProducer::new(
        catalog.storage(),
        delta.operation(),
        ParentFiles::Keep,
        delta.data_files,
        (
            Arc::clone(table.metadata.current_schema()),
            Arc::clone(table.metadata.default_partition_spec()),
        ),
        delta.summary,
    )
    .with_row_changes(delete_files, delta.removal);
    commit_snapshot(catalog, table, &branch, producer, Some(validator)).await
}

/// Commits a snapshot on top of the newest state of `table`, or of a branch of it, validated, as
/// often as others were first. Whatever does not become visible leaves no metadata files.
pub(super) async fn commit_snapshot(
    catalog: &dyn Catalog,
    table: &Table,
    branch: &str,
    producer: SnapshotProducer,
    mut validator: Option<Validator<'_>>,
) -> Result<Table> {
    let mut producer = producer.on_branch(branch);
    let mut backoff = Backoff::new(table.metadata.properties())?;
    let _turn = take_turn(catalog.storage(), table.metadata.uuid()).await;
    loop {
        let attempt = async {
            let newest = catalog.load_table(&table.ident).await?;
            validate_rebase(table, &newest.metadata)?;
            check_branch_is_there(&newest, branch)?;
            if let Some(validator) = &mut validator {
                validator.validate(catalog.storage(), &newest).await?;
            }
            producer.produce(&newest.metadata).await
        };
        let produced = match attempt.await {
            Ok(produced) => produced,
            Err(error) => {
                producer.discard().await;
                return Err(error);
            }
        };
        let commit = TableCommit {
            ident: table.ident.clone(),
            requirements: vec![
                TableRequirement::UuidMatch {
                    uuid: table.metadata.uuid(),
                },
                produced.requirement.clone(),
            ],
            based_on: None,
            created_from: None,
            updates: produced.updates.clone(),
        };
        match catalog.commit(vec![commit]).await {
            Ok(tables) => {
                producer.keep_only(&produced).await;
                return one_table(tables, table);
            }
            Err(error) if error.is_conflict() => {
                if backoff.wait().await {
                    producer.discard_attempt().await;
                } else {
                    producer.discard().await;
                    return Err(error);
                }
            }
            Err(error @ CatalogError::CommitStateUnknown { .. }) => return Err(error),
            Err(error) => {
                producer.discard().await;
                return Err(error);
            }
        }
    }
}

/// The delete files of a change by their partition spec, as manifests hold them.
fn delete_files_by_spec(
    table: &Table,
    delta: &RowDelta,
) -> Result<Vec<(PartitionSpecRef, Vec<DataFile>)>> {
    let format_version = table.metadata.format_version();
    // Version 3 has deletion vectors in place of position delete files.
    let format = match format_version {
        FormatVersion::V1 => None,
        FormatVersion::V2 => Some(DataFileFormat::Parquet),
        FormatVersion::V3 => Some(DataFileFormat::Puffin),
    };
    let mut files = delta.delete_files.iter();
    if let Some((_, file)) = files.find(|(_, file)| Some(file.file_format()) != format) {
        return Err(CatalogError::Unsupported(format!(
            "adding {} delete files to table {} of format version {}",
            file.file_format(),
            table.name(),
            format_version as u8
        )));
    }
    let mut by_spec: HashMap<i32, Vec<DataFile>> = HashMap::new();
    for (spec_id, file) in &delta.delete_files {
        if file.content_type() != DataContentType::PositionDeletes {
            return Err(CatalogError::InvalidInput(format!(
                "file {} is no position delete file: it cannot be added to table {} as one",
                file.file_path(),
                table.name()
            )));
        }
        by_spec.entry(*spec_id).or_default().push(file.clone());
    }
    let mut spec_ids: Vec<i32> = by_spec.keys().copied().collect();
    spec_ids.sort_unstable();
    let mut groups = Vec::with_capacity(spec_ids.len());
    for spec_id in spec_ids {
        let spec = table.metadata.partition_spec_by_id(spec_id);
        let spec = spec.ok_or_else(|| {
            CatalogError::InvalidInput(format!(
                "table {} has no partition spec {spec_id}",
                table.name()
            ))
        })?;
        let files = by_spec.remove(&spec_id).unwrap_or_default();
        groups.push((Arc::clone(spec), files));
    }
    Ok(groups)
}
