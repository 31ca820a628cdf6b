//! Bad SQL: what it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ingot_sql::{SqlError, parse_statement, parse_statements};

/// Text that is refused.
const REFUSED: &[&str] = &[
    "",
    "SELECT 1; SELECT 2",
    "SELEC 1",
    "SELECT",
    "SELECT a FROM",
    "SELECT a,\n  b\nFROM t\nWHER a = 1 GROUP",
    "SELECT 1 2",
    "SELECT 'a",
    "SELECT \"a",
    "SELECT (1",
    "INSERT t SELECT 1",
    "INSERT INTO t",
    "INSERT INTO t (a, a) SELECT 1, 2",
    "INSERT INTO t SET a = 1",
    "INSERT INTO t DEFAULT VALUES",
    "INSERT INTO a.b.c.d SELECT 1",
    "CALL system.f(a => 1, a => 2)",
    "ANALYZE t WITH (columns = ARRAY[])",
    "ANALYZE t WITH (columns = ARRAY['a', 'A'])",
    "ANALYZE t WITH (columns = ARRAY['a b'])",
    "ANALYZE t WITH (colums = ARRAY['a'])",
    "SHOW STATS FOR (t)",
    "SHOW STATS FOR (SELECT 1",
    "ALTER TABLE t ADD COLUMN a.b",
    "ALTER TABLE t ADD COLUMN b int AFTER",
    "ALTER TABLE t ADD COLUMN b int DEFAULT b + 5",
    "ALTER TABLE t ALTER COLUMN b SET NOT NULL",
    "ALTER TABLE t ALTER COLUMN b TYPE int",
    "ALTER TABLE t RENAME TO \"a$b\"",
    "ALTER TABLE t SET PROPERTIES location = '/x'",
    "ALTER TABLE t SET PROPERTIES format_version = DEFAULT",
    "ALTER TABLE t SET PROPERTIES partitionning = DEFAULT",
    "ALTER TABLE t SET PROPERTIES \"a.b\" = 1, \"a.b\" = 2",
    "ALTER TABLE t CREATE OR REPLACE BRANCH IF NOT EXISTS b",
    "ALTER TABLE t CREATE TAG v WITH SNAPSHOT RETENTION 2 SNAPSHOTS",
    "ALTER TABLE t CREATE BRANCH b RETAIN 0 DAYS",
    "ALTER TABLE t CREATE BRANCH b RETAIN 5 YEARS",
    "ALTER TABLE t CREATE BRANCH b WITH SNAPSHOT RETENTION 0 SNAPSHOTS",
    "ALTER TABLE t CREATE BRANCH b FOR VERSION AS OF 1.5",
    "ALTER TABLE t FOR VERSION AS OF 5 ADD COLUMN b int",
    "ALTER TABLE \"t$files\" ADD COLUMN b int",
    "ALTER TABLE t EXECUTE f(a => 1, 2)",
    "INSERT INTO t @ SELECT 1",
    "INSERT OVERWRITE t @ audit SELECT 1",
    "SELECT * FROM t @ audit",
    "CALL system.f(a => 1, 2)",
    "CALL system.f(b)",
    "CALL system.f",
    // Time travel that is not understood.
    "SELECT * FROM t FOR VERSION AS OF",
    "SELECT * FROM t FOR VERSION AS OF 1.5",
    "SELECT * FROM t FOR VERSION AS OF ''",
    "SELECT * FROM t FOR VERSION AS OF 99999999999999999999",
    "SELECT * FROM t FOR VERSION AS OF ?",
    "SELECT * FROM t FOR TIMESTAMP AS OF 5",
    "SELECT * FROM t FOR TIMESTAMP AS OF (SELECT max(a) FROM u)",
    "SELECT * FROM t FOR TIMESTAMP AS OF u.ts",
    "SELECT * FROM t FOR TIMESTAMP AS OF ts",
    "SELECT * FROM t FOR TIMESTAMP AS OF ?",
    "SELECT * FROM t AS x FOR VERSION AS OF 5",
    "SELECT * FROM t x FOR VERSION AS OF 5",
    "SELECT a FOR VERSION AS OF 5 FROM t",
    "SELECT * FROM t WHERE a FOR VERSION AS OF 5",
    "SELECT * FROM (SELECT 1) FOR VERSION AS OF 5",
    "SELECT * FROM read_csv('x') FOR VERSION AS OF 5",
    "WITH x AS (SELECT 1) SELECT * FROM x FOR VERSION AS OF 5",
    "SELECT * FROM t VERSION AS OF 5",
    "SELECT * FROM t TIMESTAMP AS OF '2026-01-01'",
    "SELECT * FROM t FOR SYSTEM_TIME BETWEEN 1 AND 2",
    "SELECT * FROM t FOR SYSTEM_TIME ALL",
    "SELECT * FROM t FOR VERSIONS AS OF 5",
    "SELECT * FROM t AT (TIMESTAMP => 'x')",
    "SELECT * FROM t BEFORE (STATEMENT => 'x')",
    "SELECT * FROM t@5",
    // States of the catalog.
    "CREATE OR REPLACE BRANCH b",
    "CREATE BRANCH b IN TABLE",
    "CREATE BRANCH",
    "CREATE TAG t FROM",
    "MERGE BRANCH a",
    "USE BRANCH b c",
    "SHOW CATALOG LOG LIMIT x",
    "SELECT * FROM t AT BRANCH a AT BRANCH b",
    "SELECT * FROM t FOR VERSION AS OF 1 FOR VERSION AS OF 2",
    "SELECT * FROM t x AT BRANCH a",
    "SELECT * FROM (SELECT 1) AT BRANCH a",
    "SELECT a FROM t WHERE a AT BRANCH b",
    "SELECT * FROM t AT VERSION x",
    "SELECT * FROM t AT TIMESTAMP ?",
    "SELECT * FROM t AT TIMESTAMP (SELECT max(a) FROM u)",
    "WITH x AS (SELECT 1) SELECT * FROM x AT BRANCH b",
    "INSERT INTO t AT BRANCH b SELECT 1",
    "DELETE FROM t AT BRANCH b",
    "DROP TABLE t AT BRANCH b",
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "START TRANSACTION READ ONLY",
    "START",
    "ROLLBACK TO SAVEPOINT x",
    "COMMIT AND CHAIN",
    "SAVEPOINT x",
    "PREPARE p FROM COMMIT",
    "INSERT INTO t FOR VERSION AS OF 5 SELECT 1",
    "DROP TABLE t FOR VERSION AS OF 5",
    "UPDATE t FOR VERSION AS OF 5 SET a = 1",
    "DELETE FROM t FOR VERSION AS OF 5",
    "MERGE INTO t FOR VERSION AS OF 5 USING u ON t.a = u.a WHEN MATCHED THEN DELETE",
    "INSERT INTO \"t$snapshots\" SELECT 1",
    "COPY INTO \"t$files\" FROM 'x'",
    "TRUNCATE TABLE \"t$files\"",
    // Clauses that the planner would ignore.
    "SELECT * FROM t TABLESAMPLE BERNOULLI (10)",
    "SELECT * FROM t WITH (NOLOCK)",
    "SELECT * FROM t FOR UPDATE",
    "SELECT TOP 5 * FROM t",
    "SELECT * INTO u FROM t",
    "SELECT * FROM t FETCH FIRST 5 ROWS WITH TIES",
    "SELECT * FROM t LIMIT 1 FETCH FIRST 5 ROWS ONLY",
    "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
    "FROM t",
    "TABLE t",
    "SELECT * FROM UNNEST(ARRAY[1]) WITH ORDINALITY AS u(a, n)",
    // Parameters.
    "SELECT ?, $1",
    "SELECT $0",
    "SELECT $name",
    // Definitions.
    "CREATE TABLE t",
    "CREATE TABLE t ()",
    "CREATE TABLE t (a)",
    "CREATE TABLE t (a int, a int)",
    "CREATE TABLE t (a int, A int)",
    "CREATE TABLE t (a intt)",
    "CREATE TABLE t (a decimal(39))",
    "CREATE TABLE t (a decimal(5, 6))",
    "CREATE TABLE t (a timestamp(9))",
    "CREATE TABLE t (a time with time zone)",
    "CREATE TABLE t (a json)",
    "CREATE TABLE t (a int DEFAULT now())",
    "CREATE TABLE t (a int PRIMARY KEY)",
    "CREATE TABLE t (a int, PRIMARY KEY (a))",
    "CREATE TABLE t (LIKE u)",
    "CREATE TABLE t (a int) AS SELECT 1",
    "CREATE TABLE t (a int",
    "CREATE OR REPLACE TABLE IF NOT EXISTS t (a int)",
    "CREATE TABLE \"t$snapshots\" (a int)",
    "CREATE TABLE \"t FOR VERSION AS OF 5\" (a int)",
    "CREATE TABLE t (a int) WITH (partitionned = ARRAY['a'])",
    "CREATE TABLE t (a int) WITH (nonsense = 1)",
    "CREATE TABLE t (a int) WITH (format = 'ORC')",
    "CREATE TABLE t (a int) WITH (format_version = 4)",
    "CREATE TABLE t (a int) WITH (format_version = 2, format_version = 2)",
    "CREATE TABLE t (a int) WITH (partitioning = 'a')",
    "CREATE TABLE t (a int) WITH (partitioning = ARRAY[1])",
    "CREATE TABLE t (a int) WITH (partitioning = ARRAY['bucket(a)'])",
    "CREATE TABLE t (a int) WITH (partitioning = ARRAY['bucket(a, 0)'])",
    "CREATE TABLE t (a int) WITH (partitioning = ARRAY['week(a)'])",
    "CREATE TABLE t (a int) WITH (partitioning = ARRAY['day(a, 2)'])",
    "CREATE TABLE t (a int) WITH (partitioning = ARRAY['day(a'])",
    "CREATE TABLE t (a int) WITH (partitioning = ARRAY['a', 'a'])",
    "CREATE TABLE t (a int) WITH (partitioning = ARRAY[''])",
    "CREATE TABLE t (a int) WITH (sorted_by = ARRAY['a DOWN'])",
    "CREATE TABLE t (a int) WITH (sorted_by = ARRAY['a NULLS'])",
    "CREATE TABLE t (a int) WITH (format = upper('parquet'))",
    "CREATE TABLE t (a int) PARTITIONED BY (a)",
    "CREATE TABLE t (a int) USING iceberg",
    "CREATE EXTERNAL TABLE t (a int)",
    "CREATE SCHEMA s WITH (place = 'x')",
    "CREATE FUNCTION f",
    "CREATE THING t",
    "DROP THING t",
    "COPY t TO 'x'",
    "COPY INTO t FROM ''",
    "COPY INTO t FROM 'x' FORMAT orc",
    "COPY INTO t FROM 'x' FORMAT csv WITH (format = 'json')",
    "COPY INTO t FROM 'x' WITH (mode = 'lax')",
    "COPY INTO t FROM 'x' WITH (rejects = 'y')",
    "COPY INTO t FROM 'x' WITH (delimiter = 'ab')",
    "COPY INTO t FROM 'x' WITH (headers = true)",
    // The rest.
    "GRANT SELECT ON t TO u",
    "EXPLAIN EXPLAIN SELECT 1",
    "EXPLAIN (TYPE IO) SELECT 1",
    "EXPLAIN",
    "SHOW",
    "SHOW THINGS",
    "SHOW COLUMNS t",
    "SHOW TABLES LIKE x",
    "SHOW SCHEMAS LIKE 'x' ESCAPE 'ab'",
    "USE",
    "SET SESSION a",
    "SET SESSION a = 1 + 1",
    "PREPARE p FROM EXECUTE q",
    "EXECUTE IMMEDIATE 'SELECT 1'",
    "RUN nightly",
    "DELETE FROM t, u",
    "ALTER TABLE t",
    "ALTER VIEW v SET PROPERTIES a = 1",
    "COMMENT ON SCHEMA s IS 'x'",
    "COMMENT ON MATERIALIZED TABLE t IS 'x'",
    "ALTER MATERIALIZED VIEW v RENAME w",
    "ALTER MATERIALIZED VIEW v SET PROPERTIES grace_period = '1d'",
    "CREATE MATERIALIZED VIEW v GRACE PERIOD '1' DAY AS SELECT 1",
    "CREATE MATERIALIZED VIEW v GRACE PERIOD INTERVAL '1' MONTH AS SELECT 1",
    "CREATE MATERIALIZED VIEW v WHEN STALE FAIL AS SELECT 1",
    "CREATE VIEW v GRACE PERIOD INTERVAL '1' DAY AS SELECT 1",
    "REFRESH VIEW v",
];

