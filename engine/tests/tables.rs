//! Tables of a real catalog through SQL: reading, time travel, metadata tables,
//! `information_schema`, pruning, and reading files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lakehouse;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::displayable;
use ingot_sql::{Statement, parse_statement};

use lakehouse::Lakehouse;

impl Lakehouse {
    /// Runs a query as the coordinator does: parsed by the dialect, planned by DataFusion.
    async fn try_query(&self, sql: &str) -> Result<Vec<RecordBatch>, String> {
        let statement = parse_statement(sql).map_err(|error| error.to_string())?;
        let Statement::Query(query) = statement else {
            panic!("not a query: {sql}");
        };
        let context = self.context();
        let statement = datafusion::sql::sqlparser::ast::Statement::Query(query);
        let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement));
        let run = async {
            let plan = context.state().statement_to_plan(statement).await?;
            context.execute_logical_plan(plan).await?.collect().await
        };
        run.await
            .map_err(|error| ingot_engine::EngineError::from(error).to_string())
    }

    async fn query(&self, sql: &str) -> String {
        let batches = self.try_query(sql).await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    }
}

const ROWS: &str =
    "SELECT column1 AS id, column2 AS name, CAST(column1 * 1.5 AS DECIMAL(10, 2)) AS price
    FROM (VALUES (1, 'a'), (2, 'b'), (3, NULL)) AS t";

