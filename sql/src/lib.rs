//! The SQL dialect: SQL text to statements.
//!
//! DataFusion's SQL with Trino's spelling wherever the two differ on tables, time travel and
//! maintenance. Nothing here does any I/O or executes anything.
//!
//! The way of a statement: tokens ([`sqlparser`]'s tokenizer under [`dialect::IngotDialect`]) →
//! time-travel clauses folded into table names and `?` numbered → a [`Statement`] by
//! [`parse_statements`] → queries checked for clauses that the planner would silently ignore.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod chains;
pub mod dialect;
mod display;
mod error;
pub mod hidden_columns;
mod name;
mod parameters;
mod parser;
mod planning;
mod property_values;
mod query_check;
mod references;
mod relation;
mod statement;
pub mod table_changes;
mod table_properties;
mod time_travel;
mod types;

pub use error::SqlError;
pub use name::{ColumnPath, ObjectName, fold_identifier};
pub use parser::{interval_text, parse_statement, parse_statements, split_statements};
pub use planning::{
    COPY_COLUMN, NUMBERED_COPIES, OutputColumn, OutputColumns, function_call, output_columns,
    prepare, trino_functions,
};
pub use references::{TableReferences, table_references};
pub use relation::{
    CatalogVersion, CatalogVersionId, MetadataTable, RelationChanges, RelationName, RelationVersion,
};
pub use statement::*;
pub use table_properties::{
    FileFormat, PartitionField, PartitionTransform, SortField, TableProperties,
    TablePropertyChanges,
};
pub use types::{ColumnType, StructField};

/// The parser library, for those who walk the queries inside a [`Statement`].
pub use sqlparser;
