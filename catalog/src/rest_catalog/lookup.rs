//! Reading the catalog: listings and single objects.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::TableIdent;

use super::Inner;
use super::failure::Failure;
use super::http::Call;
use super::wire::{IdentifierList, Namespace, NamespaceList, Page, TableResult, ViewResult};
use crate::error::{CatalogError, Result};
use crate::materialized_view::{STORAGE_TABLE_SUFFIX, storage_table_of};
use crate::sql_catalog::nearest_name;
use crate::table::{Table, ident_name, schema_of};
use crate::view::View;

impl Inner {
    /// The error of a request that changes nothing.
    pub(super) fn error(&self, failure: Failure) -> CatalogError {
        failure.into_error(&self.name)
    }

    /// A whole listing, page by page.
    async fn pages<P: Page>(
        &self,
        path: String,
        parent: Option<String>,
    ) -> Result<Vec<P::Item>, Failure> {
        let mut call = Call::get(path);
        if let Some(parent) = parent {
            call = call.with("parent", parent);
        }
        let mut items = Vec::new();
        // Servers without pages take no notice of the token.
        let all = self
            .client
            .pages::<P>(&call, "pageToken", Some(""), |item| {
                items.push(item);
                true
            });
        all.await?;
        Ok(items)
    }

    /// Names of the schemas, sorted.
    pub(super) async fn schema_names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut parents: Vec<Option<Vec<String>>> = vec![None];
        while let Some(parent) = parents.pop() {
            let parameter = parent
                .as_ref()
                .map(|levels| self.paths.parent(levels))
                .transpose()
                .map_err(|failure| self.error(failure))?;
            let listed = self.pages::<NamespaceList>(self.paths.namespaces(), parameter);
            let children = match listed.await {
                Ok(children) => children,
                // It was dropped meanwhile.
                Err(failure) if parent.is_some() && failure.is_missing() => Vec::new(),
                Err(failure) => return Err(self.error(failure)),
            };
            let depth = parent.map_or(0, |levels| levels.len());
            for levels in children {
                match self.paths.schema_name(&levels) {
                    Some(name) => names.push(name),
                    None => tracing::debug!(
                        catalog = %self.name,
                        namespace = ?levels,
                        "a namespace that is no schema"
                    ),
                }
                // Children of a namespace have one level more; others would have no end.
                if self.paths.is_nested() && levels.len() == depth + 1 {
                    parents.push(Some(levels));
                }
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    pub(super) async fn schema_properties(&self, schema: &str) -> Result<HashMap<String, String>> {
        let call = Call::get(self.paths.namespace(schema)?);
        match self.client.fetch::<Namespace>(&call).await {
            Ok(namespace) => Ok(namespace.properties.unwrap_or_default()),
            Err(failure) if failure.is_missing() => Err(self.schema_not_found(schema).await),
            Err(failure) => Err(self.error(failure)),
        }
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

    /// Names of the tables of a schema, sorted. Those that store the rows of materialized views are
    /// not among them.
    pub(super) async fn table_names(&self, schema: &str) -> Result<Vec<String>> {
        let mut names = self.names(schema, "tables").await?;
        names.retain(|name| !name.ends_with(STORAGE_TABLE_SUFFIX));
        Ok(names)
    }

    /// Names of the views of a schema, sorted; none where the server has no views.
    pub(super) async fn view_names(&self, schema: &str) -> Result<Vec<String>> {
        match self.endpoints.has_views() {
            true => self.names(schema, "views").await,
            false => Ok(Vec::new()),
        }
    }

    async fn names(&self, schema: &str, what: &str) -> Result<Vec<String>> {
        let path = self.paths.below(schema, what)?;
        let listed = match self.pages::<IdentifierList>(path, None).await {
            Ok(listed) => listed,
            Err(failure) if failure.is_missing() => {
                return Err(self.schema_not_found(schema).await);
            }
            Err(failure) => return Err(self.error(failure)),
        };
        let mut names: Vec<String> = listed.into_iter().map(|listed| listed.name).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The table's newest state, if there is one.
    pub(super) async fn find_table(self: &Arc<Self>, ident: &TableIdent) -> Result<Option<Table>> {
        let call = Call::get(self.paths.table(ident)?).with_access(self.wants_access());
        match self.client.fetch::<TableResult>(&call).await {
            Ok(result) => self.loaded(ident, result).map(Some),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(self.error(failure)),
        }
    }

    /// A table of an answer.
    pub(super) fn loaded(
        self: &Arc<Self>,
        ident: &TableIdent,
        result: TableResult,
    ) -> Result<Table> {
        self.take_access(ident, &result.metadata, &result.access)?;
        Ok(Table {
            ident: ident.clone(),
            metadata: Arc::new(result.metadata),
            metadata_location: result.metadata_location,
        })
    }

    /// The table's newest state.
    pub(super) async fn load_table(self: &Arc<Self>, ident: &TableIdent) -> Result<Table> {
        match self.find_table(ident).await? {
            Some(table) => Ok(table),
            None => Err(self.table_not_found(ident).await),
        }
    }

    pub(super) async fn table_not_found(&self, ident: &TableIdent) -> CatalogError {
        let find = async {
            let schema = schema_of(ident)?;
            // Also finds out whether there is such a schema.
            let tables = self.names(schema, "tables").await?;
            let views = self.view_names(schema).await?;
            if views.iter().any(|name| name == ident.name()) {
                let storage_table = storage_table_of(ident);
                let is_materialized = tables.iter().any(|name| name == storage_table.name());
                return Ok(CatalogError::IsView {
                    name: ident_name(ident),
                    is_materialized,
                });
            }
            Ok(CatalogError::TableNotFound {
                name: ident_name(ident),
                suggestion: nearest_name(ident.name(), &tables)
                    .map(|nearest| format!("{schema}.{nearest}")),
            })
        };
        find.await.unwrap_or_else(|error| error)
    }

    /// The view's newest state, if there is one.
    pub(super) async fn find_view(&self, ident: &TableIdent) -> Result<Option<View>> {
        if !self.endpoints.has_views() {
            return Ok(None);
        }
        let call = Call::get(self.paths.view(ident)?);
        match self.client.fetch::<ViewResult>(&call).await {
            Ok(result) => Ok(Some(view(ident, result))),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(self.error(failure)),
        }
    }

    pub(super) async fn view_not_found(&self, ident: &TableIdent) -> CatalogError {
        let find = async {
            let schema = schema_of(ident)?;
            let tables = self.names(schema, "tables").await?;
            if tables.iter().any(|name| name == ident.name()) {
                return Ok(CatalogError::IsTable {
                    name: ident_name(ident),
                });
            }
            let views = self.view_names(schema).await?;
            Ok(CatalogError::ViewNotFound {
                name: ident_name(ident),
                suggestion: nearest_name(ident.name(), &views)
                    .map(|nearest| format!("{schema}.{nearest}")),
            })
        };
        find.await.unwrap_or_else(|error| error)
    }
}

/// A view of an answer.
pub(super) fn view(ident: &TableIdent, result: ViewResult) -> View {
    View {
        ident: ident.clone(),
        metadata: Arc::new(result.metadata),
        metadata_location: result.metadata_location,
    }
}
