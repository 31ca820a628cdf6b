//! Random inserts, deletes, updates and merges against a plain model in memory: the whole table
//! after each step, every old snapshot in the end, and the files that are left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use ingot_coordinator::cluster::QueryEngineOptions;
use ingot_coordinator::server::{Lakehouse, LakehouseOptions};
use ingot_coordinator::service::{SessionId, SqlService, StatementOutcome};
use ingot_engine::runtime::RuntimeOptions;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

const STEPS: usize = 25;
const KINDS: [Option<&str>; 5] = [Some("a"), Some("b"), Some("c"), Some("d"), None];

/// Kind and number.
type Values = (Option<String>, Option<i32>);
/// Rows by id.
type Rows = BTreeMap<i64, Values>;

struct Table {
    lakehouse: Lakehouse,
    session: SessionId,
    _folder: tempfile::TempDir,
}

impl Table {
    async fn create(properties: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = LakehouseOptions {
            data_dir: folder.path().to_owned(),
            catalog_name: "iceberg".to_owned(),
            catalog_url: None,
            warehouse: None,
            storage: Default::default(),
            runtime: RuntimeOptions::default(),
            engine: QueryEngineOptions::default(),
            time_zone: "UTC".to_owned(),
            holder: "row changes".to_owned(),
        };
        let lakehouse = Lakehouse::open(options, None).await.unwrap();
        let session = lakehouse.coordinator.open_session("test").await.unwrap();
        let table = Self {
            lakehouse,
            session,
            _folder: folder,
        };
        let create = format!(
            "CREATE TABLE t (id bigint NOT NULL, kind varchar, n integer) WITH ({properties})"
        );
        table.execute(&create).await;
        table
    }

    async fn outcome(&self, sql: &str) -> StatementOutcome {
        let coordinator = &self.lakehouse.coordinator;
        let outcome = coordinator
            .execute(&self.session, sql, None, Uuid::now_v7())
            .await;
        outcome.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn execute(&self, sql: &str) -> i64 {
        match self.outcome(sql).await {
            StatementOutcome::UpdateCount(count) => count,
            _ => 0,
        }
    }

    async fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let StatementOutcome::Rows { stream, .. } = self.outcome(sql).await else {
            panic!("{sql} returns no rows");
        };
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let options = FormatOptions::default();
        let mut rows = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| {
                    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
                    column
                        .is_valid(row)
                        .then(|| formatter.value(row).to_string())
                });
                rows.push(cells.collect());
            }
        }
        rows
    }

    async fn rows(&self, version: &str) -> Rows {
        let found = self
            .query(&format!("SELECT id, kind, n FROM t {version}"))
            .await;
        let count = found.len();
        let rows: Rows = found
            .into_iter()
            .map(|row| {
                let id = row[0].as_ref().unwrap().parse().unwrap();
                let n = row[2].as_ref().map(|n| n.parse().unwrap());
                (id, (row[1].clone(), n))
            })
            .collect();
        assert_eq!(rows.len(), count, "{version}: a row is there twice");
        rows
    }

    async fn snapshot(&self) -> Option<String> {
        let sql = "SELECT snapshot_id FROM \"t$snapshots\" ORDER BY committed_at DESC LIMIT 1";
        let rows = self.query(sql).await;
        rows.into_iter().next().and_then(|row| row[0].clone())
    }
}

/// Whether a condition holds for a row.
type Holds = Box<dyn Fn(i64, &Values) -> bool>;

/// A condition in SQL and what it says of a row; unknown is no.
struct Condition {
    sql: String,
    holds: Holds,
}

fn condition(random: &mut StdRng, rows: &Rows) -> Condition {
    let x = random.random_range(-5..25);
    let kind = KINDS[random.random_range(0..4)].unwrap();
    let modulus = random.random_range(2..6_i64);
    match random.random_range(0..9) {
        0 => Condition {
            sql: format!("n < {x}"),
            holds: Box::new(move |_, (_, n)| n.is_some_and(|n| n < x)),
        },
        1 => Condition {
            sql: format!("kind = '{kind}'"),
            holds: Box::new(move |_, (k, _)| k.as_deref() == Some(kind)),
        },
        2 => Condition {
            sql: format!("NOT (kind = '{kind}' OR n >= {x})"),
            holds: Box::new(move |_, (k, n)| {
                k.as_deref().is_some_and(|k| k != kind) && n.is_some_and(|n| n < x)
            }),
        },
        3 => Condition {
            sql: "kind IS NULL".to_owned(),
            holds: Box::new(|_, (k, _)| k.is_none()),
        },
        4 => Condition {
            sql: format!("id % {modulus} = 1"),
            holds: Box::new(move |id, _| id % modulus == 1),
        },
        5 => {
            let chosen: BTreeSet<i64> = rows
                .iter()
                .filter(|(_, (_, n))| n.is_some_and(|n| n > x))
                .map(|(id, _)| *id)
                .collect();
            Condition {
                sql: format!("id IN (SELECT id FROM t WHERE n > {x})"),
                holds: Box::new(move |id, _| chosen.contains(&id)),
            }
        }
        6 => {
            let highest = rows.values().filter_map(|(_, n)| *n).max();
            Condition {
                sql: "n = (SELECT max(n) FROM t)".to_owned(),
                holds: Box::new(move |_, (_, n)| n.is_some() && *n == highest),
            }
        }
        7 => {
            let low = rows.keys().next().copied().unwrap_or(0) + random.random_range(0..40);
            Condition {
                sql: format!("id BETWEEN {low} AND {} AND n IS NOT NULL", low + 10),
                holds: Box::new(move |id, (_, n)| (low..=low + 10).contains(&id) && n.is_some()),
            }
        }
        _ => Condition {
            sql: format!("(n > {x}) IS NOT TRUE AND kind <> '{kind}'"),
            holds: Box::new(move |_, (k, n)| {
                !n.is_some_and(|n| n > x) && k.as_deref().is_some_and(|k| k != kind)
            }),
        },
    }
}

