//! Results and errors of distributed queries.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use ingot_coordinator::ErrorCode;
use ingot_coordinator::cluster::{ExecuteOptions, Placement, UsedPlacement};

use crate::harness::{
    FILES, ROWS_PER_FILE, StartOptions, TestCluster, all_rows, collect, wait_until,
};

const QUERIES: &[&str] = &[
    "SELECT count(*), sum(id), min(id), max(id) FROM t",
    "SELECT grp, count(*), sum(id), count(DISTINCT name) FROM t GROUP BY grp",
    "SELECT id, name FROM t WHERE id % 5 = 2",
    "SELECT a.grp, count(*) FROM t a JOIN t b ON a.id = b.id WHERE b.name IS NOT NULL GROUP BY a.grp",
    "SELECT name, avg(id) FROM t GROUP BY name HAVING count(*) > 400",
    "SELECT count(*) FROM t WHERE grp NOT IN (SELECT grp FROM t WHERE id < 50 AND grp IS NOT NULL)",
    "SELECT DISTINCT grp FROM t UNION ALL SELECT id FROM t WHERE id < 20",
    "SELECT id, row_number() OVER (PARTITION BY grp ORDER BY id) FROM t WHERE id < 600",
    "SELECT id FROM t WHERE id > (SELECT avg(id) FROM t) AND id % 100 = 1",
    "SELECT a.id, b.name FROM t a LEFT JOIN t b ON a.id = b.id + 3000 WHERE a.id % 50 = 0",
    "SELECT a.id, b.id FROM (SELECT * FROM t WHERE id < 90) a FULL JOIN (SELECT * FROM t WHERE id BETWEEN 60 AND 120) b ON a.id = b.id",
    "SELECT name, count(*) FROM t o WHERE EXISTS (SELECT 1 FROM t i WHERE i.grp = o.grp AND i.id < 30) GROUP BY name",
    "SELECT id FROM t o WHERE id = (SELECT max(id) FROM t i WHERE i.grp = o.grp)",
    "SELECT grp, name, sum(id) FROM t GROUP BY GROUPING SETS ((grp), (name), ())",
    "SELECT id, sum(id) OVER (ORDER BY id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) FROM t WHERE id < 300",
    "SELECT id, rank() OVER (ORDER BY grp, name) FROM t WHERE id % 13 = 0",
    "WITH g AS (SELECT grp, count(*) AS n FROM t GROUP BY grp), m AS (SELECT max(n) AS top FROM g) SELECT g.grp FROM g JOIN m ON g.n = m.top",
    "SELECT grp FROM t WHERE id < 400 INTERSECT SELECT id FROM t WHERE id < 60",
    "SELECT a.grp, count(*) FROM t a, t b WHERE a.grp = b.id AND b.id < 97 AND a.name < b.name GROUP BY a.grp",
    "SELECT c.n, count(*) FROM (SELECT a.id, count(b.id) AS n FROM (SELECT * FROM t WHERE id < 97) a LEFT JOIN t b ON a.id = b.grp AND b.name LIKE '%1%' GROUP BY a.id) c GROUP BY c.n",
    "SELECT min(name), max(name), round(stddev(id), 6), median(id), count(DISTINCT grp) FILTER (WHERE id % 2 = 0) FROM t",
    "SELECT array_length(array_agg(id)), grp FROM t GROUP BY grp",
    // Joins without keys: the left side is in every task, the right one in parts.
    "SELECT a.id, b.id FROM (SELECT * FROM t WHERE id < 90) a LEFT JOIN t b ON b.id > a.id + 5950",
    "SELECT a.id, b.id FROM (SELECT * FROM t WHERE id < 90) a FULL JOIN t b ON b.id > a.id + 5950",
    "SELECT b.id, a.id FROM t b RIGHT JOIN (SELECT * FROM t WHERE id < 90) a ON b.id > a.id + 5950",
    "SELECT a.id FROM (SELECT * FROM t WHERE id < 90) a WHERE EXISTS (SELECT 1 FROM t b WHERE b.id > a.id + 10)",
    "SELECT a.id FROM (SELECT * FROM t WHERE id < 90) a WHERE NOT EXISTS (SELECT 1 FROM t b WHERE b.id > a.id + 5950)",
    "SELECT count(*) FROM (SELECT * FROM t WHERE id < 90) a JOIN t b ON b.id > a.id + 100",
    "SELECT count(*) FROM t b WHERE EXISTS (SELECT 1 FROM t a WHERE a.id < 9 AND b.id > a.id * 700)",
];

