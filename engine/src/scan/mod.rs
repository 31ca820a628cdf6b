//! Reading Iceberg tables: a `FileSource` around DataFusion's Parquet source.
//!
//! What is Iceberg's own happens where a file is opened, on whichever process reads it:
//! [`columns`] renames a file's columns, by field id, to the names of the read schema,
//! before DataFusion sees the file; [`adaptation`] fills in default values and puts structs
//! together whose fields changed; [`deletes`] turns delete files into a row selection.
//! All else (row-group, page and bloom-filter pruning, late materialisation, limits,
//! projections, casts of promoted types) is DataFusion's.

mod adaptation;
pub mod columns;
mod deletes;
pub mod filters;
pub mod hidden_columns;
mod nested;
mod packing;
mod partitioning;
mod planner;
mod read_state;
mod reader;
mod rewrite;
mod rewritten_files;
pub mod row_ids;
mod services;
mod source;
mod statistics;
#[cfg(test)]
mod tests;

pub use deletes::deleted_by_position;
pub(crate) use deletes::vector_blob;
pub use planner::{ScanRequest, plan_table_scan};
pub use rewrite::FilesTable;
pub use rewritten_files::{RewriteOrder, RewrittenFiles};
pub use row_ids::ScannedFiles;
pub use services::ScanServices;
pub use source::{FileDetails, IcebergFileSource, ScanDescription};
