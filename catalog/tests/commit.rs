//! Commits: what a table has after them, and what is left of those that failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;

use common::*;
use iceberg::spec::{FormatVersion, MAIN_BRANCH, Operation};
use ingot_catalog::commit::{
    append_files, commit_staged, delete_table_files, stage_create, stage_create_or_replace,
    stage_replace,
};
use ingot_catalog::{Catalog, CatalogError, TableVersion};

#[tokio::test]
async fn appends_add_up_in_every_format_version() {
    for version in ["1", "2", "3"] {
        let (_folder, catalog) = local_catalog().await;
        let name = ident("s", "t");
        let table = create_table(&*catalog, &name, &[("format-version", version)]).await;
        assert_eq!(
            table.metadata.format_version() as u8,
            version.parse::<u8>().unwrap()
        );
        assert!(table.snapshot_at(&TableVersion::Current).unwrap().is_none());

        let summary = BTreeMap::from([("job".to_string(), "j1".to_string())]);
        let files = vec![data_file(&table, "a", 1), data_file(&table, "b", 2)];
        let first = append_files(&*catalog, &table, files, summary)
            .await
            .unwrap();
        // On top of a stale table: only the newest state counts.
        let second = append_files(
            &*catalog,
            &table,
            vec![data_file(&table, "c", 2)],
            no_summary(),
        )
        .await
        .unwrap();

        let loaded = catalog.load_table(&name).await.unwrap();
        assert_eq!(loaded.metadata_location, second.metadata_location);
        let storage = catalog.storage();
        let files = live_files(storage, &loaded, &TableVersion::Current).await;
        assert_eq!(names(&files), ["a", "b", "c"]);
        let first_id = first.metadata.current_snapshot_id().unwrap();
        let second_id = second.metadata.current_snapshot_id().unwrap();
        let sequence_numbers = if version == "1" { [0, 0] } else { [1, 2] };
        assert_eq!(files[0], ("a".to_string(), first_id, sequence_numbers[0]));
        assert_eq!(files[2], ("c".to_string(), second_id, sequence_numbers[1]));
        let old = TableVersion::SnapshotId(first_id);
        assert_eq!(names(&live_files(storage, &loaded, &old).await), ["a", "b"]);

        let snapshot = loaded.metadata.current_snapshot().unwrap();
        assert_eq!(snapshot.parent_snapshot_id(), Some(first_id));
        let summary = snapshot.summary();
        assert_eq!(summary.operation, Operation::Append);
        let entry = |key: &str| summary.additional_properties.get(key).map(String::as_str);
        assert_eq!(entry("added-data-files"), Some("1"));
        assert_eq!(entry("added-records"), Some("10"));
        assert_eq!(entry("total-data-files"), Some("3"));
        assert_eq!(entry("total-records"), Some("30"));
        assert_eq!(entry("total-files-size"), Some("3000"));
        assert_eq!(entry("engine-name"), Some("ingot"));
        let first_summary = first.metadata.current_snapshot().unwrap().summary();
        assert_eq!(first_summary.additional_properties["job"], "j1");
        if version == "3" {
            assert_eq!(
                first.metadata.current_snapshot().unwrap().row_range(),
                Some((0, 20))
            );
            assert_eq!(snapshot.row_range(), Some((20, 10)));
            assert_eq!(loaded.metadata.next_row_id(), 30);
        }
        assert_eq!(
            orphans(storage, catalog.warehouse(), &[loaded]).await,
            Vec::<String>::new()
        );
    }
}

#[tokio::test]
async fn an_append_without_files_changes_nothing() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let same = append_files(&*catalog, &table, Vec::new(), no_summary())
        .await
        .unwrap();
    assert_eq!(same.metadata_location, table.metadata_location);
}

