//! Sessions: what a client has set, from connecting until it goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingot_sql::Statement;
use parking_lot::Mutex;

use crate::error::{CoordinatorError, Result};
use crate::service::SessionId;
use crate::transactions::OpenTransaction;

/// A session not used for this long is forgotten.
const IDLE_LIMIT: Duration = Duration::from_secs(8 * 3600);

/// What one client has set.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who is connected; `anonymous` where no password is asked.
    pub user: String,
    /// Catalog of names that give none.
    pub catalog: String,
    /// Schema of names that give none.
    pub schema: String,
    /// Properties changed by `SET SESSION`.
    pub properties: BTreeMap<String, String>,
    /// Statements named by `PREPARE`.
    pub prepared: BTreeMap<String, Statement>,
    /// The branches that `USE BRANCH` chose, by catalog; `main` of others.
    pub branches: BTreeMap<String, String>,
    /// What `START TRANSACTION` began.
    pub transaction: Option<Arc<OpenTransaction>>,
}

/// All sessions of this coordinator.
#[derive(Debug)]
pub struct Sessions {
    default_catalog: String,
    open: Mutex<HashMap<SessionId, OpenSession>>,
}

#[derive(Debug)]
struct OpenSession {
    session: Arc<Session>,
    last_used: Instant,
}

/// Schema of sessions that have not chosen one.
pub const DEFAULT_SCHEMA: &str = "default";

impl Sessions {
    /// No session yet; new ones begin in `default_catalog`.
    pub fn new(default_catalog: &str) -> Self {
        Self {
            default_catalog: default_catalog.to_owned(),
            open: Mutex::new(HashMap::new()),
        }
    }

    /// Opens a session and forgets those that have been idle for too long, which are returned.
    pub fn open(&self, user: &str) -> (SessionId, Vec<Arc<Session>>) {
        let id = SessionId::random();
        let session = Session {
            user: user.to_owned(),
            catalog: self.default_catalog.clone(),
            schema: DEFAULT_SCHEMA.to_owned(),
            properties: BTreeMap::new(),
            prepared: BTreeMap::new(),
            branches: BTreeMap::new(),
            transaction: None,
        };
        let opened = OpenSession {
            session: Arc::new(session),
            last_used: Instant::now(),
        };
        let mut open = self.open.lock();
        let expired = open.extract_if(|_, other| other.last_used.elapsed() >= IDLE_LIMIT);
        let expired = expired.map(|(_, other)| other.session).collect();
        open.insert(id, opened);
        (id, expired)
    }

    /// Forgets a session and returns it; one that is not open is forgotten already.
    pub fn close(&self, id: &SessionId) -> Option<Arc<Session>> {
        let closed = self.open.lock().remove(id)?;
        Some(closed.session)
    }

    /// The session's state now. A statement keeps the state with which it began.
    pub fn get(&self, id: &SessionId) -> Result<Arc<Session>> {
        let mut open = self.open.lock();
        let entry = open.get_mut(id).ok_or_else(unknown_session)?;
        entry.last_used = Instant::now();
        Ok(entry.session.clone())
    }

    /// Changes a session, for the statements after this one.
    pub fn update(&self, id: &SessionId, change: impl FnOnce(&mut Session)) -> Result<()> {
        let mut open = self.open.lock();
        let entry = open.get_mut(id).ok_or_else(unknown_session)?;
        change(Arc::make_mut(&mut entry.session));
        Ok(())
    }
}

fn unknown_session() -> CoordinatorError {
    CoordinatorError::Unauthenticated("the session has ended: connect again".to_owned())
}
