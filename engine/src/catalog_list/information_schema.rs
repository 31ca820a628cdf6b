//! `information_schema` of one catalog, made when a query mentions it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::information_schema::{
    INFORMATION_SCHEMA, INFORMATION_SCHEMA_TABLES, InformationSchemaProvider,
};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::TableType;
use futures::TryStreamExt;
use futures::stream::{FuturesUnordered, StreamExt};
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::{Catalog, CatalogError};

use super::listed_columns::{ListedTable, columns_table, defaults_of};
use super::listed_views::{ListedViewText, views_table};
use super::view::ListedView;
use super::{IcebergCatalogProvider, is_not_found};
use crate::error::{EngineError, Result};

/// The tables that are ours.
const COLUMNS: &str = "columns";
const VIEWS: &str = "views";

/// Tables of a schema that are loaded at the same time.
const CONCURRENT_LOADS: usize = 16;

/// DataFusion's `information_schema` over the names that the catalog has at that moment.
#[derive(Debug)]
pub(super) struct InformationSchema {
    catalog: IcebergCatalogProvider,
}

impl InformationSchema {
    pub(super) fn new(catalog: IcebergCatalogProvider) -> Self {
        Self { catalog }
    }

    async fn names(&self) -> Result<Arc<NamedCatalog>> {
        let catalog = &self.catalog;
        let schema_names = catalog.catalog.list_schemas().await?;
        let listings: FuturesUnordered<_> = schema_names
            .into_iter()
            .map(|schema| async move {
                let list = async {
                    let tables = catalog.catalog.list_tables(&schema).await?;
                    Ok((tables, catalog.catalog.list_views(&schema).await?))
                };
                match list.await {
                    Ok((tables, views)) => Ok(Some(ListedSchema {
                        schema,
                        tables,
                        views,
                    })),
                    Err(error) => {
                        let error: CatalogError = error;
                        let error = EngineError::from(error);
                        // Dropped since it was listed.
                        if is_not_found(&error) {
                            Ok(None)
                        } else {
                            Err(error)
                        }
                    }
                }
            })
            .collect();
        let listed: Vec<Option<ListedSchema>> = listings
            .map(|listing: Result<_>| listing)
            .try_collect()
            .await?;
        let mut schemas: BTreeMap<String, Arc<dyn SchemaProvider>> = BTreeMap::new();
        let mut views_by_schema = Vec::new();
        for listed_schema in listed.into_iter().flatten() {
            let ListedSchema {
                schema,
                tables,
                views,
            } = listed_schema;
            let provider = NamedSchema {
                provider: catalog.schema_provider(&schema),
                catalog: Arc::clone(&catalog.catalog),
                namespace: NamespaceIdent::new(schema.clone()),
                tables,
                views,
                // Views that read the columns of all views must not plan each other.
                plans_views: catalog.scope.views.is_empty(),
            };
            views_by_schema.push((schema.clone(), provider.views.clone()));
            schemas.insert(schema, Arc::new(provider));
        }
        for schema in catalog.other_schema_names() {
            if let Some(provider) = catalog.schema(&schema) {
                schemas.insert(schema, provider);
            }
        }
        Ok(Arc::new(NamedCatalog {
            catalog: Arc::clone(&catalog.catalog),
            name: catalog.catalog.name().to_string(),
            schemas,
            views: views_by_schema,
        }))
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        INFORMATION_SCHEMA_TABLES
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        if !self.table_exist(name) {
            return Ok(None);
        }
        let names = self.names().await?;
        match name {
            COLUMNS => return Ok(Some(names.columns().await?)),
            VIEWS => return Ok(Some(names.views().await?)),
            _ => {}
        }
        let list: Arc<dyn CatalogProviderList> = Arc::new(NamedCatalogList(names));
        InformationSchemaProvider::new(list).table(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        INFORMATION_SCHEMA_TABLES.contains(&name)
    }
}

/// The names in one schema.
struct ListedSchema {
    schema: String,
    tables: Vec<String>,
    views: Vec<String>,
}

#[derive(Debug)]
struct NamedCatalogList(Arc<NamedCatalog>);

impl CatalogProviderList for NamedCatalogList {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![self.0.name.clone()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == self.0.name).then(|| Arc::clone(&self.0) as Arc<dyn CatalogProvider>)
    }
}

