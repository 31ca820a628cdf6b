//! Writing rows into the data files of an Iceberg table.
//!
//! [`plan_write`] puts an [`IcebergWriteExec`] on top of a query. On the workers it splits
//! rows by partition, writes rolling Parquet files with Iceberg's column metrics, and emits
//! one row of [`WRITTEN_FILES_SCHEMA`] per file. The coordinator reads them back with
//! [`decode_written_files`], commits once, and calls [`delete_statement_files`] for what
//! failed attempts left behind.
//!
//! A statement that changes rows writes in the same way, and emits the positions of the old
//! rows with the files of the new ones ([`decode_row_delta`]).
//!
//! Nothing here commits: a file that no commit names does not exist for readers.

mod align;
mod bounds;
mod cleanup;
mod codec;
pub mod copy;
mod deletion_vectors;
mod exec;
mod infer;
mod metrics;
mod parquet_file;
mod partition;
mod partition_path;
mod position_deletes;
mod properties;
mod row_delta;
mod target;
mod transform;
mod transform_function;
mod writer;
mod written;
mod z_order;

#[cfg(test)]
mod tests;

pub use cleanup::delete_statement_files;
pub use codec::{decode, encode};
pub use deletion_vectors::write_deletion_vectors;
pub use exec::{IcebergWriteExec, WriteOptions, plan_write};
pub use infer::{
    PartitionColumn, SortColumn, partition_spec_of, sort_order_of, table_schema_of,
    transform_from_text,
};
pub use partition_path::partition_path;
pub(crate) use partition_path::partition_text;
pub use position_deletes::{DeletedPositions, PositionDeleteFile};
pub use properties::target_file_size;
pub use row_delta::{
    NEW_ROW_COLUMN, ROW_DELTA_COLUMNS, ROW_DELTA_SCHEMA, RowDeltaInput, WrittenDelta,
    decode_row_delta,
};
pub use target::WriteTarget;
pub use transform::transform_array;
pub use transform_function::partition_transform_function;
pub use written::{WRITTEN_FILES_SCHEMA, decode_written_files};
pub use z_order::z_order_function;