/// A result of many partitions in one worker, each larger than what a connection sends unasked.
#[tokio::test(flavor = "multi_thread")]
async fn large_results_are_read_to_the_end() {
    const COPIES: i64 = 40;
    let test = TestCluster::start().await;
    let _workers = test.add_workers(1, 6).await;
    let rows = format!(
        "SELECT t.id * {COPIES} + c.id AS n, lpad(CAST(t.id AS VARCHAR), 200, 'x') AS pad \
         FROM t CROSS JOIN (SELECT id FROM t WHERE id < {COPIES}) c"
    );
    for (sql, is_ordered) in [(rows.clone(), false), (format!("{rows} ORDER BY n"), true)] {
        let reading = tokio::time::timeout(Duration::from_secs(120), test.query(&sql));
        let batches = reading.await.expect("the result comes to an end").unwrap();
        let numbers = batches.iter().flat_map(|batch| {
            let numbers = batch.column(0).as_primitive::<Int64Type>();
            numbers.values().to_vec()
        });
        let mut numbers: Vec<i64> = numbers.collect();
        if !is_ordered {
            numbers.sort_unstable();
        }
        let expected: Vec<i64> = (0..FILES * ROWS_PER_FILE * COPIES).collect();
        assert!(numbers == expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_equal_plain_execution() {
    let test = TestCluster::start().await;
    let _workers = test.add_workers(2, 2).await;
    for sql in QUERIES {
        let expected = test.plain_rows(sql).await;
        assert_eq!(test.rows(sql).await, expected, "{sql}");
    }
    wait_until("empty work folders", || async { test.job_folders() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_read_once_with_more_partitions_than_slots() {
    let test = TestCluster::start().await;
    // Planning sees eight slots; then all but one of the workers go.
    let _stays = test.add_workers(1, 1).await;
    let mut leaving = test.add_workers(1, 7).await;
    let state = test.context.state();
    let plan = state
        .create_logical_plan("SELECT count(*), sum(id) FROM t")
        .await
        .unwrap();
    assert_eq!(leaving[0].terminate(), Some(0));
    test.wait_for_slots(1).await;
    let options = ExecuteOptions {
        placement: Placement::Distributed,
        ..ExecuteOptions::new()
    };
    let query = test.engine.run(&state, plan, options).await.unwrap();
    let rows = FILES * ROWS_PER_FILE;
    let expected = format!("{rows}|{}", rows * (rows - 1) / 2);
    assert_eq!(all_rows(&collect(query).await.unwrap()), [expected]);
    let per_file = test
        .rows("SELECT id / 500, count(*), count(DISTINCT id) FROM t GROUP BY id / 500")
        .await;
    assert_eq!(per_file.len(), usize::try_from(FILES).unwrap());
    for row in per_file {
        assert!(row.ends_with("|500|500"), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ordered_results_stay_in_order() {
    let test = TestCluster::start().await;
    let _workers = test.add_workers(2, 2).await;
    let batches = test
        .query("SELECT id FROM t WHERE id % 3 = 0 ORDER BY id DESC")
        .await
        .unwrap();
    let expected: Vec<String> = (0..FILES * ROWS_PER_FILE)
        .rev()
        .filter(|id| id % 3 == 0)
        .map(|id| id.to_string())
        .collect();
    assert_eq!(all_rows(&batches), expected);
    let limited = test
        .query("SELECT id FROM t ORDER BY id LIMIT 3")
        .await
        .unwrap();
    assert_eq!(all_rows(&limited), ["0", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_results_keep_their_schema() {
    let test = TestCluster::start().await;
    let _workers = test.add_workers(2, 1).await;
    for sql in [
        "SELECT id, name FROM t WHERE id < 0",
        "SELECT id, name FROM t WHERE id + 1 = id",
        "SELECT grp AS id, max(name) AS name FROM t WHERE id < 0 GROUP BY grp",
    ] {
        let query = test.begin(sql, &ExecuteOptions::new()).await.unwrap();
        let schema = query.schema.clone();
        assert_eq!(schema.field(0).name(), "id", "{sql}");
        assert_eq!(schema.field(1).name(), "name", "{sql}");
        let batches = collect(query).await.unwrap();
        assert_eq!(all_rows(&batches).len(), 0, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_the_user_did_wrong() {
    let test = TestCluster::start().await;
    let _workers = test.add_workers(2, 1).await;
    let error = test
        .query("SELECT sum(1 / (id - 7)) FROM t")
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "division by zero");
    assert_eq!(error.code(), ErrorCode::InvalidInput);

    let error = test
        .query("SELECT sum(CAST(name AS BIGINT)) FROM t")
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    let message = error.to_string();
    assert!(
        message.contains("name-") && message.contains("bigint") && !message.contains("Task"),
        "{message}"
    );
    // Failed jobs leave nothing behind.
    wait_until("empty work folders", || async { test.job_folders() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_queries_free_their_slots() {
    let test = TestCluster::start().await;
    let _workers = test.add_workers(2, 1).await;
    let used_slots = || async {
        let workers = test.cluster.workers().await;
        workers.iter().map(|worker| worker.used_slots).sum::<u32>()
    };
    // By token.
    let options = ExecuteOptions::new();
    let query = test
        .begin("SELECT sum(slowly(id)) FROM t", &options)
        .await
        .unwrap();
    wait_until("running tasks", || async { used_slots().await == 2 }).await;
    options.cancel.cancel();
    let error = collect(query).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Cancelled);
    wait_until("free slots", || async { used_slots().await == 0 }).await;
    // By dropping the result.
    let query = test
        .begin("SELECT sum(slowly(id)) FROM t", &ExecuteOptions::new())
        .await
        .unwrap();
    wait_until("running tasks", || async { used_slots().await == 2 }).await;
    drop(query);
    wait_until("free slots", || async { used_slots().await == 0 }).await;
    // The slots work again, at once.
    let count = tokio::time::timeout(Duration::from_secs(30), test.rows("SELECT count(*) FROM t"));
    assert_eq!(count.await.unwrap(), [(FILES * ROWS_PER_FILE).to_string()]);
    wait_until("empty work folders", || async { test.job_folders() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_local_queries_run_in_the_coordinator() {
    let test = TestCluster::start().await;
    let state = test.context.state();
    let run = async |sql: &str, placement: Placement| {
        let plan = state.create_logical_plan(sql).await.unwrap();
        let options = ExecuteOptions {
            placement,
            ..ExecuteOptions::new()
        };
        test.engine.run(&state, plan, options).await
    };
    let error = run("SELECT sum(id) FROM t", Placement::Distributed)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.to_string().contains("ingot worker"), "{error}");

    let _workers = test.add_workers(1, 1).await;
    for (sql, placement, used) in [
        (
            "SELECT sum(id) FROM t",
            Placement::Auto,
            UsedPlacement::Local,
        ),
        (
            "VALUES (1), (2)",
            Placement::Distributed,
            UsedPlacement::Local,
        ),
        ("SELECT 1", Placement::Distributed, UsedPlacement::Local),
        (
            "SELECT sum(id) FROM t",
            Placement::Distributed,
            UsedPlacement::Distributed,
        ),
    ] {
        let mut query = run(sql, placement).await.unwrap();
        assert_eq!(query.placement, used, "{sql}");
        assert!(query.stream.next().await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_only_the_coordinator_answers_rightly_does_not_move() {
    let test = TestCluster::start_with(StartOptions {
        memory_limit_bytes: 128 << 10,
        ..StartOptions::default()
    })
    .await;
    let _workers = test.add_workers(1, 1).await;
    let state = test.context.state();
    // Ballista does not run the join of a `NOT IN` whose keys can be null.
    let sql = "SELECT count(*) FROM t WHERE name || id NOT IN (SELECT name || id FROM t)";
    let plan = state.create_logical_plan(sql).await.unwrap();
    let options = ExecuteOptions::new();
    let query = test
        .engine
        .run(&state, plan, options.clone())
        .await
        .unwrap();
    let error = collect(query).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
    assert_eq!(options.progress.placement(), Some(UsedPlacement::Local));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_too_large_for_the_coordinator_moves_to_the_workers() {
    let test = TestCluster::start_with(StartOptions {
        memory_limit_bytes: 128 << 10,
        ..StartOptions::default()
    })
    .await;
    let sql = "SELECT count(*) FROM t a JOIN t b ON a.id = b.id AND a.name = b.name";
    let state = test.context.state();
    let run = async |options: &ExecuteOptions| {
        let plan = state.create_logical_plan(sql).await.unwrap();
        let query = test
            .engine
            .run(&state, plan, options.clone())
            .await
            .unwrap();
        assert_eq!(query.placement, UsedPlacement::Local);
        collect(query).await
    };
    let alone = run(&ExecuteOptions::new()).await.unwrap_err();
    assert_eq!(alone.code(), ErrorCode::ResourceExhausted, "{alone}");

    let _workers = test.add_workers(2, 1).await;
    let options = ExecuteOptions::new();
    let batches = run(&options).await.unwrap();
    let expected = FILES * ROWS_PER_FILE - (FILES * ROWS_PER_FILE + 6) / 7;
    assert_eq!(all_rows(&batches), [expected.to_string()]);
    assert_eq!(
        options.progress.placement(),
        Some(UsedPlacement::Distributed)
    );
    let forced = ExecuteOptions {
        placement: Placement::Local,
        ..ExecuteOptions::new()
    };
    let forced = run(&forced).await.unwrap_err();
    assert_eq!(forced.code(), ErrorCode::ResourceExhausted, "{forced}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_small_side_of_a_join_is_broadcast_where_that_is_right() {
    let test = TestCluster::start().await;
    let _workers = test.add_workers(2, 1).await;
    let state = test.context.state();
    for (join, is_broadcast) in [("JOIN", true), ("FULL JOIN", false)] {
        let sql = format!("SELECT count(*) FROM t a {join} t b ON a.id = b.grp");
        let plan = state.create_logical_plan(&sql).await.unwrap();
        let options = ExecuteOptions {
            placement: Placement::Distributed,
            ..ExecuteOptions::new()
        };
        let text = test.engine.explain(&state, plan, options, false).await;
        let text = text.unwrap();
        assert_eq!(text.contains("mode=CollectLeft"), is_broadcast, "{text}");
        assert_eq!(text.contains("mode=Partitioned"), !is_broadcast, "{text}");
        assert_eq!(
            test.rows(&sql).await,
            test.plain_rows(&sql).await,
            "{join}\n{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_stages_and_what_they_did() {
    let test = TestCluster::start().await;
    let _workers = test.add_workers(2, 1).await;
    let state = test.context.state();
    let sql = "SELECT grp, count(*) FROM t GROUP BY grp";
    let explain = async |placement, analyze| {
        let plan = state.create_logical_plan(sql).await.unwrap();
        let options = ExecuteOptions {
            placement,
            ..ExecuteOptions::new()
        };
        let counts = options.progress.clone();
        let text = test.engine.explain(&state, plan, options, analyze).await;
        (text.unwrap(), counts.counts())
    };
    let (text, _) = explain(Placement::Distributed, false).await;
    assert!(text.contains("placement: distributed"), "{text}");
    assert!(
        text.contains("stage 1:") && text.contains("stage 2:"),
        "{text}"
    );
    assert!(text.contains("DataSourceExec"), "{text}");

    let (text, counts) = explain(Placement::Distributed, true).await;
    assert!(text.contains("task"), "{text}");
    assert!(text.contains("output_rows="), "{text}");
    let rows = u64::try_from(FILES * ROWS_PER_FILE).unwrap();
    assert_eq!(counts.rows, rows, "{text}");
    assert_eq!(counts.stages_done, 2, "{text}");
    assert_eq!(counts.stages_total, 2, "{text}");
    assert_eq!(counts.tasks_done, counts.tasks_total, "{text}");
    assert!(counts.bytes > 0, "{text}");

    let (text, counts) = explain(Placement::Local, true).await;
    assert!(text.contains("placement: local"), "{text}");
    assert!(text.contains("output_rows="), "{text}");
    assert_eq!(counts.stages_total, 0);
}