#[tokio::test]
async fn tables_are_read_as_they_are_and_as_they_were() {
    let lakehouse = Lakehouse::new().await;
    let first = lakehouse.create("t", ROWS).await;
    let first_id = first.metadata.current_snapshot_id().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    let between = chrono::Utc::now();
    std::thread::sleep(std::time::Duration::from_millis(5));
    let rows = "SELECT CAST(4 AS BIGINT), 'd', CAST(0.1 AS DECIMAL(10, 2))";
    lakehouse.append(&first, rows).await;

    insta::assert_snapshot!(lakehouse.query("SELECT * FROM t ORDER BY id").await, @r"
    +----+------+-------+
    | id | name | price |
    +----+------+-------+
    | 1  | a    | 1.50  |
    | 2  | b    | 3.00  |
    | 3  |      | 4.50  |
    | 4  | d    | 0.10  |
    +----+------+-------+
    ");
    for version in [
        format!("VERSION AS OF {first_id}"),
        format!(
            "TIMESTAMP AS OF TIMESTAMP '{}'",
            between.format("%Y-%m-%d %H:%M:%S%.6f")
        ),
        format!("SYSTEM_TIME AS OF '{}'", between.to_rfc3339()),
    ] {
        let sql =
            format!("SELECT count(*) AS n, max(x.id) AS m FROM iceberg.s.t FOR {version} AS x");
        let found = lakehouse.query(&sql).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(found, @r"
            +---+---+
            | n | m |
            +---+---+
            | 3 | 3 |
            +---+---+
            ");
        }
    }
    let both = format!(
        "SELECT count(*) AS n FROM t JOIN t FOR VERSION AS OF {first_id} AS old ON t.id = old.id"
    );
    assert!(lakehouse.query(&both).await.contains("| 3 |"));
    for (sql, expected) in [
        (
            "SELECT * FROM t FOR VERSION AS OF 17",
            "table s.t has no snapshot 17",
        ),
        (
            "SELECT * FROM t FOR TIMESTAMP AS OF TIMESTAMP '2001-01-01 00:00:00'",
            "table s.t has no snapshot at or before",
        ),
        ("SELECT * FROM t FOR VERSION AS OF 'nope'", "nope"),
        ("SELECT * FROM tt", "table s.tt does not exist"),
        ("SELECT * FROM sss.t", "schema sss does not exist"),
        ("SELECT nam FROM t", "name"),
    ] {
        let error = lakehouse.try_query(sql).await.unwrap_err();
        assert!(error.contains(expected), "{sql}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn metadata_tables_describe_the_table() {
    let lakehouse = Lakehouse::new().await;
    let table = lakehouse.create("t", ROWS).await;
    lakehouse.append(&table, ROWS).await;
    let sql = r#"SELECT operation, parent_id IS NULL AS is_first FROM "t$snapshots" ORDER BY committed_at"#;
    insta::assert_snapshot!(lakehouse.query(sql).await, @r"
    +-----------+----------+
    | operation | is_first |
    +-----------+----------+
    | append    | true     |
    | append    | false    |
    +-----------+----------+
    ");
    let sql = r#"SELECT count(*) AS files, sum(record_count) AS records FROM s."t$files""#;
    insta::assert_snapshot!(lakehouse.query(sql).await, @r"
    +-------+---------+
    | files | records |
    +-------+---------+
    | 2     | 6       |
    +-------+---------+
    ");
    for name in [
        "history",
        "manifests",
        "partitions",
        "refs",
        "entries",
        "properties",
        "metadata_log_entries",
    ] {
        lakehouse
            .query(&format!(r#"SELECT * FROM "t${name}""#))
            .await;
    }
}

#[tokio::test]
async fn information_schema_lists_tables_and_columns() {
    let lakehouse = Lakehouse::new().await;
    lakehouse.create("t", ROWS).await;
    lakehouse.create("u", ROWS).await;
    let sql = "SELECT table_schema, table_name FROM information_schema.tables
        WHERE table_schema <> 'information_schema' ORDER BY 1, 2";
    insta::assert_snapshot!(lakehouse.query(sql).await, @r"
    +--------------+------------+
    | table_schema | table_name |
    +--------------+------------+
    | s            | t          |
    | s            | u          |
    +--------------+------------+
    ");
    let sql = "SELECT column_name, data_type, is_nullable FROM iceberg.information_schema.columns
        WHERE table_name = 't' ORDER BY ordinal_position";
    insta::assert_snapshot!(lakehouse.query(sql).await, @r"
    +-------------+---------------+-------------+
    | column_name | data_type     | is_nullable |
    +-------------+---------------+-------------+
    | id          | bigint        | YES         |
    | name        | varchar       | YES         |
    | price       | decimal(10,2) | YES         |
    +-------------+---------------+-------------+
    ");
}

#[tokio::test]
async fn plans_show_what_is_pushed_down() {
    let lakehouse = Lakehouse::new().await;
    let table = lakehouse
        .create(
            "t",
            "SELECT value AS id, 'x' AS name FROM generate_series(1, 1000)",
        )
        .await;
    lakehouse
        .append(&table, "SELECT value, 'y' FROM generate_series(2001, 3000)")
        .await;
    let plan_of = async |sql: &str| {
        let frame = lakehouse.context().sql(sql).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let text = displayable(plan.as_ref()).indent(false).to_string();
        // File names and sizes differ from run to run.
        let mut shown = Vec::new();
        for line in text.lines() {
            let (before, after) = line.split_once("file_groups=").unwrap_or((line, ""));
            let after = after.split_once("]]}").map_or("", |(groups, after)| {
                shown.push(format!("files: {}", groups.matches(".parquet").count()));
                after
            });
            shown.push(format!("{before}{after}"));
        }
        shown.join("\n")
    };
    insta::assert_snapshot!(plan_of("SELECT name FROM t WHERE id = 2500").await);
    insta::assert_snapshot!(plan_of("SELECT id FROM t LIMIT 5").await);
    insta::assert_snapshot!(plan_of("SELECT count(*) FROM t").await);
    insta::assert_snapshot!(plan_of("SELECT * FROM t WHERE id > 5000").await);
}

#[tokio::test]
async fn types_are_those_of_iceberg() {
    let lakehouse = Lakehouse::new().await;
    let sql = "SELECT CAST('2024-01-01' AS TIMESTAMP) AS a, TIMESTAMP '2024-01-01 00:00:00' AS b,
        CAST('2024-01-01' AS TIMESTAMP WITH TIME ZONE) AS c, CAST('x' AS VARCHAR(3)) AS d,
        0.1 + 0.2 AS e, TIME '10:00:00' AS f";
    let batches = lakehouse.try_query(sql).await.unwrap();
    let schema = batches[0].schema();
    let types: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| f.data_type().to_string())
        .collect();
    insta::assert_snapshot!(types.join("\n"));
    let error = lakehouse
        .try_query("SELECT CAST('2024-01-01' AS TIMESTAMP(9))")
        .await
        .unwrap_err();
    assert!(error.contains("not supported"), "{error}");
}

#[tokio::test]
async fn files_are_tables() {
    let lakehouse = Lakehouse::new().await;
    let root = lakehouse.folder.path().display().to_string();
    let table = lakehouse.create("t", ROWS).await;
    std::fs::create_dir(format!("{root}/json")).unwrap();
    std::fs::write(
        format!("{root}/json/a.json"),
        "{\"id\": 1, \"name\": \"x\"}\n{\"id\": 2, \"tags\": [\"a\"]}\n",
    )
    .unwrap();
    std::fs::write(format!("{root}/json/b.json"), "{\"id\": 3}\n").unwrap();

    let sql = format!("SELECT id, name FROM read_json('{root}/json/*.json') ORDER BY id");
    insta::assert_snapshot!(lakehouse.query(&sql).await, @r"
    +----+------+
    | id | name |
    +----+------+
    | 1  | x    |
    | 2  |      |
    | 3  |      |
    +----+------+
    ");
    let sql =
        format!("SELECT sum(id) AS n FROM read_json('{root}/json', columns => 'id double') AS j");
    assert!(lakehouse.query(&sql).await.contains("6.0"));

    let data = table.metadata.location();
    let sql = format!("SELECT * FROM read_parquet('{data}/data/**/*.parquet') ORDER BY id");
    insta::assert_snapshot!(lakehouse.query(&sql).await, @r"
    +----+------+-------+
    | id | name | price |
    +----+------+-------+
    | 1  | a    | 1.50  |
    | 2  | b    | 3.00  |
    | 3  |      | 4.50  |
    +----+------+-------+
    ");
    for (sql, expected) in [
        (
            format!("SELECT * FROM read_json('{root}/nothing')"),
            "there is no file",
        ),
        (
            format!("SELECT * FROM read_json('{root}/json', columms => 'a int')"),
            "did you mean columns?",
        ),
        (
            "SELECT * FROM read_parquet(1)".to_string(),
            "read_parquet: path must be text",
        ),
        (
            "SELECT * FROM read_parquet('a.parquet')".to_string(),
            "not absolute",
        ),
    ] {
        let error = lakehouse.try_query(&sql).await.unwrap_err();
        assert!(error.contains(expected), "{sql}: {error}");
    }
}
