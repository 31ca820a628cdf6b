//! Statistics of columns: who has them, and what becomes of their files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use common::*;
use iceberg::TableUpdate;
use iceberg::puffin::{APACHE_DATASKETCHES_THETA_V1, PuffinReader};
use iceberg::spec::{BlobMetadata, StatisticsFile};
use ingot_catalog::commit::{append_files, commit_metadata, commit_statistics};
use ingot_catalog::maintenance::{
    ExpireOptions, OrphanOptions, expire_snapshots, remove_orphan_files,
};
use ingot_catalog::statistics::{ColumnSketch, distinct_values, drop_statistics};
use ingot_catalog::{Catalog, CatalogError, SqlCatalog, Table, VersionedCatalog};
use uuid::Uuid;

async fn append(catalog: &dyn Catalog, table: &Table, name: &str) -> Table {
    let file = data_file(table, name, 1);
    let content = Bytes::from_static(b"data");
    let path = file.file_path();
    catalog.storage().write(path, content).await.unwrap();
    append_files(catalog, table, vec![file], no_summary())
        .await
        .unwrap()
}

/// Sketches, which nobody here looks into, of columns by field id.
fn sketches(counts: &[(i32, u64)]) -> Vec<ColumnSketch> {
    let columns = counts.iter().map(|(field_id, count)| ColumnSketch {
        field_id: *field_id,
        distinct_values: *count,
        sketch: format!("sketch of {field_id} with {count}").into_bytes(),
    });
    columns.collect()
}

fn current_snapshot(table: &Table) -> i64 {
    table.metadata.current_snapshot_id().unwrap()
}

async fn analyze(catalog: &dyn Catalog, table: &Table, counts: &[(i32, u64)]) -> Table {
    let snapshot_id = current_snapshot(table);
    let columns = sketches(counts);
    commit_statistics(catalog, table, snapshot_id, Uuid::new_v4(), columns)
        .await
        .unwrap()
}

fn known(table: &Table) -> BTreeMap<i32, u64> {
    let counts = distinct_values(&table.metadata, current_snapshot(table));
    counts.into_iter().collect()
}

/// The statistics file of the current snapshot.
fn file_of(table: &Table) -> &StatisticsFile {
    let snapshot_id = current_snapshot(table);
    table.metadata.statistics_for_snapshot(snapshot_id).unwrap()
}

async fn is_there(catalog: &SqlCatalog, path: &str) -> bool {
    catalog.storage().exists(path).await.unwrap()
}

async fn contents(catalog: &SqlCatalog, file: &StatisticsFile) -> BTreeMap<i32, String> {
    let input = catalog.storage().file_io();
    let reader = PuffinReader::new(input.new_input(&file.statistics_path).unwrap());
    let mut contents = BTreeMap::new();
    let blobs = reader.file_metadata().await.unwrap().blobs().to_vec();
    for blob in blobs {
        assert_eq!(blob.blob_type(), APACHE_DATASKETCHES_THETA_V1);
        let content = reader.blob(&blob).await.unwrap().data().to_vec();
        contents.insert(blob.fields()[0], String::from_utf8(content).unwrap());
    }
    contents
}

#[tokio::test]
async fn a_snapshot_gets_a_puffin_file() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&*catalog, &table, "a").await;
    let analyzed = analyze(&*catalog, &table, &[(3, 7), (1, 10)]).await;
    let snapshot = table.metadata.current_snapshot().unwrap();

    let file = file_of(&analyzed);
    let content = catalog.storage().read(&file.statistics_path).await.unwrap();
    assert_eq!(file.file_size_in_bytes as usize, content.len());
    let footer_start = content.len() - file.file_footer_size_in_bytes as usize;
    assert_eq!(&content[footer_start..footer_start + 4], b"PFA1");
    assert_eq!(content[footer_start + 4], b'{');
    let fields: Vec<_> = file
        .blob_metadata
        .iter()
        .map(|blob| blob.fields[0])
        .collect();
    assert_eq!(fields, [1, 3]);
    for blob in &file.blob_metadata {
        assert_eq!(blob.snapshot_id, snapshot.snapshot_id());
        assert_eq!(blob.sequence_number, snapshot.sequence_number());
    }
    assert_eq!(file.blob_metadata[0].properties["ndv"], "10");
    assert_eq!(
        contents(&catalog, file).await,
        BTreeMap::from([
            (1, "sketch of 1 with 10".to_string()),
            (3, "sketch of 3 with 7".to_string())
        ])
    );
    assert_eq!(known(&analyzed), BTreeMap::from([(1, 10), (3, 7)]));
    // No snapshot comes of it.
    assert_eq!(current_snapshot(&analyzed), snapshot.snapshot_id());
    assert_eq!(analyzed.metadata.snapshots().len(), 1);
}

