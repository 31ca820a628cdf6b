//! Maintenance of tables at the level of commits: which manifests, snapshots and files are left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use common::*;
use iceberg::expr::Predicate;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, MAIN_BRANCH, Manifest,
    ManifestContentType, ManifestList, ManifestListWriter, ManifestWriterBuilder, Operation,
    Snapshot, SnapshotReference, SnapshotRetention, Struct, Summary, Transform,
    UnboundPartitionSpec,
};
use iceberg::{TableIdent, TableUpdate};
use ingot_catalog::commit::{
    Removal, Rewrite, RowDelta, append_files, commit_metadata, commit_rewrite, commit_row_delta,
    commit_staged, optimize_manifests, stage_replace,
};
use ingot_catalog::maintenance::{
    ExpireOptions, OrphanOptions, expire_snapshots, remove_abandoned_folders, remove_orphan_files,
};
use ingot_catalog::scan::{ManifestCache, plan_scan};
use ingot_catalog::{
    Catalog, CatalogError, Database, SqlCatalog, Storage, Table, TableCommit, TableVersion,
    ViewDefinition,
};

const HOUR_MS: i64 = 3_600_000;

async fn manifests_of(
    storage: &Arc<Storage>,
    table: &Table,
) -> Vec<(ManifestContentType, Manifest)> {
    let Some(snapshot) = table.metadata.current_snapshot() else {
        return Vec::new();
    };
    let content = storage.read(snapshot.manifest_list()).await.unwrap();
    let list = ManifestList::parse_with_version(&content, table.metadata.format_version()).unwrap();
    let mut manifests = Vec::new();
    for file in list.entries() {
        let manifest = file.load_manifest(&storage.file_io()).await.unwrap();
        manifests.push((file.content, manifest));
    }
    manifests
}

/// What a scan knows of each live file: sequence number and first row id.
async fn scanned(storage: &Arc<Storage>, table: &Table) -> BTreeMap<String, (i64, Option<i64>)> {
    let cache = ManifestCache::new(1 << 20);
    let all = Predicate::AlwaysTrue;
    let plan = plan_scan(storage, &cache, table, &TableVersion::Current, &all).await;
    let tasks = plan.unwrap().tasks.into_iter();
    tasks
        .map(|task| (task.path, (task.data_sequence_number, task.first_row_id)))
        .collect()
}

async fn append(catalog: &SqlCatalog, table: &Table, name: &str, day: i32) -> Table {
    let file = data_file(table, name, day);
    write(catalog, file.file_path()).await;
    append_files(catalog, table, vec![file], no_summary())
        .await
        .unwrap()
}

/// Commits do not look at data files, deleting them does.
async fn write(catalog: &SqlCatalog, path: &str) {
    let content = Bytes::from_static(b"data");
    catalog.storage().write(path, content).await.unwrap();
}

/// Row ids and sequence numbers of files are what they were when the files came.
async fn check_many_commits(format_version: &str, commits: i32, min_count: usize) {
    let (_folder, catalog) = local_catalog().await;
    let count = min_count.to_string();
    let properties = [
        ("format-version", format_version),
        ("commit.manifest.min-count-to-merge", count.as_str()),
    ];
    let mut table = create_table(&*catalog, &ident("s", "t"), &properties).await;
    let storage = catalog.storage();
    let mut expected: BTreeMap<String, (i64, Option<i64>)> = BTreeMap::new();
    for number in 0..commits {
        let name = format!("f{number:04}");
        let file = data_file(&table, &name, number % 3);
        table = append_files(&*catalog, &table, vec![file], no_summary())
            .await
            .unwrap();
        if number % 10 == 9 || number + 1 == commits || expected.len() < 10 {
            let found = scanned(storage, &table).await;
            for (path, values) in &expected {
                assert_eq!(found[path], *values, "{path} after {number}");
            }
            expected = found;
            assert_eq!(expected.len() as i32, number + 1);
            let manifests = manifests_of(storage, &table).await.len();
            assert!(manifests <= min_count + 1, "{manifests} after {number}");
        }
    }
    if format_version == "3" {
        let mut ids: Vec<i64> = expected.values().map(|(_, id)| id.unwrap()).collect();
        ids.sort_unstable();
        assert!(
            ids.windows(2).all(|pair| pair[1] - pair[0] >= 10),
            "{ids:?}"
        );
    }
}

#[tokio::test]
async fn manifests_stay_few_over_many_commits() {
    check_many_commits("1", 30, 5).await;
    check_many_commits("2", 60, 5).await;
    check_many_commits("3", 60, 5).await;
    check_many_commits("2", 220, 100).await;
}

