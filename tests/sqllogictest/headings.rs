//! The names that columns of results have, announced and real.

use futures::TryStreamExt;
use ingot_coordinator::service::{SqlService, StatementOutcome};
use uuid::Uuid;

use crate::harness::{Placement, TestEngine};

/// Statements and the headings of their results.
const HEADINGS: &[(&str, &[&str])] = &[
    ("SELECT id, id, name FROM t", &["id", "id", "name"]),
    ("SELECT ID, t.Name FROM t", &["id", "name"]),
    (
        "SELECT 1, 1, NULL, 1e0, 'a b'",
        &["1", "1", "NULL", "1e0", "'a b'"],
    ),
    (
        "SELECT count(*), COUNT(*), sum(id) + 1 FROM t",
        &["count(*)", "count(*)", "sum(id) + 1"],
    ),
    ("SELECT id AS x, name AS X FROM t", &["x", "x"]),
    ("SELECT *, id FROM t", &["id", "name", "place", "id"]),
    (
        "SELECT name, t.*, count(*) OVER () FROM t",
        &["name", "id", "name", "place", "count(*) OVER ()"],
    ),
    (
        "SELECT a.id, b.id FROM t a JOIN t b ON a.id = b.id",
        &["id", "id"],
    ),
    ("SELECT t.place.city, place.city FROM t", &["city", "city"]),
    (
        "SELECT * FROM (SELECT count(1), max(id) FROM t)",
        &["count(1)", "max(id)"],
    ),
    (
        "WITH c AS (SELECT upper(name) FROM t) SELECT * FROM c",
        &["upper(name)"],
    ),
    (
        "SELECT id, year(now()) FROM t UNION ALL SELECT 1, 1",
        &["id", "year(now())"],
    ),
    ("SELECT id, id FROM t EXCEPT ALL SELECT 1, 1", &["id", "id"]),
    ("VALUES (1, 2)", &["column1", "column2"]),
    (
        "SELECT id, id IN (SELECT id FROM t) FROM t",
        &["id", "id IN (SELECT id FROM t)"],
    ),
    (
        "SELECT TIMESTAMP '2026-01-31 12:00:00', id::varchar FROM t",
        &["TIMESTAMP '2026-01-31 12:00:00'", "id::VARCHAR"],
    ),
    // The types of the parameters are those of the values.
    ("EXECUTE p USING 'q', 2", &["a", "b"]),
    ("EXECUTE p USING 1.5, 1 + 1", &["a", "b"]),
    ("EXECUTE of_t USING DATE '2026-01-31', 1", &["day", "id"]),
];

/// Runs all of them.
pub async fn run(placement: Placement) {
    let engine = TestEngine::start(placement).await;
    let service = engine.lakehouse.coordinator.clone();
    let session = service.open_session("test").await.unwrap();
    let run = async |sql: &str| service.execute(&session, sql, None, Uuid::now_v7()).await;
    for sql in [
        "CREATE TABLE t (id bigint, name varchar, place row(city varchar))",
        "INSERT INTO t SELECT 1, 'a', {city: 'Rome'}",
        "PREPARE p FROM SELECT ? AS a, ? + 1 AS b",
        "PREPARE of_t FROM SELECT ? AS day, id FROM t WHERE id = ?",
    ] {
        run(sql).await.unwrap();
    }
    if placement != Placement::Local {
        run("SET SESSION placement = 'distributed'").await.unwrap();
    }
    for (sql, expected) in HEADINGS {
        let announced = service.describe(&session, sql).await.unwrap().result_schema;
        let names: Vec<&str> = announced
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        assert_eq!(names, *expected, "{sql}");
        let StatementOutcome::Rows { schema, stream } = run(sql).await.unwrap() else {
            panic!("{sql} returns no rows");
        };
        assert_eq!(schema, announced, "{sql}");
        for batch in stream.try_collect::<Vec<_>>().await.unwrap() {
            assert_eq!(batch.schema(), announced, "{sql}");
        }
    }
    service.close_session(&session).await.unwrap();
    drop(service);
    engine.stop().await;
}