fn literal<T: std::fmt::Display>(value: &Option<T>, quote: &str) -> String {
    match value {
        Some(value) => format!("{quote}{value}{quote}"),
        None => "NULL".to_owned(),
    }
}

fn random_value(random: &mut StdRng) -> Values {
    let kind = KINDS.choose(random).unwrap().map(str::to_owned);
    let n = random.random_bool(0.85).then(|| random.random_range(0..20));
    (kind, n)
}

/// One random statement, and the rows after it with the number of changes.
fn statement(random: &mut StdRng, rows: &Rows, next_id: &mut i64) -> (String, Rows, usize) {
    let mut after = rows.clone();
    match random.random_range(0..10) {
        0..=2 => {
            let count = random.random_range(1..40);
            let mut values = Vec::new();
            for _ in 0..count {
                let (kind, n) = random_value(random);
                values.push(format!(
                    "({next_id}, {}, {})",
                    literal(&kind, "'"),
                    literal(&n, "")
                ));
                after.insert(*next_id, (kind, n));
                *next_id += 1;
            }
            (
                format!("INSERT INTO t VALUES {}", values.join(", ")),
                after,
                count,
            )
        }
        3..=5 => {
            let Condition { sql, holds } = condition(random, rows);
            after.retain(|id, value| !holds(*id, value));
            let count = rows.len() - after.len();
            (format!("DELETE FROM t WHERE {sql}"), after, count)
        }
        6..=7 => {
            let Condition { sql, holds } = condition(random, rows);
            let (kind, _) = random_value(random);
            let changes_kind = random.random_bool(0.5);
            let mut count = 0;
            for (_, value) in after.iter_mut().filter(|(id, value)| holds(**id, value)) {
                value.1 = value.1.map(|n| n + 1);
                if changes_kind {
                    value.0 = kind.clone();
                }
                count += 1;
            }
            let set = match changes_kind {
                true => format!("n = n + 1, kind = {}", literal(&kind, "'")),
                false => "n = n + 1".to_owned(),
            };
            (format!("UPDATE t SET {set} WHERE {sql}"), after, count)
        }
        _ => {
            let mut source: Rows = Rows::new();
            for _ in 0..random.random_range(1..30) {
                let id = match random.random_bool(0.6) {
                    true => random.random_range(0..(*next_id).max(1)),
                    false => {
                        *next_id += 1;
                        *next_id - 1
                    }
                };
                source.insert(id, random_value(random));
            }
            let by_source = random.random_bool(0.3);
            let mut count = 0;
            for (id, (kind, n)) in &source {
                match (after.get_mut(id), n) {
                    (Some(_), Some(n)) if *n < 5 => {
                        after.remove(id);
                    }
                    (Some(value), _) => {
                        *value = (kind.clone(), value.1.zip(*n).map(|(old, new)| old + new));
                    }
                    (None, _) if kind.as_deref() != Some("d") => {
                        after.insert(*id, (kind.clone(), *n));
                    }
                    (None, _) => continue,
                }
                count += 1;
            }
            if by_source {
                let before = after.len();
                after.retain(|id, (_, n)| source.contains_key(id) || *n != Some(7));
                count += before - after.len();
            }
            let values: Vec<String> = source
                .iter()
                .map(|(id, (kind, n))| {
                    format!(
                        "({id}, CAST({} AS varchar), CAST({} AS integer))",
                        literal(kind, "'"),
                        literal(n, "")
                    )
                })
                .collect();
            let mut sql = format!(
                "MERGE INTO t USING (VALUES {}) AS s(id, kind, n) ON t.id = s.id \
                 WHEN MATCHED AND s.n < 5 THEN DELETE \
                 WHEN MATCHED THEN UPDATE SET kind = s.kind, n = t.n + s.n \
                 WHEN NOT MATCHED AND s.kind IS DISTINCT FROM 'd' THEN INSERT VALUES (s.id, s.kind, s.n)",
                values.join(", ")
            );
            if by_source {
                sql.push_str(" WHEN NOT MATCHED BY SOURCE AND t.n = 7 THEN DELETE");
            }
            (sql, after, count)
        }
    }
}