#[tokio::test]
async fn manifests_of_delete_files_are_joined_too() {
    let (_folder, catalog) = local_catalog().await;
    let properties = [("commit.manifest.min-count-to-merge", "4")];
    let table = create_table(&*catalog, &ident("s", "t"), &properties).await;
    let mut table = append(&catalog, &table, "a", 1).await;
    for _ in 0..20 {
        let delta = position_delete(&table, "a", 1);
        table = commit_row_delta(&*catalog, &table, delta).await.unwrap();
    }
    let manifests = manifests_of(catalog.storage(), &table).await;
    assert!(manifests.len() <= 5, "{}", manifests.len());
    let deletes = manifests
        .iter()
        .filter(|(content, _)| *content == ManifestContentType::Deletes);
    let entries = deletes.map(|(_, manifest)| manifest.entries().len());
    assert_eq!(entries.sum::<usize>(), 20);
}

#[tokio::test]
async fn optimized_manifests_are_ordered_by_partition() {
    for version in ["1", "2", "3"] {
        let (_folder, catalog) = local_catalog().await;
        let properties = [
            ("format-version", version),
            ("commit.manifest-merge.enabled", "false"),
            ("commit.manifest.target-size-bytes", "20000"),
        ];
        let mut table = create_table(&*catalog, &ident("s", "t"), &properties).await;
        for number in 0..30 {
            table = append(&catalog, &table, &format!("f{number}"), number % 5).await;
        }
        let storage = catalog.storage();
        let removed = RowDelta {
            removal: Removal::Files(HashSet::from([data_path(&table, "f3")])),
            ..RowDelta::default()
        };
        table = commit_row_delta(&*catalog, &table, removed).await.unwrap();
        let before = scanned(storage, &table).await;
        let live = live_files(storage, &table, &TableVersion::Current).await;
        let (optimized, report) = optimize_manifests(&*catalog, &table.ident).await.unwrap();
        assert_eq!(report.replaced, 29);
        let manifests = manifests_of(storage, &optimized).await;
        assert_eq!(manifests.len(), report.created);
        assert!((2..29).contains(&report.created), "{report:?}");
        assert_eq!(scanned(storage, &optimized).await, before);
        assert_eq!(
            live_files(storage, &optimized, &TableVersion::Current).await,
            live
        );
        let day = |entry: &DataFile| match entry.partition().fields()[0].clone().unwrap() {
            Literal::Primitive(day) => format!("{day:?}"),
            other => panic!("{other:?}"),
        };
        let mut ranges: Vec<(String, String)> = manifests
            .iter()
            .map(|(_, manifest)| {
                let mut days: Vec<String> = manifest
                    .entries()
                    .iter()
                    .map(|entry| day(entry.data_file()))
                    .collect();
                days.sort();
                (days[0].clone(), days[days.len() - 1].clone())
            })
            .collect();
        ranges.sort();
        let in_order = ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        assert!(in_order, "{ranges:?}");
        let snapshot = optimized.metadata.current_snapshot().unwrap();
        assert_eq!(snapshot.summary().operation, Operation::Replace);
        let total = &snapshot.summary().additional_properties["total-data-files"];
        assert_eq!(total, "29");

        let (again, report) = optimize_manifests(&*catalog, &table.ident).await.unwrap();
        assert_eq!(report.replaced, 0);
        assert_eq!(again.metadata_location, optimized.metadata_location);
        // Others go on from there.
        let more = append(&catalog, &again, "more", 1).await;
        assert_eq!(scanned(storage, &more).await.len(), before.len() + 1);
    }
}

fn position_delete(table: &Table, name: &str, day: i32) -> RowDelta {
    let spec_id = table.metadata.default_partition_spec_id();
    let path = data_path(table, &format!("{name}-deletes-{}", rand::random::<u64>()));
    let file = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(day))]))
        .partition_spec_id(spec_id)
        .record_count(1)
        .file_size_in_bytes(100)
        .referenced_data_file(Some(data_path(table, name)))
        .build()
        .unwrap();
    RowDelta {
        delete_files: vec![(spec_id, file)],
        deleted_from: HashSet::from([data_path(table, name)]),
        ..RowDelta::default()
    }
}

/// Adds an equality delete file to a partition, as Flink does: ingot itself never writes them.
async fn equality_delete(catalog: &SqlCatalog, table: &Table, day: i32) -> Table {
    let spec_id = table.metadata.default_partition_spec_id();
    equality_delete_of_spec(catalog, table, spec_id, day).await
}

