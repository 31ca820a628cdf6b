//! A coordinator that is killed at random times: what it reported as done is there, the statement
//! that it was executing is done or not, and what is left over is found.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ingot_catalog::{Database, SqlCatalog, Storage};
use ingot_client::{Client, ClientOptions};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::harness::ProcessCluster;
use crate::references::unreferenced_files;

/// How often the coordinator is killed; `INGOT_TEST_ROUNDS` says otherwise.
const ROUNDS: usize = 4;

/// How many kinds of changes there are.
const KINDS: usize = 8;

/// How long a client may take to see that the coordinator is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// The rows of the two tables: `n` by `id`.
#[derive(Debug, Clone, PartialEq, Default)]
struct Rows {
    a: BTreeMap<i64, i64>,
    b: BTreeMap<i64, i64>,
}

/// Statements, each with the rows that others see after it.
type Steps = Vec<(String, Rows)>;

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap())
}

/// A change of every kind, in a random order.
fn random_steps(random: &mut StdRng, before: &Rows, next_id: &mut i64) -> Steps {
    let mut kinds: Vec<usize> = (0..KINDS).collect();
    kinds.shuffle(random);
    let mut rows = before.clone();
    let mut steps = Steps::new();
    for kind in kinds {
        let seen = rows.clone();
        let statements = random_change(kind, random, &mut rows, next_id);
        let last = statements.len() - 1;
        for (index, sql) in statements.into_iter().enumerate() {
            // A change of several statements is a transaction, or has one that changes rows.
            let after = if index == last { &rows } else { &seen };
            steps.push((sql, after.clone()));
        }
    }
    steps
}

/// The statements of one change, which is seen after the last one.
fn random_change(
    kind: usize,
    random: &mut StdRng,
    rows: &mut Rows,
    next_id: &mut i64,
) -> Vec<String> {
    let (id, n) = (*next_id, random.random_range(1..100_i64));
    *next_id += 2;
    let one = |sql: String| vec![sql];
    match kind {
        0 => {
            rows.a.extend([(id, n), (id + 1, n + 1)]);
            let values = format!("({id}, {n}), ({}, {})", id + 1, n + 1);
            one(format!("INSERT INTO a VALUES {values}"))
        }
        1 => {
            let rest = random.random_range(0..4_i64);
            rows.a.retain(|id, _| id % 4 != rest);
            one(format!("DELETE FROM a WHERE id % 4 = {rest}"))
        }
        2 => {
            let rest = random.random_range(0..2_i64);
            let changed = rows.a.iter_mut().filter(|(id, _)| *id % 2 == rest);
            changed.for_each(|(_, n)| *n += 1);
            one(format!("UPDATE a SET n = n + 1 WHERE id % 2 = {rest}"))
        }
        3 => {
            let known = rows.a.keys().next().copied().unwrap_or(id + 1);
            *rows.a.entry(known).or_default() += n;
            rows.a.insert(id, n);
            one(format!(
                "MERGE INTO a USING (VALUES ({id}, {n}), ({known}, {n})) AS s(id, n) \
                 ON a.id = s.id WHEN MATCHED THEN UPDATE SET n = a.n + s.n \
                 WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.n)"
            ))
        }
        4 => {
            let rest = random.random_range(0..3_i64);
            rows.a.insert(id, n);
            rows.b.retain(|id, _| id % 3 != rest);
            rows.b.insert(id, n);
            vec![
                "BEGIN".to_owned(),
                format!("INSERT INTO a VALUES ({id}, {n})"),
                format!("DELETE FROM b WHERE id % 3 = {rest}"),
                format!("INSERT INTO b VALUES ({id}, {n})"),
                "COMMIT".to_owned(),
            ]
        }
        5 => {
            rows.b = rows.a.iter().map(|(id, n)| (*id, n + 1)).collect();
            one("CREATE OR REPLACE TABLE b AS SELECT id, n + 1 AS n FROM a".to_owned())
        }
        6 => one("ALTER TABLE a EXECUTE optimize".to_owned()),
        _ => vec![
            "SET SESSION expire_snapshots_min_retention = '0s'".to_owned(),
            "ALTER TABLE a EXECUTE expire_snapshots(retention_threshold => '0s')".to_owned(),
        ],
    }
}

/// The rows as a coordinator has them.
fn rows_of(cluster: &ProcessCluster) -> Rows {
    let csv = cluster.query("SELECT 'a' AS t, id, n FROM a UNION ALL SELECT 'b', id, n FROM b");
    let mut rows = Rows::default();
    for line in csv.lines().skip(1) {
        let [table, id, n] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let table = match table {
            "a" => &mut rows.a,
            _ => &mut rows.b,
        };
        let known = table.insert(id.parse().unwrap(), n.parse().unwrap());
        assert_eq!(known, None, "a row is there twice: {line}");
    }
    rows
}