#[tokio::test]
async fn later_snapshots_keep_what_is_known() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&*catalog, &table, "a").await;
    let table = analyze(&*catalog, &table, &[(1, 10), (2, 1), (3, 7)]).await;
    let first = current_snapshot(&table);
    let table = append(&*catalog, &table, "b").await;
    assert_eq!(known(&table), BTreeMap::from([(1, 10), (2, 1), (3, 7)]));

    // Other columns stay as they were found, with the snapshot that they were found in.
    let table = analyze(&*catalog, &table, &[(3, 8)]).await;
    assert_eq!(known(&table), BTreeMap::from([(1, 10), (2, 1), (3, 8)]));
    let file = file_of(&table);
    let snapshots: Vec<_> = file
        .blob_metadata
        .iter()
        .map(|blob| blob.snapshot_id)
        .collect();
    assert_eq!(snapshots, [first, first, current_snapshot(&table)]);
    let sketches = contents(&catalog, file).await;
    assert_eq!(sketches[&2], "sketch of 2 with 1");
    assert_eq!(sketches[&3], "sketch of 3 with 8");
    // And the earlier snapshot has its own.
    let earlier = distinct_values(&table.metadata, first);
    assert_eq!(earlier[&3], 7);
}

#[tokio::test]
async fn statistics_of_others_are_read_and_odd_ones_left_out() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&*catalog, &table, "a").await;
    let snapshot_id = current_snapshot(&table);
    let blob = |blob_type: &str, fields: &[i32], ndv: Option<&str>| BlobMetadata {
        r#type: blob_type.to_string(),
        snapshot_id,
        sequence_number: 1,
        fields: fields.to_vec(),
        properties: match ndv {
            Some(ndv) => HashMap::from([("ndv".to_string(), ndv.to_string())]),
            None => HashMap::new(),
        },
    };
    let theta = APACHE_DATASKETCHES_THETA_V1;
    let statistics = StatisticsFile {
        snapshot_id,
        statistics_path: format!("{}/metadata/other.stats", table.metadata.location()),
        file_size_in_bytes: 100,
        file_footer_size_in_bytes: 50,
        key_metadata: None,
        blob_metadata: vec![
            blob(theta, &[1], Some("42")),
            blob(theta, &[2], Some("many")),
            blob(theta, &[1, 3], Some("5")),
            blob("other-v1", &[3], Some("6")),
            blob(theta, &[3], None),
        ],
    };
    let table = commit_metadata(&*catalog, &table.ident, |_| {
        Ok(vec![TableUpdate::SetStatistics {
            statistics: statistics.clone(),
        }])
    })
    .await
    .unwrap();
    assert_eq!(known(&table), BTreeMap::from([(1, 42)]));

    // A file that is not there is needed only for columns that are not looked at again.
    let columns = sketches(&[(3, 3)]);
    let failed = commit_statistics(&*catalog, &table, snapshot_id, Uuid::new_v4(), columns).await;
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("other.stats"), "{error}");
    let table = analyze(&*catalog, &table, &[(1, 1), (2, 2), (3, 3)]).await;
    assert_eq!(known(&table), BTreeMap::from([(1, 1), (2, 2), (3, 3)]));
}

#[tokio::test]
async fn commits_meanwhile_do_not_matter_but_for_the_snapshot() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let started = append(&*catalog, &table, "a").await;
    append(&*catalog, &started, "b").await;
    let analyzed = analyze(&*catalog, &started, &[(1, 10)]).await;
    let snapshot_id = current_snapshot(&started);
    assert!(
        analyzed
            .metadata
            .statistics_for_snapshot(snapshot_id)
            .is_some()
    );
    assert_eq!(known(&analyzed), BTreeMap::from([(1, 10)]));

    expire(&catalog, &started).await;
    let id = Uuid::new_v4();
    let columns = sketches(&[(1, 11)]);
    let late = commit_statistics(&*catalog, &started, snapshot_id, id, columns).await;
    let error = late.unwrap_err();
    assert!(error.to_string().contains("expired while"), "{error}");
    let location = started.metadata.location();
    assert!(
        !is_there(
            &catalog,
            &format!("{location}/metadata/{id}-{snapshot_id}.stats")
        )
        .await
    );

    catalog.drop_table(&started.ident).await.unwrap();
    let columns = sketches(&[(1, 11)]);
    let id = Uuid::new_v4();
    let dropped = commit_statistics(&*catalog, &started, snapshot_id, id, columns).await;
    assert!(matches!(
        dropped.unwrap_err(),
        CatalogError::TableNotFound { .. }
    ));
    assert!(
        !is_there(
            &catalog,
            &format!("{location}/metadata/{id}-{snapshot_id}.stats")
        )
        .await
    );
}