#[tokio::test]
async fn many_small_manifests_are_merged() {
    let (_folder, catalog) = local_catalog().await;
    let properties = [("commit.manifest.min-count-to-merge", "4")];
    let mut table = create_table(&*catalog, &ident("s", "t"), &properties).await;
    let mut expected = Vec::new();
    for number in 0..14 {
        let name = format!("f{number:02}");
        let file = data_file(&table, &name, number);
        table = append_files(&*catalog, &table, vec![file], no_summary())
            .await
            .unwrap();
        let snapshot = table.metadata.current_snapshot().unwrap();
        expected.push((name, snapshot.snapshot_id(), snapshot.sequence_number()));
    }
    let storage = catalog.storage();
    // Every file once, with the snapshot and the sequence number that it came with.
    assert_eq!(
        live_files(storage, &table, &TableVersion::Current).await,
        expected
    );
    let snapshot = table.metadata.current_snapshot().unwrap();
    let content = storage.read(snapshot.manifest_list()).await.unwrap();
    let list = iceberg::spec::ManifestList::parse_with_version(&content, FormatVersion::V2);
    let manifests = list.unwrap().entries().len();
    assert!(manifests <= 5, "{manifests} manifests");
    // Old snapshots still have theirs.
    let third = TableVersion::SnapshotId(expected[2].1);
    assert_eq!(live_files(storage, &table, &third).await, expected[..3]);
    assert_eq!(
        orphans(storage, catalog.warehouse(), &[table]).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn create_with_files_is_one_commit_and_loses_to_an_earlier_one() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    let order = iceberg::spec::SortOrder::unsorted_order;
    let no_properties = std::collections::HashMap::new;
    let first = stage_create(
        &*catalog,
        &name,
        schema(),
        by_day(),
        order(),
        no_properties(),
    )
    .await
    .unwrap();
    let second = stage_create(
        &*catalog,
        &name,
        schema(),
        by_day(),
        order(),
        no_properties(),
    )
    .await
    .unwrap();
    assert!(!first.is_replacement());
    assert_ne!(
        first.table().metadata.location(),
        second.table().metadata.location()
    );
    // Staging alone shows and writes nothing.
    assert_eq!(
        catalog.list_tables("s").await.unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(
        orphans(catalog.storage(), catalog.warehouse(), &[]).await,
        Vec::<String>::new()
    );

    let files = vec![data_file(first.table(), "a", 1)];
    let created = commit_staged(&*catalog, first, files).await.unwrap();
    assert!(
        created
            .metadata_location
            .as_deref()
            .unwrap()
            .contains("/metadata/00000-")
    );
    assert_eq!(created.metadata.snapshots().len(), 1);

    let files = vec![data_file(second.table(), "b", 1)];
    let error = commit_staged(&*catalog, second, files).await.unwrap_err();
    assert!(matches!(error, CatalogError::TableExists { .. }), "{error}");
    let loaded = catalog.load_table(&name).await.unwrap();
    let files = live_files(catalog.storage(), &loaded, &TableVersion::Current).await;
    assert_eq!(names(&files), ["a"]);
    let left = orphans(catalog.storage(), catalog.warehouse(), &[loaded]).await;
    assert_eq!(left, Vec::<String>::new());
    let error = stage_create(
        &*catalog,
        &name,
        schema(),
        by_day(),
        order(),
        no_properties(),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, CatalogError::TableExists { .. }), "{error}");
}

#[tokio::test]
async fn a_replacement_keeps_history_and_the_ids_of_columns_that_stay() {
    use iceberg::spec::{
        NestedField, PrimitiveType, Schema, Transform, Type, UnboundPartitionSpec,
    };
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    let order = iceberg::spec::SortOrder::unsorted_order;
    let table = create_table(&*catalog, &name, &[("keep", "1"), ("change", "old")]).await;
    let table = append_files(
        &*catalog,
        &table,
        vec![data_file(&table, "old", 1)],
        no_summary(),
    )
    .await
    .unwrap();
    let old_snapshot = table.metadata.current_snapshot_id().unwrap();

    // `id` stays, `name` changes its type, `day` goes, `extra` comes; other order, other ids.
    let new_schema = Schema::builder()
        .with_fields(vec![
            NestedField::optional(1, "name", Type::Primitive(PrimitiveType::Long)).into(),
            NestedField::optional(2, "extra", Type::Primitive(PrimitiveType::String)).into(),
            NestedField::optional(3, "id", Type::Primitive(PrimitiveType::Long)).into(),
        ])
        .build()
        .unwrap();
    let new_spec = UnboundPartitionSpec::builder()
        .add_partition_field(3, "id_bucket", Transform::Bucket(4))
        .unwrap()
        .build();
    let staged = stage_create_or_replace(
        &*catalog,
        &name,
        new_schema,
        new_spec,
        order(),
        properties(&[("change", "new"), ("location", table.metadata.location())]),
    )
    .await
    .unwrap();
    assert!(staged.is_replacement());
    let planned = staged.table().clone();
    assert_eq!(planned.metadata.location(), table.metadata.location());
    let ids: Vec<_> = planned
        .metadata
        .current_schema()
        .as_struct()
        .fields()
        .iter()
        .map(|field| (field.name.clone(), field.id))
        .collect();
    let expected = [("name", 4), ("extra", 5), ("id", 1)];
    assert_eq!(ids, expected.map(|(name, id)| (name.to_string(), id)));
    let source = planned.metadata.default_partition_spec().fields()[0].source_id;
    assert_eq!(source, 1);

    // An append in between neither stops it nor survives it.
    append_files(
        &*catalog,
        &table,
        vec![data_file(&table, "between", 1)],
        no_summary(),
    )
    .await
    .unwrap();
    let new_file = iceberg::spec::DataFileBuilder::default()
        .content(iceberg::spec::DataContentType::Data)
        .file_path(data_path(&planned, "new"))
        .file_format(iceberg::spec::DataFileFormat::Parquet)
        .partition(iceberg::spec::Struct::from_iter([Some(
            iceberg::spec::Literal::int(2),
        )]))
        .partition_spec_id(planned.metadata.default_partition_spec_id())
        .record_count(7)
        .file_size_in_bytes(70)
        .build()
        .unwrap();
    let replaced = commit_staged(&*catalog, staged, vec![new_file])
        .await
        .unwrap();

    assert_eq!(replaced.metadata.uuid(), table.metadata.uuid());
    assert_eq!(replaced.metadata.snapshots().len(), 3);
    assert_eq!(
        replaced.metadata.default_partition_spec_id(),
        planned.metadata.default_partition_spec_id()
    );
    assert_eq!(replaced.metadata.properties()["keep"], "1");
    assert_eq!(replaced.metadata.properties()["change"], "new");
    let storage = catalog.storage();
    let current = live_files(storage, &replaced, &TableVersion::Current).await;
    assert_eq!(names(&current), ["new"]);
    let old = TableVersion::SnapshotId(old_snapshot);
    assert_eq!(names(&live_files(storage, &replaced, &old).await), ["old"]);
    let old_schema = replaced.schema_at(&old).unwrap();
    assert_eq!(old_schema.as_struct().fields().len(), 3);
    assert_eq!(old_schema.as_struct().fields()[0].name, "id");
    let summary = replaced.metadata.current_snapshot().unwrap().summary();
    assert_eq!(summary.operation, Operation::Overwrite);
    assert_eq!(summary.additional_properties["total-records"], "7");
    assert_eq!(summary.additional_properties["deleted-records"], "20");
    assert_eq!(summary.additional_properties["deleted-data-files"], "2");

    // An append that was planned before the replacement must not turn into nulls.
    let error = append_files(
        &*catalog,
        &table,
        vec![data_file(&table, "late", 1)],
        no_summary(),
    )
    .await
    .unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let left = orphans(storage, catalog.warehouse(), &[replaced]).await;
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_replacement_without_files_empties_the_table() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    let table = create_table(&*catalog, &name, &[]).await;
    append_files(
        &*catalog,
        &table,
        vec![data_file(&table, "a", 1)],
        no_summary(),
    )
    .await
    .unwrap();
    let order = iceberg::spec::SortOrder::unsorted_order();
    let staged = stage_replace(&*catalog, &name, schema(), by_day(), order, properties(&[]))
        .await
        .unwrap();
    let replaced = commit_staged(&*catalog, staged, Vec::new()).await.unwrap();
    assert_eq!(
        replaced.metadata.current_schema_id(),
        table.metadata.current_schema_id()
    );
    assert_eq!(
        live_files(catalog.storage(), &replaced, &TableVersion::Current).await,
        Vec::new()
    );
    assert_eq!(replaced.metadata.history().len(), 2);
}

#[tokio::test]
async fn a_replacement_of_a_table_that_changed_its_columns_conflicts() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    create_table(&*catalog, &name, &[]).await;
    let order = iceberg::spec::SortOrder::unsorted_order;
    let stage = || async {
        let mut fields = schema().as_struct().fields().to_vec();
        fields.push(
            iceberg::spec::NestedField::optional(
                9,
                "extra",
                iceberg::spec::Type::Primitive(iceberg::spec::PrimitiveType::Int),
            )
            .into(),
        );
        let wider = iceberg::spec::Schema::builder()
            .with_fields(fields)
            .build()
            .unwrap();
        stage_replace(&*catalog, &name, wider, by_day(), order(), properties(&[]))
            .await
            .unwrap()
    };
    let (first, second) = (stage().await, stage().await);
    commit_staged(&*catalog, first, Vec::new()).await.unwrap();
    let error = commit_staged(&*catalog, second, Vec::new())
        .await
        .unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let third = stage().await;
    catalog.drop_table(&name).await.unwrap();
    let error = commit_staged(&*catalog, third, Vec::new())
        .await
        .unwrap_err();
    assert!(error.is_conflict(), "{error}");
}

