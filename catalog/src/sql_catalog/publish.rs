//! Committing tables: metadata files first, then one database transaction.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::TableIdent;
use tracing::warn;

use super::metadata_file::{self, NextMetadata};
use super::schema::kind;
use super::version::NewVersion;
use super::{Inner, names, schema_of};
use crate::catalog::TableCommit;
use crate::error::{CatalogError, Result};
use crate::table::{Table, ident_name};

/// One table of a commit, ready to be published.
pub(super) struct Prepared {
    commit: TableCommit,
    /// `None` for a creation.
    current: Option<Table>,
    /// `None` when the updates change nothing.
    next: Option<NextMetadata>,
}

/// How publishing went wrong.
enum Failure {
    /// Nothing is visible: the metadata files can go.
    Refused(CatalogError),
    /// It may or may not be visible: the metadata files must stay.
    Unknown(CatalogError),
}

impl Inner {
    /// Commits on a task of its own: a caller that stops waiting (a cancelled
    /// statement) does not leave a commit half done.
    pub(super) async fn commit_in_background(
        self: &Arc<Self>,
        commits: Vec<TableCommit>,
    ) -> Result<Vec<Table>> {
        let inner = Arc::clone(self);
        let task = tokio::spawn(async move { inner.commit(commits).await });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(CatalogError::CommitStateUnknown {
                table: "the tables of a commit".to_string(),
                reason: error.to_string(),
            }),
        }
    }

    async fn commit(&self, commits: Vec<TableCommit>) -> Result<Vec<Table>> {
        let mut seen = HashSet::new();
        for commit in &commits {
            if !seen.insert(&commit.ident) {
                return Err(CatalogError::InvalidInput(format!(
                    "table {} is twice in one commit: join its changes",
                    ident_name(&commit.ident)
                )));
            }
        }
        let mut prepared = Vec::with_capacity(commits.len());
        for commit in commits {
            prepared.push(self.prepare(commit).await?);
        }

        self.write_metadata(&prepared).await?;
        match self.publish(&prepared).await {
            Ok(()) => Ok(self.published(prepared).await),
            Err(Failure::Refused(error)) => {
                self.delete_metadata(&prepared).await;
                Err(error)
            }
            Err(Failure::Unknown(error)) => Err(error),
        }
    }

    /// Writes the next metadata file of each table, or of none.
    pub(super) async fn write_metadata(&self, prepared: &[Prepared]) -> Result<()> {
        for (index, table) in prepared.iter().enumerate() {
            if let Some(next) = &table.next
                && let Err(error) = metadata_file::write(&self.storage, next).await
            {
                // The failed one too: it may have been written before the error.
                self.delete_metadata(&prepared[..=index]).await;
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) async fn prepare(&self, commit: TableCommit) -> Result<Prepared> {
        let schema = schema_of(&commit.ident)?;
        let current = self.find_table(&commit.ident).await?;
        if current.is_none() && commit.created_from.is_none() {
            return Err(self.table_not_found(&commit.ident).await);
        }
        let next = metadata_file::next_metadata(&commit, current.as_ref())?;
        if let Some(next) = &next {
            let location = next.metadata.location();
            let has_moved = current
                .as_ref()
                .is_none_or(|table| table.metadata.location() != location);
            if has_moved {
                names::validate_name("table", commit.ident.name())?;
                self.check_table_location(schema, location).await?;
            }
        }
        Ok(Prepared {
            commit,
            current,
            next,
        })
    }

    async fn publish(&self, prepared: &[Prepared]) -> Result<(), Failure> {
        if prepared.iter().all(|table| table.next.is_none()) {
            return Ok(());
        }
        let mut version = NewVersion::begin(self).await.map_err(Failure::Refused)?;
        let mut changes = Vec::new();
        for table in prepared {
            if let Err(error) = self.publish_one(&mut version, table).await {
                drop(version);
                return Err(Failure::Refused(error));
            }
            if table.next.is_some() {
                let verb = match table.current {
                    Some(_) => "change",
                    None => "create",
                };
                changes.push(format!("{verb} table {}", ident_name(&table.commit.ident)));
            }
        }
        let message = changes.join(", ");
        match version.finish(&self.options.author, &message).await {
            Ok(()) => Ok(()),
            Err(error) => self.resolve(prepared, error).await,
        }
    }

    pub(super) async fn publish_one(
        &self,
        version: &mut NewVersion<'_>,
        table: &Prepared,
    ) -> Result<()> {
        let ident = &table.commit.ident;
        let name = (schema_of(ident)?, ident.name());
        let live = version.live(name.0, name.1).await?;
        let current_location = table
            .current
            .as_ref()
            .and_then(|current| current.metadata_location.as_deref());
        let live_location = live.as_ref().map(|object| object.content.as_str());
        if live_location != current_location {
            // What the requirements were checked against is no longer what is there.
            return Err(match (current_location, live_location) {
                (None, _) => CatalogError::TableExists {
                    name: ident_name(ident),
                },
                (Some(_), None) => CatalogError::CommitConflict {
                    table: ident_name(ident),
                    reason: "it was dropped or renamed meanwhile".to_string(),
                },
                (Some(_), Some(_)) => CatalogError::CommitConflict {
                    table: ident_name(ident),
                    reason: "it was changed meanwhile".to_string(),
                },
            });
        }
        let Some(next) = &table.next else {
            return Ok(());
        };
        if table.current.is_none() && !version.has_schema(name.0).await? {
            return Err(CatalogError::SchemaNotFound {
                name: name.0.to_string(),
                suggestion: None,
            });
        }
        version
            .set(kind::TABLE, name, live_location, Some(&next.location))
            .await
    }

    /// Finds out what became of a commit whose answer was lost.
    async fn resolve(&self, prepared: &[Prepared], error: CatalogError) -> Result<(), Failure> {
        let Some((table, next)) = prepared
            .iter()
            .find_map(|table| Some((table, table.next.as_ref()?)))
        else {
            return Err(Failure::Refused(error));
        };
        let ident = &table.commit.ident;
        let name = (schema_of(ident).map_err(Failure::Unknown)?, ident.name());
        // All tables of a commit are published together, so one of them tells.
        let published = NewVersion::was_published(self, name, kind::TABLE, &next.location).await;
        match published {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::Refused(error)),
            Err(_) => Err(Failure::Unknown(CatalogError::CommitStateUnknown {
                table: ident_name(ident),
                reason: error.to_string(),
            })),
        }
    }

    pub(super) async fn published(&self, prepared: Vec<Prepared>) -> Vec<Table> {
        let mut tables = Vec::with_capacity(prepared.len());
        for table in prepared {
            let Some(next) = table.next else {
                tables.extend(table.current);
                continue;
            };
            let metadata = Arc::new(next.metadata);
            self.metadata
                .insert(next.location.clone(), Arc::clone(&metadata))
                .await;
            if metadata_file::deletes_expired(&metadata) && !next.expired.is_empty() {
                let location = metadata.location();
                self.delete_old_metadata(&table.commit.ident, location, next.expired)
                    .await;
            }
            tables.push(Table {
                ident: table.commit.ident,
                metadata,
                metadata_location: Some(next.location),
            });
        }
        tables
    }

    /// Deletes metadata files that left a table's log, but for those that another branch, a tag
    /// or a kept version of the catalog still reads. After the rollback of a transaction they
    /// would still be in the log.
    async fn delete_old_metadata(&self, ident: &TableIdent, folder: &str, files: Vec<String>) {
        if self.position.is_transaction() {
            return;
        }
        let reachable = match self.reachable_metadata(ident, folder).await {
            Ok(reachable) => reachable,
            Err(error) => {
                warn!(%error, "cannot tell which old metadata files are needed: none is deleted");
                return;
            }
        };
        let unused = files.into_iter().filter(|file| !reachable.contains(file));
        self.delete_files(unused.collect()).await;
    }

    pub(super) async fn delete_metadata(&self, prepared: &[Prepared]) {
        let written = prepared.iter().filter_map(|table| table.next.as_ref());
        let locations: Vec<_> = written.map(|next| next.location.clone()).collect();
        self.delete_files(locations).await;
    }

    /// Deletes files that nothing refers to any more. A failure leaves garbage behind
    /// and is no reason to fail the statement.
    pub(super) async fn delete_files(&self, locations: Vec<String>) {
        if let Err((count, error)) = self.storage.delete_all(locations).await {
            warn!(count, %error, "cannot delete unused metadata files");
        }
    }
}