async fn expire(catalog: &SqlCatalog, table: &Table) -> Table {
    let options = ExpireOptions {
        now_ms: chrono::Utc::now().timestamp_millis() + 1_000_000,
        max_age_ms: Some(0),
        default_max_age_ms: 0,
        retain_last: None,
        clean_expired_metadata: false,
    };
    let (table, report) = expire_snapshots(catalog, &table.ident, options)
        .await
        .unwrap();
    assert_eq!(report.failed, 0);
    table
}

async fn remove_orphans(catalog: &SqlCatalog, table: &Table) -> usize {
    let options = OrphanOptions {
        older_than_ms: chrono::Utc::now().timestamp_millis() + 1_000,
        ..OrphanOptions::default()
    };
    let report = remove_orphan_files(catalog, &table.ident, &options).await;
    report.unwrap().deleted
}

#[tokio::test]
async fn files_live_as_long_as_their_snapshots() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&*catalog, &table, "a").await;
    let table = analyze(&*catalog, &table, &[(1, 10)]).await;
    let first = file_of(&table).statistics_path.clone();
    let table = append(&*catalog, &table, "b").await;
    let table = analyze(&*catalog, &table, &[(1, 20)]).await;
    let second = file_of(&table).statistics_path.clone();
    remove_orphans(&catalog, &table).await;
    assert!(is_there(&catalog, &first).await);
    assert!(is_there(&catalog, &second).await);

    let table = expire(&catalog, &table).await;
    assert!(!is_there(&catalog, &first).await);
    assert!(is_there(&catalog, &second).await);
    assert_eq!(table.metadata.statistics_iter().len(), 1);
    assert_eq!(known(&table), BTreeMap::from([(1, 20)]));

    // What was replaced or dropped is an orphan.
    let table = analyze(&*catalog, &table, &[(1, 21)]).await;
    let third = file_of(&table).statistics_path.clone();
    remove_orphans(&catalog, &table).await;
    assert!(!is_there(&catalog, &second).await);
    assert!(is_there(&catalog, &third).await);
    let table = commit_metadata(&*catalog, &table.ident, |table| Ok(drop_statistics(table)))
        .await
        .unwrap();
    assert_eq!(known(&table), BTreeMap::new());
    assert!(is_there(&catalog, &third).await);
    remove_orphans(&catalog, &table).await;
    assert!(!is_there(&catalog, &third).await);
}

#[tokio::test]
async fn a_transaction_takes_its_statistics_back() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&*catalog, &table, "a").await;
    let table = analyze(&*catalog, &table, &[(1, 10)]).await;
    let kept = file_of(&table).statistics_path.clone();

    let transaction = catalog.begin_transaction().await.unwrap();
    let inside = transaction.catalog();
    let again = analyze(&*inside, &table, &[(1, 11)]).await;
    let of_old_snapshot = file_of(&again).statistics_path.clone();
    let appended = append(&*inside, &again, "b").await;
    let analyzed = analyze(&*inside, &appended, &[(1, 20)]).await;
    let of_new_snapshot = file_of(&analyzed).statistics_path.clone();
    let outside = catalog.load_table(&table.ident).await.unwrap();
    assert_eq!(known(&outside), BTreeMap::from([(1, 10)]));

    transaction.roll_back().await.unwrap();
    assert!(is_there(&catalog, &kept).await);
    assert!(!is_there(&catalog, &of_old_snapshot).await);
    assert!(!is_there(&catalog, &of_new_snapshot).await);
    let outside = catalog.load_table(&table.ident).await.unwrap();
    assert_eq!(known(&outside), BTreeMap::from([(1, 10)]));
}
