//! Transactions: hidden branches that are merged or forgotten.
//!
//! The hidden branch's rows, versions and changes are deleted when the transaction ends: what
//! it published is one version of the branch that it began on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;
use tracing::warn;
use uuid::Uuid;

use super::merge::Source;
use super::position::Position;
use super::references::HIDDEN_PREFIX;
use super::schema::kind;
use super::version::NewVersion;
use super::{Inner, SqlCatalog};
use crate::catalog::Catalog;
use crate::commit::{WrittenTable, delete_written_files};
use crate::error::{CatalogError, Result};
use crate::versioned::{CatalogTransaction, MergeReport, VersionId};

/// A transaction of a [`SqlCatalog`].
pub(super) struct SqlTransaction {
    /// The branch that it began on.
    base: Arc<Inner>,
    /// The same catalog on the hidden branch.
    own: Arc<Inner>,
    ref_id: i64,
    fork_version: i64,
}

impl std::fmt::Debug for SqlTransaction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SqlTransaction")
            .field("catalog", &self.base.name)
            .field("ref_id", &self.ref_id)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl CatalogTransaction for SqlTransaction {
    fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::new(SqlCatalog {
            inner: Arc::clone(&self.own),
        })
    }

    async fn commit(&self) -> Result<MergeReport> {
        let source = Source {
            ref_id: self.ref_id,
            levels: self.own.position.levels().to_vec(),
            fork_version: self.fork_version,
        };
        // On a task of its own, as every commit: a caller that stops waiting does not leave
        // it half done.
        let (base, own) = (Arc::clone(&self.base), Arc::clone(&self.own));
        let task = tokio::spawn(async move { base.commit_transaction(&own, source).await });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(unknown_outcome(&error.to_string())),
        }
    }

    async fn roll_back(&self) -> Result<()> {
        let (own, ref_id) = (Arc::clone(&self.own), self.ref_id);
        let task = tokio::spawn(async move { own.roll_back(ref_id).await });
        match task.await {
            Ok(outcome) => outcome.map(|_| ()),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(unknown_outcome(&error.to_string())),
        }
    }
}

fn unknown_outcome(reason: &str) -> CatalogError {
    CatalogError::CommitStateUnknown {
        table: "the tables of a transaction".to_string(),
        reason: reason.to_string(),
    }
}

impl Inner {
    pub(super) async fn begin_transaction(self: &Arc<Self>) -> Result<SqlTransaction> {
        self.position.refuse_in_transaction("a transaction")?;
        let mut version = NewVersion::begin(self).await?;
        let parent = self.fork_point(&mut version, &self.position).await?;
        let name = format!("{HIDDEN_PREFIX}transaction-{}", Uuid::new_v4());
        let created = self
            .insert_reference(&mut version, kind::TRANSACTION, &name, parent)
            .await?;
        let levels = self.levels_of(version.connection(), &created).await?;
        version.finish_unrecorded().await?;
        Ok(SqlTransaction {
            base: Arc::clone(self),
            own: Arc::new(self.at_position(Position::transaction(levels))),
            ref_id: created.ref_id,
            fork_version: parent.1,
        })
    }

    async fn commit_transaction(&self, own: &Inner, source: Source) -> Result<MergeReport> {
        let ref_id = source.ref_id;
        let mut version = NewVersion::begin(self).await?;
        let stored = self.reference_by_id(version.connection(), ref_id).await?;
        if stored.is_none_or(|stored| stored.kind != kind::TRANSACTION) {
            return Err(CatalogError::ReferenceEnded {
                what: own.position.what(),
            });
        }
        let merged = self.publish_source(&mut version, &source).await?;
        if !merged.conflicts.is_empty() {
            return Err(CatalogError::TransactionConflict {
                target: self.position.what(),
                objects: merged.conflicts.into_iter().collect(),
            });
        }
        // From now on nothing tells that they were the transaction's.
        let unpublished = self.unpublished_views(version.connection(), ref_id).await?;
        self.delete_rows_of(version.connection(), ref_id).await?;
        let changed = merged.changed();
        let number = (!changed.is_empty()).then_some(version.number());
        let finished = match number {
            Some(_) => {
                let message = format!("transaction: {}", merged.message());
                version.finish(&self.options.author, &message).await
            }
            None => version.finish_unrecorded().await,
        };
        if let Err(error) = finished {
            self.resolve_transaction(ref_id, error).await?;
        }
        self.delete_files(unpublished).await;
        Ok(MergeReport {
            version: number.map(VersionId::from),
            changed,
        })
    }

