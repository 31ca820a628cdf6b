//! Commits that clients of other programs ask for, and the purge of tables that they may have
//! written. Most is tested over HTTP, in `coordinator/tests/rest`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use common::*;
use iceberg::{TableRequirement, TableUpdate};
use ingot_catalog::commit::{CommitRequest, append_files, commit_requested, purge_table};
use ingot_catalog::{Catalog, CatalogError};

fn set_property(name: &str) -> Vec<TableUpdate> {
    vec![TableUpdate::SetProperties {
        updates: HashMap::from([(name.to_string(), "x".to_string())]),
    }]
}

#[tokio::test]
async fn commits_of_several_processes_are_tried_again_while_requirements_hold() {
    let (folder, first) = local_catalog().await;
    let name = ident("s", "t");
    let table = create_table(&*first, &name, &[]).await;
    // Another process has another storage, so it does not take turns with this one.
    let second = open_local(folder.path()).await;
    let tasks: Vec<_> = (0..12)
        .map(|number| {
            let catalog = Arc::clone(if number % 2 == 0 { &first } else { &second });
            let request = CommitRequest {
                ident: name.clone(),
                requirements: vec![TableRequirement::UuidMatch {
                    uuid: table.metadata.uuid(),
                }],
                updates: set_property(&format!("p{number}")),
            };
            tokio::spawn(async move { commit_requested(&*catalog, vec![request]).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let newest = first.load_table(&name).await.unwrap();
    assert_eq!(newest.metadata.properties().len(), 12);
    // Each committed on top of the one before.
    assert_eq!(newest.metadata.metadata_log().len(), 12);
    assert_eq!(
        orphans(first.storage(), first.warehouse(), &[newest]).await,
        [""; 0]
    );

    let stale = CommitRequest {
        ident: name.clone(),
        requirements: vec![TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: 9,
        }],
        updates: set_property("q"),
    };
    let error = commit_requested(&*first, vec![stale]).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
}

#[tokio::test]
async fn a_purge_leaves_files_outside_of_the_warehouse() {
    let (folder, catalog) = local_catalog().await;
    let storage = catalog.storage();
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let outside = folder.path().join("precious.parquet").display().to_string();
    let elsewhere = format!("{}/imported/b.parquet", catalog.warehouse());
    let inside = data_path(&table, "a");
    let mut files = vec![data_file(&table, "a", 1)];
    for path in [&outside, &elsewhere] {
        files.push(data_file_at(&table, path));
    }
    for path in [&outside, &elsewhere, &inside] {
        storage.write(path, Bytes::from_static(b"x")).await.unwrap();
    }
    append_files(&*catalog, &table, files, no_summary())
        .await
        .unwrap();
    let dropped = catalog.drop_table(&table.ident).await.unwrap();
    let report = purge_table(&*catalog, &dropped).await.unwrap();
    assert_eq!(report.data_files, 2);
    assert!(storage.exists(&outside).await.unwrap());
    assert!(!storage.exists(&elsewhere).await.unwrap());
    assert!(!storage.exists(&inside).await.unwrap());
}

#[tokio::test]
async fn a_file_outside_of_the_warehouse_is_not_registered_or_read() {
    let (folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let dropped = catalog.drop_table(&table.ident).await.unwrap();
    let content = catalog
        .storage()
        .read(&dropped.metadata_location.unwrap())
        .await
        .unwrap();
    // The table's own location is fine, only the file is not.
    let outside = folder.path().join("v1.metadata.json").display().to_string();
    catalog.storage().write(&outside, content).await.unwrap();
    let error = catalog
        .register_table(&ident("s", "u"), &outside)
        .await
        .unwrap_err();
    assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
}
