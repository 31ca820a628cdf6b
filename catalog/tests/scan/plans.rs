//! What a plan says, beyond which files it has.

use std::collections::HashMap;

use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, Literal,
    ManifestContentType, PrimitiveType, Struct, Transform, UnboundPartitionSpec,
};
use ingot_catalog::TableVersion;
use ingot_catalog::error::LOST_FILE_REMEDY;
use ingot_catalog::scan::{ManifestCache, ScanPlan, plan_scan};

use crate::table::{Entry, TestTable, schema_of};

pub fn day_table(version: FormatVersion) -> TestTable {
    let schema = schema_of(&[
        (1, "id", PrimitiveType::Int),
        (2, "at", PrimitiveType::Timestamp),
    ]);
    let spec = UnboundPartitionSpec::builder()
        .add_partition_field(2, "at_day", Transform::Day)
        .unwrap()
        .build();
    TestTable::new(schema, spec, version)
}

pub fn day_file(path: String, day: i32, ids: std::ops::RangeInclusive<i32>) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(day))]))
        .record_count(10)
        .file_size_in_bytes(100)
        .value_counts(HashMap::from([(1, 10)]))
        .null_value_counts(HashMap::from([(1, 0)]))
        .lower_bounds(HashMap::from([(1, Datum::int(*ids.start()))]))
        .upper_bounds(HashMap::from([(1, Datum::int(*ids.end()))]))
        .split_offsets(Some(vec![4, 50]))
        .build()
        .unwrap()
}

