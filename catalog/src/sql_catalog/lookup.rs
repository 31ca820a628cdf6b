//! Reading the catalog: what is on `main` now.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::{TableMetadata, TableMetadataRef};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::schema::{MAIN_REF, SCHEMA_ROW, kind};
use super::{Inner, LOCATION, names, nearest_name, schema_of};
use crate::error::{CatalogError, Result};
use crate::storage::Location;
use crate::table::{Table, ident_name};

impl Inner {
    pub(super) fn error(&self, source: sqlx::Error) -> CatalogError {
        self.database.error(source)
    }

    /// The content of a live object of this kind.
    pub(super) async fn content(
        &self,
        schema: &str,
        name: &str,
        kind: &str,
    ) -> Result<Option<String>> {
        sqlx::query_scalar(
            "SELECT content FROM catalog_objects
             WHERE catalog_id = $1 AND ref_id = $2 AND schema_name = $3 AND object_name = $4
               AND to_version IS NULL AND content IS NOT NULL AND kind = $5",
        )
        .bind(self.catalog_id)
        .bind(MAIN_REF)
        .bind(schema)
        .bind(name)
        .bind(kind)
        .fetch_optional(self.database.pool())
        .await
        .map_err(|source| self.error(source))
    }

    /// Names of the live schemas (of the catalog) or tables (of `schema`), sorted.
    pub(super) async fn names(&self, schema: Option<&str>) -> Result<Vec<String>> {
        let Some(schema) = schema else {
            let rows = sqlx::query(
                "SELECT schema_name FROM catalog_objects
                 WHERE catalog_id = $1 AND ref_id = $2 AND to_version IS NULL
                   AND content IS NOT NULL AND kind = $3",
            )
            .bind(self.catalog_id)
            .bind(MAIN_REF)
            .bind(kind::SCHEMA)
            .fetch_all(self.database.pool())
            .await;
            return self.sorted_names(rows);
        };
        self.names_of_kind(schema, kind::TABLE).await
    }

    /// Names of the live tables or views of a schema, sorted.
    pub(super) async fn names_of_kind(&self, schema: &str, kind: &str) -> Result<Vec<String>> {
        let rows = sqlx::query(
            "SELECT object_name FROM catalog_objects
             WHERE catalog_id = $1 AND ref_id = $2 AND to_version IS NULL
               AND content IS NOT NULL AND kind = $3 AND schema_name = $4",
        )
        .bind(self.catalog_id)
        .bind(MAIN_REF)
        .bind(kind)
        .bind(schema)
        .fetch_all(self.database.pool())
        .await;
        self.sorted_names(rows)
    }

    fn sorted_names(&self, rows: Result<Vec<AnyRow>, sqlx::Error>) -> Result<Vec<String>> {
        let names: Result<Vec<String>, sqlx::Error> =
            rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect());
        let mut names = names.map_err(|source| self.error(source))?;
        // Databases sort by their own collations.
        names.sort();
        Ok(names)
    }

    pub(super) async fn schema_not_found(&self, schema: &str) -> CatalogError {
        match self.names(None).await {
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
                return CatalogError::IsView {
                    name: ident_name(ident),
                };
            }
            Ok(None) => {}
            Err(error) => return error,
        }
        match self.names(Some(schema)).await {
            Ok(names) => CatalogError::TableNotFound {
                name: ident_name(ident),
                suggestion: nearest_name(ident.name(), &names)
                    .map(|nearest| format!("{schema}.{nearest}")),
            },
            Err(error) => error,
        }
    }

    pub(super) async fn schema_properties(&self, schema: &str) -> Result<HashMap<String, String>> {
        match self.content(schema, SCHEMA_ROW, kind::SCHEMA).await? {
            Some(json) => serde_json::from_str(&json).map_err(|error| {
                let path = format!("properties of schema {schema}");
                CatalogError::metadata(path, error.into())
            }),
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

    /// Refuses a table's location outside of its schema's folder and of the warehouse,
    /// unless the configuration allows it.
    pub(super) async fn check_location(&self, schema: &str, location: &str) -> Result<()> {
        Location::parse(location)?;
        if self.options.allow_external_locations {
            return Ok(());
        }
        let properties = self.schema_properties(schema).await?;
        let schema_folder = self.schema_location(schema, &properties);
        names::check_within("table", location, &schema_folder)
            .or_else(|_| names::check_within("table", location, &self.warehouse))
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
