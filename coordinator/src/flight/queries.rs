//! Queries in flight: who owns them, and their cancellation when a client goes away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::sessions::{Session, SessionInUse};
use crate::error::{CoordinatorError, Result};
use crate::service::{ProgressSnapshot, SqlService};

/// One query as its client knows it.
struct Entry {
    owner: String,
    /// The execution that goes on under the client's id: a statement with several rows of
    /// parameters is executed several times, each under an id of its own.
    execution: Uuid,
    cancelled: bool,
}

/// The queries of one Flight SQL server that have been announced or run.
pub(super) struct Queries {
    service: Arc<dyn SqlService>,
    entries: Mutex<HashMap<Uuid, Entry>>,
}

impl Queries {
    pub(super) fn new(service: Arc<dyn SqlService>) -> Self {
        Self {
            service,
            entries: Mutex::new(HashMap::new()),
        }
    }

    /// Takes note of a query until the guard is finished or dropped. A guard that is dropped
    /// unfinished cancels the query: its client has gone away.
    pub(super) fn begin(
        self: &Arc<Self>,
        session: &Arc<Session>,
        query_id: Uuid,
    ) -> Result<QueryGuard> {
        let mut entries = self.lock();
        if entries.contains_key(&query_id) {
            return Err(CoordinatorError::InvalidInput(format!(
                "query id {query_id} is in use: choose a new one for every query"
            )));
        }
        let entry = Entry {
            owner: session.user.clone(),
            execution: query_id,
            cancelled: false,
        };
        entries.insert(query_id, entry);
        Ok(QueryGuard {
            queries: Arc::clone(self),
            query_id,
            finished: false,
            _session: session.hold(),
        })
    }

    /// Cancels a query of this user. False when it has ended.
    pub(super) async fn cancel(&self, user: &str, query_id: Uuid) -> Result<bool> {
        let execution = {
            let mut entries = self.lock();
            let entry = entry_of(&mut entries, user, query_id)?;
            entry.cancelled = true;
            entry.execution
        };
        self.service.cancel(execution).await
    }

    /// How far a query of this user is.
    pub(super) async fn progress(&self, user: &str, query_id: Uuid) -> Result<ProgressSnapshot> {
        let execution = entry_of(&mut self.lock(), user, query_id)?.execution;
        let progress = self.service.progress(execution).await;
        progress.ok_or_else(|| unknown_query(query_id))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry_of<'a>(
    entries: &'a mut HashMap<Uuid, Entry>,
    user: &str,
    query_id: Uuid,
) -> Result<&'a mut Entry> {
    match entries.get_mut(&query_id) {
        Some(entry) if entry.owner == user => Ok(entry),
        // Whether somebody else's query exists is not told.
        _ => Err(unknown_query(query_id)),
    }
}

fn unknown_query(query_id: Uuid) -> CoordinatorError {
    CoordinatorError::NotFound(format!("query {query_id} is not running"))
}

/// Holds a query: its session does not expire, and dropping it unfinished cancels the query.
pub(super) struct QueryGuard {
    queries: Arc<Queries>,
    query_id: Uuid,
    finished: bool,
    _session: SessionInUse,
}

impl QueryGuard {
    pub(super) fn query_id(&self) -> Uuid {
        self.query_id
    }

    /// The id for the next execution under this query: the client's own for the first.
    /// Fails when the query has been cancelled.
    pub(super) fn next_execution(&self, index: usize) -> Result<Uuid> {
        let mut entries = self.queries.lock();
        let Some(entry) = entries.get_mut(&self.query_id) else {
            return Err(unknown_query(self.query_id));
        };
        if entry.cancelled {
            return Err(CoordinatorError::Cancelled {
                query_id: self.query_id,
            });
        }
        if index > 0 {
            entry.execution = Uuid::new_v4();
        }
        Ok(entry.execution)
    }

    /// The query came to its own end, good or bad: there is nothing left to cancel.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for QueryGuard {
    fn drop(&mut self) {
        let removed = self.queries.lock().remove(&self.query_id);
        if self.finished {
            return;
        }
        let query_id = removed.map_or(self.query_id, |entry| entry.execution);
        // Outside a runtime the process is ending, and its queries with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let service = Arc::clone(&self.queries.service);
            runtime.spawn(async move {
                if let Err(error) = service.cancel(query_id).await {
                    tracing::warn!(%query_id, %error, "cannot cancel an abandoned query");
                }
            });
        }
    }
}
