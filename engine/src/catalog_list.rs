//! Ingot's catalogs as DataFusion sees them.
//!
//! DataFusion asks for names synchronously, and catalogs answer asynchronously. So nothing
//! is listed ahead: every schema name is taken to exist until a table is looked up in it,
//! which fails then with the nearest name; and `information_schema` reads the names of its
//! catalog when a query mentions it.

mod information_schema;
mod listed_columns;
mod listed_views;
mod relation;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::runtime_env::RuntimeEnv;
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::scan::ManifestCache;
use ingot_catalog::{Catalog, CatalogError, TableVersion};
use ingot_sql::MetadataTable;
use parking_lot::RwLock;

use self::information_schema::InformationSchema;
use self::relation::Relation;
use self::view::plan_view;
use crate::error::{EngineError, Result};
use crate::functions::TABLE_FUNCTION_NAMES;
use crate::materialized_view::{StoredRows, SystemCatalog, UsedViews, stored_rows_of};
use crate::metadata_table::MetadataTableProvider;
use crate::scan::ScanServices;
use crate::table::{IcebergTable, TableServices};
use crate::table_changes::plan_table_changes;

pub(crate) use self::relation::evaluate_constant;
pub use self::relation::{evaluate_timestamp, version_id_of};
pub use self::view::{RefreshQuery, plan_refresh};

/// Memory for parsed manifests where nothing else is said, in bytes.
pub const DEFAULT_MANIFEST_CACHE_BYTES: u64 = 256 << 20;

/// The catalog of tables about this process and its catalogs.
const SYSTEM_CATALOG: &str = "system";

/// The catalogs of a process, shared by all sessions.
#[derive(Debug)]
pub struct CatalogList {
    catalogs: RwLock<BTreeMap<String, Arc<dyn Catalog>>>,
    /// Catalogs and schemas that are not Iceberg's, such as `system`: by catalog name, and
    /// by catalog and schema name.
    other_catalogs: RwLock<BTreeMap<String, Arc<dyn CatalogProvider>>>,
    other_schemas: RwLock<BTreeMap<(String, String), Arc<dyn SchemaProvider>>>,
    services: TableServices,
}

impl CatalogList {
    /// Catalogs that share one storage, whose scans share `scans`.
    pub fn new(catalogs: Vec<Arc<dyn Catalog>>, scans: Arc<ScanServices>) -> Arc<Self> {
        Self::with_manifest_cache(catalogs, scans, DEFAULT_MANIFEST_CACHE_BYTES)
    }

    /// The same with so many bytes of memory for parsed manifests; 0 keeps none.
    pub fn with_manifest_cache(
        catalogs: Vec<Arc<dyn Catalog>>,
        scans: Arc<ScanServices>,
        manifest_cache_bytes: u64,
    ) -> Arc<Self> {
        let by_name = catalogs
            .into_iter()
            .map(|catalog| (catalog.name().to_string(), catalog))
            .collect();
        Arc::new(Self {
            catalogs: RwLock::new(by_name),
            other_catalogs: RwLock::default(),
            other_schemas: RwLock::default(),
            services: TableServices {
                scans,
                manifests: Arc::new(ManifestCache::new(manifest_cache_bytes)),
            },
        })
    }

    /// What the tables share.
    pub fn services(&self) -> &TableServices {
        &self.services
    }

    /// An Iceberg catalog by name.
    pub fn iceberg_catalog(&self, name: &str) -> Option<Arc<dyn Catalog>> {
        self.catalogs.read().get(name).cloned()
    }

    /// The Iceberg catalogs, by name.
    pub fn iceberg_catalogs(&self) -> Vec<Arc<dyn Catalog>> {
        self.catalogs.read().values().cloned().collect()
    }

    /// Adds an Iceberg catalog, or replaces the one of the same name.
    pub fn add_catalog(&self, catalog: Arc<dyn Catalog>) {
        let name = catalog.name().to_string();
        self.catalogs.write().insert(name, catalog);
    }

    /// The same catalogs, of which these take the place of those with their names: what a
    /// session sees that is on a branch or in a transaction.
    pub fn with_catalogs(&self, replacements: Vec<Arc<dyn Catalog>>) -> Arc<Self> {
        let mut catalogs = self.catalogs.read().clone();
        for catalog in replacements {
            catalogs.insert(catalog.name().to_string(), catalog);
        }
        Arc::new(Self {
            catalogs: RwLock::new(catalogs),
            other_catalogs: RwLock::new(self.other_catalogs.read().clone()),
            other_schemas: RwLock::new(self.other_schemas.read().clone()),
            services: self.services.clone(),
        })
    }

