//! Building snapshots and committing them with conflict retry.
//!
//! The `iceberg` crate keeps its own commit path to itself, so this is ours, on its
//! public types: manifests, manifest list, snapshot, table updates.
//!
//! A commit ends in one of three ways, and callers must tell them apart before they
//! delete data files that they wrote:
//! - `Ok`: the files are in the table;
//! - [`CommitStateUnknown`](crate::CatalogError::CommitStateUnknown): they may be. Delete nothing;
//! - any other error: they are not, and the commit's own metadata files are deleted.
//!
//! So await a commit to its end: a caller that drops the future does not learn which
//! it was, and must treat it as unknown.

mod append;
mod cherry_pick;
mod manifests;
mod metadata;
mod produce;
mod purge;
mod removal;
mod replace;
mod retry;
mod row_delta;
mod staged;
mod summary;
mod turns;
mod validation;

pub use append::{
    AppendChanges, append_files, append_files_to_branch, append_files_with, check_branch,
};
pub use cherry_pick::cherry_pick_snapshot;
pub use metadata::commit_metadata;
pub use purge::{PurgeReport, delete_table_files};
pub use removal::{Partitions, Removal};
pub use row_delta::{RowDelta, commit_row_delta};
pub use staged::{
    CONTENT_PROPERTY_PREFIX, StagedTable, commit_staged, stage_create, stage_create_or_replace,
    stage_replace,
};
pub use validation::{Isolation, Validation};
