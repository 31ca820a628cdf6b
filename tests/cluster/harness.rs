//! A coordinator in the test and workers in processes of their own.
//!
//! A worker process is this test binary again, told by an environment variable to be a worker.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use ballista_core::registry::BallistaFunctionRegistry;
use datafusion::common::Result as DataFusionResult;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use ingot_catalog::{Catalog, Database, SqlCatalog, Storage, StorageConfig};
use ingot_coordinator::Result;
use ingot_coordinator::cluster::{
    Cluster, ClusterOptions, ExecuteOptions, ExecutedQuery, Placement, QueryEngine,
    QueryEngineOptions,
};
use ingot_engine::catalog_list::CatalogList;
use ingot_engine::codec::IngotPhysicalCodec;
use ingot_engine::functions::function_registry;
use ingot_engine::runtime::{RuntimeOptions, build_runtime};
use ingot_engine::scan::ScanServices;
use ingot_engine::session::{SessionOptions, new_session_state};
use ingot_worker::WorkerOptions;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const WORKER_OF: &str = "INGOT_TEST_WORKER_OF";
const WORKER_SLOTS: &str = "INGOT_TEST_WORKER_SLOTS";
const WORKER_FOLDER: &str = "INGOT_TEST_WORKER_FOLDER";

/// Files of the test table, and rows in each.
pub const FILES: i64 = 12;
pub const ROWS_PER_FILE: i64 = 500;

/// Not a test: the body of a worker process.
#[test]
#[ignore = "the body of a worker process"]
fn worker_process() {
    let Ok(coordinator) = std::env::var(WORKER_OF) else {
        return;
    };
    // The test that started this process holds the other end: a worker never outlives it.
    std::thread::spawn(|| {
        let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
        std::process::exit(0);
    });
    log_if_wanted();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            terminate.recv().await;
            stop.cancel();
        });
        let process = Process::new(WORKER_MEMORY);
        let options = WorkerOptions {
            slots: std::env::var(WORKER_SLOTS).unwrap().parse().unwrap(),
            work_dir: Some(std::env::var(WORKER_FOLDER).unwrap().into()),
            ..process.worker_options(coordinator)
        };
        let worker = ingot_worker::start(options, shutdown).await.unwrap();
        worker.wait().await.unwrap();
    });
}

/// What coordinator and workers have each.
struct Process {
    storage: Arc<Storage>,
    runtime: Arc<RuntimeEnv>,
    codec: Arc<IngotPhysicalCodec>,
    scans: Arc<ScanServices>,
}

impl Process {
    fn new(memory_limit_bytes: usize) -> Self {
        let options = RuntimeOptions {
            memory_limit_bytes,
            ..RuntimeOptions::default()
        };
        let storage = Storage::new(StorageConfig::default());
        let scans = ScanServices::new(Arc::clone(&storage));
        Self {
            runtime: build_runtime(Arc::clone(&storage), &options).unwrap(),
            codec: Arc::new(IngotPhysicalCodec::with_services(Arc::clone(&scans))),
            scans,
            storage,
        }
    }

    fn worker_options(&self, coordinator: String) -> WorkerOptions {
        WorkerOptions::new(
            coordinator,
            Arc::clone(&self.runtime),
            Arc::clone(&self.codec) as _,
            Arc::new(self.functions()),
        )
    }

    fn functions(&self) -> BallistaFunctionRegistry {
        let catalogs = CatalogList::new(vec![], Arc::clone(&self.scans));
        let options = SessionOptions::default();
        let state = new_session_state(Arc::clone(&self.runtime), &catalogs, &options);
        let mut functions = Arc::into_inner(function_registry(&state)).unwrap();
        let slow = slowly();
        functions
            .scalar_functions
            .insert(slow.name().to_string(), Arc::new(slow));
        functions
    }
}

