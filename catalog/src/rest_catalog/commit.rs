//! Commits of tables.
//!
//! A commit whose answer is lost (a timeout, a broken connection, an error of the server or of a
//! proxy on the way) may have happened or happen yet, and whoever asked for it must not delete
//! files until that is known. So the table is loaded again: if it has what the commit brings, it
//! happened; if the commit's requirements no longer hold, it cannot happen any more; if both are
//! not so, the same commit is sent again, which can take effect only once. Only when that leads to
//! nothing, the outcome stays unknown.

use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::{MAIN_BRANCH, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use serde_json::Value;

use super::Inner;
use super::creation::creating_updates;
use super::failure::Failure;
use super::http::Call;
use super::wire::{CommitTable, CommitTransaction, TableResult};
use crate::catalog::TableCommit;
use crate::error::{CatalogError, Result};
use crate::table::{Table, ident_name};

/// How often a commit without an answer is sent again.
const RESENDS: u32 = 3;
/// How long to wait before looking what became of it, the first time.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// What became of a commit without an answer.
enum Outcome {
    /// It happened; these are the tables.
    Done(Vec<Table>),
    /// It cannot happen any more.
    Refused(CatalogError),
    /// It has not happened, and may yet.
    Open,
    /// The tables cannot be loaded.
    Unknown(CatalogError),
}

impl Inner {
    /// Commits on a task of its own: a caller that stops waiting (a cancelled statement) does not
    /// leave it open what happened.
    pub(super) async fn commit_in_background(
        self: &Arc<Self>,
        commits: Vec<TableCommit>,
    ) -> Result<Vec<Table>> {
        let inner = Arc::clone(self);
        let name = names(&commits);
        let task = tokio::spawn(async move { inner.commit(commits).await });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(CatalogError::CommitStateUnknown {
                table: name,
                reason: error.to_string(),
            }),
        }
    }

    async fn commit(self: &Arc<Self>, commits: Vec<TableCommit>) -> Result<Vec<Table>> {
        let mut pinned = Vec::with_capacity(commits.len());
        for commit in commits {
            pinned.push(self.pinned(commit).await?);
        }
        if pinned.is_empty() {
            return Ok(Vec::new());
        }
        if pinned.len() > 1 && !self.endpoints.has_transactions() {
            return Err(CatalogError::Unsupported(format!(
                "committing {} at once in catalog {}, whose server does not offer it,",
                names(&pinned),
                self.name
            )));
        }
        let call = self.commit_call(&pinned)?;
        let mut wait = FIRST_LOOK;
        let mut resends = 0;
        loop {
            let failure = match self.send_commit(&call, &pinned).await {
                Ok(tables) => return Ok(tables),
                Err(failure) => failure,
            };
            // Sent again, it collides with itself if the first one did happen.
            let is_open =
                failure.leaves_commit_open() || (resends > 0 && failure.status() == Some(409));
            if !is_open {
                return Err(self.commit_error(failure, &pinned).await);
            }
            tracing::warn!(
                catalog = %self.name,
                tables = %names(&pinned),
                reason = %failure.reason(),
                "a commit has no answer: looking what became of it"
            );
            tokio::time::sleep(wait).await;
            wait *= 2;
            let unknown = |reason: String| CatalogError::CommitStateUnknown {
                table: names(&pinned),
                reason: format!("catalog {}: {reason}", self.name),
            };
            match self.outcome(&pinned).await {
                Outcome::Done(tables) => return Ok(tables),
                Outcome::Refused(error) => return Err(error),
                Outcome::Open if resends < RESENDS => resends += 1,
                Outcome::Open => return Err(unknown(failure.reason())),
                Outcome::Unknown(error) => {
                    return Err(unknown(format!("{}; then {error}", failure.reason())));
                }
            }
        }
    }

    /// The commit with requirements in the place of a metadata location, which the protocol cannot
    /// compare.
    async fn pinned(self: &Arc<Self>, mut commit: TableCommit) -> Result<TableCommit> {
        if commit.based_on.is_none() {
            return Ok(commit);
        }
        let current = self.load_table(&commit.ident).await?;
        commit.check_requirements(Some(&current))?;
        for requirement in requirements_of_state(&current)? {
            if !commit.requirements.contains(&requirement) {
                commit.requirements.push(requirement);
            }
        }
        commit.based_on = None;
        Ok(commit)
    }

    fn commit_call(&self, commits: &[TableCommit]) -> Result<Call> {
        let mut changes = Vec::with_capacity(commits.len());
        for commit in commits {
            let mut updates = match &commit.created_from {
                Some(metadata) => creating_updates(metadata),
                None => Vec::new(),
            };
            updates.extend(commit.updates.iter().cloned());
            changes.push(CommitTable {
                identifier: self.paths.identifier(&commit.ident)?,
                requirements: &commit.requirements,
                updates,
            });
        }
        let call = match commits {
            [one] => {
                let path = self.paths.table(&one.ident)?;
                changes.pop().map(|change| Call::post(path, &change))
            }
            _ => {
                let path = self.paths.of_catalog("transactions/commit");
                let body = CommitTransaction {
                    table_changes: changes,
                };
                Some(Call::post(path, &body))
            }
        };
        let none = || Err(Failure::Invalid("a commit has no changes".to_string()));
        let call = call.unwrap_or_else(none);
        call.map_err(|failure| self.error(failure))
    }

    /// Sends a commit once.
    async fn send_commit(
        self: &Arc<Self>,
        call: &Call,
        commits: &[TableCommit],
    ) -> Result<Vec<Table>, Failure> {
        let unreadable = |error: CatalogError| Failure::Unreadable {
            reason: error.to_string(),
        };
        if let [commit] = commits {
            let result = self.client.fetch::<TableResult>(call).await?;
            let table = self.loaded(&commit.ident, result).map_err(unreadable)?;
            return Ok(vec![table]);
        }
        self.client.send(call).await?;
        // The answer has no tables. That they cannot be loaded now does not undo the commit.
        let mut tables = Vec::with_capacity(commits.len());
        for commit in commits {
            tables.push(self.load_table(&commit.ident).await.map_err(unreadable)?);
        }
        Ok(tables)
    }

    /// The error of a commit that certainly did not happen.
    async fn commit_error(&self, failure: Failure, commits: &[TableCommit]) -> CatalogError {
        let creation = commits.iter().find(|commit| commit.created_from.is_some());
        if failure.status() == Some(409) {
            return match creation {
                Some(creation) if commits.len() == 1 => self.name_taken(&creation.ident).await,
                _ => CatalogError::CommitConflict {
                    table: names(commits),
                    reason: failure.reason().to_lowercase(),
                },
            };
        }
        match commits {
            [commit] if failure.is_missing() => match creation {
                Some(_) => match crate::table::schema_of(&commit.ident) {
                    Ok(schema) => self.schema_not_found(schema).await,
                    Err(error) => error,
                },
                None => self.table_not_found(&commit.ident).await,
            },
            _ => self.error(failure),
        }
    }

    /// Finds out what became of a commit. Its tables change together, so one that shows that it
    /// cannot have happened speaks for all.
    async fn outcome(self: &Arc<Self>, commits: &[TableCommit]) -> Outcome {
        let mut tables = Vec::with_capacity(commits.len());
        let mut is_done = true;
        let mut refused = None;
        for commit in commits {
            let table = match self.find_table(&commit.ident).await {
                Ok(table) => table,
                Err(error) => return Outcome::Unknown(error),
            };
            match table {
                Some(table) if has_happened(commit, &table) => tables.push(table),
                Some(table) => {
                    is_done = false;
                    refused = refused.or(commit.check_requirements(Some(&table)).err());
                }
                None => {
                    is_done = false;
                    if commit.created_from.is_none() {
                        refused.get_or_insert_with(|| CatalogError::CommitConflict {
                            table: ident_name(&commit.ident),
                            reason: "it was dropped or renamed meanwhile".to_string(),
                        });
                    }
                }
            }
        }
        match (is_done, refused) {
            (true, _) => Outcome::Done(tables),
            (false, Some(error)) => Outcome::Refused(error),
            (false, None) => Outcome::Open,
        }
    }
}