/// [`equality_delete`] by a writer that still has this partition spec.
async fn equality_delete_of_spec(
    catalog: &SqlCatalog,
    table: &Table,
    spec_id: i32,
    day: i32,
) -> Table {
    let metadata = catalog.load_table(&table.ident).await.unwrap().metadata;
    let storage = catalog.storage();
    let parent = metadata.current_snapshot().unwrap();
    let snapshot_id = 1 + rand::random::<u32>() as i64;
    let base = format!("{}/metadata/{snapshot_id}", metadata.location());
    let file = DataFileBuilder::default()
        .content(DataContentType::EqualityDeletes)
        .file_path(format!("{base}-equality.parquet"))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(day))]))
        .record_count(1)
        .file_size_in_bytes(100)
        .equality_ids(Some(vec![1]))
        .build()
        .unwrap();
    let output = storage
        .file_io()
        .new_output(format!("{base}-m.avro"))
        .unwrap();
    let mut writer = ManifestWriterBuilder::new(
        output,
        Some(snapshot_id),
        Arc::clone(metadata.current_schema()),
        metadata
            .partition_spec_by_id(spec_id)
            .unwrap()
            .as_ref()
            .clone(),
    )
    .build_v2_deletes();
    writer.add_file(file, -1).unwrap();
    let manifest = writer.write_manifest_file().await.unwrap();
    let content = storage.read(parent.manifest_list()).await.unwrap();
    let list = ManifestList::parse_with_version(&content, metadata.format_version()).unwrap();
    let sequence_number = metadata.next_sequence_number();
    let path = format!("{base}-list.avro");
    let output = storage.file_io().new_output(&path).unwrap();
    let mut list_writer = ManifestListWriter::v2(
        output.writer().await.unwrap(),
        snapshot_id,
        Some(parent.snapshot_id()),
        sequence_number,
    );
    let manifests = list.consume_entries().into_iter().chain([manifest]);
    list_writer.add_manifests(manifests).unwrap();
    list_writer.close().await.unwrap();
    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(Some(parent.snapshot_id()))
        .with_sequence_number(sequence_number)
        .with_timestamp_ms(parent.timestamp_ms() + 1)
        .with_manifest_list(path)
        .with_summary(Summary {
            operation: Operation::Delete,
            additional_properties: HashMap::new(),
        })
        .with_schema_id(metadata.current_schema_id())
        .build();
    let retention = SnapshotRetention::branch(None, None, None);
    let commit = TableCommit {
        ident: table.ident.clone(),
        requirements: Vec::new(),
        based_on: None,
        created_from: None,
        updates: vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: MAIN_BRANCH.to_string(),
                reference: SnapshotReference::new(snapshot_id, retention),
            },
        ],
    };
    catalog.commit(vec![commit]).await.unwrap().remove(0)
}

/// Files with the number of delete files that apply to each.
async fn deletes_of(catalog: &SqlCatalog, table: &Table) -> BTreeMap<String, usize> {
    let cache = ManifestCache::new(1 << 20);
    let all = Predicate::AlwaysTrue;
    let current = TableVersion::Current;
    let plan = plan_scan(catalog.storage(), &cache, table, &current, &all).await;
    let tasks = plan.unwrap().tasks.into_iter();
    tasks
        .map(|task| {
            let name = task.path.rsplit('/').next().unwrap();
            let name = name.trim_end_matches(".parquet").to_string();
            (name, task.deletes.len())
        })
        .collect()
}

fn rewrite(table: &Table, old: &[&str], new: &str, day: i32) -> Rewrite {
    Rewrite {
        removed: old.iter().map(|name| data_path(table, name)).collect(),
        added: vec![data_file(table, new, day)],
    }
}

fn expected(files: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let files = files.iter();
    files
        .map(|(name, deletes)| (name.to_string(), *deletes))
        .collect()
}

#[tokio::test]
async fn a_rewrite_takes_the_deletes_along_that_nothing_needs() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&catalog, &table, "a", 1).await;
    let table = append(&catalog, &table, "b", 1).await;
    let table = append(&catalog, &table, "c", 2).await;
    let delta = position_delete(&table, "a", 1);
    let table = commit_row_delta(&*catalog, &table, delta).await.unwrap();
    let table = equality_delete(&catalog, &table, 1).await;
    let table = equality_delete(&catalog, &table, 2).await;
    assert_eq!(
        deletes_of(&catalog, &table).await,
        expected(&[("a", 2), ("b", 1), ("c", 1)])
    );

    // `b` still needs the equality deletes of its partition.
    let half = rewrite(&table, &["a"], "a2", 1);
    let (half, report) = commit_rewrite(&*catalog, &table, half).await.unwrap();
    assert_eq!(report.removed_delete_files, 1);
    assert_eq!(
        deletes_of(&catalog, &half).await,
        expected(&[("a2", 0), ("b", 1), ("c", 1)])
    );

    let all = rewrite(&half, &["a2", "b"], "ab", 1);
    let (all, report) = commit_rewrite(&*catalog, &half, all).await.unwrap();
    assert_eq!((report.removed_data_files, report.added_data_files), (2, 1));
    assert_eq!(report.removed_delete_files, 1);
    assert_eq!(
        deletes_of(&catalog, &all).await,
        expected(&[("ab", 0), ("c", 1)])
    );
    let summary = all.metadata.current_snapshot().unwrap().summary();
    assert_eq!(summary.operation, Operation::Replace);
}