pub async fn plan(table: &TestTable, predicate: &Predicate) -> ScanPlan {
    let cache = ManifestCache::new(1 << 20);
    let version = TableVersion::Current;
    plan_scan(&table.storage, &cache, &table.table(), &version, predicate)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_plan_counts_what_it_left_out() {
    let mut table = day_table(FormatVersion::V2);
    for day in [10, 20, 30] {
        let files = [1..=5, 6..=9].map(|ids| {
            let path = table.path(&format!("{day}-{}.parquet", ids.start()));
            day_file(path, day, ids)
        });
        table
            .add_manifest(ManifestContentType::Data, 0, files)
            .await;
    }
    table.commit().await;

    let everything = plan(&table, &Predicate::AlwaysTrue).await;
    assert_eq!(everything.tasks.len(), 6);
    assert_eq!(everything.exact_row_count(), Some(60));
    assert_eq!(everything.size_in_bytes(), 600);
    assert_eq!(everything.metrics.manifests_total, 3);
    assert_eq!(everything.metrics.manifests_loaded, 4);
    let task = &everything.tasks[0];
    assert_eq!(task.split_offsets, [4, 50]);
    assert_eq!(task.data_sequence_number, 1);
    assert_eq!(task.partition[0].value, Some(Datum::date(10)));
    assert_eq!(task.columns[&1].lower_bound, Some(Datum::int(1)));
    assert_eq!(task.columns[&1].null_count, Some(0));

    // Up to but not including the midnight that begins day 30.
    const DAY: i64 = 86_400_000_000;
    let filter = Reference::new("at")
        .greater_than_or_equal_to(Datum::timestamp_micros(20 * DAY))
        .and(Reference::new("at").less_than(Datum::timestamp_micros(30 * DAY)))
        .and(Reference::new("id").less_than(Datum::int(6)));
    let filtered = plan(&table, &filter).await;
    let paths: Vec<_> = filtered.tasks.iter().map(|task| &task.path).collect();
    assert_eq!(paths, [&table.path("20-1.parquet")]);
    let metrics = filtered.metrics;
    assert_eq!((metrics.manifests_total, metrics.manifests_skipped), (3, 2));
    assert_eq!((metrics.files_total, metrics.files_skipped), (2, 1));
    assert_eq!((metrics.bytes_planned, metrics.bytes_skipped), (100, 100));

    assert!(plan(&table, &Predicate::AlwaysFalse).await.tasks.is_empty());
}

#[tokio::test]
async fn an_unwritten_table_has_an_empty_plan() {
    let table = day_table(FormatVersion::V2);
    let plan = plan(&table, &Predicate::AlwaysTrue).await;
    assert!(plan.snapshot.is_none());
    assert_eq!(plan.exact_row_count(), Some(0));
}

#[tokio::test]
async fn the_cache_keeps_manifests_and_forgets_by_size() {
    let mut table = day_table(FormatVersion::V2);
    let file = day_file(table.path("a.parquet"), 1, 1..=2);
    table
        .add_manifest(ManifestContentType::Data, 0, [file])
        .await;
    table.commit().await;
    let loaded = table.table();
    let plan_with = async |cache: &ManifestCache| {
        let version = TableVersion::Current;
        let predicate = Predicate::AlwaysTrue;
        let plan = plan_scan(&table.storage, cache, &loaded, &version, &predicate);
        plan.await.unwrap().metrics.manifests_loaded
    };
    let cache = ManifestCache::new(1 << 20);
    assert_eq!(plan_with(&cache).await, 2);
    assert_eq!(plan_with(&cache).await, 0);
    let no_cache = ManifestCache::new(0);
    assert_eq!(plan_with(&no_cache).await, 2);
    assert_eq!(plan_with(&no_cache).await, 2);
}

#[tokio::test]
async fn earlier_versions_are_read_with_their_own_schema_and_files() {
    let mut table = day_table(FormatVersion::V2);
    let file = day_file(table.path("a.parquet"), 1, 1..=2);
    table
        .add_manifest(ManifestContentType::Data, 0, [file])
        .await;
    let first = table.commit().await;
    let evolved = schema_of(&[
        (1, "number", PrimitiveType::Long),
        (2, "at", PrimitiveType::Timestamp),
        (3, "added", PrimitiveType::String),
    ]);
    table.change(|builder| builder.add_current_schema(evolved));
    let file = day_file(table.path("b.parquet"), 2, 3..=4);
    // Bounds of the new manifest are longs.
    let file = rebuilt_with_long_bounds(&file);
    table
        .add_manifest(ManifestContentType::Data, 0, [file])
        .await;
    table.commit().await;

    let current = plan(&table, &Reference::new("number").less_than(Datum::long(3))).await;
    assert_eq!(current.tasks.len(), 1);
    assert_eq!(current.schema.as_struct().fields().len(), 3);
    assert_eq!(
        current.tasks[0].columns[&1].lower_bound,
        Some(Datum::long(1)),
        "bounds are in the read schema's type"
    );

    let cache = ManifestCache::new(1 << 20);
    let version = TableVersion::SnapshotId(first);
    let predicate = Reference::new("id").less_than(Datum::int(3));
    let loaded = table.table();
    let earlier = plan_scan(&table.storage, &cache, &loaded, &version, &predicate)
        .await
        .unwrap();
    assert_eq!(earlier.tasks.len(), 1);
    assert_eq!(earlier.schema.as_struct().fields().len(), 2);
    let unknown = TableVersion::SnapshotId(5);
    let error = plan_scan(&table.storage, &cache, &loaded, &unknown, &predicate).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "table test.t has no snapshot 5"
    );
}

fn rebuilt_with_long_bounds(file: &DataFile) -> DataFile {
    let long = |bounds: &HashMap<i32, Datum>| match bounds[&1].literal() {
        iceberg::spec::PrimitiveLiteral::Int(value) => HashMap::from([(1, Datum::long(*value))]),
        other => panic!("{other:?}"),
    };
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(file.file_path().to_string())
        .file_format(DataFileFormat::Parquet)
        .partition(file.partition().clone())
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .lower_bounds(long(file.lower_bounds()))
        .upper_bounds(long(file.upper_bounds()))
        .build()
        .unwrap()
}

#[tokio::test]
async fn tables_of_version_one_and_upgraded_ones_are_read() {
    let mut table = day_table(FormatVersion::V1);
    let file = day_file(table.path("a.parquet"), 1, 1..=2);
    table
        .add_manifest(ManifestContentType::Data, 0, [file])
        .await;
    table.commit().await;
    let before = plan(&table, &Predicate::AlwaysTrue).await;
    assert_eq!(before.tasks[0].data_sequence_number, 0);
    table.change(|builder| builder.upgrade_format_version(FormatVersion::V2));
    let after = plan(&table, &Predicate::AlwaysTrue).await;
    assert_eq!(after.tasks, before.tasks);
}

