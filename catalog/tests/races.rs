//! Many writers at once, as tasks of one coordinator and as several coordinators:
//! every committed file is in the table exactly once, and nothing else is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use common::*;
use ingot_catalog::commit::{append_files, commit_staged, stage_create_or_replace};
use ingot_catalog::{Catalog, Database, SqlCatalog, TableVersion};
use ingot_test_support::Postgres;

/// Coordinators that share a database and a warehouse. Each has its own connections
/// and its own storage, as if it were a process of its own.
async fn coordinators(count: usize, url: &str, folder: &Path) -> Vec<Arc<SqlCatalog>> {
    let warehouse = folder.join("warehouse").display().to_string();
    let mut catalogs = Vec::new();
    for _ in 0..count {
        let database = Database::connect(url).await.unwrap();
        let catalog = SqlCatalog::open("iceberg", database, local_storage(), &warehouse);
        catalogs.push(catalog.await.unwrap());
    }
    catalogs
}

async fn append_race(
    catalogs: &[Arc<SqlCatalog>],
    table_name: &str,
    writers: usize,
    rounds: usize,
) {
    let name = ident("s", table_name);
    let properties = [
        ("commit.manifest.min-count-to-merge", "10"),
        ("commit.retry.num-retries", "1000"),
        ("commit.retry.max-wait-ms", "100"),
    ];
    let table = create_table(&*catalogs[0], &name, &properties).await;
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let catalog = Arc::clone(&catalogs[writer % catalogs.len()]);
        let table = table.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..rounds {
                let files = vec![
                    data_file(&table, &format!("w{writer:02}-r{round}-a"), 1),
                    data_file(&table, &format!("w{writer:02}-r{round}-b"), 2),
                ];
                append_files(&*catalog, &table, files, no_summary())
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }

    let mut expected: Vec<_> = (0..writers)
        .flat_map(|writer| (0..rounds).map(move |round| (writer, round)))
        .flat_map(|(writer, round)| ["a", "b"].map(|file| format!("w{writer:02}-r{round}-{file}")))
        .collect();
    expected.sort();
    let catalog = &catalogs[catalogs.len() - 1];
    let table = catalog.load_table(&name).await.unwrap();
    let files = live_files(catalog.storage(), &table, &TableVersion::Current).await;
    assert_eq!(names(&files), expected);
    assert_eq!(table.metadata.snapshots().len(), writers * rounds);
    let summary = table.metadata.current_snapshot().unwrap().summary();
    let total = (writers * rounds * 20).to_string();
    assert_eq!(summary.additional_properties["total-records"], total);
    // One line of history: each snapshot on top of the one before.
    let history: Vec<_> = table
        .metadata
        .history()
        .iter()
        .map(|entry| entry.snapshot_id)
        .collect();
    for pair in history.windows(2) {
        let snapshot = table.metadata.snapshot_by_id(pair[1]).unwrap();
        assert_eq!(snapshot.parent_snapshot_id(), Some(pair[0]));
    }
    let left = orphans(
        catalog.storage(),
        table.metadata.location(),
        std::slice::from_ref(&table),
    )
    .await;
    assert_eq!(left, Vec::<String>::new());
}

