//! The versioned catalog on a SQL database.
//!
//! Every change is a catalog version: who, when, which tables, from which metadata file
//! to which. A commit writes metadata files first and then publishes them all in one
//! database transaction, or deletes them again.

mod branches;
mod expired;
mod folders;
mod log;
mod lookup;
mod merge;
mod metadata_file;
mod names;
mod operations;
mod position;
mod publish;
mod reachable;
mod references;
mod rename;
mod schema;
mod transaction;
mod version;
mod views;

use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::{TableMetadata, TableMetadataRef};
use moka::future::Cache;

use crate::database::Database;
use crate::error::Result;
use crate::storage::{Location, Storage};
use crate::table::schema_of;

use position::Position;
use schema::{MAIN_REF, kind};

pub use metadata_file::newest_metadata_file;
pub use names::nearest_name;

/// Settings of a [`SqlCatalog`].
#[derive(Debug, Clone)]
pub struct SqlCatalogOptions {
    /// Whether schemas and tables may be given locations outside of the warehouse.
    pub allow_external_locations: bool,
    /// How many bytes of parsed metadata files to keep in memory, about.
    pub metadata_cache_bytes: u64,
    /// Who commits, for the catalog's history.
    pub author: String,
    /// How long the states that were current keep their files after a commit ended them, so that
    /// older versions of the catalog can be read.
    pub version_retention: Duration,
}

impl Default for SqlCatalogOptions {
    fn default() -> Self {
        Self {
            allow_external_locations: false,
            metadata_cache_bytes: 64 << 20,
            author: "ingot".to_string(),
            version_retention: Duration::ZERO,
        }
    }
}

/// An Iceberg catalog on SQLite or PostgreSQL.
///
/// Loading a table costs one indexed query and, the first time, one read of its
/// metadata file: those never change, so they are cached by location.
///
/// It reads and changes the branch `main`; [`VersionedCatalog`](crate::VersionedCatalog) has
/// handles of other branches, tags, versions and transactions, which share everything else.
#[derive(Clone)]
pub struct SqlCatalog {
    inner: Arc<Inner>,
}

/// Cheap to clone: clones share the connections and the cache.
#[derive(Clone)]
struct Inner {
    name: String,
    database: Database,
    storage: Arc<Storage>,
    /// Without a trailing slash.
    warehouse: String,
    catalog_id: i64,
    metadata: Cache<String, TableMetadataRef>,
    options: SqlCatalogOptions,
    /// What is read, and where commits go.
    position: Position,
}

impl Inner {
    /// The same catalog at another branch, tag or version.
    fn at_position(&self, position: Position) -> Self {
        Self {
            position,
            ..self.clone()
        }
    }
}

impl std::fmt::Debug for SqlCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlCatalog")
            .field("name", &self.inner.name)
            .field("database", &self.inner.database)
            .field("warehouse", &self.inner.warehouse)
            .field("position", &self.inner.position.what())
            .finish_non_exhaustive()
    }
}

impl SqlCatalog {
    /// Opens the catalog of this name, creating it and the database's tables when
    /// missing. `warehouse` is where new tables go: `s3://bucket/path`, `file:///path`
    /// or an absolute path.
    pub async fn open(
        name: &str,
        database: Database,
        storage: Arc<Storage>,
        warehouse: &str,
    ) -> Result<Arc<Self>> {
        Self::open_with(
            name,
            database,
            storage,
            warehouse,
            SqlCatalogOptions::default(),
        )
        .await
    }

    /// Like [`SqlCatalog::open`], with settings.
    ///
    /// # Errors
    /// `InvalidInput` for a warehouse that is no location, `Database` when the database
    /// does not answer, `Unsupported` when a newer Ingot has changed its tables.
    pub async fn open_with(
        name: &str,
        database: Database,
        storage: Arc<Storage>,
        warehouse: &str,
        options: SqlCatalogOptions,
    ) -> Result<Arc<Self>> {
        Location::parse(warehouse)?;
        // A bare path would be ambiguous in the tables that others read.
        let warehouse = if warehouse.starts_with('/') {
            format!("file://{warehouse}")
        } else {
            warehouse.to_string()
        };
        database
            .migrate(schema::COMPONENT, schema::MIGRATIONS)
            .await?;
        let catalog_id = register(&database, name).await?;
        let metadata = Cache::builder()
            .max_capacity(options.metadata_cache_bytes)
            .weigher(|location: &String, metadata: &TableMetadataRef| weight(location, metadata))
            .build();
        Ok(Arc::new(Self {
            inner: Arc::new(Inner {
                name: name.to_string(),
                database,
                storage,
                warehouse: warehouse.trim_end_matches('/').to_string(),
                catalog_id,
                metadata,
                options,
                position: Position::main(),
            }),
        }))
    }

    /// The database it is in.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Where new tables go.
    pub fn warehouse(&self) -> &str {
        &self.inner.warehouse
    }
}

/// About how many bytes a parsed metadata file takes.
fn weight(location: &str, metadata: &TableMetadata) -> u32 {
    const SNAPSHOT_BYTES: usize = 2_000;
    const LOG_BYTES: usize = 200;
    const FIELD_BYTES: usize = 500;
    let fields: usize = metadata
        .schemas_iter()
        .map(|schema| schema.field_id_to_name_map().len())
        .sum();
    let bytes = location.len()
        + metadata.snapshots().len() * SNAPSHOT_BYTES
        + (metadata.metadata_log().len() + metadata.history().len()) * LOG_BYTES
        + fields * FIELD_BYTES
        + 2_000;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The id of the catalog of this name, which is created with an empty `main` when missing.
async fn register(database: &Database, name: &str) -> Result<i64> {
    loop {
        if let Some(catalog_id) = try_register(database, name).await? {
            return Ok(catalog_id);
        }
    }
}

/// `None` when another coordinator registered another catalog at the same time.
async fn try_register(database: &Database, name: &str) -> Result<Option<i64>> {
    let mut transaction = database.begin_immediate().await?;
    let error = |source| database.error(source);
    sqlx::query(
        "INSERT INTO catalogs (catalog_id, name, last_version)
         SELECT COALESCE(MAX(catalog_id), 0) + 1, $1, 0 FROM catalogs WHERE 1 = 1
         ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .execute(&mut *transaction)
    .await
    .map_err(error)?;
    let catalog_id: Option<i64> =
        sqlx::query_scalar("SELECT catalog_id FROM catalogs WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(error)?;
    let Some(catalog_id) = catalog_id else {
        return Ok(None);
    };
    sqlx::query(
        "INSERT INTO catalog_refs (catalog_id, ref_id, name, kind, head_version, created_at_ms)
         VALUES ($1, $2, 'main', $3, 0, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(catalog_id)
    .bind(MAIN_REF)
    .bind(kind::BRANCH)
    .bind(chrono::Utc::now().timestamp_millis())
    .execute(&mut *transaction)
    .await
    .map_err(error)?;
    transaction.commit().await.map_err(error)?;
    Ok(Some(catalog_id))
}

/// The property of schemas, and of tables in the making, that says where they live.
const LOCATION: &str = "location";
