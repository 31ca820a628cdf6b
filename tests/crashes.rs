//! Statements of processes that are killed at each step of what they write: every file that they
//! write or delete, and every commit of the catalog database. The next process finds the state
//! before or the one after, `remove_orphan_files` deletes the rest, and the statement can be
//! executed again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "crashes/process.rs"]
mod process;
#[path = "crashes/references.rs"]
mod references;
#[path = "crashes/store.rs"]
mod store;

use std::path::{Path, PathBuf};

use process::{History, Process, State, Stop};

/// Commits of such a table go on after the database: they delete an old metadata file.
const DELETES_OLD_METADATA: &str = "\"write.metadata.delete-after-commit.enabled\" = 'true', \
    \"write.metadata.previous-versions-max\" = '1'";

/// Statements that take a lakehouse from one state to another.
struct Scenario {
    /// What is there before.
    setup: Vec<String>,
    /// They must be such that they can be executed again after they succeeded.
    statements: Vec<String>,
    /// The tables that tell the two states apart, by their rows or by the number of snapshots.
    tables: Vec<&'static str>,
    /// A query that finds the same rows in both states.
    constant: Option<&'static str>,
    /// How many files are written or deleted at least.
    min_files: i64,
    /// Whether files are written or deleted after the last commit of the database.
    ends_with_files: bool,
}

impl Scenario {
    /// On the tables that are named, each with five rows in two files.
    fn new(tables: &[&'static str], properties: &str, statements: &[&str]) -> Self {
        let mut setup = Vec::new();
        for table in tables {
            setup.push(format!(
                "CREATE TABLE {table} (id bigint, n bigint) WITH ({properties})"
            ));
            for values in ["(1, 10), (2, 20), (3, 30)", "(4, 40), (5, 50)"] {
                setup.push(format!("INSERT INTO {table} VALUES {values}"));
            }
        }
        Self {
            setup,
            statements: owned(statements),
            tables: tables.to_vec(),
            constant: None,
            // Rows or positions, a manifest, a manifest list and a metadata file.
            min_files: 4,
            ends_with_files: properties.contains(DELETES_OLD_METADATA),
        }
    }

    fn queries(&self) -> Vec<String> {
        let mut queries = Vec::new();
        for table in &self.tables {
            queries.push(format!("SELECT * FROM {table}"));
            queries.push(format!("SELECT count(*) FROM \"{table}$snapshots\""));
        }
        queries.extend(self.constant.map(str::to_owned));
        queries
    }
}

fn owned(statements: &[&str]) -> Vec<String> {
    statements.iter().map(|sql| (*sql).to_owned()).collect()
}

/// What the processes left that were killed.
#[derive(Debug, Default)]
struct Left {
    old_states: usize,
    new_states: usize,
    /// Tables with all their files that no catalog knows.
    unknown_tables: usize,
}

/// A scenario with the states before and after.
struct Crashes {
    scenario: Scenario,
    folder: tempfile::TempDir,
    old: State,
    new: State,
    /// The rows of the snapshots that are there before.
    history: History,
}

impl Crashes {
    async fn prepare(scenario: Scenario) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let process = Process::open(&data).await;
        process.execute_all(&scenario.setup).await.unwrap();
        let old = process.state(&scenario.queries()).await;
        let history = process.history(&scenario.tables).await;
        process.end().await;
        copy_folder(&data, &folder.path().join("before"));