#[test]
fn refused_statements() {
    let errors: Vec<String> = REFUSED
        .iter()
        .map(|text| match parse_statement(text) {
            Err(error) => format!("{text}\n  => {error}"),
            Ok(statement) => panic!("accepted: {text}\n  => {statement}"),
        })
        .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn every_error_is_one_line() {
    for text in REFUSED {
        let message = parse_statement(text).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        assert!(!message.ends_with('.'), "{message}");
    }
}

#[test]
fn syntax_errors_tell_the_place() {
    let error = parse_statements("SELECT 1;\nSELECT a\n  FROM t\n  WHERE a == AND b").unwrap_err();
    assert_eq!(error.position().map(|(line, _)| line), Some(4));
    let error = parse_statements("SELECT 1;\n SELECT a FROM").unwrap_err();
    assert_eq!(error.position(), Some((2, 15)));
    assert!(matches!(error, SqlError::Syntax { .. }));
}

#[test]
fn long_statements_do_not_overflow_the_stack() {
    let terms: Vec<String> = (0..2000).map(|n| format!("a = {n}")).collect();
    let long = format!("SELECT a FROM t WHERE {}", terms.join(" OR "));
    let statement = parse_statement(&long).unwrap();
    assert!(statement.to_string().len() > 2000);
    let terms: Vec<String> = (0..20_000).map(|n| format!("a + {n}")).collect();
    let error = parse_statement(&format!("SELECT {}", terms.join(" + "))).unwrap_err();
    assert!(error.to_string().contains("more than 400"), "{error}");
    // A syntax error behind a long chain drops the chain.
    let error = parse_statement(&format!("SELECT {} FROM", terms.join(" + "))).unwrap_err();
    assert!(error.to_string().contains("expected"), "{error}");
}

#[test]
fn long_lists_do_not_overflow_the_stack() {
    let numbers: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
    let in_list = format!("SELECT a FROM t WHERE a IN ({})", numbers.join(", "));
    parse_statement(&in_list).unwrap();
}

#[test]
fn deep_statements_do_not_overflow_the_stack() {
    let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    let error = parse_statement(&deep).unwrap_err().to_string();
    assert!(error.contains("nested too deeply"), "{error}");
    let nested = (0..20).fold("SELECT 1 AS a".to_string(), |inner, _| {
        format!("SELECT a FROM ({inner}) AS x")
    });
    parse_statement(&nested).unwrap();
}