/// `schema.table`, or several of them.
fn names(commits: &[TableCommit]) -> String {
    let names: Vec<String> = commits
        .iter()
        .map(|commit| ident_name(&commit.ident))
        .collect();
    names.join(" and ")
}

/// Whether a table has what a commit brings.
fn has_happened(commit: &TableCommit, table: &Table) -> bool {
    let metadata = table.metadata.as_ref();
    if let Some(created_from) = &commit.created_from
        && created_from.uuid() != metadata.uuid()
    {
        return false;
    }
    let mut snapshots = commit.updates.iter().filter_map(|update| match update {
        TableUpdate::AddSnapshot { snapshot } => Some(snapshot),
        _ => None,
    });
    if let Some(snapshot) = snapshots.next() {
        // An earlier attempt had the same id and another list.
        let known = metadata.snapshot_by_id(snapshot.snapshot_id());
        return known.is_some_and(|known| known.manifest_list() == snapshot.manifest_list());
    }
    commit.created_from.is_some() || changes_nothing(commit, table)
}

/// Whether a commit without a snapshot leaves the table as it is.
fn changes_nothing(commit: &TableCommit, table: &Table) -> bool {
    let Ok(built) = commit.apply(Some(table)) else {
        return false;
    };
    match (content(&built.metadata), content(&table.metadata)) {
        (Ok(next), Ok(current)) => next == current,
        _ => false,
    }
}

/// The metadata without what every commit changes.
fn content(metadata: &TableMetadata) -> serde_json::Result<Value> {
    let mut json = serde_json::to_value(metadata)?;
    if let Some(fields) = json.as_object_mut() {
        fields.remove("last-updated-ms");
        fields.remove("metadata-log");
    }
    Ok(json)
}

/// What holds only as long as the table stays as it is, as far as requirements can say it.
fn requirements_of_state(table: &Table) -> Result<Vec<TableRequirement>> {
    let metadata = table.metadata.as_ref();
    let mut requirements = vec![
        TableRequirement::UuidMatch {
            uuid: metadata.uuid(),
        },
        TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: metadata.current_schema_id(),
        },
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id: metadata.last_column_id(),
        },
        TableRequirement::LastAssignedPartitionIdMatch {
            last_assigned_partition_id: metadata.last_partition_id(),
        },
        TableRequirement::DefaultSpecIdMatch {
            default_spec_id: metadata.default_partition_spec_id(),
        },
        TableRequirement::DefaultSortOrderIdMatch {
            default_sort_order_id: metadata.default_sort_order_id(),
        },
    ];
    let references = table.references()?;
    if !references.contains_key(MAIN_BRANCH) {
        requirements.push(TableRequirement::RefSnapshotIdMatch {
            r#ref: MAIN_BRANCH.to_string(),
            snapshot_id: None,
        });
    }
    requirements.extend(references.into_iter().map(|(name, reference)| {
        TableRequirement::RefSnapshotIdMatch {
            r#ref: name,
            snapshot_id: Some(reference.snapshot_id),
        }
    }));
    Ok(requirements)
}
