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
mod cluster;
mod dangling;
mod discard;
mod entries;
mod manifests;
mod merge;
mod metadata;
mod produce;
mod purge;
mod removal;
mod replace;
mod requested;
mod retry;
mod rewrite;
mod row_delta;
mod staged;
mod statistics;
mod summary;
mod turns;
mod validation;

pub(crate) use append::one_table;
pub(crate) use discard::{WrittenTable, delete_written_files};
pub(crate) use manifests::load_manifest;
pub(crate) use produce::read_manifest_list;
pub(crate) use purge::{LocationJudge, owns_files};
pub(crate) use turns::take_turn;

pub use append::{
    AppendChanges, append_files, append_files_to_branch, append_files_with, check_branch,
};
pub use cherry_pick::cherry_pick_snapshot;
pub use cluster::{ManifestReport, optimize_manifests};
pub use metadata::commit_metadata;
pub use purge::{PurgeReport, check_purge, delete_table_files, purge_table};
pub use removal::{Partitions, Removal};
pub use requested::{
    CommitRequest, NewView, check_readable, commit_requested, create_requested_view,
    replace_requested_view,
};
pub use rewrite::{Rewrite, RewriteReport, commit_rewrite};
pub use row_delta::{RowDelta, commit_row_delta};
pub use staged::{
    CONTENT_PROPERTY_PREFIX, StagedTable, commit_materialized_view, commit_staged, stage_create,
    stage_create_or_replace, stage_replace,
};
pub use statistics::commit_statistics;
pub use validation::{Isolation, Validation};
