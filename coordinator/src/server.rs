//! Putting a coordinator together and serving it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use datafusion::execution::runtime_env::RuntimeEnv;
use ingot_catalog::database::{Database, DatabaseLock, Dialect};
use ingot_catalog::sql_catalog::{SqlCatalog, SqlCatalogOptions};
use ingot_catalog::{
    Catalog, RestCatalog as RestCatalogClient, RestCatalogOptions, Storage, StorageConfig,
    VersionedCatalog,
};
use ingot_engine::catalog_list::CatalogList;
use ingot_engine::codec::IngotPhysicalCodec;
use ingot_engine::runtime::{RuntimeOptions, build_runtime};
use ingot_engine::scan::ScanServices;
use ingot_jobs::Scheduler;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, ClusterOptions, QueryEngine, QueryEngineOptions};
use crate::coordinator::Coordinator;
use crate::core::{Core, MaintenanceOptions};
use crate::error::{CoordinatorError, Result};
use crate::flight::{FlightOptions, FlightServer};
use crate::http::{self, RunView, StatusSource, StatusView, WorkerView};
use crate::jobs::JobService;
use crate::queries::QueryLog;
use crate::rest::RestCatalog;
use crate::sessions::{DEFAULT_SCHEMA, Sessions};
use crate::transactions::ABANDONED_AFTER;

/// How long a worker may be silent before it counts as lost.
const WORKER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where tables are, and how statements run.
#[derive(Debug, Clone)]
pub struct LakehouseOptions {
    /// Folder of catalog and warehouse where their own settings are missing.
    pub data_dir: PathBuf,
    /// Name of the catalog in SQL.
    pub catalog_name: String,
    /// Catalog database; without it, SQLite in the data folder.
    pub catalog_url: Option<String>,
    /// Where the tables are, if not in the catalog database, which then has the jobs only.
    pub rest_catalog: Option<RestCatalogOptions>,
    /// Location of tables; without it, `warehouse` in the data folder. Those of a REST catalog are
    /// where it says.
    pub warehouse: Option<String>,
    /// Memory for parsed manifests, in bytes; 0 keeps none.
    pub manifest_cache_bytes: u64,
    pub storage: StorageConfig,
    pub runtime: RuntimeOptions,
    pub engine: QueryEngineOptions,
    pub time_zone: String,
    pub maintenance: MaintenanceOptions,
    /// Who holds the catalog, for the error that a second coordinator gets.
    pub holder: String,
}

/// Which ports to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    pub flight: FlightOptions,
    pub http_bind: SocketAddr,
    /// The REST catalog on the HTTP port, unless it is off.
    pub rest: Option<RestOptions>,
    /// Whether the schedules of pipelines start runs here.
    pub schedules: bool,
}

/// Settings of the REST catalog. Its users are those of Flight SQL.
#[derive(Debug, Clone, Default)]
pub struct RestOptions {
    /// Whether clients get the S3 credentials of the configuration together with a table.
    pub gives_credentials: bool,
}

/// How workers join.
#[derive(Debug, Clone)]
pub struct WorkerPortOptions {
    pub bind: SocketAddr,
}

/// An open lakehouse: catalog, engine and, if asked for, a port for workers.
#[derive(Debug)]
pub struct Lakehouse {
    pub coordinator: Coordinator,
    pub storage: Arc<Storage>,
    pub database: Database,
    pub cluster: Option<Arc<Cluster>>,
    /// Held as long as the lakehouse is open; SQLite only.
    _lock: Option<DatabaseLock>,
}

