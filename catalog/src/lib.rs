//! Iceberg catalogs, table metadata, scan planning and commits.
//!
//! Nothing here knows DataFusion or Arrow: this crate speaks the Iceberg table
//! specification over an object store and a catalog database, and hands plain,
//! serialisable lists of files to whoever reads or writes them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod catalog;
pub mod commit;
pub mod database;
pub mod error;
pub mod evolve;
pub mod maintenance;
mod manifest;
pub mod materialized_view;
pub mod rest_catalog;
pub mod scan;
pub mod sql_catalog;
pub mod statistics;
pub mod storage;
pub mod table;
pub mod versioned;
pub mod view;

pub use catalog::{Catalog, TableCommit, TableDraft};
pub use database::{Database, DatabaseLock, Dialect, Migration};
pub use error::{CatalogError, Result};
pub use materialized_view::Materialization;
pub use rest_catalog::{AccessDelegation, RestAuthentication, RestCatalog, RestCatalogOptions};
pub use sql_catalog::{SqlCatalog, SqlCatalogOptions};
pub use storage::{FileInfo, Location, S3Config, Storage, StorageAccess, StorageConfig};
pub use table::{Table, TableVersion};
pub use versioned::{
    CatalogLogEntry, CatalogReference, CatalogReferenceInfo, CatalogReferenceKind,
    CatalogTransaction, MergeReport, VersionId, VersionedCatalog,
};
pub use view::{DroppedView, View, ViewCommit, ViewDefinition};