#[tokio::test]
async fn existing_files_keep_their_sequence_number_and_bad_offsets_are_dropped() {
    let mut table = day_table(FormatVersion::V2);
    table.sequence_number = 9;
    let entry = Entry {
        file: day_file(table.path("a.parquet"), 1, 1..=2),
        sequence_number: Some(4),
    };
    table
        .add_manifest(ManifestContentType::Data, 0, [entry])
        .await;
    let offsets = |offsets: Vec<i64>, name: &str| {
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(table.path(name))
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::from_iter([None]))
            .record_count(1)
            .file_size_in_bytes(100)
            .split_offsets(Some(offsets))
            .build()
            .unwrap()
    };
    let files = [
        offsets(vec![50, 4], "b"),
        offsets(vec![4, 100], "c"),
        offsets(vec![-1], "d"),
        offsets(vec![4], "e"),
    ];
    table
        .add_manifest(ManifestContentType::Data, 0, files)
        .await;
    table.commit().await;
    let plan = plan(&table, &Predicate::AlwaysTrue).await;
    let numbers: Vec<_> = plan
        .tasks
        .iter()
        .map(|task| task.data_sequence_number)
        .collect();
    assert_eq!(numbers, [4, 9, 9, 9, 9]);
    let offsets: Vec<_> = plan
        .tasks
        .iter()
        .map(|task| task.split_offsets.len())
        .collect();
    assert_eq!(offsets, [2, 0, 0, 0, 1]);
}

#[tokio::test]
async fn corrupt_and_missing_manifests_are_named() {
    let mut table = day_table(FormatVersion::V2);
    let file = day_file(table.path("a.parquet"), 1, 1..=2);
    let manifest = table
        .add_manifest(ManifestContentType::Data, 0, [file])
        .await;
    table.commit().await;
    let loaded = table.table();
    let fails = async || {
        let cache = ManifestCache::new(1 << 20);
        let version = TableVersion::Current;
        let predicate = Predicate::AlwaysTrue;
        let plan = plan_scan(&table.storage, &cache, &loaded, &version, &predicate).await;
        plan.unwrap_err().to_string()
    };
    let path = &manifest.manifest_path;
    let snapshot = loaded.metadata.current_snapshot().unwrap();
    let read = format!(
        "table {}, snapshot {}: ",
        loaded.name(),
        snapshot.snapshot_id()
    );
    table.storage.write(path, "garbage".into()).await.unwrap();
    let message = fails().await;
    assert!(
        message.starts_with(&format!("{read}iceberg metadata {path}: ")),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1, "{message}");
    table.storage.delete(path).await.unwrap();
    let gone = |path: &str| format!("{read}cannot read {path}: no such file: {LOST_FILE_REMEDY}");
    assert_eq!(fails().await, gone(path));
    let list = snapshot.manifest_list();
    table.storage.delete(list).await.unwrap();
    assert_eq!(fails().await, gone(list));
}

/// Planning stays quick on large tables; the time is only printed.
#[tokio::test]
async fn ten_thousand_files_are_planned() {
    let mut table = day_table(FormatVersion::V2);
    for manifest in 0..10 {
        let files: Vec<_> = (0..1000)
            .map(|file| {
                let path = table.path(&format!("{manifest}-{file}.parquet"));
                day_file(path, manifest * 10 + file / 100, file..=file + 1)
            })
            .collect();
        table
            .add_manifest(ManifestContentType::Data, 0, files)
            .await;
    }
    table.commit().await;
    let cache = ManifestCache::new(1 << 30);
    let loaded = table.table();
    for predicate in [
        Predicate::AlwaysTrue,
        Predicate::AlwaysTrue,
        Reference::new("id").equal_to(Datum::int(500)),
    ] {
        let start = std::time::Instant::now();
        let version = TableVersion::Current;
        let plan = plan_scan(&table.storage, &cache, &loaded, &version, &predicate)
            .await
            .unwrap();
        println!("{} files in {:?}", plan.tasks.len(), start.elapsed());
        let expected = match predicate {
            Predicate::AlwaysTrue => 10_000,
            _ => 20,
        };
        assert_eq!(plan.tasks.len(), expected);
    }
}