impl Lakehouse {
    /// Opens catalog and storage and starts the engine. With `workers`, listens for workers.
    ///
    /// # Errors
    /// When the catalog database or the storage cannot be opened, another coordinator holds the
    /// SQLite file, or the workers' port is taken.
    pub async fn open(
        options: LakehouseOptions,
        workers: Option<WorkerPortOptions>,
    ) -> Result<Self> {
        let storage = Storage::new(options.storage.clone());
        let (database, lock) = open_database(&options).await?;
        let catalog = match &options.rest_catalog {
            Some(rest) => open_rest_catalog(&options, rest.clone(), &storage).await?,
            None => open_sql_catalog(&options, &database, lock.is_some(), &storage).await?,
        };
        let catalogs: Vec<Arc<dyn Catalog>> = vec![catalog];
        let services = ScanServices::new(storage.clone());
        let runtime = build_runtime(storage.clone(), &options.runtime)?;
        let cluster = match workers {
            None => None,
            Some(workers) => Some(
                Cluster::start(ClusterOptions {
                    bind: workers.bind,
                    codec: Arc::new(IngotPhysicalCodec::with_services(services.clone())),
                    runtime: runtime.clone(),
                    worker_timeout: WORKER_TIMEOUT,
                })
                .await?,
            ),
        };
        let core = Core {
            catalog_list: CatalogList::with_manifest_cache(
                catalogs.clone(),
                services,
                options.manifest_cache_bytes,
            ),
            catalogs,
            runtime,
            engine: QueryEngine::new(cluster.clone(), options.engine.clone())?,
            sessions: Sessions::new(&options.catalog_name),
            queries: QueryLog::default(),
            time_zone: options.time_zone.clone(),
            maintenance: options.maintenance,
            started: Instant::now(),
            jobs: OnceLock::new(),
        };
        let coordinator = Coordinator::new(Arc::new(core));
        let jobs = JobService::open(database.clone(), coordinator.clone()).await?;
        if lock.is_some() {
            // Nobody else uses this database: what still counts as running was interrupted.
            jobs.store().fail_interrupted_runs(Duration::ZERO).await?;
        }
        // Just made, so still empty.
        let _ = coordinator.core().jobs.set(jobs);
        Ok(Self {
            coordinator,
            storage,
            database,
            cluster,
            _lock: lock,
        })
    }
}

impl Lakehouse {
    /// The runtime of this process.
    pub fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.coordinator.core().runtime
    }
}

async fn open_database(options: &LakehouseOptions) -> Result<(Database, Option<DatabaseLock>)> {
    let database = match &options.catalog_url {
        Some(url) => Database::connect(url).await?,
        None => {
            std::fs::create_dir_all(&options.data_dir).map_err(|source| CoordinatorError::Io {
                action: format!("create data folder {}", options.data_dir.display()),
                source,
            })?;
            Database::connect_sqlite(&options.data_dir.join("catalog.db")).await?
        }
    };
    let lock = match database.dialect() {
        Dialect::Sqlite => Some(database.lock_exclusive(&options.holder)?),
        Dialect::Postgres => None,
    };
    Ok((database, lock))
}

/// Opens the tables of a catalog database, which nobody else uses if it `is_locked`.
async fn open_sql_catalog(
    options: &LakehouseOptions,
    database: &Database,
    is_locked: bool,
    storage: &Arc<Storage>,
) -> Result<Arc<dyn Catalog>> {
    let warehouse = warehouse_location(options)?;
    let catalog = SqlCatalog::open_with(
        &options.catalog_name,
        database.clone(),
        storage.clone(),
        &warehouse,
        SqlCatalogOptions {
            version_retention: options.maintenance.catalog_version_retention,
            ..SqlCatalogOptions::default()
        },
    )
    .await?;
    ensure_default_schema(catalog.as_ref()).await?;
    // Transactions in a database that nobody else uses are those of the dead.
    let abandoned_after = match is_locked {
        true => Duration::ZERO,
        false => ABANDONED_AFTER,
    };
    let abandoned = catalog.roll_back_abandoned(abandoned_after).await?;
    if abandoned > 0 {
        tracing::info!(
            count = abandoned,
            "rolled back transactions that were never ended"
        );
    }
    Ok(catalog)
}

/// Opens the tables of a REST catalog. Its schemas are others' business: none is made.
async fn open_rest_catalog(
    options: &LakehouseOptions,
    rest: RestCatalogOptions,
    storage: &Arc<Storage>,
) -> Result<Arc<dyn Catalog>> {
    Ok(RestCatalogClient::open(&options.catalog_name, storage.clone(), rest).await?)
}

fn warehouse_location(options: &LakehouseOptions) -> Result<String> {
    if let Some(warehouse) = &options.warehouse {
        return Ok(warehouse.clone());
    }
    let folder = options.data_dir.join("warehouse");
    let absolute = std::fs::create_dir_all(&folder)
        .and_then(|()| folder.canonicalize())
        .map_err(|source| CoordinatorError::Io {
            action: format!("create warehouse folder {}", folder.display()),
            source,
        })?;
    url::Url::from_directory_path(&absolute)
        .map(|url| url.as_str().trim_end_matches('/').to_owned())
        .map_err(|()| {
            CoordinatorError::InvalidInput(format!("{} is no folder for tables", folder.display()))
        })
}