    /// Adds a catalog that is not Iceberg's, such as `system`.
    pub fn add_other_catalog(&self, name: &str, catalog: Arc<dyn CatalogProvider>) {
        self.other_catalogs
            .write()
            .insert(name.to_string(), catalog);
    }

    /// Adds a schema that is not Iceberg's to an Iceberg catalog.
    pub fn add_other_schema(&self, catalog: &str, schema: &str, provider: Arc<dyn SchemaProvider>) {
        let key = (catalog.to_string(), schema.to_string());
        self.other_schemas.write().insert(key, provider);
    }

    /// One version of a table (or of its metadata), by the name that DataFusion knows it by.
    async fn load(
        self: &Arc<Self>,
        catalog: &Arc<dyn Catalog>,
        schema: &str,
        name: &str,
        scope: &PlanningScope,
    ) -> Result<Arc<dyn TableProvider>> {
        let relation = Relation::parse(name, &scope.time_zone).await?;
        match &relation.catalog_reference {
            None => self.load_relation(catalog, schema, relation, scope).await,
            Some(reference) => {
                let there = catalog.versioned()?.at(reference).await?;
                // The tables of a view are those of the same state.
                let list = self.with_catalogs(vec![Arc::clone(&there)]);
                list.load_relation(&there, schema, relation, scope).await
            }
        }
    }

    async fn load_relation(
        self: &Arc<Self>,
        catalog: &Arc<dyn Catalog>,
        schema: &str,
        relation: Relation,
        scope: &PlanningScope,
    ) -> Result<Arc<dyn TableProvider>> {
        let ident = TableIdent::new(
            NamespaceIdent::new(schema.to_string()),
            relation.table.clone(),
        );
        let table = match catalog.load_table(&ident).await {
            Err(CatalogError::IsView { name, .. }) => {
                if relation.metadata_table.is_some()
                    || relation.version != TableVersion::Current
                    || relation.changes.is_some()
                {
                    return Err(EngineError::Unsupported(format!(
                        "time travel, a metadata table or changes of {name}, which is a view,"
                    )));
                }
                let view = catalog.load_view(&ident).await?;
                if let Some(stored) = stored_rows_of(self, scope, catalog, &view).await? {
                    return Ok(Arc::new(stored));
                }
                return plan_view(self, scope, catalog.name(), &view).await;
            }
            Err(error @ CatalogError::TableNotFound { .. }) => {
                return Err(match no_such_metadata_table(catalog, &ident).await {
                    Some(message) => EngineError::InvalidInput(message),
                    None => error.into(),
                });
            }
            loaded => loaded?,
        };
        let services = self.services.clone();
        if let Some(changes) = relation.changes {
            let changes = plan_table_changes(&table, changes, &services).await?;
            return Ok(Arc::new(changes));
        }
        match relation.metadata_table {
            Some(kind) => {
                let version = relation.version;
                let provider = MetadataTableProvider::new(table, kind, version, services)?;
                Ok(Arc::new(provider))
            }
            None => {
                let catalog = Arc::clone(catalog);
                let provider = IcebergTable::new(catalog, table, relation.version, services)?;
                Ok(Arc::new(match relation.with_hidden_columns {
                    true => provider.with_hidden_columns(),
                    false => provider,
                }))
            }
        }
    }
}

/// What to say of a name such as `t$snapshot`, where `t` is a table; `None` for any other name.
async fn no_such_metadata_table(catalog: &Arc<dyn Catalog>, ident: &TableIdent) -> Option<String> {
    let (table, metadata_table) = ident.name().rsplit_once('$')?;
    let table = TableIdent::new(ident.namespace().clone(), table.to_string());
    let table = catalog.load_table(&table).await.ok()?;
    let mut names: Vec<&str> = MetadataTable::ALL.map(MetadataTable::name).to_vec();
    let likeness = |name: &str| strsim::jaro_winkler(name, &metadata_table.to_lowercase());
    names.sort_by(|left, right| likeness(right).total_cmp(&likeness(left)));
    Some(format!(
        "table {} has no metadata table {metadata_table}; there are {}",
        table.name(),
        names.join(", ")
    ))
}