#[tokio::test]
async fn deletes_that_come_while_files_are_rewritten() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&catalog, &table, "a", 1).await;
    let start = append(&catalog, &table, "b", 1).await;

    // Equality deletes apply to the new file as they did to the old ones, and so do appends
    // not get in the way; position deletes are lost if the rewrite comes last.
    equality_delete(&catalog, &start, 1).await;
    append(&catalog, &start, "later", 1).await;
    let ab = rewrite(&start, &["a", "b"], "ab", 1);
    let (merged, report) = commit_rewrite(&*catalog, &start, ab).await.unwrap();
    assert_eq!(report.removed_delete_files, 0);
    assert_eq!(
        deletes_of(&catalog, &merged).await,
        expected(&[("ab", 1), ("later", 0)])
    );

    let delta = position_delete(&merged, "ab", 1);
    commit_row_delta(&*catalog, &merged, delta).await.unwrap();
    let again = rewrite(&merged, &["ab", "later"], "all", 1);
    let error = commit_rewrite(&*catalog, &merged, again).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(
        error.to_string().contains("deleted rows of a file"),
        "{error}"
    );
    let removed = RowDelta {
        removal: Removal::Files(HashSet::from([data_path(&merged, "later")])),
        ..RowDelta::default()
    };
    commit_row_delta(&*catalog, &merged, removed).await.unwrap();
    let gone = rewrite(&merged, &["later"], "later2", 1);
    let error = commit_rewrite(&*catalog, &merged, gone).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
}

#[tokio::test]
async fn equality_deletes_of_another_partition_spec_are_not_lost_by_a_rewrite() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let old_spec = table.metadata.default_partition_spec_id();
    append(&catalog, &table, "a", 1).await;
    let start = commit_metadata(&*catalog, &table.ident, |_| {
        let spec = UnboundPartitionSpec::builder()
            .add_partition_field(2, "by_day", Transform::Day)
            .unwrap()
            .build();
        Ok(vec![
            TableUpdate::AddSpec { spec },
            TableUpdate::SetDefaultSpec { spec_id: -1 },
        ])
    })
    .await
    .unwrap();
    assert_ne!(start.metadata.default_partition_spec_id(), old_spec);

    // It applies to `a`, and would not apply to a file of the new spec.
    let deleted = equality_delete_of_spec(&catalog, &start, old_spec, 1).await;
    assert_eq!(deletes_of(&catalog, &deleted).await, expected(&[("a", 1)]));
    let a = rewrite(&start, &["a"], "a2", 1);
    let error = commit_rewrite(&*catalog, &start, a).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(
        error.to_string().contains("deleted rows of a file"),
        "{error}"
    );
    let newest = catalog.load_table(&start.ident).await.unwrap();
    assert_eq!(deletes_of(&catalog, &newest).await, expected(&[("a", 1)]));

    // Read again, with the delete applied; one in another partition does not matter.
    equality_delete_of_spec(&catalog, &newest, old_spec, 2).await;
    let again = rewrite(&newest, &["a"], "a2", 1);
    let (rewritten, _) = commit_rewrite(&*catalog, &newest, again).await.unwrap();
    assert_eq!(
        deletes_of(&catalog, &rewritten).await,
        expected(&[("a2", 0)])
    );
}

#[tokio::test]
async fn a_rewrite_of_version_3_keeps_the_row_ids_of_other_files() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[("format-version", "3")]).await;
    let files = vec![
        data_file(&table, "a", 1),
        data_file(&table, "b", 1),
        data_file(&table, "c", 1),
    ];
    let table = append_files(&*catalog, &table, files, no_summary())
        .await
        .unwrap();
    let storage = catalog.storage();
    let before = scanned(storage, &table).await;
    let b = rewrite(&table, &["b"], "b2", 1);
    let (after, _) = commit_rewrite(&*catalog, &table, b).await.unwrap();
    let after = scanned(storage, &after).await;
    for name in ["a", "c"] {
        let path = data_path(&table, name);
        assert_eq!(after[&path], before[&path]);
    }
    let (sequence_number, first_row_id) = after[&data_path(&table, "b2")];
    assert_eq!(sequence_number, 1);
    assert!(first_row_id.unwrap() >= 30);
}