/// `slowly(x)`: x, after a millisecond for each row.
fn slowly() -> ScalarUDF {
    ScalarUDF::new_from_impl(Slowly {
        signature: Signature::exact(vec![DataType::Int64], Volatility::Volatile),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Slowly {
    signature: Signature,
}

impl ScalarUDFImpl for Slowly {
    fn name(&self) -> &str {
        "slowly"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        std::thread::sleep(Duration::from_millis(args.number_rows as u64));
        Ok(args.args[0].clone())
    }
}

/// `RUST_LOG=ballista_scheduler=debug` shows what coordinator and workers do.
fn log_if_wanted() {
    if std::env::var_os("RUST_LOG").is_some() {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .try_init();
    }
}

/// A worker process; killed when dropped.
pub struct WorkerProcess {
    child: Child,
}

impl WorkerProcess {
    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        // Waiting closes the pipe, which would end the process at once.
        let _open = self.child.stdin.take();
        self.child.wait().unwrap().code()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const WORKER_MEMORY: usize = 256 << 20;

/// How a test's coordinator is started.
pub struct StartOptions {
    /// The scheduler's port; 0 is any.
    pub port: u16,
    /// The coordinator's memory for operators.
    pub memory_limit_bytes: usize,
}

impl Default for StartOptions {
    fn default() -> Self {
        Self {
            port: 0,
            memory_limit_bytes: 256 << 20,
        }
    }
}

/// A coordinator, its workers and a table `t(id, grp, name)` of many small files.
pub struct TestCluster {
    pub engine: QueryEngine,
    pub cluster: Arc<Cluster>,
    pub context: SessionContext,
    /// A catalog `iceberg` with a schema `demo`, and what sessions see of it.
    pub catalog: Arc<dyn Catalog>,
    pub catalogs: Arc<CatalogList>,
    runtime: Arc<RuntimeEnv>,
    pub folder: TempDir,
}

impl TestCluster {
    /// A coordinator without workers.
    pub async fn start() -> Self {
        Self::start_with(StartOptions::default()).await
    }

    /// A coordinator without workers.
    pub async fn start_with(options: StartOptions) -> Self {
        log_if_wanted();
        let process = Process::new(options.memory_limit_bytes);
        let runtime = Arc::clone(&process.runtime);
        let cluster = Cluster::start(ClusterOptions {
            worker_timeout: Duration::from_secs(4),
            ..ClusterOptions::new(
                SocketAddr::from((Ipv4Addr::LOCALHOST, options.port)),
                Arc::clone(&process.codec) as _,
                Arc::clone(&runtime),
            )
        })
        .await
        .unwrap();
        let engine =
            QueryEngine::new(Some(Arc::clone(&cluster)), QueryEngineOptions::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("t");
        write_table(&data);
        let config = SessionConfig::new()
            .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
            .set_bool(
                "datafusion.execution.parquet.schema_force_view_types",
                false,
            );
        let database = Database::connect_sqlite(&folder.path().join("catalog.db"))
            .await
            .unwrap();
        let warehouse = folder.path().join("warehouse").display().to_string();
        let catalog: Arc<dyn Catalog> =
            SqlCatalog::open("iceberg", database, process.storage, &warehouse)
                .await
                .unwrap();
        catalog.create_schema("demo", HashMap::new()).await.unwrap();
        let catalogs = CatalogList::new(vec![Arc::clone(&catalog)], process.scans);
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&runtime));
        context.register_udf(slowly());
        let table = data.display().to_string();
        context
            .register_parquet("t", &table, ParquetReadOptions::default())
            .await
            .unwrap();
        Self {
            engine,
            cluster,
            context,
            catalog,
            catalogs,
            runtime,
            folder,
        }
    }

    /// A session on the catalog's tables.
    pub fn session(&self) -> SessionState {
        let options = SessionOptions {
            default_schema: "demo".to_string(),
            ..SessionOptions::default()
        };
        let mut state = new_session_state(Arc::clone(&self.runtime), &self.catalogs, &options);
        state.register_udf(Arc::new(slowly())).unwrap();
        state
    }

    /// Starts a worker process and does not wait for it.
    pub fn spawn_worker(&self, slots: usize) -> WorkerProcess {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "harness::worker_process",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(WORKER_OF, self.cluster.address().to_string())
            .env(WORKER_SLOTS, slots.to_string())
            .env(WORKER_FOLDER, self.folder.path().join("work"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        WorkerProcess { child }
    }

    /// Starts worker processes and waits until they have joined.
    pub async fn add_workers(&self, count: usize, slots: usize) -> Vec<WorkerProcess> {
        let expected = self.cluster.total_slots().await + count * slots;
        let workers = (0..count).map(|_| self.spawn_worker(slots)).collect();
        self.wait_for_slots(expected).await;
        workers
    }

    /// Waits until the cluster has exactly so many slots.
    pub async fn wait_for_slots(&self, expected: usize) {
        wait_until("the expected slots", || async {
            self.cluster.total_slots().await == expected
        })
        .await;
    }

    /// Begins a query on the workers.
    pub async fn begin(&self, sql: &str, options: &ExecuteOptions) -> Result<ExecutedQuery> {
        let state = self.context.state();
        let plan = state.create_logical_plan(sql).await?;
        let options = ExecuteOptions {
            placement: Placement::Distributed,
            ..options.clone()
        };
        self.engine.run(&state, plan, options).await
    }

    /// Runs a query on the workers.
    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let query = self.begin(sql, &ExecuteOptions::new()).await?;
        collect(query).await
    }

    /// Rows of a query on the workers, as sorted text.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        sorted_rows(&self.query(sql).await.unwrap())
    }

    /// Rows of a query in plain DataFusion, as sorted text.
    pub async fn plain_rows(&self, sql: &str) -> Vec<String> {
        let batches = self
            .context
            .sql(sql)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        sorted_rows(&batches)
    }

    /// Folders of jobs that workers still keep.
    pub fn job_folders(&self) -> usize {
        let entries = |path: &Path| {
            std::fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect::<Vec<_>>()
        };
        entries(&self.folder.path().join("work"))
            .iter()
            .filter(|path| path.is_dir())
            .map(|path| entries(path).len())
            .sum()
    }
}

/// Options of a worker in this process.
pub fn worker_options(coordinator: impl Into<String>) -> WorkerOptions {
    Process::new(WORKER_MEMORY).worker_options(coordinator.into())
}

/// Reads a result to its end.
pub async fn collect(query: ExecutedQuery) -> Result<Vec<RecordBatch>> {
    let batches = datafusion::physical_plan::common::collect(query.stream).await?;
    Ok(batches)
}

/// Waits for a condition, failing after half a minute.
pub async fn wait_until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(60), "no {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every row as one line, sorted.
pub fn sorted_rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = all_rows(batches);
    rows.sort();
    rows
}

/// Every row as one line.
pub fn all_rows(batches: &[RecordBatch]) -> Vec<String> {
    use arrow::util::display::array_value_to_string;
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values: Vec<String> = batch
                .columns()
                .iter()
                .map(|column| array_value_to_string(column, row).unwrap())
                .collect();
            rows.push(values.join("|"));
        }
    }
    rows
}

fn write_table(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("grp", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]));
    for file in 0..FILES {
        let ids: Vec<i64> = (file * ROWS_PER_FILE..(file + 1) * ROWS_PER_FILE).collect();
        let groups: Vec<Option<i64>> = ids
            .iter()
            .map(|id| (id % 11 != 0).then_some(id % 97))
            .collect();
        let names: Vec<Option<String>> = ids
            .iter()
            .map(|id| (id % 7 != 0).then(|| format!("name-{}", id % 13)))
            .collect();
        let columns: Vec<Arc<dyn arrow::array::Array>> = vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(Int64Array::from(groups)),
            Arc::new(StringArray::from(names)),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        let path = folder.join(format!("part-{file:02}.parquet"));
        let output = std::fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(output, Arc::clone(&schema), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
}
