//! The seam between Ingot and any Iceberg catalog.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use iceberg::{TableIdent, TableRequirement, TableUpdate};

use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::{Table, ident_name};
use crate::view::{View, ViewDefinition};

/// One change to one table: applied only if every requirement still holds.
#[derive(Debug, Clone)]
pub struct TableCommit {
    /// The table to change or create.
    pub ident: TableIdent,
    /// What must be true of the table at the moment of the commit
    /// (`TableRequirement::NotExist` for a creation).
    pub requirements: Vec<TableRequirement>,
    /// For a creation, the metadata to begin with (no snapshot yet); `updates` are applied to it.
    /// `None` when the table exists.
    pub created_from: Option<TableMetadata>,
    /// Changes in order.
    pub updates: Vec<TableUpdate>,
}

/// An Iceberg catalog: names to table metadata, changed by compare-and-swap.
///
/// Namespaces have one level and are called schemas, as in SQL.
#[async_trait]
pub trait Catalog: Debug + Send + Sync {
    /// The catalog's name in SQL (`iceberg` by default).
    fn name(&self) -> &str;

    /// Where its metadata and data files live.
    fn storage(&self) -> &Arc<Storage>;

    /// Schema names, sorted.
    async fn list_schemas(&self) -> Result<Vec<String>>;

    /// Properties of a schema (`location`, `comment`), or `SchemaNotFound`.
    async fn load_schema(&self, schema: &str) -> Result<HashMap<String, String>>;

    /// Creates a schema, or fails with `SchemaExists`.
    async fn create_schema(&self, schema: &str, properties: HashMap<String, String>) -> Result<()>;

    /// Drops an empty schema, or fails with `SchemaNotEmpty`.
    async fn drop_schema(&self, schema: &str) -> Result<()>;

    /// Table names of a schema, sorted, or `SchemaNotFound`.
    async fn list_tables(&self, schema: &str) -> Result<Vec<String>>;

    /// The table's newest committed state, or `TableNotFound` with the nearest name.
    async fn load_table(&self, ident: &TableIdent) -> Result<Table>;

    /// A fresh, unused location for a new table, under the schema's or the warehouse's location.
    /// Refuses names that would escape it.
    async fn new_table_location(&self, ident: &TableIdent) -> Result<String>;

    /// Refuses a location that was chosen for a new table and is not allowed, such as one
    /// outside of the warehouse. Asked before any file of the table is written.
    async fn check_table_location(&self, ident: &TableIdent, location: &str) -> Result<()> {
        let _ = (ident, location);
        Ok(())
    }

    /// Publishes changes of one or several tables in one step: all of them or none.
    /// Returns the new states in the order given, `CommitConflict` if a requirement failed.
    async fn commit(&self, commits: Vec<TableCommit>) -> Result<Vec<Table>>;

    /// Removes a table from the catalog; its files stay. Returns the state dropped.
    async fn drop_table(&self, ident: &TableIdent) -> Result<Table>;

    /// Renames a table within the catalog; its location does not change.
    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()>;

    /// View names of a schema, sorted, or `SchemaNotFound`.
    async fn list_views(&self, schema: &str) -> Result<Vec<String>> {
        let _ = schema;
        Ok(Vec::new())
    }

    /// The view's newest state, or `ViewNotFound` with the nearest name. Loading a table of
    /// this name fails with `IsView`.
    async fn load_view(&self, ident: &TableIdent) -> Result<View> {
        Err(CatalogError::ViewNotFound {
            name: ident_name(ident),
            suggestion: None,
        })
    }

    /// Creates a view, or makes a new version of one that exists if it may be replaced.
    ///
    /// # Errors
    /// `ViewExists`, `TableExists`; `Unsupported` for catalogs without views.
    async fn put_view(
        &self,
        ident: &TableIdent,
        definition: ViewDefinition,
        or_replace: bool,
    ) -> Result<View> {
        let _ = (definition, or_replace);
        Err(CatalogError::Unsupported(format!(
            "view {} in catalog {}",
            ident_name(ident),
            self.name()
        )))
    }

    /// Removes a view from the catalog. Returns the state dropped.
    async fn drop_view(&self, ident: &TableIdent) -> Result<View> {
        self.load_view(ident).await?;
        Err(CatalogError::Unsupported(format!(
            "dropping views of catalog {}",
            self.name()
        )))
    }

    /// Adds a table that another engine wrote, by its newest metadata file. From then on
    /// this catalog commits to it; the other engine must not.
    ///
    /// # Errors
    /// `TableExists`; `Metadata` when the file cannot be read; `Unsupported` for
    /// catalogs without this.
    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        Err(CatalogError::Unsupported(format!(
            "registering {metadata_location} as {ident} in catalog {}",
            self.name()
        )))
    }
}
