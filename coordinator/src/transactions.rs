//! Transactions of sessions.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ingot_catalog::{Catalog, CatalogError, CatalogTransaction};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use uuid::Uuid;

use crate::error::{CoordinatorError, Result};

/// A transaction lasts no longer: one that is older may be that of a coordinator that died.
pub const LONGEST_TRANSACTION: Duration = Duration::from_secs(8 * 3600);

/// What a coordinator that shares its catalog waits before it rolls back the transactions of
/// others: longer than they can last, because clocks differ.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(9 * 3600);

/// Held while a statement of a transaction is executed: until then the transaction does not end.
pub type StatementInTransaction = OwnedRwLockReadGuard<Ended>;

/// Whether a transaction has ended.
#[derive(Debug, Default)]
pub struct Ended(bool);

/// The transaction of one session.
pub struct OpenTransaction {
    id: Uuid,
    catalog_name: String,
    handle: Arc<dyn CatalogTransaction>,
    began: Instant,
    /// The error of its first statement that failed.
    failure: OnceLock<String>,
    /// Statements share it; who ends the transaction has it alone.
    ended: Arc<RwLock<Ended>>,
}

impl fmt::Debug for OpenTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpenTransaction")
            .field("id", &self.id)
            .field("catalog", &self.catalog_name)
            .field("failure", &self.failure.get())
            .finish_non_exhaustive()
    }
}

impl OpenTransaction {
    /// Begins a transaction where this handle of a catalog is.
    pub async fn begin(catalog: &Arc<dyn Catalog>) -> Result<Arc<Self>> {
        let handle = catalog.versioned()?.begin_transaction().await?;
        Ok(Arc::new(Self {
            id: Uuid::new_v4(),
            catalog_name: catalog.name().to_owned(),
            handle,
            began: Instant::now(),
            failure: OnceLock::new(),
            ended: Arc::default(),
        }))
    }

    /// Its name in protocols.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The catalog that it changes.
    pub fn catalog_name(&self) -> &str {
        &self.catalog_name
    }

    /// The catalog as its statements see it.
    pub fn catalog(&self) -> Arc<dyn Catalog> {
        self.handle.catalog()
    }

    /// Notes that a statement failed: from then on it can only be rolled back.
    pub fn fail(&self, error: &str) {
        let _ = self.failure.set(error.to_owned());
    }

    /// Begins a statement.
    ///
    /// # Errors
    /// `FailedPrecondition` when the transaction has ended, has failed or has lasted too long.
    pub async fn enter(&self) -> Result<StatementInTransaction> {
        let entered = Arc::clone(&self.ended).read_owned().await;
        if entered.0 {
            return Err(CoordinatorError::FailedPrecondition(
                "the transaction has ended".to_owned(),
            ));
        }
        if let Some(failure) = self.failure.get() {
            return Err(CoordinatorError::FailedPrecondition(format!(
                "the transaction has failed ({failure}): only ROLLBACK is possible"
            )));
        }
        self.check_age()?;
        Ok(entered)
    }

    fn check_age(&self) -> Result<()> {
        if self.began.elapsed() <= LONGEST_TRANSACTION {
            return Ok(());
        }
        let hours = LONGEST_TRANSACTION.as_secs() / 3600;
        Err(CoordinatorError::FailedPrecondition(format!(
            "the transaction has lasted longer than {hours} hours: run it again"
        )))
    }