fn options(max_age_ms: i64) -> ExpireOptions {
    ExpireOptions {
        now_ms: chrono::Utc::now().timestamp_millis() + 1_000_000,
        max_age_ms: Some(max_age_ms),
        default_max_age_ms: HOUR_MS,
        retain_last: None,
        clean_expired_metadata: false,
    }
}

async fn exists(catalog: &SqlCatalog, table: &Table, name: &str) -> bool {
    let path = data_path(table, name);
    catalog.storage().exists(&path).await.unwrap()
}

fn set_reference(name: &str, snapshot_id: i64, retention: SnapshotRetention) -> TableUpdate {
    TableUpdate::SetSnapshotRef {
        ref_name: name.to_string(),
        reference: SnapshotReference::new(snapshot_id, retention),
    }
}

/// A table whose three snapshots have the files `a`, `b`, `c` alone.
async fn replaced_twice(catalog: &SqlCatalog, name: &TableIdent) -> (Table, Vec<i64>) {
    let mut table = create_table(catalog, name, &[]).await;
    table = append(catalog, &table, "a", 1).await;
    for file in ["b", "c"] {
        let path = data_path(&table, file);
        write(catalog, &path).await;
        let delta = RowDelta {
            data_files: vec![data_file(&table, file, 1)],
            removal: Removal::All,
            ..RowDelta::default()
        };
        table = commit_row_delta(catalog, &table, delta).await.unwrap();
    }
    let mut snapshots: Vec<_> = table.metadata.snapshots().cloned().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    let ids = snapshots.iter().map(|snapshot| snapshot.snapshot_id());
    (table, ids.collect())
}

#[tokio::test]
async fn expired_snapshots_take_their_files_along() {
    let (folder, catalog) = local_catalog().await;
    let (table, ids) = replaced_twice(&catalog, &ident("s", "t")).await;
    let nothing = expire_snapshots(&*catalog, &table.ident, options(10 * HOUR_MS)).await;
    assert_eq!(nothing.unwrap().1.snapshots, 0);

    let tag = SnapshotRetention::Tag {
        max_ref_age_ms: None,
    };
    let tagged = commit_metadata(&*catalog, &table.ident, |_| {
        Ok(vec![set_reference("kept", ids[0], tag.clone())])
    });
    tagged.await.unwrap();
    let (after, report) = expire_snapshots(&*catalog, &table.ident, options(0))
        .await
        .unwrap();
    assert_eq!(
        (report.snapshots, report.data_files, report.failed),
        (1, 1, 0)
    );
    assert!(after.metadata.snapshot_by_id(ids[1]).is_none());
    assert!(exists(&catalog, &table, "a").await);
    assert!(!exists(&catalog, &table, "b").await);
    assert!(exists(&catalog, &table, "c").await);
    assert_eq!(
        names(&live_files(catalog.storage(), &after, &TableVersion::Current).await),
        ["c"]
    );
    let tagged = TableVersion::Reference("kept".to_string());
    assert_eq!(
        names(&live_files(catalog.storage(), &after, &tagged).await),
        ["a"]
    );

    let short = SnapshotRetention::Tag {
        max_ref_age_ms: Some(1),
    };
    commit_metadata(&*catalog, &table.ident, |_| {
        Ok(vec![set_reference("kept", ids[0], short.clone())])
    })
    .await
    .unwrap();
    let (after, report) = expire_snapshots(&*catalog, &table.ident, options(0))
        .await
        .unwrap();
    assert_eq!(report.references, ["kept"]);
    assert_eq!((report.snapshots, report.data_files), (1, 1));
    assert!(!exists(&catalog, &table, "a").await);
    let unknown = orphans(
        catalog.storage(),
        &format!("{}/metadata", after.metadata.location()),
        &[after],
    )
    .await;
    assert_eq!(
        unknown,
        Vec::<String>::new(),
        "in {}",
        folder.path().display()
    );
}