/// `CREATE OR REPLACE` and appends against each other: each either is in the history
/// or failed with a conflict.
async fn replace_race(catalogs: &[Arc<SqlCatalog>]) {
    let name = ident("s", "replaced");
    let table = create_table(&*catalogs[0], &name, &[]).await;
    let mut tasks = Vec::new();
    for writer in 0..8 {
        let catalog = Arc::clone(&catalogs[writer % catalogs.len()]);
        let (table, name) = (table.clone(), name.clone());
        tasks.push(tokio::spawn(async move {
            let file = format!("f{writer}");
            let done = if writer % 2 == 0 {
                let staged = stage_create_or_replace(
                    &*catalog,
                    &name,
                    schema(),
                    by_day(),
                    iceberg::spec::SortOrder::unsorted_order(),
                    HashMap::new(),
                )
                .await
                .unwrap();
                let files = vec![data_file(staged.table(), &file, 1)];
                commit_staged(&*catalog, staged, files).await
            } else {
                let files = vec![data_file(&table, &file, 1)];
                append_files(&*catalog, &table, files, no_summary()).await
            };
            done.unwrap();
            file
        }));
    }
    let mut committed = Vec::new();
    for task in tasks {
        committed.push(task.await.unwrap());
    }
    let catalog = &catalogs[0];
    let table = catalog.load_table(&name).await.unwrap();
    // Replay the history: a replacement leaves only its own file, an append adds one.
    let mut expected: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    for entry in table.metadata.history() {
        let version = TableVersion::SnapshotId(entry.snapshot_id);
        let files = live_files(catalog.storage(), &table, &version).await;
        let added: Vec<_> = files
            .iter()
            .filter(|(_, snapshot, _)| *snapshot == entry.snapshot_id)
            .map(|(name, _, _)| name.clone())
            .collect();
        assert_eq!(added.len(), 1);
        let number: usize = added[0][1..].parse().unwrap();
        if number.is_multiple_of(2) {
            expected.clear();
        }
        expected.extend(added.clone());
        expected.sort();
        seen.extend(added);
        assert_eq!(names(&files), expected);
    }
    seen.sort();
    committed.sort();
    assert_eq!(seen, committed);
    let left = orphans(
        catalog.storage(),
        table.metadata.location(),
        std::slice::from_ref(&table),
    )
    .await;
    assert_eq!(left, Vec::<String>::new());
}

/// Several creators of one name: one wins, the others are told.
async fn create_race(catalogs: &[Arc<SqlCatalog>]) {
    let name = ident("s", "created");
    let mut tasks = Vec::new();
    for writer in 0..8 {
        let catalog = Arc::clone(&catalogs[writer % catalogs.len()]);
        let name = name.clone();
        tasks.push(tokio::spawn(async move {
            let staged = ingot_catalog::commit::stage_create(
                &*catalog,
                &name,
                schema(),
                by_day(),
                iceberg::spec::SortOrder::unsorted_order(),
                HashMap::new(),
            )
            .await?;
            let files = vec![data_file(staged.table(), "f", 1)];
            commit_staged(&*catalog, staged, files).await
        }));
    }
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(table) => winners.push(table),
            Err(ingot_catalog::CatalogError::TableExists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    let table = catalogs[0].load_table(&name).await.unwrap();
    assert_eq!(table.metadata_location, winners[0].metadata_location);
    let folder = format!("{}/s", catalogs[0].warehouse());
    let left: Vec<_> = orphans(catalogs[0].storage(), &folder, &[table])
        .await
        .into_iter()
        .filter(|location| location.contains("/created-"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

async fn all_races(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let catalogs = coordinators(4, url, folder.path()).await;
    catalogs[0]
        .create_schema("s", HashMap::new())
        .await
        .unwrap();
    append_race(&catalogs[..1], "one", 16, 3).await;
    append_race(&catalogs, "several", 8, 3).await;
    replace_race(&catalogs).await;
    create_race(&catalogs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_race_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("catalog.db").display());
    all_races(&url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_race_on_postgresql() {
    let Some(server) = Postgres::start() else {
        return;
    };
    all_races(&server.url()).await;

    let wrong = server.url().replace(Postgres::PASSWORD, "not-the-password");
    let error = Database::connect(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("password authentication failed"), "{error}");
    assert!(!error.contains("not-the-password"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_coordinators_may_start_at_once_on_postgresql() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut tasks = Vec::new();
    for number in 0..8 {
        let url = server.url();
        tasks.push(tokio::spawn(async move {
            let database = Database::connect(&url).await.unwrap();
            let _lock = database.lock_exclusive("test").unwrap();
            let name = format!("catalog_{}", number % 3);
            let catalog = SqlCatalog::open(&name, database, local_storage(), "/w").await;
            catalog.unwrap().list_schemas().await.unwrap()
        }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), Vec::<String>::new());
    }
}
