//! Processes over one data folder, one after the other: those that are killed, and those that
//! find what they left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use ingot_catalog::Database;
use ingot_coordinator::cluster::QueryEngineOptions;
use ingot_coordinator::server::{Lakehouse, LakehouseOptions};
use ingot_coordinator::service::{SessionId, SqlService, StatementOutcome};
use ingot_engine::catalog_list::DEFAULT_MANIFEST_CACHE_BYTES;
use ingot_engine::runtime::RuntimeOptions;
use uuid::Uuid;

use super::references::unreferenced_files;
use super::store::StoppingStore;

/// How long statements and the end of a process may take, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The values of a row as text.
pub type Row = Vec<Option<String>>;

/// The sorted rows of each query that a test looks at; `None` where its table does not exist.
pub type State = Vec<Option<Vec<Row>>>;

/// The sorted rows of each table's snapshots.
pub type History = BTreeMap<(String, String), Vec<Row>>;

/// Where a process is killed.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// In the write or deletion of a file after so many of them.
    AtFile(i64),
    /// In the commit of the catalog database after so many of them.
    AtCommit(i64),
}

/// How the statements of a process ended that was to be killed.
#[derive(Debug)]
pub struct Ending {
    pub was_killed: bool,
    /// Whether the last statement was reported as done.
    pub outcome: Result<(), String>,
}

/// An open lakehouse with one session.
pub struct Process {
    lakehouse: Lakehouse,
    session: SessionId,
    warehouse: PathBuf,
}

impl Process {
    /// Opens the lakehouse in a folder.
    pub async fn open(folder: &Path) -> Self {
        let options = LakehouseOptions {
            data_dir: folder.to_owned(),
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
            holder: "crashes".to_owned(),
        };
        let lakehouse = Lakehouse::open(options, None).await.unwrap();
        let session = lakehouse.coordinator.open_session("test").await.unwrap();
        Self {
            lakehouse,
            session,
            warehouse: folder.join("warehouse").canonicalize().unwrap(),
        }
    }

    /// Executes statements and is killed at this step, if they have so many. Then the folder is
    /// as the next process finds it.
    pub async fn killed(folder: &Path, statements: &[String], stop: Stop) -> Ending {
        let process = Self::open(folder).await;
        let database = process.lakehouse.database.clone();
        let store = match stop {
            Stop::AtFile(steps) => StoppingStore::after(steps, database),
            Stop::AtCommit(commits) => {
                refuse_commits_after(commits, &database).await;
                StoppingStore::without_deletions(database)
            }
        };
        let storage = &process.lakehouse.storage;
        storage
            .register_store("/", Arc::new(store.clone()))
            .unwrap();
        let outcome = process.execute_all(statements).await;
        process.end().await;
        let was_killed = match stop {
            Stop::AtFile(_) => store.is_dead(),
            Stop::AtCommit(_) => {
                accept_commits(folder).await;
                outcome.is_err()
            }
        };
        Ending {
            was_killed,
            outcome,
        }
    }

    /// Drops everything and waits until nothing of it has a file of the catalog open.
    pub async fn end(self) {
        let Self { lakehouse, .. } = self;
        let database = lakehouse.database.clone();
        drop(lakehouse);
        tokio::time::timeout(PATIENCE, database.close())
            .await
            .unwrap();
    }