fn files_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_below(&path, found),
            false => {
                found.insert(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
}

async fn run(seed: u64, properties: &str) {
    println!("seed {seed}, {properties}");
    let mut random = StdRng::seed_from_u64(seed);
    let table = Table::create(properties).await;
    let mut rows = Rows::new();
    let mut next_id = 0;
    let mut versions: Vec<(String, Rows)> = Vec::new();
    for step in 0..STEPS {
        let (sql, after, count) = statement(&mut random, &rows, &mut next_id);
        let changed = table.execute(&sql).await;
        assert_eq!(changed, count as i64, "seed {seed}, step {step}: {sql}");
        rows = after;
        assert_eq!(
            table.rows("").await,
            rows,
            "seed {seed}, step {step}: {sql}"
        );
        if let Some(snapshot) = table.snapshot().await {
            versions.push((snapshot, rows.clone()));
        }
    }
    let mut referenced = BTreeSet::new();
    for (snapshot, expected) in &versions {
        let version = format!("FOR VERSION AS OF {snapshot}");
        assert_eq!(
            table.rows(&version).await,
            *expected,
            "seed {seed}, {snapshot}"
        );
        let files = table
            .query(&format!("SELECT file_path FROM \"t$files\" {version}"))
            .await;
        referenced.extend(files.into_iter().map(|row| {
            let path = row[0].clone().unwrap();
            path.rsplit('/').next().unwrap().to_owned()
        }));
    }
    let mut found = BTreeSet::new();
    files_below(table._folder.path(), &mut found);
    found.retain(|name| name.ends_with(".parquet") || name.ends_with(".puffin"));
    assert_eq!(found, referenced, "seed {seed}: files that no snapshot has");
}

fn seed() -> u64 {
    match std::env::var("INGOT_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random_range(0..1_000_000),
    }
}

const MERGE_ON_READ: &str = "\"write.delete.mode\" = 'merge-on-read', \
    \"write.update.mode\" = 'merge-on-read', \"write.merge.mode\" = 'merge-on-read'";
const SMALL_GROUPS: &str = "\"write.parquet.row-group-limit\" = 7";
const PARTITIONED: &str = "partitioning = ARRAY['kind', 'bucket(id, 2)']";

/// Writers that add one to rows of the same files: each success counts once.
async fn count_up(properties: &str) {
    let table = std::sync::Arc::new(Table::create(properties).await);
    table
        .execute("INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0), (3, 'b', 0)")
        .await;
    let mut tasks = Vec::new();
    for writer in 0..4 {
        let table = std::sync::Arc::clone(&table);
        tasks.push(tokio::spawn(async move {
            let mut successes = 0;
            for round in 0..6 {
                let id = (writer + round) % 3 + 1;
                let sql = format!("UPDATE t SET n = n + 1 WHERE id = {id}");
                let coordinator = &table.lakehouse.coordinator;
                let outcome = coordinator
                    .execute(&table.session, &sql, None, Uuid::now_v7())
                    .await;
                match outcome {
                    Ok(_) => successes += 1,
                    Err(error) => assert!(
                        error.to_string().contains("run the statement again"),
                        "{error}"
                    ),
                }
            }
            successes
        }));
    }
    let mut successes = 0;
    for task in tasks {
        successes += task.await.unwrap();
    }
    let rows = table.rows("").await;
    let total: i32 = rows.values().map(|(_, n)| n.unwrap()).sum();
    assert_eq!(rows.len(), 3);
    assert_eq!(total, successes);
    assert!(successes > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost() {
    count_up(SMALL_GROUPS).await;
    count_up(PARTITIONED).await;
    count_up(MERGE_ON_READ).await;
    count_up(&format!("format_version = 3, {MERGE_ON_READ}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_on_write() {
    run(seed(), SMALL_GROUPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_on_write_of_partitions() {
    run(seed(), PARTITIONED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_on_read() {
    run(seed(), &format!("{SMALL_GROUPS}, {MERGE_ON_READ}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_on_read_of_partitions() {
    run(seed(), &format!("{PARTITIONED}, {MERGE_ON_READ}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_vectors() {
    let version = "format_version = 3";
    run(
        seed(),
        &format!("{version}, {SMALL_GROUPS}, {MERGE_ON_READ}"),
    )
    .await;
    run(
        seed(),
        &format!("{version}, {PARTITIONED}, {MERGE_ON_READ}"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_modes_by_turns() {
    run(
        seed(),
        "\"write.delete.mode\" = 'merge-on-read', sorted_by = ARRAY['n']",
    )
    .await;
}
