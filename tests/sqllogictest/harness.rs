//! One lakehouse per file, and the files' view of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use ingot_coordinator::cluster::QueryEngineOptions;
use ingot_coordinator::error::CoordinatorError;
use ingot_coordinator::server::{Lakehouse, LakehouseOptions, WorkerPortOptions};
use ingot_coordinator::service::{SessionId, SqlService, StatementOutcome};
use ingot_engine::catalog_list::DEFAULT_MANIFEST_CACHE_BYTES;
use ingot_engine::codec::IngotPhysicalCodec;
use ingot_engine::functions::function_registry;
use ingot_engine::runtime::RuntimeOptions;
use ingot_engine::session::{SessionOptions, new_session_state};
use ingot_worker::{Worker, WorkerOptions};
use sqllogictest::{AsyncDB, ColumnType, DBOutput, Runner, strict_column_validator};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Where the queries of a run are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the coordinator, without workers.
    Local,
    /// On two workers over real sockets.
    Distributed,
}

const WORKERS: usize = 2;
const SLOTS_PER_WORKER: usize = 2;

/// Runs every file; panics with all failures at the end.
pub async fn run_all(placement: Placement, parallel_files: usize) {
    let files = test_files();
    assert!(!files.is_empty(), "no sqllogictest file was found");
    let failures: Vec<String> = futures::stream::iter(files)
        .map(|file| async move {
            let task = tokio::spawn(async move { run_file(&file, placement).await });
            task.await.unwrap_or_else(|error| Err(error.to_string()))
        })
        .buffer_unordered(parallel_files)
        .filter_map(|result| async move { result.err() })
        .collect()
        .await;
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

fn test_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sqllogictest");
    let wanted = std::env::var("INGOT_SLT").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    files.sort();
    files
}

