//! Rows that a join drops are dropped where they are scanned, with the same results.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::ParquetReadOptions;
use ingot_coordinator::cluster::{ExecuteOptions, Placement};

use crate::harness::TestCluster;

/// The large side only matters where it matches the small one. What chooses among the small side's
/// rows says nothing about their keys: else DataFusion would filter the large side by it, too.
const FILTERED: &[&str] = &[
    "SELECT id FROM t WHERE name = 'name-3' AND EXISTS \
     (SELECT 1 FROM large WHERE large.grp = t.id AND large.id % 5 <> t.id % 5)",
    "SELECT id FROM t WHERE name = 'name-3' AND NOT EXISTS \
     (SELECT 1 FROM large WHERE large.grp = t.id AND large.id % 7 = t.id % 5)",
    "SELECT name FROM t o WHERE name = 'name-3' \
     AND EXISTS (SELECT 1 FROM large l WHERE l.grp = o.id AND l.id <> o.id) \
     AND NOT EXISTS (SELECT 1 FROM large l WHERE l.grp = o.id AND l.id % 3 = o.id % 7)",
    "SELECT s.id, l.id FROM (SELECT * FROM t WHERE name = 'name-3' AND id % 9 = 0) s \
     LEFT JOIN large l ON l.grp = s.id",
    "SELECT sum(id) FROM t WHERE name = 'name-3' \
     AND id * 2000 < (SELECT avg(large.id) FROM large WHERE large.grp = t.id)",
    "SELECT s.grp, s.n FROM (SELECT grp, count(*) AS n FROM large GROUP BY grp) s \
     JOIN t ON t.id = s.grp WHERE t.name = 'name-3'",
];

/// All rows of the large side come out.
const NOT_FILTERED: &[&str] = &[
    "SELECT count(*), count(s.id) FROM large l LEFT JOIN (SELECT * FROM t WHERE id < 8) s \
     ON l.grp = s.id",
    "SELECT count(*), count(s.id), count(l.id) FROM large l \
     FULL JOIN (SELECT * FROM t WHERE id < 8) s ON l.grp = s.id",
    "SELECT count(*) FROM large l WHERE NOT EXISTS \
     (SELECT 1 FROM t WHERE t.id = l.grp AND t.id < 60)",
];

/// `large(id, grp)`: 240,000 rows in two files; `grp` is from 0 to 4999, or null.
async fn add_large_table(test: &TestCluster) {
    let folder = test.folder.path().join("large");
    std::fs::create_dir_all(&folder).unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("grp", DataType::Int64, true),
    ]));
    for file in 0..2_i64 {
        let ids: Vec<i64> = (file * 120_000..(file + 1) * 120_000).collect();
        let groups = ids.iter().map(|id| (id % 11 != 0).then_some(id % 5_000));
        let groups: Int64Array = groups.collect();
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![Arc::new(Int64Array::from(ids)), Arc::new(groups)],
        )
        .unwrap();
        let output = std::fs::File::create(folder.join(format!("{file}.parquet"))).unwrap();
        let mut writer = ArrowWriter::try_new(output, Arc::clone(&schema), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    test.context
        .register_parquet(
            "large",
            &folder.display().to_string(),
            ParquetReadOptions::default(),
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_filter_early_where_that_is_right() {
    let test = TestCluster::start().await;
    add_large_table(&test).await;
    let _workers = test.add_workers(2, 1).await;
    let state = test.context.state();
    let queries = FILTERED.iter().map(|sql| (sql, true));
    for (sql, is_filtered) in queries.chain(NOT_FILTERED.iter().map(|sql| (sql, false))) {
        let plan = state.create_logical_plan(sql).await.unwrap();
        let options = ExecuteOptions {
            placement: Placement::Distributed,
            ..ExecuteOptions::new()
        };
        let text = test.engine.explain(&state, plan, options, false).await;
        let text = text.unwrap();
        // The only readers that have a stage's rows in every task.
        assert_eq!(
            text.contains("broadcast=true"),
            is_filtered,
            "{sql}\n{text}"
        );
        assert_eq!(
            test.rows(sql).await,
            test.plain_rows(sql).await,
            "{sql}\n{text}"
        );
    }
}
