//! One Ingot uses the tables of another over the REST catalog protocol.

use ingot_test_support::S3Server;

use crate::harness::ProcessCluster;
use crate::object_storage::{settings, write_csv};

const STATEMENTS_OF_EACH: usize = 6;

/// A cluster that uses the tables of `other`.
fn client_of(other: &ProcessCluster, folder: &std::path::Path) -> ProcessCluster {
    ProcessCluster::start(folder, &[("INGOT_CATALOG_REST_URI", other.rest_uri())])
}

#[test]
fn both_see_and_change_the_same_tables() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let server = ProcessCluster::start(folders[0].path(), &[]);
    let client = client_of(&server, folders[1].path());

    client.query(
        "CREATE SCHEMA s; CREATE TABLE s.t (id bigint, name varchar) WITH (partitioning = ARRAY['name']); \
         INSERT INTO s.t VALUES (1, 'a'), (2, 'b')",
    );
    assert_eq!(
        server.query("SELECT id, name FROM s.t ORDER BY id"),
        "id,name\n1,a\n2,b\n"
    );
    server.query("INSERT INTO s.t VALUES (3, 'c'); DELETE FROM s.t WHERE id = 1");
    assert_eq!(
        client.query("SELECT id, name FROM s.t ORDER BY id"),
        "id,name\n2,b\n3,c\n"
    );
    client.query("UPDATE s.t SET name = 'z' WHERE id = 2; ALTER TABLE s.t ADD COLUMN x double");
    assert_eq!(
        server.query("SELECT * FROM s.t ORDER BY id"),
        "id,name,x\n2,z,\n3,c,\n"
    );
    client.query("CREATE OR REPLACE TABLE s.u AS SELECT id * 10 AS tens FROM s.t");
    assert_eq!(
        server.query("SELECT sum(tens) AS total FROM s.u"),
        "total\n50\n"
    );
    client.query("ALTER TABLE s.u RENAME TO s.v");
    assert_eq!(server.query("SELECT count(*) AS n FROM s.v"), "n\n2\n");
    let files = client.query("SELECT count(*) AS n FROM s.\"v$files\"");
    assert_ne!(files, "n\n0\n");

    let error = client.error("CREATE TABLE s.t AS SELECT 1 AS x");
    assert!(error.contains("table s.t already exists"), "{error}");
    let error = client.error("SELECT * FROM s.tt");
    assert!(error.contains("did you mean"), "{error}");
    for statement in ["CREATE BRANCH b", "BEGIN; INSERT INTO s.v VALUES (1)"] {
        let error = client.error(statement);
        assert!(error.contains("need the sql catalog"), "{error}");
    }
    client.query("DROP TABLE s.v PURGE");
    let left = "SELECT table_name FROM information_schema.tables WHERE table_schema = 's'";
    assert_eq!(client.query(left), "table_name\nt\n");
    assert!(server.error("SELECT * FROM s.v").contains("does not exist"));
}

#[test]
fn concurrent_commits_of_both_are_all_there() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let server = ProcessCluster::start(folders[0].path(), &[]);
    let client = client_of(&server, folders[1].path());
    client.query("CREATE SCHEMA s; CREATE TABLE s.t (writer varchar, number bigint)");
    std::thread::scope(|scope| {
        for (name, cluster) in [("server", &server), ("client", &client)] {
            for half in 0..2 {
                scope.spawn(move || {
                    for number in 0..STATEMENTS_OF_EACH {
                        let number = half * STATEMENTS_OF_EACH + number;
                        cluster.query(&format!("INSERT INTO s.t VALUES ('{name}', {number})"));
                    }
                });
            }
        }
    });
    let question = "SELECT writer, count(*) AS n, count(DISTINCT number) AS d FROM s.t GROUP BY writer ORDER BY writer";
    let expected = format!(
        "writer,n,d\nclient,{0},{0}\nserver,{0},{0}\n",
        2 * STATEMENTS_OF_EACH
    );
    assert_eq!(client.query(question), expected);
    assert_eq!(server.query(question), expected);
}

#[test]
fn views_are_shared() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let server = ProcessCluster::start(folders[0].path(), &[]);
    let client = client_of(&server, folders[1].path());
    client.query(
        "CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS id; \
         CREATE VIEW s.v AS SELECT id + 1 AS next FROM s.t",
    );
    assert_eq!(server.query("SELECT * FROM s.v"), "next\n2\n");
    server.query("CREATE OR REPLACE VIEW s.v AS SELECT id + 2 AS next FROM s.t");
    assert_eq!(client.query("SELECT * FROM s.v"), "next\n3\n");
    let error = client.error("CREATE VIEW s.v AS SELECT 1 AS x");
    assert!(error.contains("already exists"), "{error}");
    let error = client.error("CREATE MATERIALIZED VIEW s.m AS SELECT id FROM s.t");
    assert!(error.contains("not supported"), "{error}");
    server
        .query("CREATE MATERIALIZED VIEW s.m AS SELECT id FROM s.t; REFRESH MATERIALIZED VIEW s.m");
    assert_eq!(client.query("SELECT * FROM s.m"), "id\n1\n");
    client.query("DROP VIEW s.v");
    assert!(server.error("SELECT * FROM s.v").contains("does not exist"));
}

#[test]
fn workers_reach_files_with_the_credentials_of_the_catalog() {
    let s3 = S3Server::start();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut of_server = settings(s3.endpoint(), S3Server::SECRET_KEY);
    of_server.push((
        "INGOT_COORDINATOR_REST_CATALOG_CREDENTIALS",
        "true".to_string(),
    ));
    let server = ProcessCluster::start(folders[0].path(), &of_server);
    // Neither this coordinator nor its workers have keys of their own.
    let mut client = client_of(&server, folders[1].path());
    client.add_workers(2);
    write_csv(&folders[1].path().join("raw"));
    let files = folders[1].path().join("raw").display().to_string();
    client.query(&format!(
        "SET SESSION placement = 'distributed'; CREATE SCHEMA s; \
         CREATE TABLE s.t WITH (partitioning = ARRAY['grp']) AS \
         SELECT * FROM read_csv('{files}/*.csv')"
    ));
    let total = "SELECT count(*) AS n, sum(id) AS total FROM s.t";
    let expected = "n,total\n2000,1999000\n";
    for placement in ["distributed", "local"] {
        let set = format!("SET SESSION placement = '{placement}'");
        assert_eq!(client.query(&format!("{set}; {total}")), expected);
    }
    client.query("SET SESSION placement = 'distributed'; DELETE FROM s.t WHERE id < 1000");
    assert_eq!(server.query("SELECT count(*) AS n FROM s.t"), "n\n1000\n");
    for logs in [client.logs(), server.logs()] {
        assert!(!logs.contains(S3Server::SECRET_KEY), "{logs}");
    }
}

#[test]
fn a_rest_catalog_that_does_not_answer_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/catalog", unused.local_addr().unwrap());
    drop(unused);
    let output = crate::harness::ingot(&[
        ("INGOT_CATALOG_REST_URI", uri.clone()),
        ("INGOT_CATALOG_REST_TOKEN", "very-secret".to_string()),
    ])
    .args(["coordinator", "--data"])
    .arg(folder.path().join("lake"))
    .output()
    .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.trim().lines().last().unwrap_or_default();
    assert!(
        last.contains(&uri) && last.contains("catalog.rest.uri"),
        "{error}"
    );
    assert!(!error.contains("very-secret"), "{error}");
}
