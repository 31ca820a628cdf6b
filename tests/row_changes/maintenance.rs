//! Maintenance between random changes of rows: it never changes a row of a snapshot that is left,
//! and in the end no file is left that none of them has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ingot_coordinator::service::StatementOutcome;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::harness::*;

const STEPS: usize = 40;

/// A table that may expire and remove whatever no snapshot needs.
async fn maintained(properties: &str) -> Table {
    let table = Table::create(properties).await;
    for property in ["expire_snapshots", "remove_orphan_files"] {
        let set = format!("SET SESSION {property}_min_retention = '0s'");
        table.execute(&set).await;
    }
    table
}

/// One random statement that must not change any row.
fn maintenance(random: &mut StdRng, repartitions: bool) -> String {
    let kinds = if repartitions { 12 } else { 11 };
    let what = match random.random_range(0..kinds) {
        0..=2 => "EXECUTE optimize".to_owned(),
        3 => {
            let bytes = random.random_range(0..3_000);
            format!("EXECUTE optimize(file_size_threshold => '{bytes}B')")
        }
        4 => "EXECUTE optimize(sorted_by => ARRAY['n DESC', 'id'])".to_owned(),
        5 => "EXECUTE optimize(zorder_by => ARRAY['kind', 'n'])".to_owned(),
        6..=7 => "EXECUTE optimize_manifests".to_owned(),
        8..=9 => {
            let count = random.random_range(1..6);
            format!("EXECUTE expire_snapshots(retention_threshold => '0s', retain_last => {count})")
        }
        10 => "EXECUTE remove_orphan_files(retention_threshold => '0s')".to_owned(),
        _ => {
            let partitionings = [
                "ARRAY['kind']",
                "ARRAY['bucket(id, 3)']",
                "ARRAY['truncate(n, 5)', 'kind']",
                "DEFAULT",
            ];
            let index = random.random_range(0..partitionings.len());
            format!("SET PROPERTIES partitioning = {}", partitionings[index])
        }
    };
    format!("ALTER TABLE t {what}")
}

async fn snapshots(table: &Table) -> BTreeSet<String> {
    let rows = table.query("SELECT snapshot_id FROM \"t$snapshots\"").await;
    rows.into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect()
}

async fn current(table: &Table) -> Option<String> {
    let sql = "SELECT snapshot_id FROM \"t$refs\" WHERE name = 'main'";
    let rows = table.query(sql).await;
    rows.into_iter().next().and_then(|row| row[0].clone())
}

/// Every snapshot that is left has the rows that it had when it was made.
async fn check_snapshots(table: &Table, versions: &BTreeMap<String, Rows>, context: &str) {
    for snapshot in snapshots(table).await {
        let found = table.rows(&format!("FOR VERSION AS OF {snapshot}")).await;
        assert_eq!(found, versions[&snapshot], "{context}, snapshot {snapshot}");
    }
}

async fn run(seed: u64, properties: &str) {
    println!("seed {seed}, {properties}");
    let mut random = StdRng::seed_from_u64(seed);
    let table = maintained(properties).await;
    let mut rows = Rows::new();
    let mut next_id = 0;
    let mut versions: BTreeMap<String, Rows> = BTreeMap::new();
    for step in 0..STEPS {
        let is_maintenance = random.random_bool(0.4);
        let sql = match is_maintenance {
            true => maintenance(&mut random, !properties.contains("format_version = 1")),
            false => {
                let (sql, after, _) = statement(&mut random, &rows, &mut next_id);
                rows = after;
                sql
            }
        };
        let context = format!("seed {seed}, step {step}: {sql}");
        table.execute(&sql).await;
        assert_eq!(table.rows("").await, rows, "{context}");
        if let Some(snapshot) = current(&table).await {
            versions.insert(snapshot, rows.clone());
        }
        if is_maintenance {
            check_snapshots(&table, &versions, &context).await;
        }
    }
    // Snapshots may be a little ahead of the clock.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    for procedure in [
        "optimize",
        "optimize_manifests",
        "expire_snapshots(retention_threshold => '0s')",
        "remove_orphan_files(retention_threshold => '0s')",
    ] {
        table
            .execute(&format!("ALTER TABLE t EXECUTE {procedure}"))
            .await;
    }
    assert_eq!(table.rows("").await, rows, "seed {seed}");
    if current(&table).await.is_some() {
        assert_eq!(snapshots(&table).await.len(), 1, "seed {seed}");
    }
    check_files(&table, seed).await;
}

