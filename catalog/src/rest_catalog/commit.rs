//! Commits of tables.
//!
//! A commit whose answer is lost (a timeout, a broken connection, an error of the server or of a
//! proxy on the way) may have happened or happen yet, and whoever asked for it must not delete
//! files until that is known. So the table is loaded again: if it has what the commit brings, it
//! happened; if the commit's requirements no longer hold, it cannot happen any more; if both are
//! not so, the same commit is sent again, which can take effect only once. What is answered to it
//! then says nothing of the earlier ones, which may still be under way: the table alone does. Only
//! when that leads to nothing, the outcome stays unknown.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::creation::creating_updates;
use super::evidence::has_happened;
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
    /// The tables cannot be loaded, or are not there.
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
            let is_open = resends > 0 || failure.leaves_commit_open();
            if is_open {
                tracing::warn!(
                    catalog = %self.name,
                    tables = %names(&pinned),
                    reason = %failure.reason(),
                    "a commit has no certain answer: looking what became of it"
                );
                tokio::time::sleep(wait).await;
                wait *= 2;
            } else if failure.status() != Some(409) {
                return Err(self.commit_error(failure, &pinned).await);
            }
            // A first conflict is looked into as well: a commit that a proxy on the way has sent
            // twice collides with itself.
            let unknown = |reason: String| CatalogError::CommitStateUnknown {
                table: names(&pinned),
                reason: format!("catalog {}: {reason}", self.name),
            };
            match self.outcome(&pinned).await {
                Outcome::Done(tables) => return Ok(tables),
                Outcome::Refused(_) | Outcome::Open if !is_open => {
                    return Err(self.commit_error(failure, &pinned).await);
                }
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
        commit.require_state(&current)?;
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
        // Such an answer is not that of the commit, whatever its status.
        let lacking = |commit: &TableCommit| Failure::Unreadable {
            reason: format!(
                "it has not what was committed to {}",
                ident_name(&commit.ident)
            ),
        };
        if let [commit] = commits {
            let result = self.client.fetch::<TableResult>(call).await?;
            let table = self.loaded(&commit.ident, result).map_err(unreadable)?;
            return match has_happened(commit, &table) {
                true => Ok(vec![table]),
                false => Err(lacking(commit)),
            };
        }
        let body = self.client.send(call).await?;
        // The protocol's answer is empty. That the tables cannot be loaded now does not undo the
        // commit.
        let mut tables = Vec::with_capacity(commits.len());
        for commit in commits {
            let table = self.load_table(&commit.ident).await.map_err(unreadable)?;
            if !body.is_empty() && !has_happened(commit, &table) {
                return Err(lacking(commit));
            }
            tables.push(table);
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
        let mut missing = None;
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
                    // It was dropped or renamed, perhaps with the commit in it.
                    if commit.created_from.is_none() {
                        missing.get_or_insert_with(|| CatalogError::TableNotFound {
                            name: ident_name(&commit.ident),
                            suggestion: None,
                        });
                    }
                }
            }
        }
        match (is_done, refused, missing) {
            (true, _, _) => Outcome::Done(tables),
            (false, Some(error), _) => Outcome::Refused(error),
            (false, None, Some(error)) => Outcome::Unknown(error),
            (false, None, None) => Outcome::Open,
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
