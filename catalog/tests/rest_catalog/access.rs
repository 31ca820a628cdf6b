//! Credentials of storage that come with a table.

use std::collections::HashMap;
use std::time::Duration;

use iceberg::spec::SortOrder;
use ingot_catalog::commit::{append_files, stage_create};
use ingot_catalog::{
    AccessDelegation, Catalog, Database, RestCatalog, S3Config, SqlCatalog, Storage, StorageConfig,
    TableVersion,
};
use ingot_test_support::S3Server;
use serde_json::{Value, json};

use crate::common::*;
use crate::server::Server;

/// A server over tables on S3.
async fn on_s3(folder: &tempfile::TempDir, s3: &S3Server) -> Server {
    let database = Database::connect_sqlite(&folder.path().join("catalog.db"))
        .await
        .unwrap();
    let warehouse = format!("s3://{}/warehouse", S3Server::BUCKET);
    let catalog = SqlCatalog::open("iceberg", database, s3_storage(s3), &warehouse)
        .await
        .unwrap();
    catalog.create_schema("s", HashMap::new()).await.unwrap();
    Server::start(catalog).await
}

/// Keys as the protocol has them.
fn keys(s3: &S3Server, expires_in_ms: i64) -> Value {
    let expires_at_ms = chrono::Utc::now().timestamp_millis() + expires_in_ms;
    json!({
        "s3.endpoint": s3.endpoint(),
        "s3.region": "us-east-1",
        "s3.path-style-access": "true",
        "s3.access-key-id": S3Server::ACCESS_KEY,
        "s3.secret-access-key": S3Server::SECRET_KEY,
        "s3.session-token-expires-at-ms": expires_at_ms.to_string(),
    })
}

fn vend(server: &Server, s3: &S3Server, expires_in_ms: i64) {
    let config = keys(s3, expires_in_ms);
    server.set_rules(|rules| rules.config = config);
}

/// Storage of a process that has no keys.
fn keyless(s3: &S3Server) -> std::sync::Arc<Storage> {
    Storage::new(StorageConfig {
        s3: S3Config {
            endpoint: Some(s3.endpoint()),
            path_style: true,
            ..S3Config::default()
        },
        ..StorageConfig::default()
    })
}

#[tokio::test]
async fn tables_are_written_and_read_with_the_keys_of_the_catalog() {
    let (folder, s3) = (tempfile::tempdir().unwrap(), S3Server::start());
    let server = on_s3(&folder, &s3).await;
    vend(&server, &s3, 3_600_000);
    let storage = keyless(&s3);
    let client = server.open(storage.clone()).await;
    let mut table = create_table(&*client, &ident("s", "t"), &[]).await;
    let file = data_file(&table, "f", 1);
    let appended = append_files(&*client, &table, vec![file], no_summary());
    table = appended.await.unwrap();
    let files = live_files(&storage, &table, &TableVersion::Current).await;
    assert_eq!(names(&files), ["f"]);

    // Only the table's own folder.
    let folder_of_table = table.metadata.location();
    let accesses = storage.accesses([folder_of_table, "s3://lakehouse/warehouse/other"]);
    assert_eq!(accesses.len(), 1);
    assert_eq!(accesses[0].location, folder_of_table);
    let outside = storage.read("s3://lakehouse/warehouse/other").await;
    let error = outside.unwrap_err().to_string();
    assert!(error.contains("no credentials"), "{error}");
    let shown = format!("{client:?} {storage:?} {accesses:?}");
    assert!(!shown.contains(S3Server::SECRET_KEY), "{shown}");
    assert!(!shown.contains(S3Server::ACCESS_KEY), "{shown}");
}

#[tokio::test]
async fn keys_for_more_than_a_table_are_used_for_the_table() {
    let (folder, s3) = (tempfile::tempdir().unwrap(), S3Server::start());
    let server = on_s3(&folder, &s3).await;
    let bucket = format!("s3://{}", S3Server::BUCKET);
    let other = format!("{bucket}/warehouse/other");
    let prefixes = [format!("{bucket}/"), other.clone()];
    let credentials = prefixes
        .iter()
        .map(|prefix| json!({"prefix": prefix, "config": keys(&s3, 3_600_000)}));
    let credentials = Value::Array(credentials.collect());
    server.set_rules(|rules| rules.credentials = credentials);
    let storage = keyless(&s3);
    let client = server.open(storage.clone()).await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    let file = data_file(&table, "f", 1);
    let appended = append_files(&*client, &table, vec![file], no_summary());
    appended.await.unwrap();
    let folder_of_table = table.metadata.location();
    let places = [folder_of_table, other.as_str(), bucket.as_str()];
    let granted: Vec<String> = storage
        .accesses(places)
        .into_iter()
        .map(|access| access.location)
        .collect();
    assert_eq!(granted, [folder_of_table]);
    let error = storage.read(&other).await.unwrap_err().to_string();
    assert!(error.contains("no credentials"), "{error}");
}

#[tokio::test]
async fn keys_are_renewed_before_they_end() {
    let (folder, s3) = (tempfile::tempdir().unwrap(), S3Server::start());
    let server = on_s3(&folder, &s3).await;
    vend(&server, &s3, 4_000);
    let storage = keyless(&s3);
    let client = server.open(storage.clone()).await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    let location = table.metadata_location.clone().unwrap();
    let asked = server.count("GET", "tables/t");
    storage.read(&location).await.unwrap();
    assert_eq!(server.count("GET", "tables/t"), asked);
    tokio::time::sleep(Duration::from_millis(4_100)).await;
    vend(&server, &s3, 3_600_000);
    storage.read(&location).await.unwrap();
    storage.read(&location).await.unwrap();
    assert_eq!(server.count("GET", "tables/t"), asked + 1);
}

#[tokio::test]
async fn without_delegation_the_settings_hold() {
    let (folder, s3) = (tempfile::tempdir().unwrap(), S3Server::start());
    let server = on_s3(&folder, &s3).await;
    vend(&server, &s3, 3_600_000);
    let mut options = server.options();
    options.access_delegation = AccessDelegation::None;
    let client = RestCatalog::open("lake", keyless(&s3), options.clone())
        .await
        .unwrap();
    let name = ident("s", "t");
    let staged = stage_create(
        &*client,
        &name,
        schema(),
        by_day(),
        SortOrder::unsorted_order(),
        HashMap::new(),
    );
    let error = staged.await.unwrap_err().to_string();
    assert!(error.contains("no credentials"), "{error}");
    let client = RestCatalog::open("lake", s3_storage(&s3), options)
        .await
        .unwrap();
    create_table(&*client, &ident("s", "t"), &[]).await;
}
