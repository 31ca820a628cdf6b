//! Which session a call belongs to.
//!
//! Three kinds of client exist, and each keeps its session in its own way:
//! one that shook hands sends the bearer token it got; one that keeps cookies sends the session
//! cookie it was given; one that does neither (the Python ADBC driver by default) is known by its
//! TCP connection, and its session ends with that connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::metadata::MetadataMap;
use uuid::Uuid;

use super::authentication::{Authentication, CallHeaders, Credentials};
use super::connection::ConnectionId;
use crate::error::{CoordinatorError, Result};
use crate::service::{SessionId, SqlService};

/// One session as Flight SQL sees it.
pub(super) struct Session {
    /// The session of the SQL service.
    pub(super) id: SessionId,
    /// Who opened it.
    pub(super) user: String,
    /// What the client shows to use it again. A secret.
    token: String,
    /// Whether a client has shown the token, so that the session may outlive its connection.
    token_used: AtomicBool,
    /// Statements and result streams in flight: a session with any is not idle.
    in_use: AtomicUsize,
    last_used: Mutex<Instant>,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("id", &self.id)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// The token, to be given to the client that opened the session and to nobody else.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Keeps the session from expiring while the guard lives.
    pub(super) fn hold(self: &Arc<Self>) -> SessionInUse {
        self.in_use.fetch_add(1, Ordering::AcqRel);
        SessionInUse(Arc::clone(self))
    }

    fn touch(&self) {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle_for(&self, now: Instant) -> Option<Duration> {
        if self.in_use.load(Ordering::Acquire) > 0 {
            return None;
        }
        let last_used = *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Some(now.saturating_duration_since(last_used))
    }
}

/// Keeps a session from expiring.
#[derive(Debug)]
pub(super) struct SessionInUse(Arc<Session>);

impl Drop for SessionInUse {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The sender of a call.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) session: Arc<Session>,
    /// The session was opened by this call: the response must carry its cookie.
    pub(super) is_new: bool,
}

/// All open sessions of the Flight SQL port.
pub(super) struct SessionRegistry {
    service: Arc<dyn SqlService>,
    authentication: Authentication,
    state: Mutex<State>,
    /// Taken while a connection's session is being opened, so that two first calls at once share one.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    by_token: HashMap<String, Arc<Session>>,
    by_connection: HashMap<(ConnectionId, String), Arc<Session>>,
}

impl SessionRegistry {
    pub(super) fn new(service: Arc<dyn SqlService>, authentication: Authentication) -> Self {
        Self {
            service,
            authentication,
            state: Mutex::new(State::default()),
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// Checks credentials and opens a session to be used with its token.
    pub(super) async fn handshake(
        &self,
        credentials: Option<&Credentials>,
    ) -> Result<Arc<Session>> {
        let user = self.authentication.check(credentials)?;
        let session = self.open(&user).await?;
        session.token_used.store(true, Ordering::Release);
        Ok(session)
    }

    /// Finds or opens the session of a call.
    pub(super) async fn resolve(
        &self,
        metadata: &MetadataMap,
        connection: Option<ConnectionId>,
    ) -> Result<Caller> {
        let headers = CallHeaders::parse(metadata)?;
        if let Some(token) = headers.bearer {
            let session = self.find_by_token(&token).ok_or_else(|| {
                CoordinatorError::Unauthenticated(
                    "unknown or expired session token: connect again".to_string(),
                )
            })?;
            return Ok(Caller {
                session,
                is_new: false,
            });
        }
        // A cookie that is not known any more is replaced like that of any web site, after the
        // credentials have been checked again.
        if let Some(session) = headers.cookie.and_then(|token| self.find_by_token(&token)) {
            return Ok(Caller {
                session,
                is_new: false,
            });
        }
        let user = self.authentication.check(headers.basic.as_ref())?;
        let Some(connection) = connection else {
            // No TCP connection to tie it to (an in-process transport): the cookie is all there is.
            let session = self.open(&user).await?;
            return Ok(Caller {
                session,
                is_new: true,
            });
        };
        let key = (connection, user);
        let _opening = self.opening.lock().await;
        if let Some(session) = self.lock().by_connection.get(&key) {
            session.touch();
            return Ok(Caller {
                session: Arc::clone(session),
                is_new: false,
            });
        }
        let session = self.open(&key.1).await?;
        self.lock().by_connection.insert(key, Arc::clone(&session));
        Ok(Caller {
            session,
            is_new: true,
        })
    }

    /// Ends the sessions that nothing but this connection knows.
    pub(super) async fn connection_closed(&self, connection: ConnectionId) {
        let ended = {
            let mut state = self.lock();
            let keys: Vec<_> = state
                .by_connection
                .keys()
                .filter(|(id, _)| *id == connection)
                .cloned()
                .collect();
            let mut ended = Vec::new();
            for key in keys {
                if let Some(session) = state.by_connection.remove(&key)
                    && !session.token_used.load(Ordering::Acquire)
                {
                    state.by_token.remove(&session.token);
                    ended.push(session);
                }
            }
            ended
        };
        self.close_all(ended).await;
    }

    /// Ends one session, as its client asked.
    pub(super) async fn close(&self, session: &Arc<Session>) {
        self.forget(session);
        self.close_all(vec![Arc::clone(session)]).await;
    }

    /// Ends sessions that have been idle for longer than `timeout`.
    pub(super) async fn expire(&self, now: Instant, timeout: Duration) {
        let ended: Vec<Arc<Session>> = {
            let state = self.lock();
            state
                .by_token
                .values()
                .filter(|session| session.idle_for(now).is_some_and(|idle| idle > timeout))
                .cloned()
                .collect()
        };
        for session in &ended {
            self.forget(session);
        }
        self.close_all(ended).await;
    }

    /// Whether the session is still open.
    pub(super) fn is_open(&self, session: &Session) -> bool {
        self.lock().by_token.contains_key(&session.token)
    }

    fn forget(&self, session: &Arc<Session>) {
        let mut state = self.lock();
        state.by_token.remove(&session.token);
        state
            .by_connection
            .retain(|_, known| !Arc::ptr_eq(known, session));
    }

    async fn close_all(&self, sessions: Vec<Arc<Session>>) {
        for session in sessions {
            if let Err(error) = self.service.close_session(&session.id).await {
                tracing::warn!(session = %session.id, %error, "cannot close session");
            }
        }
    }

    async fn open(&self, user: &str) -> Result<Arc<Session>> {
        let id = self.service.open_session(user).await?;
        let session = Arc::new(Session {
            id,
            user: user.to_string(),
            token: random_token(),
            token_used: AtomicBool::new(false),
            in_use: AtomicUsize::new(0),
            last_used: Mutex::new(Instant::now()),
        });
        self.lock()
            .by_token
            .insert(session.token.clone(), Arc::clone(&session));
        Ok(session)
    }

    fn find_by_token(&self, token: &str) -> Option<Arc<Session>> {
        let session = self.lock().by_token.get(token).cloned()?;
        session.token_used.store(true, Ordering::Release);
        session.touch();
        Some(session)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 244 random bits from the system's generator.
fn random_token() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}
