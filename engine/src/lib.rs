//! DataFusion integration shared by coordinator and worker.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod aggregates;
pub mod assignment;
pub mod broadcast_join;
pub mod catalog_list;
pub mod codec;
pub mod csv;
pub mod default_value;
pub mod error;
mod expressions;
pub mod float_coercion;
pub mod functions;
pub mod hidden_columns;
pub mod materialized_view;
pub mod metadata_table;
pub mod results;
pub mod row_change;
pub mod runtime;
pub mod scan;
pub mod schema;
pub mod session;
pub mod subqueries;
pub mod table;
pub mod table_changes;
pub mod task_error;
pub mod text_views;
pub mod time_zone;
pub mod types;
pub mod write;

pub use error::{EngineError, Result};