    /// The metadata files of views that a transaction wrote, replaced or dropped again: only it
    /// could read them.
    async fn unpublished_views(
        &self,
        connection: &mut sqlx::AnyConnection,
        ref_id: i64,
    ) -> Result<Vec<String>> {
        let mut written = self
            .contents_of(&mut *connection, ref_id)
            .await?
            .written_views;
        if written.is_empty() {
            return Ok(written);
        }
        let published: Vec<String> = sqlx::query_scalar(
            "SELECT content FROM catalog_objects
             WHERE catalog_id = $1 AND ref_id = $2 AND kind = $3 AND to_version IS NULL
               AND content IS NOT NULL",
        )
        .bind(self.catalog_id)
        .bind(ref_id)
        .bind(kind::VIEW)
        .fetch_all(connection)
        .await
        .map_err(|source| self.error(source))?;
        written.retain(|location| !published.contains(location));
        Ok(written)
    }

    /// Finds out what became of a transaction's commit whose answer was lost: its hidden
    /// branch is gone if and only if it happened.
    async fn resolve_transaction(&self, ref_id: i64, error: CatalogError) -> Result<()> {
        let look = async {
            let main = self.at_position(Position::main());
            // Waits for a commit that is still being decided.
            let mut version = NewVersion::begin(&main).await?;
            self.reference_by_id(version.connection(), ref_id).await
        };
        match look.await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(error),
            Err(_) => Err(unknown_outcome(&error.to_string())),
        }
    }

    /// Ends a transaction without publishing it. False when it had ended.
    async fn roll_back(&self, ref_id: i64) -> Result<bool> {
        let main = self.at_position(Position::main());
        let mut version = NewVersion::begin(&main).await?;
        // From here on it cannot be committed, so that its files can go.
        let updated = sqlx::query(
            "UPDATE catalog_refs SET kind = $1
             WHERE catalog_id = $2 AND ref_id = $3 AND kind = $4",
        )
        .bind(kind::ROLLED_BACK)
        .bind(self.catalog_id)
        .bind(ref_id)
        .bind(kind::TRANSACTION)
        .execute(version.connection())
        .await
        .map_err(|source| self.error(source))?;
        if updated.rows_affected() == 0 {
            return Ok(false);
        }
        version.finish_unrecorded().await?;
        self.clean_up(ref_id).await?;
        Ok(true)
    }

    /// Deletes the files of a transaction that was rolled back, and then its rows. Files that
    /// cannot be deleted now keep the rows: they are tried again at the next start.
    async fn clean_up(&self, ref_id: i64) -> Result<()> {
        if let Err(error) = self.delete_files_of(ref_id).await {
            warn!(%error, "cannot delete the files of a transaction that was rolled back");
            return Ok(());
        }
        let mut transaction = self.database.begin_immediate().await?;
        self.delete_rows_of(&mut transaction, ref_id).await?;
        let committed = transaction.commit().await;
        committed.map_err(|source| self.error(source))
    }

    async fn delete_rows_of(
        &self,
        connection: &mut sqlx::AnyConnection,
        ref_id: i64,
    ) -> Result<()> {
        for statement in [
            "DELETE FROM catalog_objects WHERE catalog_id = $1 AND ref_id = $2",
            "DELETE FROM catalog_changes WHERE catalog_id = $1 AND version_id IN
                (SELECT version_id FROM catalog_versions WHERE catalog_id = $1 AND ref_id = $2)",
            "DELETE FROM catalog_versions WHERE catalog_id = $1 AND ref_id = $2",
            "DELETE FROM catalog_refs WHERE catalog_id = $1 AND ref_id = $2",
        ] {
            sqlx::query(statement)
                .bind(self.catalog_id)
                .bind(ref_id)
                .execute(&mut *connection)
                .await
                .map_err(|source| self.error(source))?;
        }
        Ok(())
    }

    async fn delete_files_of(&self, ref_id: i64) -> Result<()> {
        let mut connection = self.connection().await?;
        let contents = self.contents_of(&mut connection, ref_id).await?;
        drop(connection);
        self.delete_files(contents.written_views).await;
        let mut inherited = Vec::with_capacity(contents.inherited_tables.len());
        for location in contents.inherited_tables {
            inherited.push(self.read_metadata(&location).await?);
        }
        let mut written = Vec::with_capacity(contents.written_tables.len());
        for location in contents.written_tables {
            // Deleted by an earlier attempt that did not come to its end.
            if self.storage.exists(&location).await? {
                written.push(WrittenTable {
                    metadata: self.read_metadata(&location).await?,
                    location,
                });
            }
        }
        delete_written_files(&self.storage, &written, &inherited).await
    }

    /// The metadata files that a transaction wrote, and those of the tables that it found.
    async fn contents_of(
        &self,
        connection: &mut sqlx::AnyConnection,
        ref_id: i64,
    ) -> Result<Contents> {
        let rows = sqlx::query(
            "SELECT version.version_id, change.kind, change.old_content, change.new_content
             FROM catalog_versions AS version
             JOIN catalog_changes AS change
               ON change.catalog_id = version.catalog_id
              AND change.version_id = version.version_id
             WHERE version.catalog_id = $1 AND version.ref_id = $2
             ORDER BY version.version_id",
        )
        .bind(self.catalog_id)
        .bind(ref_id)
        .fetch_all(connection)
        .await;
        let changes: Result<Vec<Change>, sqlx::Error> = rows.and_then(|rows| {
            let changes = rows.iter().map(|row| {
                Ok(Change {
                    version: row.try_get(0)?,
                    kind: row.try_get(1)?,
                    old: row.try_get(2)?,
                    new: row.try_get(3)?,
                })
            });
            changes.collect()
        });
        Ok(Contents::of(changes.map_err(|source| self.error(source))?))
    }

    /// Rolls back the transactions that began at least so long ago, and ends the clean-up of
    /// others that was interrupted.
    pub(super) async fn roll_back_abandoned(&self, min_age: Duration) -> Result<usize> {
        let age_ms = i64::try_from(min_age.as_millis()).unwrap_or(i64::MAX);
        let newest_ms = chrono::Utc::now().timestamp_millis().saturating_sub(age_ms);
        let mut connection = self.connection().await?;
        let references = self.all_references(&mut connection).await?;
        drop(connection);
        let mut count = 0;
        for reference in references {
            if reference.created_at_ms > newest_ms {
                continue;
            }
            match reference.kind.as_str() {
                kind::TRANSACTION if self.roll_back(reference.ref_id).await? => count += 1,
                kind::ROLLED_BACK => self.clean_up(reference.ref_id).await?,
                _ => {}
            }
        }
        Ok(count)
    }
}

