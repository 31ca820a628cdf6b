//! Table maintenance that deletes files, and the choice of files to compact.
//!
//! A file may be deleted only when nothing that can still be read refers to it: no snapshot of
//! the table's current state, nor of a state that a catalog branch, a tag or an older catalog
//! version still has ([`Catalog::reachable_metadata`](crate::Catalog::reachable_metadata)).

mod abandoned;
mod compaction;
mod expire_snapshots;
mod expiry;
mod orphans;
mod reachable;

pub use abandoned::{AbandonedReport, remove_abandoned_folders};
pub use compaction::{CompactionChoice, files_to_compact};
pub use expire_snapshots::{ExpireOptions, ExpireReport, expire_snapshots};
pub use orphans::{OrphanOptions, OrphanReport, remove_orphan_files};
