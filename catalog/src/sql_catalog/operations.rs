//! [`SqlCatalog`] as a [`Catalog`].

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::TableIdent;

use super::lookup::parse_schema_properties;
use super::schema::{SCHEMA_ROW, kind};
use super::version::NewVersion;
use super::views::refuse_materialized;
use super::{Inner, LOCATION, SqlCatalog, names, schema_of};
use crate::catalog::{Catalog, TableCommit};
use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::{Table, ident_name};
use crate::versioned::VersionedCatalog;
use crate::view::{DroppedView, View, ViewCommit, ViewDefinition};

#[async_trait]
impl Catalog for SqlCatalog {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn storage(&self) -> &Arc<Storage> {
        &self.inner.storage
    }

    async fn list_schemas(&self) -> Result<Vec<String>> {
        self.inner.schema_names().await
    }

    async fn load_schema(&self, schema: &str) -> Result<HashMap<String, String>> {
        let mut properties = self.inner.schema_properties(schema).await?;
        let location = self.inner.schema_location(schema, &properties);
        properties.insert(LOCATION.to_string(), location);
        Ok(properties)
    }

    async fn create_schema(&self, schema: &str, properties: HashMap<String, String>) -> Result<()> {
        let inner = &self.inner;
        names::validate_name("schema", schema)?;
        inner.check_schema_location(&properties)?;
        let content = serde_json::to_string(&properties)
            .map_err(|error| CatalogError::InvalidInput(error.to_string()))?;
        let mut version = NewVersion::begin(inner).await?;
        if version.has_schema(schema).await? {
            return Err(CatalogError::SchemaExists {
                name: schema.to_string(),
            });
        }
        version
            .set(kind::SCHEMA, (schema, SCHEMA_ROW), None, Some(&content))
            .await?;
        let message = format!("create schema {schema}");
        version.finish(&inner.options.author, &message).await
    }

    async fn change_schema_properties(
        &self,
        schema: &str,
        set: HashMap<String, String>,
        removed: &[String],
    ) -> Result<()> {
        let inner = &self.inner;
        inner.check_schema_location(&set)?;
        let mut version = NewVersion::begin(inner).await?;
        let Some(object) = version.live(schema, SCHEMA_ROW).await? else {
            drop(version);
            return Err(inner.schema_not_found(schema).await);
        };
        let mut properties = parse_schema_properties(schema, &object.content)?;
        properties.retain(|name, _| !removed.contains(name));
        properties.extend(set);
        let content = serde_json::to_string(&properties)
            .map_err(|error| CatalogError::InvalidInput(error.to_string()))?;
        version
            .set(
                kind::SCHEMA,
                (schema, SCHEMA_ROW),
                Some(&object.content),
                Some(&content),
            )
            .await?;
        let message = format!("change schema {schema}");
        version.finish(&inner.options.author, &message).await
    }

    async fn drop_schema(&self, schema: &str) -> Result<()> {
        let inner = &self.inner;
        let mut version = NewVersion::begin(inner).await?;
        let Some(object) = version.live(schema, SCHEMA_ROW).await? else {
            drop(version);
            return Err(inner.schema_not_found(schema).await);
        };
        let tables = version.count_objects(schema).await?;
        if tables > 0 {
            return Err(CatalogError::SchemaNotEmpty {
                name: schema.to_string(),
                tables,
            });
        }
        version
            .set(
                kind::SCHEMA,
                (schema, SCHEMA_ROW),
                Some(&object.content),
                None,
            )
            .await?;
        let message = format!("drop schema {schema}");
        version.finish(&inner.options.author, &message).await
    }

    async fn list_tables(&self, schema: &str) -> Result<Vec<String>> {
        let names = self.inner.table_names(schema).await?;
        if names.is_empty() {
            self.inner.schema_properties(schema).await?;
        }
        Ok(names)
    }

    async fn list_views(&self, schema: &str) -> Result<Vec<String>> {
        let names = self.inner.names_of_kind(schema, kind::VIEW).await?;
        if names.is_empty() {
            self.inner.schema_properties(schema).await?;
        }
        Ok(names)
    }

    async fn load_view(&self, ident: &TableIdent) -> Result<View> {
        match self.inner.find_view(ident).await? {
            Some(view) => Ok(view),
            None => Err(self.inner.view_not_found(ident).await),
        }
    }

    async fn put_view(
        &self,
        ident: &TableIdent,
        definition: ViewDefinition,
        or_replace: bool,
    ) -> Result<View> {
        if definition.materialization.is_some() {
            return Err(CatalogError::InvalidInput(format!(
                "materialized view {} is to be made together with its storage table",
                ident_name(ident)
            )));
        }
        let put = self.inner.put_view(ident, definition, or_replace, None);
        put.await.map(|(view, _)| view)
    }

    async fn comment_view(&self, ident: &TableIdent, comment: Option<String>) -> Result<View> {
        self.inner.comment_view(ident, comment).await
    }

    async fn commit_view(&self, commit: ViewCommit) -> Result<View> {
        refuse_materialized(&commit)?;
        let committed = self.inner.commit_view_in_background(commit, None);
        committed.await.map(|(view, _)| view)
    }

    async fn rename_view(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.inner.rename_view(from, to).await
    }