#[tokio::test]
async fn branches_keep_what_their_retention_says() {
    let (_folder, catalog) = local_catalog().await;
    let (table, ids) = replaced_twice(&catalog, &ident("s", "t")).await;
    let last = ExpireOptions {
        retain_last: Some(2),
        ..options(0)
    };
    let (_, report) = expire_snapshots(&*catalog, &table.ident, last)
        .await
        .unwrap();
    assert_eq!((report.snapshots, report.data_files), (1, 1));
    assert!(exists(&catalog, &table, "b").await);
    // The branch's own setting wins over the statement's.
    let own = SnapshotRetention::branch(Some(5), None, None);
    commit_metadata(&*catalog, &table.ident, |_| {
        Ok(vec![set_reference(MAIN_BRANCH, ids[2], own.clone())])
    })
    .await
    .unwrap();
    let (_, report) = expire_snapshots(&*catalog, &table.ident, options(0))
        .await
        .unwrap();
    assert_eq!(report.snapshots, 0);
}

#[tokio::test]
async fn table_properties_say_what_expires() {
    let (_folder, catalog) = local_catalog().await;
    let (table, _) = replaced_twice(&catalog, &ident("s", "t")).await;
    let set = |key: &'static str, value: &'static str| {
        commit_metadata(&*catalog, &table.ident, move |_| {
            Ok(vec![TableUpdate::SetProperties {
                updates: properties(&[(key, value)]),
            }])
        })
    };
    let by_property = ExpireOptions {
        max_age_ms: None,
        ..options(0)
    };
    set("gc.enabled", "false").await.unwrap();
    let error = expire_snapshots(&*catalog, &table.ident, options(0))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("gc.enabled"), "{error}");
    set("gc.enabled", "true").await.unwrap();
    set("history.expire.min-snapshots-to-keep", "2")
        .await
        .unwrap();
    let (_, report) = expire_snapshots(&*catalog, &table.ident, by_property)
        .await
        .unwrap();
    assert_eq!(report.snapshots, 0, "they are younger than the default");
    set("history.expire.max-snapshot-age-ms", "1")
        .await
        .unwrap();
    let (_, report) = expire_snapshots(&*catalog, &table.ident, by_property)
        .await
        .unwrap();
    assert_eq!(report.snapshots, 1);
    set("history.expire.max-snapshot-age-ms", "long")
        .await
        .unwrap();
    let error = expire_snapshots(&*catalog, &table.ident, by_property)
        .await
        .unwrap_err();
    assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
}

#[tokio::test]
async fn unused_definitions_are_removed_when_asked_for() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&catalog, &table, "a", 1).await;
    let schema = iceberg::spec::Schema::builder()
        .with_fields(schema().as_struct().fields().iter().take(2).cloned())
        .build()
        .unwrap();
    let staged = stage_replace(
        &*catalog,
        &table.ident,
        schema,
        iceberg::spec::UnboundPartitionSpec::builder().build(),
        iceberg::spec::SortOrder::unsorted_order(),
        HashMap::new(),
    );
    let replaced = commit_staged(&*catalog, staged.await.unwrap(), Vec::new())
        .await
        .unwrap();
    assert_eq!(replaced.metadata.partition_specs_iter().len(), 2);
    let clean = ExpireOptions {
        clean_expired_metadata: true,
        ..options(0)
    };
    let (after, report) = expire_snapshots(&*catalog, &table.ident, clean)
        .await
        .unwrap();
    assert_eq!((report.snapshots, report.definitions), (1, 2));
    assert_eq!(after.metadata.partition_specs_iter().len(), 1);
    assert_eq!(after.metadata.schemas_iter().len(), 1);
}

/// Makes a branch or tag of the catalog, as forks are described in decision 0001.
async fn fork(database: &Database, ref_id: i64, kind: &str) {
    let sql = format!(
        "INSERT INTO catalog_refs
            (catalog_id, ref_id, name, kind, head_version, parent_ref_id, fork_version, created_at_ms)
         SELECT catalog_id, {ref_id}, 'r{ref_id}', '{kind}', head_version, 1, head_version, 0
         FROM catalog_refs WHERE ref_id = 1"
    );
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .execute(database.pool())
        .await;
    assert_eq!(done.unwrap().rows_affected(), 1);
}

async fn drop_fork(database: &Database, ref_id: i64) {
    let sql = format!("UPDATE catalog_refs SET name = NULL WHERE ref_id = {ref_id}");
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .execute(database.pool())
        .await;
    assert_eq!(done.unwrap().rows_affected(), 1);
}

async fn remove_orphans(catalog: &SqlCatalog, table: &Table) -> usize {
    let options = OrphanOptions {
        older_than_ms: chrono::Utc::now().timestamp_millis() + 1_000,
        ..OrphanOptions::default()
    };
    let report = remove_orphan_files(catalog, &table.ident, &options)
        .await
        .unwrap();
    assert_eq!(report.failed, 0);
    report.deleted
}