/// Every snapshot can be read, and once the orphans are removed, every file is that of one.
fn check_files(cluster: &ProcessCluster, folder: &Path, context: &str) {
    for table in ["a", "b"] {
        let snapshots = cluster.query(&format!("SELECT snapshot_id FROM \"{table}$snapshots\""));
        let reads = snapshots
            .lines()
            .skip(1)
            .map(|id| format!("SELECT sum(n) FROM {table} FOR VERSION AS OF {id}"));
        let reads: Vec<String> = reads.collect();
        assert!(!reads.is_empty(), "{context}");
        cluster.query(&reads.join("; "));
    }
    // Files that are as new as the call stay.
    std::thread::sleep(Duration::from_millis(30));
    let remove = "EXECUTE remove_orphan_files(retention_threshold => '0s')";
    cluster.query(&format!(
        "SET SESSION remove_orphan_files_min_retention = '0s'; \
         ALTER TABLE a {remove}; ALTER TABLE b {remove}"
    ));
    let lake = folder.join("lake").canonicalize().unwrap();
    let orphans = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let database = Database::connect_sqlite(&lake.join("catalog.db"))
            .await
            .unwrap();
        let storage = Storage::new(Default::default());
        let warehouse = lake.join("warehouse");
        let location = format!("file://{}", warehouse.display());
        let catalog = SqlCatalog::open("iceberg", database.clone(), storage, &location)
            .await
            .unwrap();
        let orphans = unreferenced_files(catalog.as_ref(), &warehouse).await;
        database.close().await;
        orphans
    });
    assert!(orphans.is_empty(), "{context}: {orphans:?}");
}

/// Executes the statements and kills the coordinator after a time. Returns how many were done.
fn execute_and_kill(cluster: ProcessCluster, steps: &Steps, after: Duration) -> usize {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (connected, begin) = mpsc::channel();
    let is_killed = Arc::new(AtomicBool::new(false));
    let client = {
        let address = cluster.flight().to_owned();
        let statements: Vec<String> = steps.iter().map(|(sql, _)| sql.clone()).collect();
        let is_killed = Arc::clone(&is_killed);
        runtime.spawn(async move {
            let client = Client::connect(&address, ClientOptions::default())
                .await
                .unwrap();
            connected.send(()).unwrap();
            for (done, sql) in statements.iter().enumerate() {
                if let Err(error) = client.update(sql).await {
                    assert!(is_killed.load(Ordering::SeqCst), "{sql}: {error}");
                    return done;
                }
            }
            statements.len()
        })
    };
    begin.recv().unwrap();
    std::thread::sleep(after);
    is_killed.store(true, Ordering::SeqCst);
    drop(cluster);
    let client = runtime.block_on(async { tokio::time::timeout(PATIENCE, client).await });
    client.unwrap().unwrap()
}

/// Executes the statements to their end; returns how long that took.
fn execute(cluster: &ProcessCluster, steps: &Steps) -> Duration {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(cluster.flight(), ClientOptions::default())
            .await
            .unwrap();
        let begun = Instant::now();
        for (sql, _) in steps {
            let done = client.update(sql).await;
            done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        begun.elapsed()
    })
}

#[test]
fn a_coordinator_killed_at_any_time_leaves_whole_statements() {
    let seed = number_of("INGOT_TEST_SEED").unwrap_or_else(rand::random);
    println!("INGOT_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let rounds = number_of("INGOT_TEST_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);

    let folder = tempfile::tempdir().unwrap();
    let mut cluster = ProcessCluster::start(folder.path(), &[]);
    let properties = "WITH (\"write.delete.mode\" = 'merge-on-read')";
    cluster.query(&format!(
        "CREATE TABLE a (id bigint, n bigint) {properties}; \
         CREATE TABLE b (id bigint, n bigint) {properties}; \
         INSERT INTO a VALUES (1, 10), (2, 20), (3, 30); INSERT INTO b VALUES (1, 10), (2, 20)"
    ));
    let mut next_id = 4;
    let mut rows = rows_of(&cluster);
    assert_eq!((rows.a.len(), rows.b.len()), (3, 2));

    // How long statements take here, undisturbed.
    let steps = random_steps(&mut random, &rows, &mut next_id);
    let whole = execute(&cluster, &steps);
    rows = steps[steps.len() - 1].1.clone();
    assert_eq!(rows_of(&cluster), rows, "seed {seed}");

    for round in 0..rounds {
        let steps = random_steps(&mut random, &rows, &mut next_id);
        let after = whole.mul_f64(random.random_range(0.0..1.0_f64));
        let done = execute_and_kill(cluster, &steps, after);
        let begun = steps.get(done).map(|(sql, _)| sql.as_str());
        let context = format!("seed {seed}, round {round}: {done} done, then {begun:?}");
        println!("{context}, killed after {after:?}");

        cluster = ProcessCluster::start(folder.path(), &[]);
        let found = rows_of(&cluster);
        let old = match done {
            0 => &rows,
            done => &steps[done - 1].1,
        };
        let new = steps.get(done).map_or(old, |(_, rows)| rows);
        assert!(
            found == *old || found == *new,
            "{context}: {found:?} is neither {old:?} nor {new:?}"
        );
        check_files(&cluster, folder.path(), &context);
        rows = found;
    }

    // And it can go on.
    let steps = random_steps(&mut random, &rows, &mut next_id);
    execute(&cluster, &steps);
    assert_eq!(rows_of(&cluster), steps[steps.len() - 1].1, "seed {seed}");
}
