//! Transactions of processes that die.

use std::path::Path;

use crate::harness::{ProcessCluster, files_below};

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    files_below(&folder.join("lake/warehouse"))
}

#[test]
fn a_coordinator_killed_in_a_transaction_leaves_main_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = ProcessCluster::start(folder.path(), &[]);
    cluster.query("CREATE TABLE t AS SELECT 1 AS id");
    let before = files(folder.path());
    let mut shell = cluster.run_until(
        "BEGIN; INSERT INTO t VALUES (2); CREATE TABLE u AS SELECT id FROM t; \
         SELECT 'ready' AS x; SELECT count(*) FROM generate_series(1, 1000000000000)",
        "ready",
    );
    // Killed, not stopped.
    drop(cluster);
    let _ = shell.kill();
    let _ = shell.wait();
    assert!(files(folder.path()).len() > before.len());

    let cluster = ProcessCluster::start(folder.path(), &[]);
    assert_eq!(cluster.query("SELECT id FROM t"), "id\n1\n");
    let error = cluster.error("SELECT * FROM u");
    assert!(error.contains("table default.u does not exist"), "{error}");
    assert_eq!(files(folder.path()), before);
    // And the other way round: what was committed stays.
    cluster.query("BEGIN; INSERT INTO t VALUES (3); CREATE TABLE u AS SELECT id FROM t; COMMIT");
    drop(cluster);
    let cluster = ProcessCluster::start(folder.path(), &[]);
    assert_eq!(cluster.query("SELECT id FROM u ORDER BY id"), "id\n1\n3\n");
}

#[test]
fn a_shell_that_ends_in_a_transaction_rolls_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = ProcessCluster::start(folder.path(), &[]);
    cluster.query("CREATE TABLE t AS SELECT 1 AS id");
    let before = files(folder.path());
    cluster.query("BEGIN; INSERT INTO t VALUES (2); CREATE TABLE u AS SELECT id FROM t");
    assert_eq!(cluster.query("SELECT id FROM t"), "id\n1\n");
    // The session ends after the shell has gone.
    let begun = std::time::Instant::now();
    while files(folder.path()) != before {
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(60),
            "{:?}{}",
            files(folder.path()),
            cluster.logs()
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
