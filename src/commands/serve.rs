//! `ingot server` and `ingot coordinator`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::runtime_env::RuntimeEnv;
use ingot_catalog::Storage;

use ingot_coordinator::cluster::QueryEngineOptions;
use ingot_coordinator::core::MaintenanceOptions;
use ingot_coordinator::flight::{Authentication, FlightOptions, TlsFiles};
use ingot_coordinator::server::{
    Lakehouse, LakehouseOptions, RestOptions, ServeOptions, Server, WorkerPortOptions,
};
use ingot_engine::catalog_list::CatalogList;
use ingot_engine::codec::IngotPhysicalCodec;
use ingot_engine::functions::function_registry;
use ingot_engine::runtime::RuntimeOptions;
use ingot_engine::scan::ScanServices;
use ingot_engine::session::{SessionOptions, new_session_state};
use ingot_worker::{Worker, WorkerOptions};
use tokio_util::sync::CancellationToken;

use crate::cli::{CoordinatorArgs, PortArgs, ServerArgs};
use crate::config::Config;
use crate::error::{CommandError, Result};

/// Everything in one process: coordinator and worker executors.
pub async fn server(config: &Config, arguments: &ServerArgs) -> Result<()> {
    let shutdown = shutdown_on_signal()?;
    let running = start_all_in_one(
        config,
        &arguments.data,
        arguments.workers,
        &arguments.ports,
        &shutdown,
    )
    .await?;
    println!("{}", running.how_to_connect());
    running.stopped().await
}

/// A coordinator; workers are other processes.
pub async fn coordinator(config: &Config, arguments: &CoordinatorArgs) -> Result<()> {
    let shutdown = shutdown_on_signal()?;
    let mut config = config.clone();
    if let Some(port) = arguments.scheduler_port {
        config.coordinator.scheduler_bind.set_port(port);
    }
    let workers = WorkerPortOptions {
        bind: config.coordinator.scheduler_bind,
    };
    let options = served_options(&config, &arguments.data, "ingot coordinator");
    let lakehouse = Lakehouse::open(options, Some(workers)).await?;
    let server = Server::start(
        &lakehouse,
        serve_options(&config, &arguments.ports)?,
        shutdown.clone(),
    )
    .await?;
    let running = Running {
        lakehouse,
        server,
        workers: Vec::new(),
    };
    println!("{}", running.how_to_connect());
    running.stopped().await
}

/// A server with everything that it consists of.
pub struct Running {
    pub lakehouse: Lakehouse,
    pub server: Server,
    pub workers: Vec<Worker>,
}

impl Running {
    /// Addresses for people.
    pub fn how_to_connect(&self) -> String {
        let flight = self.server.flight_address();
        let http = self.server.http_address();
        let mut text = format!(
            "ingot is ready\n  SQL shell    ingot sql --server grpc://{flight}\n  ADBC         grpc://{flight}\n  status page  http://{http}"
        );
        if let Some(cluster) = &self.lakehouse.cluster {
            text.push_str(&format!(
                "\n  workers      ingot worker --coordinator {}",
                cluster.address()
            ));
        }
        text
    }

    /// Waits for the shutdown and for everything to end.
    pub async fn stopped(self) -> Result<()> {
        self.server.stopped().await?;
        for worker in self.workers {
            worker.wait().await?;
        }
        Ok(())
    }
}

/// Starts coordinator and workers in this process.
pub async fn start_all_in_one(
    config: &Config,
    data: &Path,
    worker_count: u16,
    ports: &PortArgs,
    shutdown: &CancellationToken,
) -> Result<Running> {
    // Workers of the same process need no port of their own choosing.
    let mut scheduler_bind = config.coordinator.scheduler_bind;
    scheduler_bind.set_port(0);
    let workers = WorkerPortOptions {
        bind: scheduler_bind,
    };
    let mut options = served_options(config, data, "ingot server");
    // One memory pool for the whole process: the coordinator's share and the workers'.
    options.runtime.memory_limit_bytes += config.worker.memory.0 as usize;
    let lakehouse = Lakehouse::open(options, Some(workers)).await?;
    let server = Server::start(&lakehouse, serve_options(config, ports)?, shutdown.clone()).await?;
    let mut started = Vec::new();
    if let Some(cluster) = &lakehouse.cluster {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = match config.worker.slots {
            0 => (cores / usize::from(worker_count)).max(1),
            slots => slots,
        };
        for _ in 0..worker_count {
            let mut options =
                worker_options(config, lakehouse.runtime().clone(), &lakehouse.storage)?;
            options.coordinator = cluster.address().to_string();
            options.slots = slots;
            options.flight_port = 0;
            options.grpc_port = 0;
            started.push(ingot_worker::start(options, shutdown.clone()).await?);
        }
    }
    Ok(Running {
        lakehouse,
        server,
        workers: started,
    })
}

