//! Statements of the dialect: each parses, prints, and its print parses to the same statement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ingot_sql::{Statement, parse_statement, parse_statements};

/// Every form that the documentation shows.
const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT a, b FROM t FOR VERSION AS OF 8954597067493422955",
    "SELECT a FROM s.t FOR VERSION AS OF -5 x WHERE x.a > 1",
    "SELECT a FROM s.t FOR VERSION AS OF 'audit' AS x",
    "SELECT a FROM t FOR TIMESTAMP AS OF TIMESTAMP '2026-01-31 12:00:00' WHERE a = 1",
    "SELECT a FROM t FOR TIMESTAMP AS OF current_timestamp - INTERVAL '1' DAY AS x, u",
    "SELECT a FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-31 12:00:00 UTC'",
    "SELECT * FROM (SELECT * FROM t FOR VERSION AS OF 1) JOIN u FOR VERSION AS OF 2 ON t.a = u.a",
    "WITH x AS (SELECT * FROM T FOR VERSION AS OF 1) SELECT * FROM x WHERE a IN (SELECT a FROM u FOR VERSION AS OF 2)",
    "SELECT * FROM \"t$snapshots\"",
    "SELECT * FROM s.\"t$files\" FOR VERSION AS OF 7 f",
    "SELECT * FROM t$history",
    "SELECT * FROM \"T x\" FOR VERSION AS OF 'a''b'",
    "SELECT a FROM s.t AT BRANCH dev JOIN u AT TAG 'v 1' x ON true",
    "SELECT a FROM c.s.t AT VERSION 12 FOR VERSION AS OF 5 AS x",
    "SELECT a FROM t AT VERSION '0a1b2c3d' x",
    "SELECT a FROM t AT TIMESTAMP now() - INTERVAL '1' DAY AS x WHERE x.a AT TIME ZONE 'UTC' > b",
    "SELECT a FROM t FOR TIMESTAMP AS OF '2026-01-31 12:00:00' AT BRANCH \"Dev\", u",
    "SELECT * FROM \"t$files\" AT TIMESTAMP TIMESTAMP '2026-01-31 12:00:00'",
    "SELECT at branch, at.b, at timestamp FROM at at",
    "VALUES (1, 'a'), (2, 'b')",
    "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT 3",
    "SELECT a FROM t OFFSET 2 FETCH FIRST 5 ROWS ONLY",
    "SELECT a FROM t WHERE b = $1 AND c IN ($2, $3)",
    "SELECT TRY_CAST(a AS varchar), CAST(b AS timestamp), b::timestamp, TIMESTAMP '2026-01-01 00:00:00', DATE '2026-01-01', INTERVAL '1' DAY, ARRAY[1, 2], approx_distinct(c) FROM t",
    "SELECT count(*) FILTER (WHERE a > 1), sum(b) OVER (PARTITION BY c ORDER BY d ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t GROUP BY GROUPING SETS ((a), ())",
    "SELECT * FROM read_csv('s3://b/x.csv', header => true)",
    "SELECT * FROM UNNEST(ARRAY[1, 2]) AS u(a)",
    "SELECT 1.5, 1e300, -2.5E-3",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE VERBOSE INSERT INTO t SELECT 1",
    "EXPLAIN (TYPE LOGICAL, FORMAT TEXT) SELECT 1",
    "EXPLAIN (TYPE VALIDATE) SELECT 1",
    "EXPLAIN (SELECT 1)",
    "CREATE SCHEMA s",
    "CREATE SCHEMA IF NOT EXISTS iceberg.s WITH (location = 's3://bucket/s')",
    "DROP SCHEMA s",
    "DROP SCHEMA IF EXISTS iceberg.s CASCADE",
    "DROP SCHEMA s RESTRICT",
    "CREATE TABLE t (a integer NOT NULL COMMENT 'the key', b varchar(10), \"C d\" decimal(10, 2))",
    "CREATE TABLE IF NOT EXISTS c.s.t (a boolean, b tinyint, c smallint, d int, e bigint, f real, g double, h double precision, i decimal, j char(3), k varbinary, l uuid, m date, n time(6), o timestamp, p timestamp(3) with time zone, q array(integer), r map(varchar, bigint), s row(x integer, \"Y\" varchar), t string, u integer[], v fixed(4)) COMMENT 'all types'",
    "CREATE TABLE t (ts timestamp(6), id bigint, name varchar) WITH (format = 'PARQUET', format_version = 2, partitioning = ARRAY['day(ts)', 'bucket(id, 16)', 'truncate(name,4)', '\"Odd\"', 'hours(ts)', 'bucket(8, name)'], sorted_by = ARRAY['id DESC NULLS LAST', 'name', 'ts asc nulls first'], location = '/x', compression_codec = 'ZSTD', extra_properties = MAP(ARRAY['a'], ARRAY['b']), \"write.target-file-size-bytes\" = 1000)",
    "CREATE OR REPLACE TABLE t (a int)",
    "CREATE TABLE t (a int, at timestamp(6) NOT NULL, b row(at timestamp, c int))",
    "CREATE TABLE t AS SELECT 1 AS a",
    "CREATE OR REPLACE TABLE s.t COMMENT 'c' WITH (partitioning = ARRAY['month(d)']) AS SELECT * FROM u FOR VERSION AS OF 3",
    "CREATE TABLE IF NOT EXISTS t (a, b) AS (SELECT 1, 2) WITH NO DATA",
    "CREATE TABLE t AS WITH x AS (SELECT 1 a) SELECT a FROM x WITH DATA",
    "DROP TABLE t",
    "DROP TABLE IF EXISTS s.t PURGE",
    "CREATE OR REPLACE VIEW v (a) COMMENT 'c' AS SELECT 1",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT 1",
    "CREATE OR REPLACE MATERIALIZED VIEW s.v (a, b) GRACE PERIOD INTERVAL '90' MINUTE COMMENT 'c' WITH (partitioning = ARRAY['a'], sorted_by = ARRAY['b'], format_version = 2) AS SELECT 1, 2",
    "REFRESH MATERIALIZED VIEW c.s.v",
    "ALTER MATERIALIZED VIEW IF EXISTS s.v SET PROPERTIES partitioning = ARRAY['b'], sorted_by = DEFAULT",
    "DROP VIEW IF EXISTS v",
    "DROP MATERIALIZED VIEW v",
    "INSERT INTO t VALUES (1, 'a'), ($1, $2)",
    "INSERT INTO t (a, \"B\") SELECT a, b FROM u FOR VERSION AS OF 3",
    "INSERT INTO t (SELECT 1)",
    "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
    "INSERT OVERWRITE t SELECT 1",
    "COPY INTO t FROM 's3://bucket/x/*.csv'",
    "COPY INTO s.t (a, b) FROM ('/a.csv', '/b.csv') FORMAT CSV WITH (header = false, mode = 'permissive', rejects = '/rejects', delimiter = '|', quote = '''', escape = '\\', null_value = 'NULL', force = true)",
    "CALL system.register_table('s', 't', '/x/metadata.json')",
    "CALL iceberg.system.register_table(schema_name => 's', table_name => 't', metadata_location => 'x')",
    "CALL system.refresh()",
    "CALL system.f('a', -1.5, flag => true)",
    "DELETE FROM t WHERE a = 1",
    "UPDATE t SET a = 2 WHERE b IN (SELECT b FROM u FOR VERSION AS OF 1)",
    "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = u.b WHEN NOT MATCHED THEN INSERT (a, b) VALUES (u.a, u.b)",
    "TRUNCATE TABLE t",
    "ANALYZE t",
    "ANALYZE TABLE s.t WITH (columns = ARRAY['A', '\"Zip\"'])",
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS b varchar COMMENT 'x'",
    "ALTER TABLE IF EXISTS t DROP COLUMN IF EXISTS b",
    "ALTER TABLE t RENAME COLUMN b TO c",
    "ALTER TABLE t ALTER COLUMN b SET DATA TYPE bigint",
    "ALTER TABLE t ALTER COLUMN b DROP NOT NULL",
    "ALTER TABLE t ADD COLUMN b integer FIRST",
    "ALTER TABLE t ADD COLUMN address.\"Zip Code\" varchar COMMENT 'x' AFTER city",
    "ALTER TABLE t ADD COLUMN m.value.f bigint LAST",
    "ALTER TABLE t DROP COLUMN address.city",
    "ALTER TABLE t DROP branch",
    "ALTER TABLE t RENAME COLUMN IF EXISTS address.city TO town",
    "ALTER TABLE t ALTER COLUMN b AFTER \"C\"",
    "ALTER TABLE t ALTER COLUMN a.b FIRST",
    "ALTER TABLE t CREATE BRANCH audit",
    "ALTER TABLE t CREATE OR REPLACE BRANCH audit FOR VERSION AS OF 5 RETAIN 7 DAYS WITH SNAPSHOT RETENTION 3 SNAPSHOTS 2 HOURS",
    "ALTER TABLE t CREATE BRANCH IF NOT EXISTS audit AS OF VERSION -5 WITH SNAPSHOT RETENTION 30 MINUTES",
    "ALTER TABLE t CREATE TAG \"v 1\" FOR SYSTEM_VERSION AS OF 'audit' RETAIN 1 DAY",
    "ALTER TABLE t REPLACE TAG v1 FOR VERSION AS OF 7",
    "ALTER TABLE t DROP BRANCH IF EXISTS 'audit'",
    "ALTER TABLE t DROP TAG v1",
    "CREATE OR REPLACE BRANCH audit IN TABLE s.t FROM dev",
    "CREATE TAG IF NOT EXISTS v1 IN TABLE t",
    "DROP BRANCH IF EXISTS audit IN TABLE s.t",
    "INSERT INTO s.t @ audit (a) VALUES (1)",
    "CREATE TABLE t (a int DEFAULT 1 NOT NULL, b varchar DEFAULT 'x' COMMENT 'y')",
    "ALTER TABLE t ADD COLUMN b date DEFAULT DATE '2020-01-31' FIRST",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT -1",
    "ALTER TABLE t ALTER COLUMN a DROP DEFAULT",
    "DELETE FROM s.t @ audit WHERE a = 1",
    "DELETE FROM t @ \"Audit 1\" AS x",
    "UPDATE c.s.t @ audit SET a = 1",
    "MERGE INTO t @ audit AS x USING u ON x.a = u.a WHEN MATCHED THEN DELETE",
    "EXPLAIN DELETE FROM t @ audit WHERE a = 1",
    "SELECT * FROM table_changes('s.t', 1, 2) AS c",
    "ALTER TABLE t SET PROPERTIES partitioning = DEFAULT, sorted_by = DEFAULT, \"write.x\" = DEFAULT, \"write.y\" = 1",
    "ALTER TABLE t EXECUTE rollback_to_snapshot(-5)",
    "SHOW CREATE VIEW s.v",
    "SHOW CREATE MATERIALIZED VIEW s.v",
    "ALTER TABLE t RENAME TO s.u",
    "ALTER TABLE t SET PROPERTIES format_version = 2, partitioning = ARRAY['a']",
    "ALTER TABLE t EXECUTE optimize(file_size_threshold => '10MB') WHERE a > 1",
    "ALTER TABLE t EXECUTE optimize",
    "COMMENT ON TABLE t IS 'it''s'",
    "COMMENT ON COLUMN s.t.c IS NULL",
    "COMMENT ON COLUMN s.t.c.element.f IS 'x'",
    "COMMENT ON VIEW s.v IS 'x'",
    "COMMENT ON MATERIALIZED VIEW s.v IS NULL",
    "ALTER VIEW IF EXISTS s.v RENAME TO w",
    "ALTER MATERIALIZED VIEW IF EXISTS s.v RENAME TO w",
    "SHOW CATALOGS LIKE 'a%'",
    "SHOW SCHEMAS FROM iceberg LIKE 'a\\_b' ESCAPE '\\'",
    "SHOW SCHEMAS IN iceberg",
    "SHOW TABLES",
    "SHOW TABLES FROM iceberg.s LIKE '%x'",
    "SHOW COLUMNS FROM s.t",
    "DESCRIBE t",
    "DESC \"t$snapshots\"",
    "SHOW CREATE TABLE t",
    "SHOW CREATE SCHEMA s",
    "SHOW STATS FOR t",
    "SHOW STATS FOR (SELECT * FROM t FOR VERSION AS OF 5 WHERE a > 1)",
    "SHOW SESSION LIKE '%memory%'",
    "SHOW FUNCTIONS",
    "SHOW JOBS",
    "USE s",
    "USE iceberg.s",
    "SET SESSION target_partitions = 4",
    "SET SESSION iceberg.target = 'x'",
    "SET SESSION adaptive = true",
    "SET placement = local",
    "SET TIME ZONE 'Europe/Rome'",
    "RESET SESSION a.b",
    "RESET SESSION ALL",
    "PREPARE p FROM SELECT a FROM t FOR VERSION AS OF 1 WHERE a = $1",
    "EXECUTE p USING 1, 'a', DATE '2026-01-01'",
    "EXECUTE p",
    "DEALLOCATE PREPARE p",
    "RUN JOB nightly",
    "CREATE BRANCH dev",
    "CREATE BRANCH IF NOT EXISTS \"Dev 2\" IN iceberg FROM main",
    "CREATE BRANCH dev FROM VERSION 12",
    "CREATE BRANCH dev FROM VERSION '0a1b2c3d'",
    "CREATE BRANCH dev FROM version",
    "CREATE TAG 'month end' FROM dev",
    "DROP BRANCH IF EXISTS dev IN iceberg",
    "DROP TAG v1",
    "MERGE BRANCH dev INTO main",
    "MERGE BRANCH \"Dev 2\" INTO dev IN iceberg",
    "MERGE INTO branch USING u ON branch.a = u.a WHEN MATCHED THEN DELETE",
    "USE BRANCH dev",
    "USE BRANCH 'dev' IN iceberg",
    "USE branch",
    "USE iceberg.branch",
    "SHOW BRANCHES",
    "SHOW BRANCHES FROM iceberg LIKE 'd%'",
    "SHOW CATALOG LOG",
    "SHOW CATALOG LOG FROM iceberg LIKE 's.%' LIMIT 5",
    "BEGIN",
    "BEGIN TRANSACTION",
    "START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
    "COMMIT",
    "COMMIT WORK",
    "ROLLBACK TRANSACTION",
];

