//! [`SqlCatalog`] as a [`Catalog`].

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::TableIdent;
use uuid::Uuid;

use super::schema::{SCHEMA_ROW, kind};
use super::version::NewVersion;
use super::{LOCATION, SqlCatalog, names, schema_of};
use crate::catalog::{Catalog, TableCommit};
use crate::error::{CatalogError, Result};
use crate::storage::{Location, Storage};
use crate::table::{Table, ident_name};
use crate::view::{View, ViewDefinition};

#[async_trait]
impl Catalog for SqlCatalog {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn storage(&self) -> &Arc<Storage> {
        &self.inner.storage
    }

    async fn list_schemas(&self) -> Result<Vec<String>> {
        self.inner.names(None).await
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
        if let Some(location) = properties.get(LOCATION) {
            Location::parse(location)?;
            if !inner.options.allow_external_locations {
                names::check_within("schema", location, &inner.warehouse)?;
            }
        }
        let content = serde_json::to_string(&properties)
            .map_err(|error| CatalogError::InvalidInput(error.to_string()))?;
        let mut version = NewVersion::begin(&inner.database, inner.catalog_id).await?;
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

    async fn drop_schema(&self, schema: &str) -> Result<()> {
        let inner = &self.inner;
        let mut version = NewVersion::begin(&inner.database, inner.catalog_id).await?;
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
        let names = self.inner.names(Some(schema)).await?;
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
        self.inner
            .put_view_in_background(ident, definition, or_replace)
            .await
    }

    async fn drop_view(&self, ident: &TableIdent) -> Result<View> {
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
        Ok(format!(
            "{}/{}-{}",
            self.inner.schema_location(schema, &properties),
            names::folder_name(ident.name()),
            Uuid::new_v4().simple()
        ))
    }

    async fn check_table_location(&self, ident: &TableIdent, location: &str) -> Result<()> {
        self.inner.check_location(schema_of(ident)?, location).await
    }

    async fn commit(&self, commits: Vec<TableCommit>) -> Result<Vec<Table>> {
        self.inner.commit_in_background(commits).await
    }

    async fn drop_table(&self, ident: &TableIdent) -> Result<Table> {
        let inner = &self.inner;
        let schema = schema_of(ident)?;
        let mut version = NewVersion::begin(&inner.database, inner.catalog_id).await?;
        let live = version.live(schema, ident.name()).await?;
        let Some(object) = live.filter(|object| object.kind == kind::TABLE) else {
            drop(version);
            return Err(inner.table_not_found(ident).await);
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
        let metadata = inner.read_metadata(&object.content).await?;
        let message = format!("drop table {}", ident_name(ident));
        version.finish(&inner.options.author, &message).await?;
        Ok(Table {
            ident: ident.clone(),
            metadata,
            metadata_location: Some(object.content),
        })
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        let inner = &self.inner;
        let (from_schema, to_schema) = (schema_of(from)?, schema_of(to)?);
        names::validate_name("table", to.name())?;
        let mut version = NewVersion::begin(&inner.database, inner.catalog_id).await?;
        let live = version.live(from_schema, from.name()).await?;
        let Some(object) = live.filter(|object| object.kind == kind::TABLE) else {
            drop(version);
            return Err(inner.table_not_found(from).await);
        };
        if !version.has_schema(to_schema).await? {
            drop(version);
            return Err(inner.schema_not_found(to_schema).await);
        }
        if version.live(to_schema, to.name()).await?.is_some() {
            return Err(CatalogError::TableExists {
                name: ident_name(to),
            });
        }
        let content = object.content.as_str();
        version
            .set(kind::TABLE, (from_schema, from.name()), Some(content), None)
            .await?;
        version
            .set(kind::TABLE, (to_schema, to.name()), None, Some(content))
            .await?;
        let message = format!("rename table {} to {}", ident_name(from), ident_name(to));
        version.finish(&inner.options.author, &message).await
    }

    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        let inner = &self.inner;
        let schema = schema_of(ident)?;
        names::validate_name("table", ident.name())?;
        let metadata = inner.read_metadata(metadata_location).await?;
        inner.check_location(schema, metadata.location()).await?;
        let mut version = NewVersion::begin(&inner.database, inner.catalog_id).await?;
        if !version.has_schema(schema).await? {
            drop(version);
            return Err(inner.schema_not_found(schema).await);
        }
        if version.live(schema, ident.name()).await?.is_some() {
            return Err(CatalogError::TableExists {
                name: ident_name(ident),
            });
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
}