        let process = Process::open(&data).await;
        process.execute_all(&scenario.statements).await.unwrap();
        let new = process.state(&scenario.queries()).await;
        process.end().await;
        assert_ne!(old, new, "the states cannot be told apart");
        if scenario.constant.is_some() {
            assert_eq!(old.last(), new.last());
        }
        Self {
            scenario,
            folder,
            old,
            new,
            history,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Kills processes at all their steps; each begins in the same state.
    async fn run(scenario: Scenario) {
        let crashes = Self::prepare(scenario).await;
        let mut left = Left::default();
        for stop_after in [Stop::AtFile as fn(i64) -> Stop, Stop::AtCommit] {
            for steps in 0.. {
                let stop = stop_after(steps);
                if !crashes.kill(stop, &mut left).await {
                    let least = match stop {
                        Stop::AtFile(_) => crashes.scenario.min_files,
                        Stop::AtCommit(_) => 1,
                    };
                    assert!(steps >= least, "{stop:?} was not reached");
                    break;
                }
            }
        }
        println!("{:?}: {left:?}", crashes.scenario.statements);
        assert!(left.old_states > 0, "{left:?}");
        if crashes.scenario.ends_with_files {
            assert!(left.new_states > 0, "{left:?}");
        }
        // Only what is created can be complete and yet unknown.
        assert_eq!(
            left.unknown_tables > 0,
            crashes.old.contains(&None),
            "{left:?}"
        );
    }

    /// Kills one process and looks at what it left. False if it came to its end before.
    async fn kill(&self, stop: Stop, left: &mut Left) -> bool {
        let (scenario, data) = (&self.scenario, self.data());
        std::fs::remove_dir_all(&data).unwrap();
        copy_folder(&self.folder.path().join("before"), &data);
        let ending = Process::killed(&data, &scenario.statements, stop).await;
        let context = format!("{:?}, {stop:?}: {:?}", scenario.statements, ending.outcome);

        let process = Process::open(&data).await;
        let state = process.state(&scenario.queries()).await;
        let is_new = state == self.new;
        assert!(is_new || state == self.old, "{context}: {state:?}");
        // What was reported as done is done.
        if ending.outcome.is_ok() {
            assert!(is_new, "{context}");
        }
        match (ending.was_killed, is_new) {
            (true, false) => left.old_states += 1,
            (true, true) => left.new_states += 1,
            (false, _) => assert!(ending.outcome.is_ok(), "{context}"),
        }
        for (snapshot, rows) in process.history(&scenario.tables).await {
            if let Some(before) = self.history.get(&snapshot) {
                assert_eq!(rows, *before, "{context}, snapshot {snapshot:?}");
            }
        }

        process.remove_orphan_files(&scenario.tables).await;
        let mut orphans = process.unreferenced_files().await;
        if !is_new && orphans.iter().any(|file| is_table_metadata(file)) {
            left.unknown_tables += 1;
            self.drop_unknown_table(&process, &orphans, &context).await;
            orphans = process.unreferenced_files().await;
        }
        assert_eq!(orphans, Vec::<PathBuf>::new(), "{context}");
        assert_eq!(process.state(&scenario.queries()).await, state, "{context}");

        let again = process.execute_all(&scenario.statements).await;
        again.unwrap_or_else(|error| panic!("{context}: again: {error}"));
        if !is_new {
            let state = process.state(&scenario.queries()).await;
            assert_eq!(state, self.new, "{context}: again");
        }
        process.end().await;
        ending.was_killed
    }

    /// The folder of a new table whose commit was about to come is not deleted, as it has a
    /// metadata file: it may be registered, and then dropped with its files.
    async fn drop_unknown_table(&self, process: &Process, files: &[PathBuf], context: &str) {
        let metadata: Vec<&PathBuf> = files
            .iter()
            .filter(|file| is_table_metadata(file))
            .collect();
        assert_eq!(metadata.len(), 1, "{context}: {files:?}");
        let folder = metadata[0].parent().and_then(Path::parent).unwrap();
        assert!(
            files.iter().all(|file| file.starts_with(folder)),
            "{context}: {files:?}"
        );
        let register = format!(
            "CALL system.register_table('default', 'found', 'file://{}')",
            folder.display()
        );
        process.execute(&register).await.unwrap();
        let rows = process.execute("SELECT * FROM found").await.unwrap();
        assert_eq!(Some(&rows), self.new[0].as_ref(), "{context}");
        process.execute("DROP TABLE found PURGE").await.unwrap();
    }
}

fn is_table_metadata(file: &Path) -> bool {
    file.to_str().unwrap().ends_with(".metadata.json")
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        match from.is_dir() {
            true => copy_folder(&from, &to),
            false => {
                std::fs::copy(&from, &to).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert() {
    let insert = "INSERT INTO t SELECT id + 10, n FROM t";
    Crashes::run(Scenario::new(&["t"], DELETES_OLD_METADATA, &[insert])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_writes_position_deletes() {
    let properties = format!("{DELETES_OLD_METADATA}, \"write.delete.mode\" = 'merge-on-read'");
    let delete = "DELETE FROM t WHERE id IN (2, 4)";
    Crashes::run(Scenario::new(&["t"], &properties, &[delete])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_writes_deletion_vectors() {
    let properties = "format_version = 3, \"write.delete.mode\" = 'merge-on-read'";
    let delete = "DELETE FROM t WHERE id IN (2, 4)";
    Crashes::run(Scenario::new(&["t"], properties, &[delete])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_rewrites_files() {
    let properties = format!("{DELETES_OLD_METADATA}, \"write.update.mode\" = 'copy-on-write'");
    let update = "UPDATE t SET n = n + 1 WHERE id >= 3";
    Crashes::run(Scenario::new(&["t"], &properties, &[update])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge() {
    let merge = "MERGE INTO t USING (VALUES (1, 100), (4, 0), (9, 900)) AS s(id, n) \
        ON t.id = s.id WHEN MATCHED AND s.n = 0 THEN DELETE \
        WHEN MATCHED THEN UPDATE SET n = s.n \
        WHEN NOT MATCHED AND s.n > 0 THEN INSERT VALUES (s.id, s.n)";
    Crashes::run(Scenario::new(&["t"], DELETES_OLD_METADATA, &[merge])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_table_as() {
    let create = "CREATE TABLE IF NOT EXISTS made AS SELECT id, n FROM t";
    let mut scenario = Scenario::new(&["t"], "format_version = 2", &[create]);
    scenario.tables = vec!["made"];
    Crashes::run(scenario).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_or_replace_table_as() {
    let replace = "CREATE OR REPLACE TABLE t AS SELECT id + 100 AS id, n FROM t";
    Crashes::run(Scenario::new(&["t"], "format_version = 2", &[replace])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optimize() {
    let optimize = "ALTER TABLE t EXECUTE optimize";
    Crashes::run(Scenario::new(&["t"], DELETES_OLD_METADATA, &[optimize])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_of_snapshots() {
    let statements = [
        "SET SESSION expire_snapshots_min_retention = '0s'",
        "ALTER TABLE t EXECUTE expire_snapshots(retention_threshold => '0s')",
    ];
    let mut scenario = Scenario::new(&["t"], "format_version = 2", &statements);
    // So that data files expire, too.
    scenario.setup.push("DELETE FROM t WHERE id = 2".to_owned());
    let optimize = "ALTER TABLE t EXECUTE optimize".to_owned();
    scenario.setup.push(optimize);
    scenario.ends_with_files = true;
    Crashes::run(scenario).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_of_a_materialized_view() {
    let refresh = "REFRESH MATERIALIZED VIEW totals";
    let mut scenario = Scenario::new(&["t"], "format_version = 2", &[refresh]);
    scenario.setup.extend(owned(&[
        "CREATE MATERIALIZED VIEW totals GRACE PERIOD INTERVAL '0' SECOND AS \
         SELECT id % 2 AS parity, sum(n) AS total FROM t GROUP BY id % 2",
        refresh,
        "INSERT INTO t VALUES (6, 60), (7, 70)",
    ]));
    scenario.tables = vec!["totals$materialized_view_storage"];
    // Stored rows that are stale do not answer, whatever was interrupted.
    scenario.constant = Some("SELECT parity, total FROM totals");
    Crashes::run(scenario).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_over_two_tables() {
    let statements = [
        "BEGIN",
        "INSERT INTO t SELECT id + 10, n FROM u",
        "DELETE FROM u WHERE id IN (2, 4)",
        "COMMIT",
    ];
    let properties = "\"write.delete.mode\" = 'merge-on-read'";
    Crashes::run(Scenario::new(&["t", "u"], properties, &statements)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_a_branch() {
    let merge = "MERGE BRANCH dev INTO main";
    let mut scenario = Scenario::new(&["t", "u"], "format_version = 2", &[merge]);
    scenario.setup.extend(owned(&[
        "CREATE BRANCH dev",
        "USE BRANCH dev",
        "INSERT INTO t VALUES (6, 60)",
        "UPDATE u SET n = n + 1 WHERE id = 1",
        "USE BRANCH main",
    ]));
    // Only the database knows.
    scenario.min_files = 0;
    Crashes::run(scenario).await;
}
