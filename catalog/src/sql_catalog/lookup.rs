//! Reading the catalog: what the state has that a handle reads.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::{TableMetadata, TableMetadataRef};
use uuid::Uuid;

use super::position::{Listing, NamedObject, find_object, list_objects};
use super::schema::{SCHEMA_ROW, kind};
use super::{Inner, LOCATION, names, nearest_name, schema_of};
use crate::error::{CatalogError, Result};
use crate::materialized_view::{STORAGE_TABLE_SUFFIX, storage_table_of};
use crate::storage::Location;
use crate::table::{Table, ident_name};

impl Inner {
    pub(super) fn error(&self, source: sqlx::Error) -> CatalogError {
        self.database.error(source)
    }

    /// The content of an object of this kind.
    pub(super) async fn content(
        &self,
        schema: &str,
        name: &str,
        kind: &str,
    ) -> Result<Option<String>> {
        let pool = self.database.pool();
        let levels = self.position.levels();
        let found = find_object(pool, self.catalog_id, levels, schema, name).await;
        let found = found.map_err(|source| self.error(source))?;
        Ok(found
            .filter(|object| object.kind == kind)
            .map(|object| object.content))
    }

    /// Names of the schemas, sorted.
    pub(super) async fn schema_names(&self) -> Result<Vec<String>> {
        let listed = self.list(Listing::Schemas).await?;
        Ok(listed.into_iter().map(|named| named.schema).collect())
    }

    /// Names of the tables of a schema, sorted. Those that store the rows of materialized views are
    /// not among them.
    pub(super) async fn table_names(&self, schema: &str) -> Result<Vec<String>> {
        let mut names = self.names_of_kind(schema, kind::TABLE).await?;
        names.retain(|name| !name.ends_with(STORAGE_TABLE_SUFFIX));
        Ok(names)
    }