    /// The rows of a statement; none if it has no result.
    pub async fn execute(&self, sql: &str) -> Result<Vec<Row>, String> {
        let coordinator = &self.lakehouse.coordinator;
        let executed = coordinator.execute(&self.session, sql, None, Uuid::now_v7());
        let outcome = tokio::time::timeout(PATIENCE, executed).await.unwrap();
        let stream = match outcome {
            Ok(StatementOutcome::Rows { stream, .. }) => stream,
            Ok(_) => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        let batches: Result<Vec<RecordBatch>, _> = stream.try_collect().await;
        let batches = batches.map_err(|error| error.to_string())?;
        let options = FormatOptions::default();
        let mut rows: Vec<Row> = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| {
                    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
                    column
                        .is_valid(row)
                        .then(|| formatter.value(row).to_string())
                });
                rows.push(cells.collect());
            }
        }
        rows.sort();
        Ok(rows)
    }

    /// Executes statements one after the other until one fails.
    pub async fn execute_all(&self, statements: &[String]) -> Result<(), String> {
        for sql in statements {
            let executed = self.execute(sql).await;
            executed.map_err(|error| format!("{sql}: {error}"))?;
        }
        Ok(())
    }

    /// The rows of a query; `None` if its table does not exist.
    async fn rows(&self, sql: &str) -> Option<Vec<Row>> {
        match self.execute(sql).await {
            Ok(rows) => Some(rows),
            Err(error) => {
                // A file of a table that is missing is another matter.
                let has_no_table = error.contains("does not exist") && !error.contains("file");
                assert!(has_no_table, "{sql}: {error}");
                None
            }
        }
    }

    /// What these queries find.
    pub async fn state(&self, queries: &[String]) -> State {
        let mut state = State::new();
        for sql in queries {
            state.push(self.rows(sql).await);
        }
        state
    }

    /// The rows of every snapshot of these tables.
    pub async fn history(&self, tables: &[&str]) -> History {
        let mut history = History::new();
        for table in tables {
            let snapshots = format!("SELECT snapshot_id FROM \"{table}$snapshots\"");
            for snapshot in self.rows(&snapshots).await.unwrap_or_default() {
                let snapshot = snapshot[0].clone().unwrap();
                let sql = format!("SELECT * FROM {table} FOR VERSION AS OF {snapshot}");
                let rows = self.rows(&sql).await.unwrap();
                history.insert((table.to_string(), snapshot), rows);
            }
        }
        history
    }

    /// Deletes what nothing refers to: in the folders of these tables, and whole folders.
    pub async fn remove_orphan_files(&self, tables: &[&str]) {
        // Files that are as new as the call stay.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let set = "SET SESSION remove_orphan_files_min_retention = '0s'";
        self.execute(set).await.unwrap();
        for table in tables {
            let remove = "remove_orphan_files(retention_threshold => '0s')";
            self.rows(&format!("ALTER TABLE {table} EXECUTE {remove}"))
                .await;
        }
        let remove = "CALL system.remove_orphan_files('default', '0s')";
        self.execute(remove).await.unwrap();
    }

    /// The files of the warehouse that nothing refers to.
    pub async fn unreferenced_files(&self) -> Vec<PathBuf> {
        let catalog = &self.lakehouse.coordinator.core().catalogs[0];
        let files = unreferenced_files(catalog.as_ref(), &self.warehouse).await;
        files.into_iter().collect()
    }
}

/// The database refuses every commit of the catalog after so many more of them. Each takes a
/// number first.
async fn refuse_commits_after(commits: i64, database: &Database) {
    let last: i64 = sqlx::query_scalar("SELECT last_version FROM catalogs")
        .fetch_one(database.pool())
        .await
        .unwrap();
    let trigger = format!(
        "CREATE TRIGGER killed BEFORE UPDATE ON catalogs WHEN NEW.last_version > {}
         BEGIN SELECT RAISE(ABORT, 'the process was killed'); END",
        last + commits
    );
    sqlx::query(sqlx::AssertSqlSafe(trigger))
        .execute(database.pool())
        .await
        .unwrap();
}

/// Undoes [`refuse_commits_after`] for the next process.
async fn accept_commits(folder: &Path) {
    let database = Database::connect_sqlite(&folder.join("catalog.db"))
        .await
        .unwrap();
    sqlx::query("DROP TRIGGER killed")
        .execute(database.pool())
        .await
        .unwrap();
    database.close().await;
}