#[tokio::test]
async fn time_travel_follows_the_snapshot_log() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let error = table
        .snapshot_at(&TableVersion::TimestampMillis(i64::MAX))
        .unwrap_err();
    assert!(error.to_string().contains("never written"), "{error}");
    let first = append_files(
        &*catalog,
        &table,
        vec![data_file(&table, "a", 1)],
        no_summary(),
    )
    .await
    .unwrap();
    let second = append_files(
        &*catalog,
        &table,
        vec![data_file(&table, "b", 1)],
        no_summary(),
    )
    .await
    .unwrap();
    let (first, last) = (
        first.metadata.current_snapshot().unwrap().clone(),
        second.metadata.current_snapshot().unwrap().clone(),
    );
    assert!(last.timestamp_ms() > first.timestamp_ms());
    let at = |version: TableVersion| {
        second
            .snapshot_at(&version)
            .map(|snapshot| snapshot.unwrap().snapshot_id())
    };
    let time = TableVersion::TimestampMillis;
    assert_eq!(at(time(first.timestamp_ms())).unwrap(), first.snapshot_id());
    assert_eq!(
        at(time(last.timestamp_ms() - 1)).unwrap(),
        first.snapshot_id()
    );
    assert_eq!(at(time(last.timestamp_ms())).unwrap(), last.snapshot_id());
    assert_eq!(at(time(i64::MAX)).unwrap(), last.snapshot_id());
    let reference = |name: &str| TableVersion::Reference(name.to_string());
    assert_eq!(at(reference(MAIN_BRANCH)).unwrap(), last.snapshot_id());
    for missing in [
        time(first.timestamp_ms() - 1),
        TableVersion::SnapshotId(1),
        reference("nope"),
    ] {
        let error = at(missing).unwrap_err();
        assert!(
            matches!(error, CatalogError::VersionNotFound { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn purge_deletes_what_the_table_refers_to_and_nothing_else() {
    let (folder, catalog) = local_catalog().await;
    let storage = catalog.storage();
    let name = ident("s", "t");
    let mut table = create_table(&*catalog, &name, &[]).await;
    for file in ["a", "b"] {
        let path = data_path(&table, file);
        storage
            .write(&path, bytes::Bytes::from_static(b"x"))
            .await
            .unwrap();
        let files = vec![data_file(&table, file, 1)];
        table = append_files(&*catalog, &table, files, no_summary())
            .await
            .unwrap();
    }
    let foreign = data_path(&table, "of-somebody-else");
    storage
        .write(&foreign, bytes::Bytes::from_static(b"x"))
        .await
        .unwrap();
    let other = create_table(&*catalog, &ident("s", "other"), &[]).await;

    let dropped = catalog.drop_table(&name).await.unwrap();
    let report = delete_table_files(storage, &dropped).await.unwrap();
    assert_eq!(report.data_files, 2);
    // 3 metadata files, 2 lists, 2 manifests.
    assert_eq!(report.metadata_files, 7);
    let left = orphans(storage, catalog.warehouse(), &[other]).await;
    assert_eq!(left, std::slice::from_ref(&foreign));
    storage.delete(&foreign).await.unwrap();
    delete_table_files(storage, &dropped).await.unwrap_err();
    storage
        .remove_empty_folders(dropped.metadata.location())
        .await
        .unwrap();
    let schema_folder = folder.path().join("warehouse/s");
    assert_eq!(std::fs::read_dir(schema_folder).unwrap().count(), 1);

    let kept = create_table(&*catalog, &name, &[("gc.enabled", "false")]).await;
    let error = delete_table_files(storage, &kept).await.unwrap_err();
    assert!(error.to_string().contains("gc.enabled"), "{error}");
}

#[tokio::test]
async fn files_of_another_kind_are_refused() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let file = data_file(&table, "a", 1);
    let error = append_files(&*catalog, &table, vec![file.clone(), file], no_summary())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("given twice"), "{error}");
    let unpartitioned = iceberg::spec::DataFileBuilder::default()
        .content(iceberg::spec::DataContentType::Data)
        .file_path("/x".to_string())
        .file_format(iceberg::spec::DataFileFormat::Parquet)
        .record_count(1)
        .file_size_in_bytes(1)
        .build()
        .unwrap();
    let error = append_files(&*catalog, &table, vec![unpartitioned], no_summary())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("partition spec"), "{error}");
}

#[tokio::test]
async fn tables_are_upgraded_between_format_versions() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    let mut table = create_table(&*catalog, &name, &[("format-version", "1")]).await;
    let mut expected = Vec::new();
    for (number, format_version) in [None, Some(FormatVersion::V2), Some(FormatVersion::V3)]
        .into_iter()
        .enumerate()
    {
        if let Some(format_version) = format_version {
            let upgrade = ingot_catalog::TableCommit {
                ident: name.clone(),
                requirements: Vec::new(),
                based_on: None,
                created_from: None,
                updates: vec![iceberg::TableUpdate::UpgradeFormatVersion { format_version }],
            };
            catalog.commit(vec![upgrade]).await.unwrap();
        }
        for part in ["a", "b"] {
            let file = format!("f{number}{part}");
            // `table` is of the version before, as for a statement that was running.
            let files = vec![data_file(&table, &file, 1)];
            append_files(&*catalog, &table, files, no_summary())
                .await
                .unwrap();
            expected.push(file);
        }
        table = catalog.load_table(&name).await.unwrap();
        let files = live_files(catalog.storage(), &table, &TableVersion::Current).await;
        assert_eq!(names(&files), expected);
    }
    assert_eq!(table.metadata.format_version(), FormatVersion::V3);
    // The rows from before the upgrade got ids with the first snapshot after it.
    assert_eq!(table.metadata.next_row_id(), 60);
    let lower = stage_replace(
        &*catalog,
        &name,
        schema(),
        by_day(),
        iceberg::spec::SortOrder::unsorted_order(),
        properties(&[("format-version", "2")]),
    );
    let error = lower.await.unwrap_err().to_string();
    assert!(error.contains("cannot be lowered"), "{error}");
}