/// A session begins in a schema that exists.
async fn ensure_default_schema(catalog: &dyn Catalog) -> Result<()> {
    match catalog
        .create_schema(DEFAULT_SCHEMA, Default::default())
        .await
    {
        Ok(()) | Err(ingot_catalog::CatalogError::SchemaExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A lakehouse being served.
#[derive(Debug)]
pub struct Server {
    flight: FlightServer,
    http_address: SocketAddr,
    http_task: JoinHandle<std::io::Result<()>>,
    schedules_task: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves Flight SQL and HTTP until `shutdown` fires. Returns once both ports answer.
    ///
    /// # Errors
    /// When a port is taken or a certificate cannot be read.
    pub async fn start(
        lakehouse: &Lakehouse,
        options: ServeOptions,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let listener = TcpListener::bind(options.http_bind)
            .await
            .map_err(|source| CoordinatorError::Io {
                action: format!(
                    "listen for HTTP on {} (setting coordinator.http_bind)",
                    options.http_bind
                ),
                source,
            })?;
        let http_address = listener
            .local_addr()
            .map_err(|source| CoordinatorError::Io {
                action: "read the HTTP address".to_owned(),
                source,
            })?;
        let service = Arc::new(lakehouse.coordinator.clone());
        // The tables of a REST catalog are served by that catalog.
        let catalogs = lakehouse.coordinator.core().catalogs.iter();
        let own = catalogs.filter(|catalog| !catalog.is_remote());
        let own: Vec<Arc<dyn Catalog>> = own.cloned().collect();
        let rest = options.rest.filter(|_| !own.is_empty());
        let rest = rest.map(|rest| RestCatalog {
            catalogs: own,
            authentication: options.flight.authentication.clone(),
            gives_credentials: rest.gives_credentials,
        });
        let flight =
            FlightServer::start(options.flight, service, shutdown.clone().cancelled_owned())
                .await?;
        let status = Arc::new(Status {
            coordinator: lakehouse.coordinator.clone(),
            cluster: lakehouse.cluster.clone(),
            flight_address: flight.local_address(),
        });
        let schedules_task = match options.schedules {
            true => {
                let runner = lakehouse.coordinator.core().jobs()?.runner().clone();
                Some(tokio::spawn(Scheduler::new(runner).run(shutdown.clone())))
            }
            false => None,
        };
        let http = http::serve(listener, status, rest, shutdown.cancelled_owned());
        let http_task = tokio::spawn(http);
        Ok(Self {
            flight,
            http_address,
            http_task,
            schedules_task,
        })
    }

    /// Where Flight SQL listens.
    pub fn flight_address(&self) -> SocketAddr {
        self.flight.local_address()
    }

    /// Where HTTP listens.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Waits until both ports have closed, after `shutdown` fired.
    pub async fn stopped(self) -> Result<()> {
        self.flight.wait().await?;
        if let Some(task) = self.schedules_task
            && let Err(error) = task.await
        {
            return Err(CoordinatorError::Internal(error.to_string()));
        }
        match self.http_task.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(CoordinatorError::Io {
                action: "serve HTTP".to_owned(),
                source,
            }),
            Err(error) => Err(CoordinatorError::Internal(error.to_string())),
        }
    }
}

/// What the HTTP side shows.
struct Status {
    coordinator: Coordinator,
    cluster: Option<Arc<Cluster>>,
    flight_address: SocketAddr,
}

#[async_trait]
impl StatusSource for Status {
    async fn status(&self) -> StatusView {
        let core = self.coordinator.core();
        let workers = match &self.cluster {
            Some(cluster) => cluster.workers().await,
            None => Vec::new(),
        };
        StatusView {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: core.started.elapsed().as_secs(),
            flight_address: format!("grpc://{}", self.flight_address),
            workers: workers.iter().map(worker_view).collect(),
            queries: core.queries.list(),
            running_queries: core.queries.running_count(),
            totals: core.queries.totals(),
            runs: self.runs().await,
        }
    }

    async fn ready(&self) -> Result<(), String> {
        for catalog in &self.coordinator.core().catalogs {
            catalog
                .list_schemas()
                .await
                .map_err(|error| format!("catalog {}: {error}", catalog.name()))?;
        }
        Ok(())
    }
}

impl Status {
    /// Runs to show; none when the store does not answer, which `/readyz` reports.
    async fn runs(&self) -> Vec<RunView> {
        let Ok(jobs) = self.coordinator.core().jobs() else {
            return Vec::new();
        };
        jobs.recent_runs().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read job runs");
            Vec::new()
        })
    }
}

fn worker_view(worker: &crate::cluster::WorkerInfo) -> WorkerView {
    let heartbeat_age = worker
        .last_heartbeat
        .and_then(|heartbeat| SystemTime::now().duration_since(heartbeat).ok())
        .unwrap_or_default();
    WorkerView {
        id: worker.id.clone(),
        address: format!("{}:{}", worker.host, worker.flight_port),
        slots: worker.slots as usize,
        free_slots: worker.slots.saturating_sub(worker.used_slots) as usize,
        heartbeat_age_seconds: heartbeat_age.as_secs_f64(),
    }
}