#[tokio::test]
async fn folders_of_tables_that_never_were_are_removed() {
    let (_folder, catalog) = local_catalog().await;
    let (table, _) = replaced_twice(&catalog, &ident("s", "t")).await;
    let (dropped, _) = replaced_twice(&catalog, &ident("s", "dropped")).await;
    catalog.drop_table(&dropped.ident).await.unwrap();
    let storage = catalog.storage();
    let parent = table
        .metadata
        .location()
        .rsplit_once('/')
        .unwrap()
        .0
        .to_string();
    let running = uuid::Uuid::new_v4();
    let folder = |name: &str| format!("{parent}/{name}-{}", uuid::Uuid::new_v4().simple());
    let (gone, busy, whole) = (folder("gone"), folder("busy"), folder("whole"));
    let foreign = format!("{parent}/foreign");
    for file in [
        format!("{gone}/data/a.parquet"),
        format!("{gone}/metadata/m.avro"),
        format!("{busy}/data/{running}-0.parquet"),
        format!("{busy}/data/b.parquet"),
        format!("{whole}/data/c.parquet"),
        format!("{whole}/metadata/00000-x.metadata.json"),
        format!("{foreign}/data/d.parquet"),
    ] {
        storage
            .write(&file, bytes::Bytes::from_static(b"abc"))
            .await
            .unwrap();
    }
    let before = storage.list(&parent).await.unwrap().len();
    let mut options = OrphanOptions {
        older_than_ms: 0,
        running: vec![running],
        ..OrphanOptions::default()
    };
    let report = remove_abandoned_folders(&*catalog, "s", &options)
        .await
        .unwrap();
    assert_eq!((report.folders, report.files.listed), (0, before));
    options.older_than_ms = chrono::Utc::now().timestamp_millis() + 1_000;
    let report = remove_abandoned_folders(&*catalog, "s", &options)
        .await
        .unwrap();
    assert_eq!((report.folders, report.files.deleted), (1, 2));
    assert_eq!(report.files.deleted_bytes, 6);
    assert_eq!(storage.list(&gone).await.unwrap(), vec![]);
    assert_eq!(storage.list(&parent).await.unwrap().len(), before - 2);
    let error = remove_abandoned_folders(&*catalog, "none", &options).await;
    assert!(matches!(error, Err(CatalogError::SchemaNotFound { .. })));
}

#[tokio::test]
async fn catalog_branches_and_tags_keep_their_files() {
    for kind in ["branch", "tag"] {
        let (_folder, catalog) = local_catalog().await;
        let (table, ids) = replaced_twice(&catalog, &ident("s", "t")).await;
        fork(catalog.database(), 2, kind).await;
        // A table's other names and later states do not matter to the fork.
        let renamed = ident("s", "renamed");
        catalog.rename_table(&table.ident, &renamed).await.unwrap();
        let (after, report) = expire_snapshots(&*catalog, &renamed, options(0))
            .await
            .unwrap();
        assert_eq!(
            (report.snapshots, report.data_files, report.metadata_files),
            (2, 0, 0)
        );
        assert_eq!(remove_orphans(&catalog, &after).await, 0);
        for name in ["a", "b", "c"] {
            assert!(exists(&catalog, &table, name).await, "{kind}: {name}");
        }
        for id in &ids {
            let version = TableVersion::SnapshotId(*id);
            assert_eq!(
                live_files(catalog.storage(), &table, &version).await.len(),
                1
            );
        }
        drop_fork(catalog.database(), 2).await;
        assert!(remove_orphans(&catalog, &after).await > 2);
        assert!(!exists(&catalog, &table, "a").await);
        assert!(exists(&catalog, &table, "c").await);
        assert_eq!(
            names(&live_files(catalog.storage(), &after, &TableVersion::Current).await),
            ["c"]
        );
    }
}

#[tokio::test]
async fn kept_catalog_versions_keep_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path()).await;
    let catalog = open_keeping(folder.path(), &database, 3600).await;
    catalog.create_schema("s", HashMap::new()).await.unwrap();
    let (table, _) = replaced_twice(&catalog, &ident("s", "t")).await;
    let (_, report) = expire_snapshots(&*catalog, &table.ident, options(0))
        .await
        .unwrap();
    assert_eq!((report.snapshots, report.data_files), (2, 0));
    assert_eq!(remove_orphans(&catalog, &table).await, 0);
    let later = open_keeping(folder.path(), &database, 0).await;
    assert!(remove_orphans(&later, &table).await > 2);
    assert!(!exists(&later, &table, "a").await);
    assert!(exists(&later, &table, "c").await);
}