/// What the configuration says about a worker, over the runtime of this process.
pub fn worker_options(
    config: &Config,
    runtime: Arc<RuntimeEnv>,
    storage: &Arc<Storage>,
) -> Result<WorkerOptions> {
    let settings = &config.worker;
    let bind = settings.bind.parse().map_err(|_| {
        CommandError::Usage(format!(
            "setting worker.bind: \"{}\" is not an address such as 127.0.0.1 or 0.0.0.0",
            settings.bind
        ))
    })?;
    let services = ScanServices::new(storage.clone());
    let codec = Arc::new(IngotPhysicalCodec::with_services(services.clone()));
    // A worker has no catalog; the state is only where the functions are.
    let catalogs = CatalogList::new(Vec::new(), services);
    let state = new_session_state(runtime.clone(), &catalogs, &SessionOptions::default());
    let functions = function_registry(&state);
    let mut options = WorkerOptions::new(settings.coordinator.clone(), runtime, codec, functions);
    options.bind = bind;
    options.advertise = settings.advertise.clone();
    options.flight_port = settings.flight_port;
    options.grpc_port = settings.grpc_port;
    options.slots = settings.slots;
    options.work_dir = settings.work_dir.clone();
    Ok(options)
}

/// What the configuration says about a lakehouse whose statements come from clients: they may
/// not use all the files that this process can.
fn served_options(config: &Config, data: &Path, holder: &str) -> LakehouseOptions {
    let mut options = lakehouse_options(config, data, holder);
    options.storage.allowed_folders.get_or_insert_with(|| {
        let working_folder = std::env::current_dir().ok();
        let below_root = working_folder.filter(|folder| folder.parent().is_some());
        std::iter::once(data.to_owned()).chain(below_root).collect()
    });
    options
}

/// What the configuration says about the lakehouse.
pub fn lakehouse_options(config: &Config, data: &Path, holder: &str) -> LakehouseOptions {
    LakehouseOptions {
        data_dir: data.to_owned(),
        catalog_name: config.catalog.name.clone(),
        catalog_url: config.catalog.url.clone(),
        rest_catalog: config.rest_catalog_options(),
        warehouse: config.catalog.warehouse.clone(),
        manifest_cache_bytes: config.catalog.manifest_cache.0,
        storage: config.storage_config(),
        runtime: RuntimeOptions {
            memory_limit_bytes: config.query.local_memory.0 as usize,
            ..RuntimeOptions::default()
        },
        engine: QueryEngineOptions {
            local_scan_bytes: config.query.local_scan_limit.0,
            local_queries: config.query.local_concurrency,
            ..QueryEngineOptions::default()
        },
        time_zone: config.query.time_zone.clone(),
        maintenance: MaintenanceOptions {
            expire_snapshots_min_retention: config.maintenance.expire_snapshots_min_retention.0,
            remove_orphan_files_min_retention: config
                .maintenance
                .remove_orphan_files_min_retention
                .0,
            catalog_version_retention: config.catalog.version_retention.0,
        },
        holder: format!("{holder}, process {}", std::process::id()),
    }
}

fn serve_options(config: &Config, ports: &PortArgs) -> Result<ServeOptions> {
    let mut flight_bind = config.coordinator.flight_bind;
    let mut http_bind = config.coordinator.http_bind;
    if let Some(port) = ports.flight_port {
        flight_bind.set_port(port);
    }
    if let Some(port) = ports.http_port {
        http_bind.set_port(port);
    }
    let tls = match (
        &config.coordinator.flight_tls_certificate,
        &config.coordinator.flight_tls_key,
    ) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        }),
        _ => {
            return Err(CommandError::Usage(
                "settings coordinator.flight_tls_certificate and coordinator.flight_tls_key go together: give both or none".to_owned(),
            ));
        }
    };
    let authentication = match &config.coordinator.users[..] {
        [] => Authentication::None,
        users => Authentication::Passwords(
            users
                .iter()
                .map(|user| (user.name.clone(), user.password.clone()))
                .collect(),
        ),
    };
    Ok(ServeOptions {
        flight: FlightOptions {
            bind: flight_bind,
            authentication,
            tls,
            ..FlightOptions::default()
        },
        http_bind,
        rest: config.coordinator.rest_catalog.then_some(RestOptions {
            gives_credentials: config.coordinator.rest_catalog_credentials,
        }),
        schedules: config.jobs.schedules,
    })
}

/// A token that fires at Ctrl-C or SIGTERM. A second signal ends the process at once.
pub fn shutdown_on_signal() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let cannot_listen = |source| CommandError::Io {
        action: "listen for signals".to_owned(),
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    let fired = token.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if fired.is_cancelled() {
                std::process::exit(130);
            }
            tracing::info!("stopping");
            fired.cancel();
            // What hangs on after that is cut off by the second signal or by its own limits.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    Ok(token)
}
