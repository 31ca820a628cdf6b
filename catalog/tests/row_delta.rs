//! Commits that change rows: what they leave in the manifests, what they refuse, and that
//! many of them at once lose and double nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use common::*;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, ManifestStatus,
    Operation, Struct,
};
use ingot_catalog::commit::{
    Isolation, Partitions, Removal, RowDelta, Validation, append_files, commit_metadata,
    commit_row_delta, commit_staged, stage_replace,
};
use ingot_catalog::evolve::{ReferenceChange, ReferenceKind, ReferenceMode, set_reference};
use ingot_catalog::scan::{ManifestCache, plan_scan};
use ingot_catalog::{Catalog, CatalogError, SqlCatalog, Table, TableVersion};
use rand::seq::IndexedRandom;

fn removal(table: &Table, names: &[&str]) -> Removal {
    Removal::Files(names.iter().map(|name| data_path(table, name)).collect())
}

fn validation(isolation: Isolation, filter: Predicate) -> Option<Validation> {
    Some(Validation {
        isolation,
        filter,
        reads_other_rows: false,
    })
}

fn on_day(day: i32) -> Predicate {
    Reference::new("day").equal_to(Datum::date(day))
}

/// Position deletes of one row of the data file called `name`.
fn delete_file(table: &Table, name: &str, day: i32) -> (i32, DataFile) {
    let spec_id = table.metadata.default_partition_spec_id();
    let file = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(data_path(
            table,
            &format!("{name}-deletes-{}", rand::random::<u64>()),
        ))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(day))]))
        .partition_spec_id(spec_id)
        .record_count(1)
        .file_size_in_bytes(100)
        .referenced_data_file(Some(data_path(table, name)))
        .build()
        .unwrap();
    (spec_id, file)
}

fn deletes(table: &Table, name: &str, day: i32) -> RowDelta {
    RowDelta {
        delete_files: vec![delete_file(table, name, day)],
        deleted_from: HashSet::from([data_path(table, name)]),
        validation: validation(Isolation::Serializable, on_day(day)),
        ..RowDelta::default()
    }
}

fn rewrite(table: &Table, old: &str, new: &str, day: i32, isolation: Isolation) -> RowDelta {
    RowDelta {
        data_files: vec![data_file(table, new, day)],
        removal: removal(table, &[old]),
        validation: validation(isolation, on_day(day)),
        ..RowDelta::default()
    }
}

async fn table_with(catalog: &SqlCatalog, name: &str, files: &[(&str, i32)]) -> Table {
    let mut table = create_table(catalog, &ident("s", name), &[]).await;
    for (file, day) in files {
        let file = data_file(&table, file, *day);
        table = append_files(catalog, &table, vec![file], no_summary())
            .await
            .unwrap();
    }
    table
}

async fn names_of(catalog: &SqlCatalog, table: &Table) -> Vec<String> {
    let files = live_files(catalog.storage(), table, &TableVersion::Current).await;
    files.into_iter().map(|(name, _, _)| name).collect()
}

fn total(table: &Table, key: &str) -> String {
    let summary = table.metadata.current_snapshot().unwrap().summary();
    summary.additional_properties[key].clone()
}

/// In version 3 the row ids of a file follow from its place in the manifest, until others leave it.
#[tokio::test]
async fn files_keep_their_row_ids_when_others_of_their_manifest_go() {
    let (_folder, catalog) = local_catalog().await;
    let version = [("format-version", "3")];
    let table = create_table(&*catalog, &ident("s", "t"), &version).await;
    let files = ["a", "b", "c", "d"].map(|name| data_file(&table, name, 1));
    let table = append_files(&*catalog, &table, files.to_vec(), no_summary())
        .await
        .unwrap();
    let remove = |table: Table, name: &'static str| {
        let catalog = &catalog;
        async move {
            let change = RowDelta {
                removal: removal(&table, &[name]),
                ..RowDelta::default()
            };
            commit_row_delta(&**catalog, &table, change).await.unwrap()
        }
    };
    let table = remove(table, "b").await;
    let table = remove(table, "a").await;
    let cache = ManifestCache::new(0);
    let (all, current) = (Predicate::AlwaysTrue, TableVersion::Current);
    let plan = plan_scan(catalog.storage(), &cache, &table, &current, &all);
    let tasks = plan.await.unwrap().tasks.into_iter();
    let mut row_ids: Vec<_> = tasks.map(|task| (task.path, task.first_row_id)).collect();
    row_ids.sort();
    let expected = [("c", 20), ("d", 30)];
    assert_eq!(
        row_ids,
        expected.map(|(name, first)| (data_path(&table, name), Some(first)))
    );
}