#[tokio::test]
async fn old_metadata_files_stay_as_long_as_a_branch_reads_them() {
    let (_folder, catalog) = local_catalog().await;
    let properties = [
        ("write.metadata.delete-after-commit.enabled", "true"),
        ("write.metadata.previous-versions-max", "2"),
    ];
    let mut table = create_table(&*catalog, &ident("s", "t"), &properties).await;
    fork(catalog.database(), 2, "branch").await;
    let forked = table.metadata_location.clone().unwrap();
    let mut passed = Vec::new();
    for number in 0..5 {
        table = append(&catalog, &table, &format!("f{number}"), 1).await;
        passed.push(table.metadata_location.clone().unwrap());
    }
    let storage = catalog.storage();
    assert!(storage.exists(&forked).await.unwrap());
    assert!(!storage.exists(&passed[0]).await.unwrap());
    assert!(storage.exists(&passed[3]).await.unwrap());
}

#[tokio::test]
async fn only_old_unknown_files_are_orphans() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&catalog, &table, "a", 1).await;
    let running = uuid::Uuid::new_v4();
    let location = table.metadata.location();
    let junk = [
        format!("{location}/data/junk.parquet"),
        format!("{location}/metadata/junk-m0.avro"),
    ];
    let kept = [
        format!("{location}/data/{running}-00000-x.parquet"),
        format!("{location}/rejects/1/bad.csv"),
    ];
    for path in junk.iter().chain(&kept) {
        write(&catalog, path).await;
    }
    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut options = OrphanOptions {
        older_than_ms: now_ms - HOUR_MS,
        running: vec![running],
        kept_folders: vec![format!("{location}/rejects")],
    };
    let report = remove_orphan_files(&*catalog, &table.ident, &options)
        .await
        .unwrap();
    assert_eq!(report.deleted, 0, "they are young");
    options.older_than_ms = now_ms + HOUR_MS;
    let report = remove_orphan_files(&*catalog, &table.ident, &options)
        .await
        .unwrap();
    assert_eq!((report.deleted, report.deleted_bytes), (2, 8));
    for path in junk {
        assert!(!catalog.storage().exists(&path).await.unwrap());
    }
    for path in kept {
        assert!(catalog.storage().exists(&path).await.unwrap());
    }
    let found: BTreeSet<String> = scanned(catalog.storage(), &table)
        .await
        .into_keys()
        .collect();
    assert_eq!(found.len(), 1);
    assert!(exists(&catalog, &table, "a").await);
}

#[tokio::test]
async fn what_others_have_in_the_folder_is_no_orphan() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let location = table.metadata.location();

    // Another table below it, whose location is spelled otherwise, with a file that is just being
    // written; and a schema with a view.
    let below = format!("{}/below/u", location.strip_prefix("file://").unwrap());
    let other = create_table(&*catalog, &ident("s", "u"), &[("location", &below)]).await;
    let other = append(&catalog, &other, "a", 1).await;
    let unfinished = data_path(&other, "unfinished");
    let schema_folder = properties(&[("location", &format!("{location}/schema"))]);
    catalog.create_schema("inner", schema_folder).await.unwrap();
    let definition = ViewDefinition {
        sql: "SELECT 1".to_string(),
        default_catalog: None,
        default_schema: "s".to_string(),
        schema: schema(),
        query_columns: vec!["id".to_string(), "day".to_string(), "name".to_string()],
        comment: None,
        materialization: None,
    };
    let view = ident("inner", "v");
    let view = catalog.put_view(&view, definition, false).await.unwrap();
    let junk = data_path(&table, "junk");
    for path in [&unfinished, &junk] {
        write(&catalog, path).await;
    }

    assert_eq!(remove_orphans(&catalog, &table).await, 1);
    let storage = catalog.storage();
    assert!(!storage.exists(&junk).await.unwrap());
    for path in [
        &unfinished,
        &data_path(&other, "a"),
        &view.metadata_location,
    ] {
        assert!(storage.exists(path).await.unwrap(), "{path}");
    }

    // The files of a table around the folder stay if it needs them.
    let table = append(&catalog, &table, "a", 1).await;
    let data = format!("{}/data", table.metadata.location());
    let inside = create_table(&*catalog, &ident("s", "w"), &[("location", &data)]).await;
    write(&catalog, &junk).await;
    assert_eq!(remove_orphans(&catalog, &inside).await, 1);
    assert!(!storage.exists(&junk).await.unwrap());
    assert!(exists(&catalog, &table, "a").await);
}
