//! Things that clients hold handles to: results announced and not yet fetched, and prepared
//! statements. Handles are random, belong to a user, and expire.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use crate::error::{CoordinatorError, Result};

struct Held<T> {
    user: String,
    last_used: Instant,
    value: T,
}

/// Values by unguessable handle.
pub(super) struct Handles<T> {
    /// What a value is called in errors (`result`, `prepared statement`).
    kind: &'static str,
    held: Mutex<HashMap<Uuid, Held<T>>>,
}

impl<T> Handles<T> {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            held: Mutex::new(HashMap::new()),
        }
    }

    /// Keeps a value and returns its handle.
    pub(super) fn insert(&self, user: &str, value: T) -> Bytes {
        let handle = Uuid::new_v4();
        let held = Held {
            user: user.to_string(),
            last_used: Instant::now(),
            value,
        };
        self.lock().insert(handle, held);
        Bytes::copy_from_slice(handle.as_bytes())
    }

    /// Takes a value out: its handle is used up.
    pub(super) fn take(&self, user: &str, handle: &[u8]) -> Result<T> {
        let uuid = self.parse(handle)?;
        match self.lock().entry(uuid) {
            Entry::Occupied(found) if found.get().user == user => Ok(found.remove().value),
            _ => Err(self.unknown()),
        }
    }

    /// Uses or changes a value in place.
    pub(super) fn with<R>(
        &self,
        user: &str,
        handle: &[u8],
        action: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        let uuid = self.parse(handle)?;
        match self.lock().get_mut(&uuid) {
            Some(found) if found.user == user => {
                found.last_used = Instant::now();
                Ok(action(&mut found.value))
            }
            _ => Err(self.unknown()),
        }
    }

    /// Drops a user's values that match; returns how many.
    pub(super) fn discard(&self, user: &str, matches: impl Fn(&T) -> bool) -> usize {
        let mut discarded = Vec::new();
        let mut held = self.lock();
        let keys: Vec<Uuid> = held
            .iter()
            .filter(|(_, found)| found.user == user && matches(&found.value))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            discarded.extend(held.remove(&key));
        }
        drop(held);
        discarded.len()
    }

    /// Drops what was not used for `lifetime`, and what `is_dead`.
    pub(super) fn expire(&self, now: Instant, lifetime: Duration, is_dead: impl Fn(&T) -> bool) {
        let mut expired = Vec::new();
        let mut held = self.lock();
        let keys: Vec<Uuid> = held
            .iter()
            .filter(|(_, found)| {
                now.saturating_duration_since(found.last_used) > lifetime || is_dead(&found.value)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            expired.extend(held.remove(&key));
        }
        // Values are dropped outside the lock: a result that has begun cancels its query.
        drop(held);
        drop(expired);
    }

    fn parse(&self, handle: &[u8]) -> Result<Uuid> {
        Uuid::from_slice(handle).map_err(|_| self.unknown())
    }

    fn unknown(&self) -> CoordinatorError {
        CoordinatorError::NotFound(format!(
            "{} is unknown, was used already or has expired: run the statement again",
            self.kind
        ))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Held<T>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_for_its_user() {
        let handles = Handles::new("result");
        let handle = handles.insert("anna", 7);
        assert!(handles.take("eve", &handle).is_err());
        assert_eq!(handles.take("anna", &handle).unwrap(), 7);
        let error = handles.take("anna", &handle).unwrap_err();
        assert_eq!(
            error.to_string(),
            "result is unknown, was used already or has expired: run the statement again"
        );
        assert!(handles.take("anna", b"nonsense").is_err());
    }

    #[test]
    fn handles_expire_when_unused_or_dead() {
        let handles = Handles::new("result");
        let kept = handles.insert("anna", 1);
        let dead = handles.insert("anna", 2);
        let lifetime = Duration::from_secs(60);
        handles.expire(Instant::now(), lifetime, |value| *value == 2);
        assert!(handles.with("anna", &dead, |_| ()).is_err());
        assert!(handles.with("anna", &kept, |_| ()).is_ok());
        handles.expire(Instant::now() + lifetime * 2, lifetime, |_| false);
        assert!(handles.with("anna", &kept, |_| ()).is_err());
    }
}