/// A branch has files, conflicts and a history of its own.
#[tokio::test]
async fn a_change_of_a_branch_is_validated_against_the_branch() {
    let (_folder, catalog) = local_catalog().await;
    let table = table_with(&catalog, "t", &[("a", 1), ("b", 2)]).await;
    let change = ReferenceChange {
        kind: ReferenceKind::Branch,
        name: "audit".to_string(),
        mode: ReferenceMode::Create,
        version: TableVersion::Current,
        max_ref_age_ms: None,
        min_snapshots_to_keep: None,
        max_snapshot_age_ms: None,
    };
    let table = commit_metadata(&*catalog, &table.ident, |table| {
        set_reference(table, &change)
    })
    .await
    .unwrap();
    let on_branch = |change: RowDelta| RowDelta {
        branch: Some("audit".to_string()),
        ..change
    };
    let isolation = Isolation::Serializable;
    let first = on_branch(rewrite(&table, "a", "a2", 1, isolation));
    let after = commit_row_delta(&*catalog, &table, first).await.unwrap();
    let on_audit = TableVersion::Reference("audit".to_string());
    let names = |version: TableVersion| {
        let (catalog, after) = (&catalog, &after);
        async move {
            let files = live_files(catalog.storage(), after, &version).await;
            files
                .into_iter()
                .map(|(name, _, _)| name)
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(names(on_audit).await, ["a2", "b"]);
    assert_eq!(names(TableVersion::Current).await, ["a", "b"]);
    // The same change again, made on the state before: the branch has moved, main has not.
    let again = on_branch(rewrite(&table, "a", "a3", 1, isolation));
    let message = conflict(commit_row_delta(&*catalog, &table, again).await);
    assert!(message.contains("removed or rewrote rows"), "{message}");
    let on_main = rewrite(&table, "a", "a4", 1, isolation);
    commit_row_delta(&*catalog, &table, on_main).await.unwrap();
    let missing = RowDelta {
        branch: Some("nosuch".to_string()),
        ..deletes(&table, "b", 2)
    };
    let error = commit_row_delta(&*catalog, &table, missing).await;
    assert!(error.unwrap_err().to_string().contains("nosuch"));
}

fn conflict(result: Result<Table, CatalogError>) -> String {
    match result.unwrap_err() {
        error @ CatalogError::CommitConflict { .. } => error.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_removed_file_is_marked_deleted_and_other_manifests_stay() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let first = vec![data_file(&table, "a", 1), data_file(&table, "b", 1)];
    let table = append_files(&*catalog, &table, first, no_summary())
        .await
        .unwrap();
    let second = vec![data_file(&table, "c", 2)];
    let table = append_files(&*catalog, &table, second, no_summary())
        .await
        .unwrap();
    let before = live_files(catalog.storage(), &table, &TableVersion::Current).await;
    let changed = rewrite(&table, "a", "a2", 1, Isolation::Serializable);
    let changed = commit_row_delta(&*catalog, &table, changed).await.unwrap();

    let after = live_files(catalog.storage(), &changed, &TableVersion::Current).await;
    let kept: Vec<_> = before.iter().filter(|(name, _, _)| name != "a").collect();
    for file in &kept {
        assert!(after.contains(file), "{file:?} keeps its sequence number");
    }
    let snapshot = changed.metadata.current_snapshot().unwrap();
    assert!(after.contains(&("a2".to_string(), snapshot.snapshot_id(), 3)));
    assert_eq!(after.len(), 3);
    assert_eq!(snapshot.summary().operation, Operation::Overwrite);
    for (key, expected) in [
        ("total-data-files", "3"),
        ("total-records", "30"),
        ("added-data-files", "1"),
        ("deleted-data-files", "1"),
        ("deleted-records", "10"),
    ] {
        assert_eq!(total(&changed, key), expected, "{key}");
    }

    let list = catalog
        .storage()
        .read(snapshot.manifest_list())
        .await
        .unwrap();
    let version = changed.metadata.format_version();
    let list = iceberg::spec::ManifestList::parse_with_version(&list, version).unwrap();
    let mut deleted = Vec::new();
    for manifest in list.entries() {
        let content = manifest
            .load_manifest(&catalog.storage().file_io())
            .await
            .unwrap();
        for entry in content.entries() {
            if entry.status() == ManifestStatus::Deleted {
                deleted.push((
                    entry.file_path().to_string(),
                    entry.snapshot_id(),
                    entry.sequence_number(),
                    entry.file_sequence_number,
                ));
            }
        }
    }
    let id = snapshot.snapshot_id();
    assert_eq!(
        deleted,
        [(data_path(&table, "a"), Some(id), Some(1), Some(1))]
    );
    assert_eq!(
        list.entries().len(),
        3,
        "the manifest of c is not written again"
    );

    // The next snapshot does not list what is deleted.
    let more = RowDelta {
        removal: removal(&table, &["b"]),
        validation: validation(Isolation::Serializable, on_day(1)),
        ..RowDelta::default()
    };
    let last = commit_row_delta(&*catalog, &changed, more).await.unwrap();
    assert_eq!(names_of(&catalog, &last).await, ["a2", "c"]);
    let operation = &last
        .metadata
        .current_snapshot()
        .unwrap()
        .summary()
        .operation;
    assert_eq!(*operation, Operation::Delete);
    assert_eq!(
        names(&live_files(catalog.storage(), &last, &TableVersion::SnapshotId(id)).await),
        ["a2", "b", "c"]
    );
}

#[tokio::test]
async fn position_deletes_apply_to_their_file_and_leave_with_it() {
    let (_folder, catalog) = local_catalog().await;
    let table = table_with(&catalog, "t", &[("a", 1), ("b", 1)]).await;
    let table = commit_row_delta(&*catalog, &table, deletes(&table, "a", 1))
        .await
        .unwrap();
    let operation = &table
        .metadata
        .current_snapshot()
        .unwrap()
        .summary()
        .operation;
    assert_eq!(*operation, Operation::Delete);
    assert_eq!(total(&table, "total-position-deletes"), "1");

    let cache = ManifestCache::new(1 << 20);
    let plan = |table: Table| {
        let (storage, cache) = (Arc::clone(catalog.storage()), &cache);
        async move {
            let all = Predicate::AlwaysTrue;
            let plan = plan_scan(&storage, cache, &table, &TableVersion::Current, &all).await;
            let tasks = plan.unwrap().tasks.into_iter();
            let mut found: Vec<_> = tasks.map(|task| (task.path, task.deletes.len())).collect();
            found.sort();
            found
        }
    };
    let expected = [(data_path(&table, "a"), 1), (data_path(&table, "b"), 0)];
    assert_eq!(plan(table.clone()).await, expected);

    let change = rewrite(&table, "a", "a2", 1, Isolation::Serializable);
    let table = commit_row_delta(&*catalog, &table, change).await.unwrap();
    let expected = [(data_path(&table, "a2"), 0), (data_path(&table, "b"), 0)];
    assert_eq!(plan(table.clone()).await, expected);
    assert_eq!(total(&table, "total-delete-files"), "0");
    assert_eq!(total(&table, "total-position-deletes"), "0");
}

#[tokio::test]
async fn concurrent_commits_are_validated() {
    let (_folder, catalog) = local_catalog().await;
    let catalog = &*catalog;
    let start = table_with(catalog, "t", &[("a", 1), ("b", 1), ("c", 2)]).await;
    let append = |name: &'static str, day| {
        let file = data_file(&start, name, day);
        append_files(catalog, &start, vec![file], no_summary())
    };

    // Rows of another partition do not matter.
    append("d", 2).await.unwrap();
    let change = rewrite(&start, "a", "a2", 1, Isolation::Serializable);
    commit_row_delta(catalog, &start, change).await.unwrap();

    // Those of the same do, unless the isolation is that of snapshots.
    let appended = append("e", 1).await.unwrap();
    let change = rewrite(&start, "b", "b2", 1, Isolation::Serializable);
    let error = conflict(commit_row_delta(catalog, &start, change).await);
    let id = appended.metadata.current_snapshot_id().unwrap();
    assert!(
        error.contains(&format!("snapshot {id} added rows")),
        "{error}"
    );
    assert!(
        error.contains("s.t") && error.contains("run the statement again"),
        "{error}"
    );
    let change = rewrite(&start, "b", "b2", 1, Isolation::Snapshot);
    let changed = commit_row_delta(catalog, &start, change).await.unwrap();

    // A file that is gone is a conflict in any isolation, for rewriting and for deleting.
    let id = changed.metadata.current_snapshot_id().unwrap();
    for change in [
        rewrite(&start, "b", "b3", 1, Isolation::Snapshot),
        RowDelta {
            validation: validation(Isolation::Snapshot, on_day(1)),
            ..deletes(&start, "b", 1)
        },
    ] {
        let error = conflict(commit_row_delta(catalog, &start, change).await);
        assert!(error.contains(&format!("snapshot {id} removed")), "{error}");
    }

    // So are deletes of the file by others.
    let before = catalog.load_table(&start.ident).await.unwrap();
    let deleted = commit_row_delta(catalog, &before, deletes(&before, "c", 2))
        .await
        .unwrap();
    let id = deleted.metadata.current_snapshot_id().unwrap();
    let change = rewrite(&before, "c", "c2", 2, Isolation::Snapshot);
    for change in [change, deletes(&before, "c", 2)] {
        let error = conflict(commit_row_delta(catalog, &before, change).await);
        assert!(
            error.contains(&format!("snapshot {id} deleted rows")),
            "{error}"
        );
    }

    // What the statement looked at without changing it counts in serializable isolation.
    let before = catalog.load_table(&start.ident).await.unwrap();
    let other = deletes(&before, "a2", 1);
    commit_row_delta(catalog, &before, other).await.unwrap();
    for (isolation, reads_other_rows) in [
        (Isolation::Serializable, true),
        (Isolation::Snapshot, true),
        (Isolation::Serializable, false),
    ] {
        let mut change = rewrite(&before, "d", "d2", 2, isolation);
        if let Some(validation) = &mut change.validation {
            validation.reads_other_rows = reads_other_rows;
        }
        let is_conflict = isolation == Isolation::Serializable && reads_other_rows;
        let committed = commit_row_delta(catalog, &before, change).await;
        assert_eq!(committed.is_err(), is_conflict);
        if committed.is_ok() {
            break;
        }
    }

    // A replacement leaves no trace of what it removed.
    let before = catalog.load_table(&start.ident).await.unwrap();
    let order = iceberg::spec::SortOrder::unsorted_order();
    let staged = stage_replace(
        catalog,
        &start.ident,
        schema(),
        by_day(),
        order,
        HashMap::new(),
    );
    commit_staged(catalog, staged.await.unwrap(), Vec::new())
        .await
        .unwrap();
    let change = rewrite(&before, "c", "c2", 2, Isolation::Snapshot);
    conflict(commit_row_delta(catalog, &before, change).await);

    let table = catalog.load_table(&start.ident).await.unwrap();
    assert_eq!(names_of(catalog, &table).await, Vec::<String>::new());
    let location = table.metadata.location().to_string();
    let left = orphans(catalog.storage(), &location, &[table]).await;
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn whole_partitions_and_tables_are_removed_as_they_are_by_then() {
    let (_folder, catalog) = local_catalog().await;
    let start = table_with(&catalog, "t", &[("a", 1), ("b", 2)]).await;
    let table = commit_row_delta(&*catalog, &start, deletes(&start, "a", 1))
        .await
        .unwrap();
    let late = vec![data_file(&table, "late", 1)];
    append_files(&*catalog, &table, late, no_summary())
        .await
        .unwrap();

    let new = vec![data_file(&start, "new", 1)];
    let spec_id = start.metadata.default_partition_spec_id();
    let overwrite = RowDelta {
        removal: Removal::Partitions(Partitions::of_files(spec_id, &new)),
        data_files: new,
        ..RowDelta::default()
    };
    let table = commit_row_delta(&*catalog, &start, overwrite)
        .await
        .unwrap();
    assert_eq!(names_of(&catalog, &table).await, ["b", "new"]);
    assert_eq!(total(&table, "total-delete-files"), "0");

    let truncate = RowDelta {
        removal: Removal::All,
        ..RowDelta::default()
    };
    let table = commit_row_delta(&*catalog, &start, truncate).await.unwrap();
    assert_eq!(names_of(&catalog, &table).await, Vec::<String>::new());
    assert_eq!(total(&table, "total-records"), "0");
    assert_eq!(total(&table, "deleted-records"), "20");
}

#[tokio::test]
async fn only_format_version_2_takes_delete_files() {
    let (_folder, catalog) = local_catalog().await;
    for version in ["1", "3"] {
        let name = ident("s", &format!("t{version}"));
        let table = create_table(&*catalog, &name, &[("format-version", version)]).await;
        let file = data_file(&table, "a", 1);
        let table = append_files(&*catalog, &table, vec![file], no_summary())
            .await
            .unwrap();
        let error = commit_row_delta(&*catalog, &table, deletes(&table, "a", 1)).await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(&format!("format version {version}")),
            "{error}"
        );
        let truncate = RowDelta {
            removal: Removal::All,
            ..RowDelta::default()
        };
        let table = commit_row_delta(&*catalog, &table, truncate).await.unwrap();
        assert_eq!(names_of(&catalog, &table).await, Vec::<String>::new());
    }
}

/// Writers that append, rewrite and delete at the same time, as several processes: in the
/// end every token (the part of a file's name before the dash) is there exactly once or was
/// deleted exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_by_many_writers() {
    let (folder, first) = local_catalog().await;
    let properties = [
        ("commit.manifest.min-count-to-merge", "5"),
        ("commit.retry.num-retries", "1000"),
        ("commit.retry.max-wait-ms", "50"),
        ("write.metadata.previous-versions-max", "1000"),
    ];
    let name = ident("s", "raced");
    let table = create_table(&*first, &name, &properties).await;
    let second = {
        let url = folder.path().join("catalog.db");
        let database = ingot_catalog::Database::connect_sqlite(&url).await.unwrap();
        let warehouse = folder.path().join("warehouse").display().to_string();
        let opened = SqlCatalog::open("iceberg", database, local_storage(), &warehouse);
        opened.await.unwrap()
    };
    let catalogs = [first, second];
    const ROUNDS: usize = 12;
    let mut tasks = Vec::new();
    for writer in 0..6_usize {
        let catalog = Arc::clone(&catalogs[writer % 2]);
        let (name, table) = (name.clone(), table.clone());
        tasks.push(tokio::spawn(async move {
            let (mut added, mut deleted) = (Vec::new(), Vec::new());
            for round in 0..ROUNDS {
                let token = format!("t{writer}x{round}");
                let file = data_file(&table, &format!("{token}-0"), 1);
                append_files(&*catalog, &table, vec![file], no_summary())
                    .await
                    .unwrap();
                added.push(token);
                let current = catalog.load_table(&name).await.unwrap();
                let live = live_files(catalog.storage(), &current, &TableVersion::Current).await;
                let Some((victim, _, _)) = live.choose(&mut rand::rng()) else {
                    continue;
                };
                let (token, generation) = victim.split_once('-').unwrap();
                let generation: u64 = generation.parse().unwrap();
                let is_delete = writer == 0;
                let mut change = RowDelta {
                    removal: removal(&current, &[victim]),
                    validation: validation(Isolation::Snapshot, on_day(1)),
                    ..RowDelta::default()
                };
                if !is_delete {
                    let next = format!("{token}-{}", generation + 1 + writer as u64 * 1000);
                    change.data_files.push(data_file(&current, &next, 1));
                }
                match commit_row_delta(&*catalog, &current, change).await {
                    Ok(_) if is_delete => deleted.push(token.to_string()),
                    Ok(_) => {}
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
            }
            (added, deleted)
        }));
    }
    let (mut expected, mut deleted) = (Vec::new(), Vec::new());
    for task in tasks {
        let (added, removed) = task.await.unwrap();
        expected.extend(added);
        deleted.extend(removed);
    }
    expected.retain(|token| !deleted.contains(token));
    expected.sort();
    let table = catalogs[0].load_table(&name).await.unwrap();
    let mut found: Vec<_> = names_of(&catalogs[0], &table).await;
    found.iter_mut().for_each(|name| {
        name.truncate(name.find('-').unwrap());
    });
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(
        total(&table, "total-data-files"),
        expected.len().to_string()
    );
    let distinct: HashSet<_> = deleted.iter().collect();
    assert_eq!(distinct.len(), deleted.len());
    let location = table.metadata.location().to_string();
    let left = orphans(catalogs[0].storage(), &location, &[table]).await;
    assert_eq!(left, Vec::<String>::new());
}
