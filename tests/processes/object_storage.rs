//! A warehouse on S3: the coordinator and its workers read and write it over HTTP.

use std::path::Path;

use ingot_test_support::S3Server;

use crate::harness::{ProcessCluster, files_below, ingot};

pub fn settings(endpoint: String, secret: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "INGOT_CATALOG_WAREHOUSE",
            format!("s3://{}/warehouse", S3Server::BUCKET),
        ),
        ("INGOT_STORAGE_S3_ENDPOINT", endpoint),
        (
            "INGOT_STORAGE_S3_ACCESS_KEY_ID",
            S3Server::ACCESS_KEY.to_string(),
        ),
        ("INGOT_STORAGE_S3_SECRET_ACCESS_KEY", secret.to_string()),
    ]
}

fn parquet_files(server: &S3Server) -> usize {
    files_below(&server.bucket_folder())
        .iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "parquet")
        })
        .count()
}

pub fn write_csv(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for file in 0..4 {
        let mut text = "id,grp,amount\n".to_string();
        for row in 0..500 {
            let id = file * 500 + row;
            text.push_str(&format!("{id},g{},{}.25\n", id % 7, id));
        }
        std::fs::write(folder.join(format!("{file}.csv")), text).unwrap();
    }
}

#[test]
fn tables_on_s3_are_written_and_read_by_worker_processes() {
    let server = S3Server::start();
    write_csv(&server.bucket_folder().join("raw"));
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(server.endpoint(), S3Server::SECRET_KEY);
    let mut cluster = ProcessCluster::start(folder.path(), &settings);
    cluster.add_workers(2);

    cluster.query(
        "SET SESSION placement = 'distributed'; CREATE SCHEMA s; \
         CREATE TABLE s.t WITH (partitioning = ARRAY['grp']) AS \
         SELECT * FROM read_csv('s3://lakehouse/raw/*.csv')",
    );
    assert!(
        parquet_files(&server) >= 7,
        "one file for each partition at least"
    );
    assert!(files_below(&folder.path().join("lake")).iter().all(|path| {
        path.extension()
            .is_none_or(|extension| extension != "parquet")
    }));

    let question =
        "SELECT grp, count(*), sum(amount) FROM s.t WHERE id >= 100 GROUP BY grp ORDER BY grp";
    let there = cluster.query(&format!(
        "SET SESSION placement = 'distributed'; {question}"
    ));
    let here = cluster.query(&format!("SET SESSION placement = 'local'; {question}"));
    assert_eq!(there, here);
    assert_eq!(there.lines().count(), 8);
    let total = cluster.query("SELECT count(*) AS n, sum(id) AS total FROM s.t");
    assert_eq!(total, "n,total\n2000,1999000\n");

    // A statement that fails leaves no object.
    let before = files_below(&server.bucket_folder());
    let error = cluster.error(
        "SET SESSION placement = 'distributed'; \
         CREATE TABLE s.failed AS SELECT 10 / (id - 1234) AS x FROM s.t",
    );
    assert!(error.contains("division by zero"), "{error}");
    assert_eq!(files_below(&server.bucket_folder()), before);

    cluster.query("DROP TABLE s.t PURGE");
    assert_eq!(parquet_files(&server), 0);
    assert!(!cluster.logs().contains(S3Server::SECRET_KEY));
}

#[test]
fn a_wrong_secret_is_told_and_not_shown() {
    let server = S3Server::start();
    let folder = tempfile::tempdir().unwrap();
    let wrong = "wrong-secret-key";
    let cluster = ProcessCluster::start(folder.path(), &settings(server.endpoint(), wrong));
    let error = cluster.error("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS x");
    assert!(error.contains(&server.endpoint()), "{error}");
    assert!(error.contains("storage.s3"), "names the settings: {error}");
    assert!(
        !error.contains(wrong) && !cluster.logs().contains(wrong),
        "{error}"
    );
    let left =
        cluster.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 's'");
    assert_eq!(left, "table_name\n");
}

#[test]
fn an_endpoint_that_does_not_answer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let cluster = ProcessCluster::start(
        folder.path(),
        &settings(endpoint.clone(), S3Server::SECRET_KEY),
    );
    let error = cluster.error("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS x");
    assert!(error.contains(&endpoint), "{error}");
}

#[test]
fn a_catalog_that_does_not_answer_is_named_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let url = "postgres://ingot:very-secret@127.0.0.1:1/lake".to_string();
    let output = ingot(&[("INGOT_CATALOG_URL", url)])
        .args(["coordinator", "--data"])
        .arg(folder.path().join("lake"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.trim().lines().last().unwrap_or_default();
    assert!(last.contains("127.0.0.1:1"), "{error}");
    assert!(!error.contains("very-secret"), "{error}");
}
