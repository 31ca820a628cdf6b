//! What `ANALYZE` finds out changes plans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lakehouse;

use arrow::array::AsArray;
use datafusion::common::stats::Precision;
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use ingot_catalog::Table;
use ingot_catalog::commit::commit_statistics;
use ingot_catalog::statistics::ColumnSketch;
use ingot_engine::aggregates::distinct_values;
use uuid::Uuid;

use lakehouse::Lakehouse;

impl Lakehouse {
    /// What `ANALYZE` does, for one column.
    async fn analyze(&self, table: &Table, column: &str) -> u64 {
        let name = table.ident.name();
        let sql = format!("SELECT iceberg_theta_sketch({column}) FROM {name}");
        let frame = self.context().sql(&sql).await.unwrap();
        let batches = frame.collect().await.unwrap();
        let sketch = batches[0].column(0).as_binary::<i32>().value(0).to_vec();
        let distinct_values = distinct_values(&sketch).unwrap();
        let schema = table.metadata.current_schema();
        let columns = vec![ColumnSketch {
            field_id: schema.field_id_by_name(column).unwrap(),
            distinct_values,
            sketch,
        }];
        let snapshot_id = table.metadata.current_snapshot_id().unwrap();
        let catalog = self.catalog.as_ref();
        commit_statistics(catalog, table, snapshot_id, Uuid::new_v4(), columns)
            .await
            .unwrap();
        distinct_values
    }

    /// The tables of a query in the order in which its plan shows them: of a hash join, the side
    /// that is kept in memory comes first.
    async fn scan_order(&self, sql: &str) -> Vec<String> {
        let plan = self.plan(sql).await;
        let text = displayable(plan.as_ref()).indent(false).to_string();
        let tables = text.lines().filter_map(|line| {
            let (_, rest) = line.split_once("table=s.")?;
            rest.split([',', ' ']).next().map(str::to_string)
        });
        tables.collect()
    }
}

/// Rows `1..=rows` with a text key that has `keys` values.
fn keyed_rows(rows: u32, keys: u32) -> String {
    format!(
        "SELECT value AS id, concat('key ', CAST(value % {keys} AS VARCHAR)) AS k \
         FROM generate_series(1, {rows})"
    )
}

#[tokio::test]
async fn scans_know_distinct_values_of_the_table_also_after_appends() {
    let lakehouse = Lakehouse::new().await;
    let table = lakehouse.create("t", &keyed_rows(1_000, 7)).await;
    let counts = async || {
        let plan = lakehouse.plan("SELECT k, id FROM t").await;
        let statistics = StatisticsContext::new();
        let statistics = statistics.compute(plan.as_ref(), &StatisticsArgs::new());
        let statistics = statistics.unwrap();
        let columns = statistics.column_statistics.iter();
        let counts: Vec<_> = columns.map(|column| column.distinct_count).collect();
        (statistics.num_rows, counts)
    };
    let unknown = vec![Precision::Absent, Precision::Absent];
    assert_eq!(counts().await, (Precision::Exact(1_000), unknown));

    assert_eq!(lakehouse.analyze(&table, "k").await, 7);
    let known = vec![Precision::Inexact(7), Precision::Absent];
    assert_eq!(counts().await, (Precision::Exact(1_000), known.clone()));

    let table = lakehouse.catalog.load_table(&table.ident).await.unwrap();
    lakehouse.append(&table, &keyed_rows(500, 9)).await;
    assert_eq!(counts().await, (Precision::Exact(1_500), known));
    // What is not exact answers no query.
    let rows = lakehouse
        .context()
        .sql("SELECT count(DISTINCT k) FROM t")
        .await
        .unwrap();
    let batches = rows.collect().await.unwrap();
    let count = batches[0]
        .column(0)
        .as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(count.value(0), 9);
}

/// Joining on keys of which there are few makes many rows. Without statistics, each key is taken to
/// be in one row of the larger table.
#[tokio::test]
async fn the_smaller_side_of_a_join_is_found() {
    let lakehouse = Lakehouse::new().await;
    let facts = lakehouse.create("facts", &keyed_rows(10_000, 10)).await;
    let prices = lakehouse.create("prices", &keyed_rows(1_000, 10)).await;
    lakehouse.create("others", &keyed_rows(20_000, 10)).await;
    let sql = "SELECT facts.id FROM facts JOIN prices ON facts.k = prices.k \
               JOIN others ON facts.id = others.id";
    assert_eq!(
        lakehouse.scan_order(sql).await,
        ["prices", "facts", "others"]
    );
    assert_eq!(lakehouse.analyze(&facts, "k").await, 10);
    assert_eq!(lakehouse.analyze(&prices, "k").await, 10);
    assert_eq!(
        lakehouse.scan_order(sql).await,
        ["others", "prices", "facts"]
    );
}
