//! What cannot start says why, in one line, and ends with an error.

use std::process::Output;

use crate::harness::{ProcessCluster, ingot};

fn last_line(output: &Output) -> String {
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    text.trim().lines().last().unwrap_or_default().to_string()
}

#[test]
fn two_coordinators_on_one_sqlite_file() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = ProcessCluster::start(folder.path(), &[]);
    let second = ingot(&[])
        .args([
            "coordinator",
            "--flight-port",
            "0",
            "--http-port",
            "0",
            "--scheduler-port",
            "0",
        ])
        .arg("--data")
        .arg(folder.path().join("lake"))
        .output()
        .unwrap();
    let error = last_line(&second);
    assert!(
        error.contains("is in use by another coordinator"),
        "{error}"
    );
    // The first one goes on.
    assert_eq!(cluster.query("SELECT 1 AS one"), "one\n1\n");
}

#[test]
fn a_port_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (flag, setting) in [
        ("--flight-port", "coordinator.flight_bind"),
        ("--http-port", "coordinator.http_bind"),
        ("--scheduler-port", "coordinator.scheduler_bind"),
    ] {
        let mut command = ingot(&[]);
        command
            .arg("coordinator")
            .arg("--data")
            .arg(folder.path().join("lake"));
        for other in ["--flight-port", "--http-port", "--scheduler-port"] {
            command.args([other, if other == flag { &port } else { "0" }]);
        }
        let error = last_line(&command.output().unwrap());
        assert!(
            error.contains(&format!("127.0.0.1:{port}")),
            "{flag}: {error}"
        );
        assert!(error.contains(setting), "{flag}: {error}");
    }
}

#[test]
fn a_worker_without_a_coordinator() {
    let output = ingot(&[])
        .args(["worker", "--coordinator", "127.0.0.1:1"])
        .output()
        .unwrap();
    let error = last_line(&output);
    assert!(error.contains("127.0.0.1:1"), "{error}");
}

#[test]
fn a_statement_may_read_only_some_folders() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("a.csv"), "id\n1\n").unwrap();
    std::fs::write(folder.path().join("a.csv"), "id\n1\n").unwrap();
    let read = |path: &std::path::Path| format!("SELECT id FROM read_csv('{}')", path.display());
    let cluster = ProcessCluster::start(folder.path(), &[]);
    assert_eq!(
        cluster.query(&read(&folder.path().join("a.csv"))),
        "id\n1\n"
    );
    let error = cluster.error(&read(&outside.path().join("a.csv")));
    assert!(error.contains("storage.allowed_folders"), "{error}");
    // What does not exist there is refused in the same words.
    let error = cluster.error(&read(&outside.path().join("b.csv")));
    assert!(error.contains("storage.allowed_folders"), "{error}");
}
