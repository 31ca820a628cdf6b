//! Random inserts, deletes, updates and merges against a plain model in memory: the whole table
//! after each step, every old snapshot in the end, and the files that are left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "row_changes/harness.rs"]
mod harness;
#[path = "row_changes/maintenance.rs"]
mod maintenance;

use std::collections::{BTreeMap, BTreeSet};

use harness::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

const STEPS: usize = 25;

async fn run(seed: u64, properties: &str) {
    println!("seed {seed}, {properties}");
    let mut random = StdRng::seed_from_u64(seed);
    let table = Table::create(properties).await;
    let mut rows = Rows::new();
    let mut next_id = 0;
    let mut versions: Vec<(String, Rows)> = Vec::new();
    for step in 0..STEPS {
        let (sql, after, count) = statement(&mut random, &rows, &mut next_id);
        println!("step {step}: {sql}");
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
    check_changes(&table, &versions, seed).await;
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
    files_below(table.folder.path(), &mut found);
    found.retain(|name| name.ends_with(".parquet") || name.ends_with(".puffin"));
    assert_eq!(found, referenced, "seed {seed}: files that no snapshot has");
}

/// The changes between two versions lead from the rows of one to those of the other, and between
/// neighbours they are the difference and nothing else.
async fn check_changes(table: &Table, versions: &[(String, Rows)], seed: u64) {
    let mut states: Vec<&(String, Rows)> = versions.iter().collect();
    states.dedup_by(|later, earlier| later.0 == earlier.0);
    for (index, (from, before)) in states.iter().enumerate() {
        // To the next states from each, and from the first to all: every pair would take minutes.
        let nearest = if index == 0 { states.len() } else { 3 };
        for (distance, (to, after)) in states[index..].iter().take(nearest).enumerate() {
            let changes = table.changes(from, to).await;
            let place = format!("seed {seed}: from {from} to {to}: {changes:?}");
            let mut counts: BTreeMap<(i64, Values), i64> = BTreeMap::new();
            for (id, values) in before {
                counts.insert((*id, values.clone()), 1);
            }
            for (_, is_insert, id, values) in &changes {
                let count = counts.entry((*id, values.clone())).or_default();
                *count += if *is_insert { 1 } else { -1 };
            }
            counts.retain(|_, count| *count != 0);
            assert!(counts.values().all(|count| *count == 1), "{place}");
            let found: Rows = counts.into_keys().collect();
            assert_eq!(found, *after, "{place}");
            if distance == 1 {
                let is_in = |rows: &Rows, id: &i64, values: &Values| rows.get(id) == Some(values);
                let gone = before.iter().filter(|(id, v)| !is_in(after, id, v)).count();
                let come = after.iter().filter(|(id, v)| !is_in(before, id, v)).count();
                assert_eq!(changes.len(), gone + come, "{place}");
            }
            assert!(changes.iter().all(|change| (change.0 as usize) < distance));
        }
    }
}

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
                match table.try_execute(&sql).await {
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
    for properties in with_deletion_vectors() {
        run(seed(), &properties).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_modes_by_turns() {
    run(
        seed(),
        "\"write.delete.mode\" = 'merge-on-read', sorted_by = ARRAY['n']",
    )
    .await;
}
