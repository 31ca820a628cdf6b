//! [`RestCatalog`] as a [`Catalog`].

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;

use super::http::Call;
use super::wire::{ChangeProperties, CreateNamespace, RegisterTable, TableResult};
use super::{Inner, RestCatalog};
use crate::catalog::{Catalog, TableCommit, TableDraft};
use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::{Table, ident_name, schema_of};
use crate::versioned::VersionedCatalog;
use crate::view::{DroppedView, View, ViewCommit, ViewDefinition};

/// The property of a schema that says where its tables go.
const LOCATION: &str = "location";

#[async_trait]
impl Catalog for RestCatalog {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn is_remote(&self) -> bool {
        true
    }

    /// Nessie does not say which states its other branches, its tags and its old commits read.
    fn knows_all_states(&self) -> bool {
        self.inner.nessie.is_none()
    }

    fn storage(&self) -> &Arc<Storage> {
        &self.inner.storage
    }

    async fn list_schemas(&self) -> Result<Vec<String>> {
        self.inner.schema_names().await
    }

    async fn load_schema(&self, schema: &str) -> Result<HashMap<String, String>> {
        self.inner.schema_properties(schema).await
    }

    async fn create_schema(&self, schema: &str, properties: HashMap<String, String>) -> Result<()> {
        let inner = &self.inner;
        inner.check_can_change()?;
        // Also validates the name.
        inner.paths.namespace(schema)?;
        let request = CreateNamespace {
            namespace: inner.paths.levels(schema),
            properties,
        };
        let call = Call::post(inner.paths.namespaces(), &request)
            .map_err(|failure| inner.error(failure))?;
        match inner.client.send(&call).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.status() == Some(409) => Err(CatalogError::SchemaExists {
                name: schema.to_string(),
            }),
            Err(failure) => Err(failure.into_change_error(&inner.name, of_schema(schema))),
        }
    }

    async fn change_schema_properties(
        &self,
        schema: &str,
        set: HashMap<String, String>,
        removed: &[String],
    ) -> Result<()> {
        let inner = &self.inner;
        inner.check_can_change()?;
        // The protocol refuses a property that is in both.
        let removals = removed.iter().filter(|name| !set.contains_key(*name));
        let request = ChangeProperties {
            removals: removals.cloned().collect(),
            updates: set,
        };
        let path = inner.paths.below(schema, "properties")?;
        let call = Call::post(path, &request).map_err(|failure| inner.error(failure))?;
        match inner.client.send(&call).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_missing() => Err(inner.schema_not_found(schema).await),
            Err(failure) => Err(failure.into_change_error(&inner.name, of_schema(schema))),
        }
    }

    async fn drop_schema(&self, schema: &str) -> Result<()> {
        let inner = &self.inner;
        inner.check_can_change()?;
        let call = Call::delete(inner.paths.namespace(schema)?);
        match inner.client.send(&call).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_missing() => Err(inner.schema_not_found(schema).await),
            Err(failure) if failure.status() == Some(409) => {
                let tables = inner.table_names(schema).await?.len();
                let views = inner.view_names(schema).await?.len();
                Err(CatalogError::SchemaNotEmpty {
                    name: schema.to_string(),
                    tables: tables + views,
                })
            }
            Err(failure) => Err(failure.into_change_error(&inner.name, of_schema(schema))),
        }
    }

    async fn list_tables(&self, schema: &str) -> Result<Vec<String>> {
        self.inner.table_names(schema).await
    }

    async fn load_table(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.load_table(ident).await
    }

    /// Where the server says that tables of the schema go. It chooses for itself in
    /// [`Catalog::stage_table`].
    async fn new_table_location(&self, ident: &TableIdent) -> Result<String> {
        let schema = schema_of(ident)?;
        self.inner.paths.table(ident)?;
        let properties = self.inner.schema_properties(schema).await?;
        let Some(location) = properties.get(LOCATION) else {
            return Err(CatalogError::Unsupported(format!(
                "choosing a place for {} in catalog {}, which does that itself,",
                ident_name(ident),
                self.inner.name
            )));
        };
        let folder = location.trim_end_matches('/');
        Ok(format!("{folder}/{}", uuid::Uuid::new_v4().simple()))
    }

    /// Whether a table may be there is for the server to say. This side knows no place but the
    /// tables' own folders, so that metadata cannot make it delete what is elsewhere.
    async fn check_table_location(&self, ident: &TableIdent, location: &str) -> Result<()> {
        Err(CatalogError::InvalidInput(format!(
            "{location} is outside of the folder of table {}, and catalog {} does not say that \
             it is one for tables",
            ident_name(ident),
            self.inner.name
        )))
    }

    async fn stage_table(&self, ident: &TableIdent, draft: TableDraft) -> Result<TableMetadata> {
        self.inner.check_can_change()?;
        self.inner.stage(ident, draft).await
    }

    async fn commit(&self, commits: Vec<TableCommit>) -> Result<Vec<Table>> {
        self.inner.check_can_change()?;
        self.inner.commit_in_background(commits).await
    }

    async fn drop_table(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.drop_table(ident, false).await
    }

    async fn drop_table_for_purge(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.drop_table(ident, true).await
    }

    /// It knows what else needs the files, such as branches of the whole catalog.
    fn deletes_files_of_dropped_tables(&self) -> bool {
        true
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        let inner = &self.inner;
        inner.check_can_change()?;
        inner.paths.table(to)?;
        match inner.send_rename("tables/rename", from, to).await? {
            Ok(()) => Ok(()),
            Err(failure) if failure.is_missing() => {
                // Either is what may be missing.
                inner.load_table(from).await?;
                Err(inner.schema_not_found(schema_of(to)?).await)
            }
            Err(failure) if failure.status() == Some(409) => Err(inner.name_taken(to).await),
            Err(failure) => Err(failure.into_change_error(&inner.name, ident_name(from))),
        }
    }

    async fn list_views(&self, schema: &str) -> Result<Vec<String>> {
        self.inner.view_names(schema).await
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
        self.inner.check_can_change()?;
        self.inner.put_view(ident, definition, or_replace).await
    }

    async fn comment_view(&self, ident: &TableIdent, comment: Option<String>) -> Result<View> {
        self.inner.check_can_change()?;
        self.inner.comment_view(ident, comment).await
    }

    async fn commit_view(&self, commit: ViewCommit) -> Result<View> {
        self.inner.check_can_change()?;
        self.inner.commit_view(commit).await
    }

    async fn rename_view(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.inner.check_can_change()?;
        self.inner.rename_view(from, to).await
    }

    async fn drop_view(&self, ident: &TableIdent) -> Result<DroppedView> {
        self.inner.check_can_change()?;
        self.inner.drop_view(ident).await
    }

    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        let inner = &self.inner;
        inner.check_can_change()?;
        let schema = schema_of(ident)?;
        // Also validates the name.
        inner.paths.table(ident)?;
        let request = RegisterTable {
            name: ident.name(),
            metadata_location,
        };
        let path = inner.paths.below(schema, "register")?;
        let call = Call::post(path, &request).map_err(|failure| inner.error(failure))?;
        let call = call.with_access(inner.wants_access());
        match inner.client.fetch::<TableResult>(&call).await {
            Ok(result) => inner.loaded(ident, result),
            Err(failure) if failure.is_missing() => Err(inner.schema_not_found(schema).await),
            Err(failure) if failure.status() == Some(409) => Err(inner.name_taken(ident).await),
            Err(failure) => Err(failure.into_change_error(&inner.name, ident_name(ident))),
        }
    }

    fn versioned(&self) -> Result<&dyn VersionedCatalog> {
        self.inner.nessie()?;
        Ok(self)
    }
}

impl Inner {
    /// Drops a table, and has the server delete its files if they are to go too.
    async fn drop_table(self: &Arc<Self>, ident: &TableIdent, for_purge: bool) -> Result<Table> {
        self.check_can_change()?;
        let dropped = self.load_table(ident).await?;
        let call = Call::delete(self.paths.table(ident)?);
        let call = call.with("purgeRequested", for_purge.to_string());
        match self.client.send(&call).await {
            Ok(_) => Ok(dropped),
            Err(failure) if failure.is_missing() => Err(self.table_not_found(ident).await),
            Err(failure) => Err(failure.into_change_error(&self.name, ident_name(ident))),
        }
    }
}

/// How messages call a schema.
fn of_schema(schema: &str) -> String {
    format!("schema {schema}")
}