/// A catalog whose names are known.
#[derive(Debug)]
struct NamedCatalog {
    catalog: Arc<dyn Catalog>,
    name: String,
    schemas: BTreeMap<String, Arc<dyn SchemaProvider>>,
    /// The names of the views of each schema.
    views: Vec<(String, Vec<String>)>,
}

impl NamedCatalog {
    /// `information_schema.columns`
    async fn columns(&self) -> Result<Arc<dyn TableProvider>> {
        let mut listed = Vec::new();
        for (schema_name, schema) in &self.schemas {
            let tables = schema
                .table_names()
                .into_iter()
                .map(|table_name| async move {
                    let table = schema.table(&table_name).await.map_err(EngineError::from);
                    table.map(|table| {
                        table.map(|table| ListedTable {
                            schema_name: schema_name.clone(),
                            table_name,
                            schema: table.schema(),
                            defaults: defaults_of(table.as_ref()),
                        })
                    })
                });
            let tables = futures::stream::iter(tables.collect::<Vec<_>>());
            let tables = tables.buffered(CONCURRENT_LOADS);
            let tables: Vec<Option<ListedTable>> = tables.try_collect().await?;
            listed.extend(tables.into_iter().flatten());
        }
        Ok(columns_table(&self.name, &listed)?)
    }

    /// `information_schema.views`
    async fn views(&self) -> Result<Arc<dyn TableProvider>> {
        let mut idents = Vec::new();
        for (schema, views) in &self.views {
            let namespace = NamespaceIdent::new(schema.clone());
            let idents_of_schema = views
                .iter()
                .map(|view| TableIdent::new(namespace.clone(), view.clone()));
            idents.extend(idents_of_schema);
        }
        let mut views: Vec<ListedViewText> = Vec::with_capacity(idents.len());
        let loads = idents
            .iter()
            .map(|ident| async move { (ident, self.catalog.load_view(ident).await) });
        let mut loads = futures::stream::iter(loads.collect::<Vec<_>>()).buffered(CONCURRENT_LOADS);
        while let Some((ident, loaded)) = loads.next().await {
            let definition = match loaded.and_then(|view| view.definition()) {
                Ok(definition) => Some(definition.sql),
                Err(CatalogError::Unsupported(_)) => None,
                Err(error) => {
                    let error = EngineError::from(error);
                    // Dropped since it was listed.
                    if is_not_found(&error) {
                        continue;
                    }
                    return Err(error);
                }
            };
            views.push(ListedViewText {
                schema_name: ident.namespace().as_ref().join("."),
                view_name: ident.name().to_string(),
                definition,
            });
        }
        Ok(views_table(&self.name, &views)?)
    }
}

impl CatalogProvider for NamedCatalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.schemas.keys().cloned().collect();
        names.push(INFORMATION_SCHEMA.to_string());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.schemas.get(name).cloned()
    }
}

/// A schema whose table and view names are known.
#[derive(Debug)]
struct NamedSchema {
    provider: Arc<dyn SchemaProvider>,
    catalog: Arc<dyn Catalog>,
    namespace: NamespaceIdent,
    tables: Vec<String>,
    views: Vec<String>,
    /// Whether views are planned to know the types that their columns have now.
    plans_views: bool,
}

impl NamedSchema {
    fn is_view(&self, name: &str) -> bool {
        self.views.iter().any(|view| view == name)
    }

    /// The view with the columns that it has now, or had last when its query cannot be planned.
    async fn view(&self, name: &str) -> Result<Arc<dyn TableProvider>> {
        let ident = TableIdent::new(self.namespace.clone(), name.to_string());
        let view = self.catalog.load_view(&ident).await?;
        let planned = match self.plans_views {
            true => self.provider.table(name).await.ok().flatten(),
            false => None,
        };
        Ok(Arc::new(ListedView::new(&view, planned)?))
    }
}

#[async_trait]
impl SchemaProvider for NamedSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.iter().chain(&self.views).cloned().collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let found = match self.is_view(name) {
            true => self.view(name).await.map(Some),
            false => self.provider.table(name).await.map_err(EngineError::from),
        };
        match found {
            Ok(table) => Ok(table),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn table_type(&self, name: &str) -> DataFusionResult<Option<TableType>> {
        Ok(Some(match self.is_view(name) {
            true => TableType::View,
            false => TableType::Base,
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables
            .iter()
            .chain(&self.views)
            .any(|table| table == name)
    }
}