/// One change of a transaction.
struct Change {
    version: i64,
    kind: String,
    old: Option<String>,
    new: Option<String>,
}

/// Metadata files, by who wrote them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    inherited_tables: Vec<String>,
    written_tables: Vec<String>,
    written_views: Vec<String>,
}

impl Contents {
    /// Sorts the contents of changes, which are in the order of their versions. What a change
    /// found and no earlier one made was there before the transaction; a rename makes
    /// nothing.
    fn of(changes: Vec<Change>) -> Self {
        let mut contents = Self::default();
        for of_version in changes.chunk_by(|one, other| one.version == other.version) {
            for change in of_version
                .iter()
                .filter(|change| change.kind == kind::TABLE)
            {
                if let Some(old) = &change.old
                    && !contents.written_tables.contains(old)
                    && !contents.inherited_tables.contains(old)
                {
                    contents.inherited_tables.push(old.clone());
                }
            }
            for change in of_version {
                let Some(new) = &change.new else { continue };
                let is_of_version = of_version
                    .iter()
                    .any(|other| other.old.as_ref() == Some(new));
                let written = match change.kind.as_str() {
                    kind::TABLE => &mut contents.written_tables,
                    kind::VIEW => &mut contents.written_views,
                    _ => continue,
                };
                if !is_of_version && !written.contains(new) {
                    written.push(new.clone());
                }
            }
        }
        contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(version: i64, old: Option<&str>, new: Option<&str>) -> Change {
        Change {
            version,
            kind: kind::TABLE.to_string(),
            old: old.map(str::to_string),
            new: new.map(str::to_string),
        }
    }

    #[test]
    fn only_what_was_written_counts_as_written() {
        let contents = Contents::of(vec![
            // A table that was there is changed, and renamed in one version.
            change(1, Some("base"), Some("first")),
            change(2, Some("first"), None),
            change(2, None, Some("first")),
            // Another one is only renamed, and then dropped.
            change(3, Some("kept"), None),
            change(3, None, Some("kept")),
            change(4, Some("kept"), None),
            // A new one is created and changed.
            change(5, None, Some("new 1")),
            change(6, Some("new 1"), Some("new 2")),
        ]);
        assert_eq!(contents.inherited_tables, ["base", "kept"]);
        assert_eq!(contents.written_tables, ["first", "new 1", "new 2"]);
        assert_eq!(contents.written_views, Vec::<String>::new());
    }
}