/// The files of the table are those of its one snapshot, and none of them has deletes.
async fn check_files(table: &Table, seed: u64) {
    let files = table
        .query("SELECT file_path, content FROM \"t$files\"")
        .await;
    let mut referenced = BTreeSet::new();
    for row in files {
        let path = row[0].clone().unwrap();
        assert_eq!(row[1].as_deref(), Some("0"), "seed {seed}: {path}");
        referenced.insert(path.rsplit('/').next().unwrap().to_owned());
    }
    let mut found = BTreeSet::new();
    files_below(table.folder.path(), &mut found);
    let mut metadata = found.clone();
    found.retain(|name| name.ends_with(".parquet") || name.ends_with(".puffin"));
    assert_eq!(found, referenced, "seed {seed}: files that no snapshot has");
    metadata.retain(|name| name.ends_with(".avro"));
    let manifests = table.query("SELECT path FROM \"t$manifests\"").await;
    let lists = usize::from(current(table).await.is_some());
    assert_eq!(
        metadata.len(),
        manifests.len() + lists,
        "seed {seed}: {metadata:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_keeps_rows_of_copy_on_write() {
    run(seed(), SMALL_GROUPS).await;
    run(seed(), PARTITIONED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_keeps_rows_of_merge_on_read() {
    run(seed(), &format!("{SMALL_GROUPS}, {MERGE_ON_READ}")).await;
    run(seed(), &format!("{PARTITIONED}, {MERGE_ON_READ}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_keeps_rows_of_deletion_vectors() {
    for properties in with_deletion_vectors() {
        run(seed(), &properties).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_keeps_rows_of_sorted_tables_with_many_manifests() {
    let properties = "\"write.delete.mode\" = 'merge-on-read', sorted_by = ARRAY['n'], \
        \"commit.manifest.min-count-to-merge\" = '3', \
        \"write.metadata.delete-after-commit.enabled\" = 'true', \
        \"write.metadata.previous-versions-max\" = '2'";
    run(seed(), properties).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_of_version_1() {
    run(seed(), &format!("format_version = 1, {PARTITIONED}")).await;
}

/// Inserts, deletes and maintenance at the same time: each statement that succeeds counts.
async fn all_at_once(properties: &str) {
    let table = Arc::new(maintained(properties).await);
    table.execute("INSERT INTO t VALUES (0, 'a', 0)").await;
    let mut tasks = Vec::new();
    for writer in 0..2_i64 {
        let table = Arc::clone(&table);
        tasks.push(tokio::spawn(async move {
            let mut expected = BTreeSet::new();
            for round in 0..8 {
                let id = 100 * (writer + 1) + round;
                let sql = format!("INSERT INTO t VALUES ({id}, 'a', 1), ({}, 'b', 2)", id + 50);
                table.execute(&sql).await;
                expected.extend([id, id + 50]);
                let delete = format!("DELETE FROM t WHERE id = {id}");
                match table.try_execute(&delete).await {
                    Ok(StatementOutcome::UpdateCount(count)) => {
                        assert_eq!(count, 1, "{delete}");
                        expected.remove(&id);
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => assert!(error.to_string().contains("run the statement again")),
                }
            }
            expected
        }));
    }
    let maintenance = Arc::clone(&table);
    let maintenance = tokio::spawn(async move {
        let mut optimized = 0;
        for round in 0..10 {
            for procedure in ["optimize", "optimize_manifests"] {
                let sql = format!("ALTER TABLE t EXECUTE {procedure}");
                match maintenance.try_execute(&sql).await {
                    Ok(_) => optimized += 1,
                    Err(error) => assert!(
                        error.to_string().contains("run the statement again"),
                        "{error}"
                    ),
                }
            }
            if round % 3 == 0 {
                let sql = "ALTER TABLE t EXECUTE remove_orphan_files(retention_threshold => '0s')";
                maintenance.execute(sql).await;
            }
        }
        optimized
    });
    let mut expected = BTreeSet::from([0]);
    for task in tasks {
        expected.extend(task.await.unwrap());
    }
    assert!(maintenance.await.unwrap() > 0);
    let found: BTreeSet<i64> = table.rows("").await.into_keys().collect();
    assert_eq!(found, expected);
    table.execute("ALTER TABLE t EXECUTE optimize").await;
    let found: BTreeSet<i64> = table.rows("").await.into_keys().collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_beside_other_statements() {
    all_at_once(SMALL_GROUPS).await;
    all_at_once(MERGE_ON_READ).await;
    all_at_once(&format!(
        "format_version = 3, {PARTITIONED}, {MERGE_ON_READ}"
    ))
    .await;
}

/// Row ids as the data files have them.
async fn row_ids(table: &Table) -> BTreeMap<i64, (i64, i64)> {
    let mut ids = BTreeMap::new();
    for file in table
        .query("SELECT file_path FROM \"t$files\" WHERE content = 0")
        .await
    {
        let path = file[0].clone().unwrap();
        let path = path.trim_start_matches("file://");
        let sql = format!(
            "SELECT id, _row_id, _last_updated_sequence_number FROM read_parquet('{path}')"
        );
        for row in table.query(&sql).await {
            let number = |index: usize| row[index].as_ref().unwrap().parse::<i64>().unwrap();
            ids.insert(number(0), (number(1), number(2)));
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_version_3_keep_their_ids() {
    let table = maintained(&format!("format_version = 3, {MERGE_ON_READ}")).await;
    table
        .execute("INSERT INTO t VALUES (1, 'a', 1), (2, 'a', 2), (3, 'a', 3)")
        .await;
    table
        .execute("INSERT INTO t VALUES (4, 'b', 4), (5, 'b', 5)")
        .await;
    table.execute("DELETE FROM t WHERE id IN (2, 4)").await;
    table.execute("ALTER TABLE t EXECUTE optimize").await;
    let expected = BTreeMap::from([(1, (0, 1)), (3, (2, 1)), (5, (4, 2))]);
    assert_eq!(row_ids(&table).await, expected);
    // New rows get ids beyond, and ids written down move on to the next file.
    table.execute("INSERT INTO t VALUES (6, 'c', 6)").await;
    let sorted = "ALTER TABLE t EXECUTE optimize(sorted_by => ARRAY['id DESC'])";
    table.execute(sorted).await;
    let found = row_ids(&table).await;
    for (id, row) in &expected {
        assert_eq!(found[id], *row, "{id}");
    }
    let (new_id, sequence_number) = found[&6];
    assert!(new_id >= 5, "{new_id}");
    assert!(sequence_number > 3, "{sequence_number}");
    assert_eq!(table.rows("").await.len(), 4);
}
