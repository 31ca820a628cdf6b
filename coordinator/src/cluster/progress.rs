//! How far a query is, kept in atomics so that anyone may look at any time.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::execution::UsedPlacement;

/// Counters of one query. Writers overwrite totals, so the numbers of a job that is run again
/// start over.
#[derive(Debug, Default)]
pub struct QueryProgress {
    rows: AtomicU64,
    bytes: AtomicU64,
    stages_done: AtomicU32,
    stages_total: AtomicU32,
    tasks_done: AtomicU32,
    tasks_total: AtomicU32,
    placement: AtomicU8,
}

/// [`QueryProgress`] as seen at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgressCounts {
    /// Rows read from tables so far, summed over all scans. For distributed queries it grows when
    /// a task ends.
    pub rows: u64,
    /// Bytes read from storage so far.
    pub bytes: u64,
    /// Stages that are complete.
    pub stages_done: u32,
    /// Stages known so far; 0 when the query runs in the coordinator.
    pub stages_total: u32,
    /// Tasks that are complete.
    pub tasks_done: u32,
    /// Tasks known so far.
    pub tasks_total: u32,
}

impl QueryProgress {
    /// The counters now.
    pub fn counts(&self) -> ProgressCounts {
        ProgressCounts {
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            stages_done: self.stages_done.load(Ordering::Relaxed),
            stages_total: self.stages_total.load(Ordering::Relaxed),
            tasks_done: self.tasks_done.load(Ordering::Relaxed),
            tasks_total: self.tasks_total.load(Ordering::Relaxed),
        }
    }

    /// Where the query runs; `None` until that is decided.
    pub fn placement(&self) -> Option<UsedPlacement> {
        match self.placement.load(Ordering::Relaxed) {
            1 => Some(UsedPlacement::Local),
            2 => Some(UsedPlacement::Distributed),
            _ => None,
        }
    }

    pub(super) fn set_placement(&self, placement: UsedPlacement) {
        let code = match placement {
            UsedPlacement::Local => 1,
            UsedPlacement::Distributed => 2,
        };
        self.placement.store(code, Ordering::Relaxed);
    }

    pub(super) fn set(&self, counts: ProgressCounts) {
        self.rows.store(counts.rows, Ordering::Relaxed);
        self.bytes.store(counts.bytes, Ordering::Relaxed);
        self.stages_done
            .store(counts.stages_done, Ordering::Relaxed);
        self.stages_total
            .store(counts.stages_total, Ordering::Relaxed);
        self.tasks_done.store(counts.tasks_done, Ordering::Relaxed);
        self.tasks_total
            .store(counts.tasks_total, Ordering::Relaxed);
    }
}