async fn run_file(file: &Path, placement: Placement) -> Result<(), String> {
    let engine = TestEngine::start(placement).await;
    let mut runner = Runner::new(|| {
        let lakehouse = engine.lakehouse.clone();
        async move { TestSession::open(lakehouse, placement).await }
    });
    runner.with_column_validator(strict_column_validator);
    runner.set_var(
        "DATA".to_string(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sqllogictest/data").to_string(),
    );
    let result = runner.run_file_async(file).await;
    runner.shutdown_async().await;
    drop(runner);
    engine.stop().await;
    result.map_err(|error| error.display(false).to_string())
}

/// A lakehouse in a temporary folder, with its workers.
pub struct TestEngine {
    pub lakehouse: Arc<Lakehouse>,
    workers: Vec<Worker>,
    shutdown: CancellationToken,
    _folder: TempDir,
}

impl TestEngine {
    pub async fn start(placement: Placement) -> Self {
        let folder = TempDir::new().unwrap();
        let shutdown = CancellationToken::new();
        let worker_port = (placement != Placement::Local).then(|| WorkerPortOptions {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        });
        let options = LakehouseOptions {
            data_dir: folder.path().to_owned(),
            catalog_name: "iceberg".to_owned(),
            catalog_url: None,
            rest_catalog: None,
            warehouse: None,
            manifest_cache_bytes: DEFAULT_MANIFEST_CACHE_BYTES,
            storage: Default::default(),
            runtime: RuntimeOptions::default(),
            engine: QueryEngineOptions::default(),
            time_zone: "UTC".to_owned(),
            maintenance: Default::default(),
            holder: "sqllogictest".to_owned(),
        };
        let lakehouse = Lakehouse::open(options, worker_port).await.unwrap();
        let mut workers = vec![];
        if let Some(cluster) = &lakehouse.cluster {
            for _ in 0..WORKERS {
                let runtime = lakehouse.runtime().clone();
                let state = new_session_state(
                    runtime.clone(),
                    &lakehouse.coordinator.core().catalog_list,
                    &SessionOptions::default(),
                );
                let options = WorkerOptions {
                    slots: SLOTS_PER_WORKER,
                    work_dir: Some(folder.path().join("work")),
                    ..WorkerOptions::new(
                        cluster.address().to_string(),
                        runtime,
                        Arc::new(IngotPhysicalCodec::new(lakehouse.storage.clone())),
                        function_registry(&state),
                    )
                };
                workers.push(
                    ingot_worker::start(options, shutdown.clone())
                        .await
                        .unwrap(),
                );
            }
        }
        Self {
            lakehouse: Arc::new(lakehouse),
            workers,
            shutdown,
            _folder: folder,
        }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        for worker in self.workers {
            worker.wait().await.unwrap();
        }
    }
}

/// One session: what `connection name` in a file means.
pub struct TestSession {
    lakehouse: Arc<Lakehouse>,
    session: SessionId,
}

impl TestSession {
    pub async fn open(
        lakehouse: Arc<Lakehouse>,
        placement: Placement,
    ) -> Result<Self, CoordinatorError> {
        let session = lakehouse.coordinator.open_session("test").await?;
        let mut test_session = Self { lakehouse, session };
        let name = match placement {
            Placement::Local => "local",
            Placement::Distributed => "distributed",
        };
        test_session
            .run(&format!("SET SESSION placement = '{name}'"))
            .await?;
        Ok(test_session)
    }

    /// What a statement that returns no rows says that it did; empty for one that counts rows.
    pub async fn message(&mut self, sql: &str) -> Result<String, CoordinatorError> {
        let outcome = self
            .lakehouse
            .coordinator
            .execute(&self.session, sql, None, Uuid::now_v7())
            .await?;
        Ok(match outcome {
            StatementOutcome::Done { message } => message,
            StatementOutcome::UpdateCount(_) => String::new(),
            StatementOutcome::Rows { .. } => panic!("{sql} returns rows"),
        })
    }
}

#[async_trait]
impl AsyncDB for TestSession {
    type Error = CoordinatorError;
    type ColumnType = TestColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<TestColumnType>, CoordinatorError> {
        let outcome = self
            .lakehouse
            .coordinator
            .execute(&self.session, sql, None, Uuid::now_v7())
            .await?;
        match outcome {
            StatementOutcome::UpdateCount(rows) => {
                Ok(DBOutput::StatementComplete(u64::try_from(rows).unwrap()))
            }
            StatementOutcome::Done { .. } => Ok(DBOutput::StatementComplete(0)),
            StatementOutcome::Rows { schema, stream } => {
                let batches: Vec<RecordBatch> = stream.try_collect().await?;
                for batch in &batches {
                    assert_eq!(
                        batch.schema(),
                        schema,
                        "the schema that was promised is not that of the rows: {sql}"
                    );
                }
                let types = schema
                    .fields()
                    .iter()
                    .map(|field| TestColumnType::of(field.data_type()))
                    .collect();
                let rows = batches.iter().flat_map(rows_of).collect();
                Ok(DBOutput::Rows { types, rows })
            }
        }
    }

    async fn shutdown(&mut self) {
        self.lakehouse
            .coordinator
            .close_session(&self.session)
            .await
            .unwrap();
    }

    fn engine_name(&self) -> &str {
        "ingot"
    }

    async fn sleep(duration: std::time::Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f %:z"));
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .zip(batch.columns())
                .map(|(formatter, column)| match column.is_null(row) {
                    true => "NULL".to_string(),
                    false => match formatter.value(row).to_string() {
                        text if text.is_empty() => "(empty)".to_string(),
                        text => text,
                    },
                })
                .collect()
        })
        .collect()
}

/// The type letters of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestColumnType {
    Integer,
    Real,
    Text,
    Boolean,
    Date,
    Timestamp,
    Other,
}

impl TestColumnType {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            data_type if data_type.is_integer() => Self::Integer,
            data_type if data_type.is_floating() || data_type.is_decimal() => Self::Real,
            DataType::Utf8 | DataType::LargeUtf8 => Self::Text,
            DataType::Boolean => Self::Boolean,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(..) => Self::Timestamp,
            _ => Self::Other,
        }
    }
}

impl ColumnType for TestColumnType {
    fn from_char(value: char) -> Option<Self> {
        match value {
            'I' => Some(Self::Integer),
            'R' => Some(Self::Real),
            'T' => Some(Self::Text),
            'B' => Some(Self::Boolean),
            'D' => Some(Self::Date),
            'P' => Some(Self::Timestamp),
            '?' => Some(Self::Other),
            _ => None,
        }
    }

    fn to_char(&self) -> char {
        match self {
            Self::Integer => 'I',
            Self::Real => 'R',
            Self::Text => 'T',
            Self::Boolean => 'B',
            Self::Date => 'D',
            Self::Timestamp => 'P',
            Self::Other => '?',
        }
    }
}
