//! Appending data files.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::{
    DataContentType, DataFile, MAIN_BRANCH, Operation, SnapshotReference, TableMetadata,
};
use iceberg::{TableRequirement, TableUpdate};

use super::produce::SnapshotProducer;
use super::retry::Backoff;
use super::summary::ParentFiles;
use super::turns::take_turn;
use crate::catalog::{Catalog, TableCommit};
use crate::error::{CatalogError, Result};
use crate::table::Table;

/// Adds data files to a table, in one snapshot. They must have been written with the
/// current schema and the default partition spec of `table`, as it is passed here.
///
/// Other appends since `table` was loaded do not matter: the snapshot goes on top of
/// the newest state, and is tried again when another writer was first. `summary` is
/// added to the snapshot's summary. Without files there is nothing to commit and
/// `table` comes back.
///
/// # Errors
/// `CommitConflict` when the table was dropped or replaced by another one meanwhile,
/// when columns that the files have were dropped, when a required column that they
/// lack was added, and when all retries were used up; `CommitStateUnknown`, see the
/// module; `InvalidInput` for files that are no data files of this table.
pub async fn append_files(
    catalog: &dyn Catalog,
    table: &Table,
    files: Vec<DataFile>,
    summary: BTreeMap<String, String>,
) -> Result<Table> {
    append_files_with(catalog, table, files, summary, &NothingElse).await
}

/// [`append_files`] to a branch of the table, which must exist; `main` stays as it is.
///
/// # Errors
/// As [`append_files`], `InvalidInput` when there is no such branch, and `CommitConflict` when
/// it was dropped meanwhile.
pub async fn append_files_to_branch(
    catalog: &dyn Catalog,
    table: &Table,
    branch: &str,
    files: Vec<DataFile>,
    summary: BTreeMap<String, String>,
) -> Result<Table> {
    check_branch(table, branch)?;
    append(catalog, table, branch, files, summary, &NothingElse).await
}

/// Refuses to go on when the branch that a statement writes to was dropped.
pub(super) fn check_branch_is_there(newest: &Table, branch: &str) -> Result<()> {
    check_branch(newest, branch).map_err(|_| CatalogError::CommitConflict {
        table: newest.name(),
        reason: format!("its branch {branch} was dropped meanwhile"),
    })
}

/// Refuses to write to what is no branch.
///
/// # Errors
/// `VersionNotFound`, and `InvalidInput` for a tag.
pub fn check_branch(table: &Table, branch: &str) -> Result<()> {
    match table.references()?.get(branch) {
        Some(reference) if reference.is_branch() => Ok(()),
        None if branch == MAIN_BRANCH => Ok(()),
        None => Err(CatalogError::VersionNotFound {
            table: table.name(),
            what: format!(
                "branch {branch:?}{}",
                table.references_near(branch, SnapshotReference::is_branch)
            ),
        }),
        Some(_) => Err(CatalogError::InvalidInput(format!(
            "{branch} of table {} is a tag: only branches can be written to",
            table.name()
        ))),
    }
}

/// Further changes to the table that become visible with an append, or not at all.
#[async_trait]
pub trait AppendChanges: Send + Sync {
    /// The changes, made anew for each attempt: `newest` is the state that this attempt
    /// goes on top of, `snapshot_id` the snapshot that it adds.
    ///
    /// # Errors
    /// An error ends the append; it is not tried again.
    async fn updates(&self, newest: &Table, snapshot_id: i64) -> Result<Vec<TableUpdate>>;
}

struct NothingElse;

#[async_trait]
impl AppendChanges for NothingElse {
    async fn updates(&self, _newest: &Table, _snapshot_id: i64) -> Result<Vec<TableUpdate>> {
        Ok(Vec::new())
    }
}

/// [`append_files`] together with other changes. Without files nothing is changed.
///
/// # Errors
/// As [`append_files`], and those of `changes`.
pub async fn append_files_with(
    catalog: &dyn Catalog,
    table: &Table,
    files: Vec<DataFile>,
    summary: BTreeMap<String, String>,
    changes: &dyn AppendChanges,
) -> Result<Table> {
    append(catalog, table, MAIN_BRANCH, files, summary, changes).await
}