    /// Publishes what its statements did, once those that run have ended. In any case the
    /// transaction is over, even if the caller stops waiting: it is on a task of its own.
    ///
    /// # Errors
    /// `FailedPrecondition` when a statement of it failed or it has lasted too long, `Conflict`
    /// when others changed the same tables; nothing is published then. Errors of the catalog.
    pub async fn commit(self: &Arc<Self>) -> Result<Vec<String>> {
        let open = Arc::clone(self);
        match tokio::spawn(async move { open.commit_now().await }).await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(CatalogError::CommitStateUnknown {
                table: "the tables of a transaction".to_owned(),
                reason: error.to_string(),
            }
            .into()),
        }
    }

    async fn commit_now(&self) -> Result<Vec<String>> {
        let mut ended = self.ended.write().await;
        if ended.0 {
            return Err(CoordinatorError::FailedPrecondition(
                "the transaction has ended".to_owned(),
            ));
        }
        ended.0 = true;
        if let Some(failure) = self.failure.get() {
            self.roll_back_now().await;
            return Err(CoordinatorError::FailedPrecondition(format!(
                "the transaction was rolled back, because a statement of it failed ({failure}): \
                 run it again"
            )));
        }
        // Other coordinators roll back what is older. While it is not, a transaction that is gone
        // from the catalog after a commit whose answer was lost can only have been committed.
        if let Err(error) = self.check_age() {
            self.roll_back_now().await;
            return Err(error);
        }
        match self.handle.commit().await {
            Ok(report) => Ok(report.changed),
            // It may be published: nothing can be deleted.
            Err(error @ CatalogError::CommitStateUnknown { .. }) => Err(error.into()),
            Err(error) => {
                self.roll_back_now().await;
                Err(error.into())
            }
        }
    }

    /// Undoes what its statements did, once those that run have ended; on a task of its own, as
    /// [`OpenTransaction::commit`].
    pub async fn roll_back(self: &Arc<Self>) {
        let open = Arc::clone(self);
        let task = tokio::spawn(async move {
            let mut ended = open.ended.write().await;
            if !ended.0 {
                ended.0 = true;
                open.roll_back_now().await;
            }
        });
        // Any other error says that the process ends: the next start cleans up.
        if let Err(error) = task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// What cannot be cleaned up now is at the next start: the transaction is over anyway.
    async fn roll_back_now(&self) {
        if let Err(error) = self.handle.roll_back().await {
            tracing::warn!(transaction = %self.id, %error, "cannot clean up after a rollback");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use ingot_catalog::{Database, SqlCatalog, Storage, StorageConfig};

    use super::*;

    async fn catalog_in(folder: &std::path::Path) -> Arc<dyn Catalog> {
        let database = Database::connect_sqlite(&folder.join("catalog.db"))
            .await
            .unwrap();
        let storage = Storage::new(StorageConfig::default());
        let warehouse = folder.join("warehouse").display().to_string();
        SqlCatalog::open("iceberg", database, storage, &warehouse)
            .await
            .unwrap()
    }

    async fn wait_for_the_end(open: &OpenTransaction) {
        while open.enter().await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_ends_a_transaction_goes_on_without_its_caller() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog_in(folder.path()).await;
        for (schema, is_committed) in [("published", true), ("undone", false)] {
            let open = OpenTransaction::begin(&catalog).await.unwrap();
            let inside = open.catalog();
            inside.create_schema(schema, HashMap::new()).await.unwrap();
            let running = open.enter().await.unwrap();
            let ending = async {
                match is_committed {
                    true => open.commit().await.map(|_| ()),
                    false => {
                        open.roll_back().await;
                        Ok(())
                    }
                }
            };
            // Waits for the statement that runs, and is cancelled meanwhile.
            assert!(futures::FutureExt::now_or_never(ending).is_none());
            drop(running);
            wait_for_the_end(&open).await;
            // The transaction is gone from the catalog, too.
            inside
                .create_schema("late", HashMap::new())
                .await
                .unwrap_err();
        }
        assert_eq!(catalog.list_schemas().await.unwrap(), ["published"]);
    }

    #[tokio::test]
    async fn a_transaction_that_others_may_roll_back_is_not_committed() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog_in(folder.path()).await;
        let handle = catalog.versioned().unwrap().begin_transaction().await;
        let open = Arc::new(OpenTransaction {
            id: Uuid::new_v4(),
            catalog_name: catalog.name().to_owned(),
            handle: handle.unwrap(),
            began: Instant::now()
                .checked_sub(LONGEST_TRANSACTION + Duration::from_secs(1))
                .unwrap(),
            failure: OnceLock::new(),
            ended: Arc::default(),
        });
        let inside = open.catalog();
        inside.create_schema("late", HashMap::new()).await.unwrap();
        let error = open.commit().await.unwrap_err();
        assert!(
            matches!(error, CoordinatorError::FailedPrecondition(_)),
            "{error}"
        );
        assert!(catalog.list_schemas().await.unwrap().is_empty());
        inside.create_schema("x", HashMap::new()).await.unwrap_err();
    }
}
