//! Writers of one table within this process commit in turn.
//!
//! Commits are optimistic, for the sake of other processes. Many tasks of one process
//! that append to one table would mostly collide, each collision costing a manifest
//! list and a metadata file; waiting for each other is cheaper and fair.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::storage::Storage;

type Turn = tokio::sync::Mutex<()>;

/// A table, as reached through one storage. A process has one storage; tests that play
/// several processes have one for each.
type Key = (usize, Uuid);

static TURNS: LazyLock<Mutex<HashMap<Key, Weak<Turn>>>> = LazyLock::new(Mutex::default);

/// Waits until no other commit to this table is under way in this process.
pub(crate) async fn take_turn(storage: &Arc<Storage>, table: Uuid) -> OwnedMutexGuard<()> {
    let key = (Arc::as_ptr(storage).addr(), table);
    let turn = {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        match turns.get(&key).and_then(Weak::upgrade) {
            Some(turn) => turn,
            None => {
                turns.retain(|_, turn| turn.strong_count() > 0);
                let turn = Arc::new(Turn::default());
                turns.insert(key, Arc::downgrade(&turn));
                turn
            }
        }
    };
    turn.lock_owned().await
}