/// What planning a session's queries takes besides the catalogs.
#[derive(Debug, Clone)]
pub struct PlanningScope {
    /// An IANA name or an offset: what a time without one means in `FOR TIMESTAMP AS OF`.
    pub time_zone: Arc<str>,
    /// For the queries of views, which are planned in sessions of their own.
    pub runtime: Arc<RuntimeEnv>,
    /// The views (`catalog.schema.view`) whose queries are being planned, outermost first.
    pub views: Arc<[String]>,
    /// When materialized views answer from their stored rows.
    pub stored_rows: StoredRows,
    /// Notes the views that are planned.
    pub used_views: Option<UsedViews>,
}

/// The catalogs as one session sees them.
#[derive(Debug)]
pub struct SessionCatalogs {
    list: Arc<CatalogList>,
    scope: PlanningScope,
}

impl SessionCatalogs {
    /// The catalogs for a session.
    pub fn new(list: Arc<CatalogList>, scope: PlanningScope) -> Self {
        Self { list, scope }
    }

    /// The catalogs of the process.
    pub fn list(&self) -> &Arc<CatalogList> {
        &self.list
    }
}

impl CatalogProviderList for SessionCatalogs {
    /// Catalogs come from the configuration: none is taken from elsewhere.
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.list.catalogs.read().keys().cloned().collect();
        names.extend(self.list.other_catalogs.read().keys().cloned());
        names
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        if let Some(catalog) = self.list.iceberg_catalog(name) {
            return Some(Arc::new(IcebergCatalogProvider {
                list: Arc::clone(&self.list),
                catalog,
                scope: self.scope.clone(),
            }));
        }
        let other = self.list.other_catalogs.read().get(name).cloned();
        other.or_else(|| match name {
            SYSTEM_CATALOG => Some(Arc::new(SystemCatalog::new(Arc::clone(&self.list)))),
            _ => None,
        })
    }
}

/// One Iceberg catalog.
#[derive(Debug, Clone)]
struct IcebergCatalogProvider {
    list: Arc<CatalogList>,
    catalog: Arc<dyn Catalog>,
    scope: PlanningScope,
}

impl IcebergCatalogProvider {
    fn schema_provider(&self, name: &str) -> Arc<dyn SchemaProvider> {
        Arc::new(IcebergSchemaProvider {
            catalog: self.clone(),
            schema: name.to_string(),
        })
    }

    fn other_schema_names(&self) -> Vec<String> {
        let schemas = self.list.other_schemas.read();
        let own = schemas
            .keys()
            .filter(|(catalog, _)| catalog == self.catalog.name());
        own.map(|(_, schema)| schema.clone()).collect()
    }
}

impl CatalogProvider for IcebergCatalogProvider {
    /// Only those that are known without asking the catalog; `information_schema` has all.
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.other_schema_names();
        names.push(INFORMATION_SCHEMA.to_string());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == INFORMATION_SCHEMA {
            return Some(Arc::new(InformationSchema::new(self.clone())));
        }
        let key = (self.catalog.name().to_string(), name.to_string());
        let other = self.list.other_schemas.read().get(&key).cloned();
        Some(other.unwrap_or_else(|| self.schema_provider(name)))
    }
}

/// One schema of an Iceberg catalog, which may not exist.
#[derive(Debug)]
struct IcebergSchemaProvider {
    catalog: IcebergCatalogProvider,
    schema: String,
}

#[async_trait]
impl SchemaProvider for IcebergSchemaProvider {
    /// Not known without asking the catalog; `information_schema` has them.
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let IcebergCatalogProvider {
            list,
            catalog,
            scope,
        } = &self.catalog;
        match list.load(catalog, &self.schema, name, scope).await {
            Ok(table) => Ok(Some(table)),
            Err(error) if is_not_found(&error) && TABLE_FUNCTION_NAMES.contains(&name) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn table_exist(&self, _name: &str) -> bool {
        true
    }
}

/// Whether an error says that a table or its schema is not there.
pub(crate) fn is_not_found(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::Catalog(
            CatalogError::TableNotFound { .. }
                | CatalogError::ViewNotFound { .. }
                | CatalogError::SchemaNotFound { .. }
        )
    )
}