async fn append(
    catalog: &dyn Catalog,
    table: &Table,
    branch: &str,
    files: Vec<DataFile>,
    summary: BTreeMap<String, String>,
    changes: &dyn AppendChanges,
) -> Result<Table> {
    if files.is_empty() {
        return Ok(table.clone());
    }
    validate_files(table, &files)?;
    let mut producer = SnapshotProducer::new(
        catalog.storage(),
        Operation::Append,
        ParentFiles::Keep,
        files,
        (
            Arc::clone(table.metadata.current_schema()),
            Arc::clone(table.metadata.default_partition_spec()),
        ),
        summary,
    )
    .on_branch(branch);
    let mut backoff = Backoff::new(table.metadata.properties())?;
    let _turn = take_turn(catalog.storage(), table.metadata.uuid()).await;
    loop {
        let attempt = async {
            let newest = catalog.load_table(&table.ident).await?;
            validate_rebase(table, &newest.metadata)?;
            check_branch_is_there(&newest, branch)?;
            let mut produced = producer.produce(&newest.metadata).await?;
            let more = changes.updates(&newest, producer.snapshot_id()).await?;
            produced.updates.extend(more);
            Ok((newest, produced))
        };
        let (newest, produced) = match attempt.await {
            Ok(attempted) => attempted,
            Err(error) => {
                producer.discard().await;
                return Err(error);
            }
        };
        let committed = catalog
            .commit(vec![TableCommit {
                ident: table.ident.clone(),
                requirements: vec![
                    TableRequirement::UuidMatch {
                        uuid: table.metadata.uuid(),
                    },
                    produced.requirement.clone(),
                    // What the files were checked against.
                    TableRequirement::CurrentSchemaIdMatch {
                        current_schema_id: newest.metadata.current_schema_id(),
                    },
                ],
                based_on: None,
                created_from: None,
                updates: produced.updates.clone(),
            }])
            .await;
        match committed {
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

/// The one table that a commit of one table returns.
pub(crate) fn one_table(tables: Vec<Table>, expected: &Table) -> Result<Table> {
    tables
        .into_iter()
        .next()
        .ok_or_else(|| CatalogError::CommitStateUnknown {
            table: expected.name(),
            reason: "the catalog did not return the table".to_string(),
        })
}

/// Refuses files that cannot be data files under the table's default spec.
pub(super) fn validate_files(table: &Table, files: &[DataFile]) -> Result<()> {
    let spec = table.metadata.default_partition_spec();
    let mut paths = HashSet::new();
    for file in files {
        let problem = if file.content_type() != DataContentType::Data {
            "is a delete file"
        } else if file.partition().fields().len() != spec.fields().len() {
            "has partition values of another partition spec"
        } else if !paths.insert(file.file_path()) {
            "is given twice"
        } else {
            continue;
        };
        return Err(CatalogError::InvalidInput(format!(
            "file {} {problem}: it cannot be added to table {}",
            file.file_path(),
            table.name()
        )));
    }
    Ok(())
}

/// Whether files written for `table` still mean the same in its newest state.
pub(super) fn validate_rebase(table: &Table, newest: &TableMetadata) -> Result<()> {
    let conflict = |reason: String| {
        Err(CatalogError::CommitConflict {
            table: table.name(),
            reason,
        })
    };
    if newest.uuid() != table.metadata.uuid() {
        return conflict("it was dropped and created again meanwhile".to_string());
    }
    let spec_id = table.metadata.default_partition_spec_id();
    if newest.partition_spec_by_id(spec_id).is_none() {
        return conflict("its partition spec was removed meanwhile".to_string());
    }
    let written = table.metadata.current_schema();
    let current = newest.current_schema();
    if written.schema_id() == current.schema_id() {
        return Ok(());
    }
    // A column may be dropped while an append runs, in other engines too; but after
    // CREATE OR REPLACE no column may be left, and the rows would read as nulls.
    for field in written.as_struct().fields() {
        if current.field_by_id(field.id).is_none() {
            return conflict(format!("its column {} was dropped meanwhile", field.name));
        }
    }
    for field in current.as_struct().fields() {
        let is_new = written.field_by_id(field.id).is_none();
        if is_new && field.required && field.initial_default.is_none() {
            return conflict(format!(
                "its required column {} was added meanwhile",
                field.name
            ));
        }
    }
    Ok(())
}
