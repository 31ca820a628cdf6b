//! Scan planning: from a table version and a predicate to a list of file tasks.
//!
//! Everything here is sound in one direction: a file is left out only when no row of it
//! can match the predicate as the engine evaluates it (SQL's three-valued logic, floats in
//! total order). Whatever is unknown, missing or in doubt keeps the file.

mod cache;
mod changes;
mod concurrent;
mod datum_bytes;
mod deletes;
mod evidence;
mod files;
mod filter;
pub mod metadata_tables;
mod plan;
mod prune;
mod snapshot_changes;
mod task;
mod transforms;
mod values;

pub(crate) use concurrent::{ConcurrentDeletes, RowFilter};
pub(crate) use deletes::{PartitionKey, only_data_file, partition_key};
pub(crate) use files::first_row_ids;

pub use cache::ManifestCache;
pub use changes::{Appends, SnapshotAppend, appended_files};
pub use plan::plan_scan;
pub use snapshot_changes::{SnapshotChanges, TableChanges, table_changes};
pub use task::{
    ColumnMetrics, DeleteFileRef, DeleteKind, FileFormat, FilePartition, FileTask, PartitionValue,
    ScanMetrics, ScanPlan,
};