fn parsed(text: &str) -> Statement {
    parse_statement(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

#[test]
fn printed_statements_parse_to_the_same_statement() {
    for text in STATEMENTS {
        let statement = parsed(text);
        let printed = statement.to_string();
        let again = parsed(&printed).to_string();
        assert_eq!(printed, again, "{text}");
        // Positions differ, so the trees are compared without them.
        let without_positions = |statement: &Statement| {
            let debug = format!("{statement:?}");
            debug
                .split("Location(")
                .map(|piece| piece.split_once(')').map_or(piece, |(_, rest)| rest))
                .collect::<String>()
        };
        assert_eq!(
            without_positions(&parsed(&printed)),
            without_positions(&parsed(&again)),
            "{text}"
        );
    }
}

#[test]
fn printed_statements() {
    let printed: Vec<String> = STATEMENTS
        .iter()
        .map(|text| format!("{text}\n  => {}", parsed(text)))
        .collect();
    insta::assert_snapshot!(printed.join("\n"));
}

#[test]
fn scripts_are_cut_at_semicolons_only() {
    let script = "SELECT ';' -- ; not here\n;; /* ; */ SELECT \"a;b\" FROM t;\n";
    assert_eq!(parse_statements(script).unwrap().len(), 2);
    assert_eq!(
        ingot_sql::split_statements(script).unwrap(),
        vec!["SELECT ';' -- ; not here", "SELECT \"a;b\" FROM t"]
    );
    assert_eq!(parse_statements(" -- nothing\n").unwrap(), vec![]);
}

#[test]
fn the_planner_sees_the_version_in_the_name() {
    let planner_sees = |text: &str| match parsed(text) {
        Statement::Query(query) => query.to_string(),
        other => panic!("{other}"),
    };
    assert_eq!(
        planner_sees(
            "SELECT T.a FROM c.s.T FOR VERSION AS OF 5 JOIN u FOR TIMESTAMP AS OF now() x ON true"
        ),
        "SELECT T.a FROM c.s.\"t FOR VERSION AS OF 5\" AS \"t\" \
         JOIN \"u FOR TIMESTAMP AS OF now()\" x ON true"
    );
    assert_eq!(
        planner_sees("SELECT * FROM T AT BRANCH Dev FOR VERSION AS OF 5, u AT TIMESTAMP now()"),
        "SELECT * FROM \"t AT BRANCH 'dev' FOR VERSION AS OF 5\" AS \"t\", \
         \"u AT TIMESTAMP 'now()'\" AS \"u\""
    );
    // A name that a user quotes is never taken for a clause.
    assert_eq!(
        planner_sees("SELECT * FROM \"t FOR VERSION AS OF 5\""),
        "SELECT * FROM \"\"\"t FOR VERSION AS OF 5\"\"\" AS \"t FOR VERSION AS OF 5\""
    );
    assert_eq!(
        planner_sees("SELECT ?, '?' /* ? */, ?"),
        "SELECT $1, '?', $2"
    );
}

#[test]
fn inserts_are_planned_as_inserts() {
    let Statement::Insert(insert) = parsed("INSERT INTO s.T (A, \"B\") VALUES (1, 2)") else {
        panic!("not an insert");
    };
    assert_eq!(
        insert.to_ast().to_string(),
        "INSERT INTO \"s\".\"t\" (\"a\", \"B\") VALUES (1, 2)"
    );
}