    /// Names of the tables or views of a schema, sorted.
    pub(super) async fn names_of_kind(&self, schema: &str, kind: &str) -> Result<Vec<String>> {
        let listed = self.list(Listing::In(schema)).await?;
        Ok(listed
            .into_iter()
            .filter(|named| named.object.kind == kind)
            .map(|named| named.name)
            .collect())
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Vec<NamedObject>> {
        let pool = self.database.pool();
        let levels = self.position.levels();
        let listed = list_objects(pool, self.catalog_id, levels, listing).await;
        listed.map_err(|source| self.error(source))
    }

    pub(super) async fn schema_not_found(&self, schema: &str) -> CatalogError {
        match self.schema_names().await {
            Ok(names) => CatalogError::SchemaNotFound {
                name: schema.to_string(),
                suggestion: nearest_name(schema, &names),
            },
            Err(error) => error,
        }
    }

    pub(super) async fn table_not_found(&self, ident: &TableIdent) -> CatalogError {
        let schema = match schema_of(ident) {
            Ok(schema) => schema,
            Err(error) => return error,
        };
        match self.content(schema, SCHEMA_ROW, kind::SCHEMA).await {
            Ok(Some(_)) => {}
            Ok(None) => return self.schema_not_found(schema).await,
            Err(error) => return error,
        }
        match self.content(schema, ident.name(), kind::VIEW).await {
            Ok(Some(_)) => {
                return self.is_view(ident).await.unwrap_or_else(|error| error);
            }
            Ok(None) => {}
            Err(error) => return error,
        }
        match self.table_names(schema).await {
            Ok(names) => CatalogError::TableNotFound {
                name: ident_name(ident),
                suggestion: nearest_name(ident.name(), &names)
                    .map(|nearest| format!("{schema}.{nearest}")),
            },
            Err(error) => error,
        }
    }

    async fn is_view(&self, ident: &TableIdent) -> Result<CatalogError> {
        let storage_table = storage_table_of(ident);
        let storage = self
            .content(schema_of(ident)?, storage_table.name(), kind::TABLE)
            .await?;
        Ok(CatalogError::IsView {
            name: ident_name(ident),
            is_materialized: storage.is_some(),
        })
    }

    pub(super) async fn schema_properties(&self, schema: &str) -> Result<HashMap<String, String>> {
        match self.content(schema, SCHEMA_ROW, kind::SCHEMA).await? {
            Some(json) => parse_schema_properties(schema, &json),
            None => Err(self.schema_not_found(schema).await),
        }
    }

    /// Where the tables of a schema go.
    pub(super) fn schema_location(
        &self,
        schema: &str,
        properties: &HashMap<String, String>,
    ) -> String {
        match properties.get(LOCATION) {
            Some(location) => location.trim_end_matches('/').to_string(),
            None => format!("{}/{}", self.warehouse, names::folder_name(schema)),
        }
    }

    /// A location for a new table or view that nothing else has.
    pub(super) fn fresh_location(
        &self,
        schema: &str,
        properties: &HashMap<String, String>,
        name: &str,
    ) -> String {
        format!(
            "{}/{}-{}",
            self.schema_location(schema, properties),
            names::folder_name(name),
            Uuid::new_v4().simple()
        )
    }

    /// Refuses a schema's location outside of the warehouse, unless the configuration allows it.
    pub(super) fn check_schema_location(&self, properties: &HashMap<String, String>) -> Result<()> {
        let Some(location) = properties.get(LOCATION) else {
            return Ok(());
        };
        Location::parse(location)?;
        if self.options.allow_external_locations {
            return Ok(());
        }
        names::check_within("schema", location, &self.warehouse)
    }

    /// Refuses a table's location outside of its schema's folder and of the warehouse, unless the
    /// configuration allows it, and in any case one that the warehouse or a schema's folder is in:
    /// the files of all their tables would be those of this one.
    pub(super) async fn check_table_location(&self, schema: &str, location: &str) -> Result<()> {
        self.check_location_of("table", schema, location).await?;
        names::check_around("table", location, "the warehouse", &self.warehouse)?;
        for named in self.list(Listing::Schemas).await? {
            let properties = parse_schema_properties(&named.schema, &named.object.content)?;
            let folder = self.schema_location(&named.schema, &properties);
            let what = format!("schema {}", named.schema);
            names::check_around("table", location, &what, &folder)?;
        }
        Ok(())
    }

    /// Refuses the location of something, which `what` names, outside of its schema's folder and of
    /// the warehouse, unless the configuration allows it.
    pub(super) async fn check_location_of(
        &self,
        what: &str,
        schema: &str,
        location: &str,
    ) -> Result<()> {
        Location::parse(location)?;
        if self.options.allow_external_locations {
            return Ok(());
        }
        let properties = self.schema_properties(schema).await?;
        let schema_folder = self.schema_location(schema, &properties);
        names::check_within(what, location, &schema_folder)
            .or_else(|_| names::check_within(what, location, &self.warehouse))
    }

    pub(super) async fn find_table(&self, ident: &TableIdent) -> Result<Option<Table>> {
        let schema = schema_of(ident)?;
        let Some(location) = self.content(schema, ident.name(), kind::TABLE).await? else {
            return Ok(None);
        };
        let metadata = self.read_metadata(&location).await?;
        Ok(Some(Table {
            ident: ident.clone(),
            metadata,
            metadata_location: Some(location),
        }))
    }

    pub(super) async fn read_metadata(&self, location: &str) -> Result<TableMetadataRef> {
        let read = async {
            let read = TableMetadata::read_from(&self.storage.file_io(), location).await;
            read.map(Arc::new)
                .map_err(|source| CatalogError::metadata(location, source))
        };
        if let Some(metadata) = self.metadata.get(location).await {
            return Ok(metadata);
        }
        let metadata = read.await?;
        self.metadata
            .insert(location.to_string(), Arc::clone(&metadata))
            .await;
        Ok(metadata)
    }
}

/// What the row of a schema holds.
pub(super) fn parse_schema_properties(
    schema: &str,
    content: &str,
) -> Result<HashMap<String, String>> {
    serde_json::from_str(content).map_err(|error| {
        let path = format!("properties of schema {schema}");
        CatalogError::metadata(path, error.into())
    })
}