    async fn put_materialized_view(
        &self,
        ident: &TableIdent,
        definition: ViewDefinition,
        or_replace: bool,
        storage_table: TableCommit,
    ) -> Result<Vec<Table>> {
        let named = definition.materialization.as_ref();
        if named.map(|materialization| &materialization.storage_table) != Some(&storage_table.ident)
        {
            return Err(CatalogError::InvalidInput(format!(
                "materialized view {} does not name its storage table {}",
                ident_name(ident),
                ident_name(&storage_table.ident)
            )));
        }
        let put = self
            .inner
            .put_view(ident, definition, or_replace, Some(storage_table));
        let (_, table) = put.await?;
        Ok(table.into_iter().collect())
    }

    async fn drop_view(&self, ident: &TableIdent) -> Result<DroppedView> {
        self.inner.drop_view(ident).await
    }

    async fn load_table(&self, ident: &TableIdent) -> Result<Table> {
        match self.inner.find_table(ident).await? {
            Some(table) => Ok(table),
            None => Err(self.inner.table_not_found(ident).await),
        }
    }

    async fn new_table_location(&self, ident: &TableIdent) -> Result<String> {
        let schema = schema_of(ident)?;
        names::validate_name("table", ident.name())?;
        let properties = self.inner.schema_properties(schema).await?;
        Ok(self.inner.fresh_location(schema, &properties, ident.name()))
    }

    async fn check_table_location(&self, ident: &TableIdent, location: &str) -> Result<()> {
        self.inner
            .check_table_location(schema_of(ident)?, location)
            .await
    }

    async fn commit(&self, commits: Vec<TableCommit>) -> Result<Vec<Table>> {
        self.inner.commit_in_background(commits).await
    }

    async fn reachable_metadata(&self, table: &Table) -> Result<Vec<String>> {
        self.inner
            .reachable_metadata(&table.ident, table.metadata.location())
            .await
    }

    async fn reachable_within(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.reachable_within(folder).await
    }

    async fn unread_view_files(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.unread_view_files(folder).await
    }

    async fn table_folder(&self, schema: &str) -> Result<String> {
        self.inner.table_folder(schema).await
    }

    async fn is_known_folder(&self, name: &str) -> Result<bool> {
        self.inner.is_known_folder(name).await
    }

    async fn drop_table(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.drop_table(ident, false).await
    }

    async fn drop_table_for_purge(&self, ident: &TableIdent) -> Result<Table> {
        let purge = "deleting the files of a table";
        self.inner.position.refuse_in_transaction(purge)?;
        self.inner.drop_table(ident, true).await
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.inner.rename(kind::TABLE, from, to).await
    }

    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        let inner = &self.inner;
        // A rollback must not take the files of others for its own.
        let register = "registering a table";
        inner.position.refuse_in_transaction(register)?;
        let schema = schema_of(ident)?;
        names::validate_name("table", ident.name())?;
        // Before the file is read: what is not allowed does not even tell whether it exists.
        inner
            .check_location_of("metadata file", schema, metadata_location)
            .await?;
        let metadata = inner.read_metadata(metadata_location).await?;
        inner
            .check_table_location(schema, metadata.location())
            .await?;
        let mut version = NewVersion::begin(inner).await?;
        if !version.has_schema(schema).await? {
            drop(version);
            return Err(inner.schema_not_found(schema).await);
        }
        if version.live(schema, ident.name()).await?.is_some() {
            return Err(CatalogError::TableExists {
                name: ident_name(ident),
            });
        }
        // Two tables with one folder would delete each other's files.
        if let Some(other) = version.table_in(metadata.location()).await? {
            return Err(CatalogError::InvalidInput(format!(
                "table {} cannot be registered: the folder {} belongs to table {other}",
                ident_name(ident),
                metadata.location()
            )));
        }
        version
            .set(
                kind::TABLE,
                (schema, ident.name()),
                None,
                Some(metadata_location),
            )
            .await?;
        let message = format!("register table {}", ident_name(ident));
        version.finish(&inner.options.author, &message).await?;
        Ok(Table {
            ident: ident.clone(),
            metadata,
            metadata_location: Some(metadata_location.to_string()),
        })
    }

    fn versioned(&self) -> Result<&dyn VersionedCatalog> {
        Ok(self)
    }
}

impl Inner {
    /// Drops a table; one whose files are to be deleted must not share them with another table, nor
    /// be read by another branch or tag.
    async fn drop_table(&self, ident: &TableIdent, for_purge: bool) -> Result<Table> {
        let schema = schema_of(ident)?;
        let mut version = NewVersion::begin(self).await?;
        let live = version.live(schema, ident.name()).await?;
        let Some(object) = live.filter(|object| object.kind == kind::TABLE) else {
            drop(version);
            return Err(self.table_not_found(ident).await);
        };
        version
            .set(
                kind::TABLE,
                (schema, ident.name()),
                Some(&object.content),
                None,
            )
            .await?;
        // Before the drop is published: a table whose metadata cannot be read could
        // otherwise be dropped by a caller that gets an error.
        let dropped = Table {
            ident: ident.clone(),
            metadata: self.read_metadata(&object.content).await?,
            metadata_location: Some(object.content),
        };
        if for_purge {
            let readers = self.other_readers(&mut version, &dropped).await?;
            if !readers.is_empty() {
                return Err(CatalogError::FilesInUse {
                    table: ident_name(ident),
                    readers,
                });
            }
        }
        let message = format!("drop table {}", ident_name(ident));
        version.finish(&self.options.author, &message).await?;
        Ok(dropped)
    }
}
