//! Which tables statements read and write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ingot_sql::{ObjectName, parse_statement, table_references};

fn assert_references(text: &str, reads: &[&str], writes: &[&str]) {
    let references = table_references(&parse_statement(text).unwrap());
    let names = |names: &[ObjectName]| -> Vec<String> {
        names.iter().map(|name| name.parts.join(".")).collect()
    };
    assert_eq!(names(&references.reads), reads, "reads of {text}");
    assert_eq!(names(&references.writes), writes, "writes of {text}");
}

#[test]
fn queries_read() {
    assert_references("SELECT 1", &[], &[]);
    assert_references(
        "SELECT * FROM A.b, c JOIN D ON true",
        &["a.b", "c", "d"],
        &[],
    );
    assert_references("SELECT * FROM t AS x JOIN t AS y ON true", &["t"], &[]);
    assert_references(
        "SELECT * FROM t WHERE a IN (SELECT a FROM u) AND EXISTS (SELECT 1 FROM v) ORDER BY (SELECT max(a) FROM w)",
        &["t", "u", "v", "w"],
        &[],
    );
    assert_references(
        "SELECT * FROM read_csv('x'), UNNEST(ARRAY[1]) AS u(a)",
        &[],
        &[],
    );
    assert_references("SELECT * FROM \"Big\".\"T$snapshots\"", &["Big.T"], &[]);
    assert_references(
        "SELECT * FROM s.t FOR VERSION AS OF 5 UNION SELECT * FROM s.t",
        &["s.t"],
        &[],
    );
    assert_references("EXPLAIN ANALYZE SELECT * FROM t", &["t"], &[]);
    assert_references("DESCRIBE \"t$files\"", &["t"], &[]);
}

#[test]
fn names_of_with_queries_are_not_read() {
    assert_references(
        "WITH x AS (SELECT * FROM t) SELECT * FROM x, X, y",
        &["t", "y"],
        &[],
    );
    assert_references(
        "WITH x AS (SELECT * FROM t), y AS (SELECT * FROM x) SELECT * FROM y WHERE a IN (SELECT a FROM x)",
        &["t"],
        &[],
    );
    // A WITH query sees those before it, not itself, and qualified names are never WITH queries.
    assert_references("WITH t AS (SELECT * FROM t) SELECT * FROM t", &["t"], &[]);
    assert_references(
        "WITH orders AS (SELECT * FROM s.orders) SELECT * FROM orders",
        &["s.orders"],
        &[],
    );
    assert_references(
        "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b",
        &["b"],
        &[],
    );
    assert_references(
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
        &[],
        &[],
    );
    // Inner WITH queries end with their query.
    assert_references(
        "SELECT * FROM (WITH x AS (SELECT * FROM a) SELECT * FROM x) q, x",
        &["a", "x"],
        &[],
    );
    assert_references(
        "WITH x AS (WITH y AS (SELECT * FROM a) SELECT * FROM y) SELECT * FROM x, y",
        &["a", "y"],
        &[],
    );
}

#[test]
fn changes_write() {
    assert_references("INSERT INTO t SELECT * FROM u", &["u"], &["t"]);
    assert_references("INSERT INTO t SELECT * FROM t", &["t"], &["t"]);
    assert_references(
        "CREATE OR REPLACE TABLE a.b AS WITH x AS (SELECT * FROM c) SELECT * FROM x JOIN d ON true",
        &["c", "d"],
        &["a.b"],
    );
    assert_references("CREATE TABLE t (a int)", &[], &["t"]);
    assert_references("DROP TABLE t", &[], &["t"]);
    assert_references("COPY INTO t FROM 'x'", &[], &["t"]);
    assert_references("DELETE FROM t WHERE a IN (SELECT a FROM u)", &["u"], &["t"]);
    assert_references(
        "DELETE FROM t WHERE a IN (SELECT max(a) FROM t)",
        &["t"],
        &["t"],
    );
    assert_references("UPDATE t SET a = (SELECT max(a) FROM u)", &["u"], &["t"]);
    assert_references(
        "MERGE INTO t USING (SELECT * FROM u) AS s ON t.a = s.a WHEN MATCHED THEN DELETE",
        &["u"],
        &["t"],
    );
    assert_references("ALTER TABLE t ADD COLUMN a int", &[], &["t"]);
    assert_references(
        "PREPARE p FROM INSERT INTO t SELECT * FROM u",
        &["u"],
        &["t"],
    );
}

#[test]
fn names_resolve_against_the_session() {
    let name = ObjectName::new(["t"]);
    assert_eq!(
        name.resolve("iceberg", "default"),
        (
            "iceberg".to_string(),
            "default".to_string(),
            "t".to_string()
        )
    );
    let name = ObjectName::new(["c", "s", "t"]);
    assert_eq!(
        name.resolve("iceberg", "default"),
        ("c".to_string(), "s".to_string(), "t".to_string())
    );
}
