//! The catalog on S3, over HTTP, with signatures that are checked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use common::*;
use ingot_catalog::commit::{append_files, delete_table_files};
use ingot_catalog::{
    Catalog, Database, S3Config, SqlCatalog, Storage, StorageConfig, TableVersion,
};
use ingot_test_support::S3Server;

#[tokio::test]
async fn tables_live_on_s3() {
    let server = S3Server::start();
    let folder = tempfile::tempdir().unwrap();
    let database = Database::connect_sqlite(&folder.path().join("c.db"))
        .await
        .unwrap();
    let storage = s3_storage(&server);
    let warehouse = format!("s3://{}/ware house", S3Server::BUCKET);
    let catalog = SqlCatalog::open("iceberg", database.clone(), storage, &warehouse)
        .await
        .unwrap();
    catalog.create_schema("s", HashMap::new()).await.unwrap();
    let name = ident("s", "t");
    let mut table = create_table(
        &*catalog,
        &name,
        &[("write.metadata.compression-codec", "gzip")],
    )
    .await;
    for number in 0..3 {
        let file = data_file(&table, &format!("f{number}"), number);
        let path = data_path(&table, &format!("f{number}"));
        let storage = catalog.storage();
        storage
            .write(&path, Bytes::from_static(b"x"))
            .await
            .unwrap();
        table = append_files(&*catalog, &table, vec![file], no_summary())
            .await
            .unwrap();
    }
    let location = table.metadata_location.clone().unwrap();
    assert!(location.starts_with(&warehouse), "{location}");
    assert!(location.ends_with(".gz.metadata.json"), "{location}");

    // Another process, with nothing cached.
    let other = SqlCatalog::open("iceberg", database, s3_storage(&server), &warehouse)
        .await
        .unwrap();
    let loaded = other.load_table(&name).await.unwrap();
    let files = live_files(other.storage(), &loaded, &TableVersion::Current).await;
    assert_eq!(names(&files), ["f0", "f1", "f2"]);

    let dropped = other.drop_table(&name).await.unwrap();
    let report = delete_table_files(other.storage(), &dropped).await.unwrap();
    assert_eq!(report.data_files, 3);
    assert_eq!(other.storage().list(&warehouse).await.unwrap(), vec![]);
}

#[tokio::test]
async fn conditional_writes_have_one_winner() {
    let server = S3Server::start();
    let storage = s3_storage(&server);
    let location = format!("s3a://{}/x/claimed", S3Server::BUCKET);
    let mut tasks = Vec::new();
    for number in 0..8 {
        let (storage, location) = (storage.clone(), location.clone());
        tasks.push(tokio::spawn(async move {
            let content = Bytes::from(number.to_string());
            storage.write_new(&location, content).await.is_ok()
        }));
    }
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert_eq!(storage.size(&location).await.unwrap(), 1);
}

#[tokio::test]
async fn odd_keys_survive() {
    let server = S3Server::start();
    let storage = s3_storage(&server);
    let root = format!("s3://{}/odd", S3Server::BUCKET);
    let mut written = Vec::new();
    for key in ["a b", "p=1%2F2", "ü", "a+b&c", "x#y", "q?r"] {
        let location = format!("{root}/{key}/f");
        storage.write(&location, Bytes::from(key)).await.unwrap();
        assert_eq!(storage.read(&location).await.unwrap(), key);
        written.push(location);
    }
    let listed = storage.list(&root).await.unwrap();
    let mut listed: Vec<_> = listed.into_iter().map(|file| file.location).collect();
    listed.sort();
    written.sort();
    assert_eq!(listed, written);
    storage.delete_all(written).await.unwrap();
    assert_eq!(storage.list(&root).await.unwrap(), vec![]);
}

fn config(server: &S3Server) -> S3Config {
    s3_storage(server).config().s3.clone()
}

async fn first_error(s3: S3Config, bucket: &str) -> String {
    let storage = Storage::new(StorageConfig {
        s3,
        ..StorageConfig::default()
    });
    let location = format!("s3://{bucket}/some/key");
    let error = storage.read(&location).await.unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(&location), "{error}");
    assert!(!error.contains("wrong-secret"), "{error}");
    assert!(!error.contains(S3Server::SECRET_KEY), "{error}");
    error
}

#[tokio::test]
async fn what_is_wrong_with_access_is_said_on_one_line() {
    let server = S3Server::start();
    let endpoint = server.endpoint();

    let mut wrong_secret = config(&server);
    wrong_secret.secret_access_key = Some("wrong-secret".to_string());
    let error = first_error(wrong_secret, S3Server::BUCKET).await;
    assert!(error.contains("access denied"), "{error}");
    assert!(error.contains("SignatureDoesNotMatch"), "{error}");
    assert!(error.contains(&endpoint), "{error}");

    let mut wrong_user = config(&server);
    wrong_user.access_key_id = Some("nobody".to_string());
    let error = first_error(wrong_user, S3Server::BUCKET).await;
    assert!(error.contains("access denied"), "{error}");

    let error = first_error(config(&server), S3Server::BUCKET).await;
    assert!(error.ends_with("no such file"), "{error}");

    let mut unreachable = config(&server);
    unreachable.endpoint = Some("http://127.0.0.1:1".to_string());
    let begun = Instant::now();
    let error = first_error(unreachable, S3Server::BUCKET).await;
    assert!(error.contains("http://127.0.0.1:1"), "{error}");
    assert!(error.to_lowercase().contains("refused"), "{error}");
    // Not a measurement: without a limit on retries it would be minutes.
    assert!(begun.elapsed().as_secs() < 60);
}

#[tokio::test]
async fn an_endpoint_without_credentials_is_refused_at_once() {
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        eprintln!("skipped: this environment has AWS credentials");
        return;
    }
    let server = S3Server::start();
    let mut nobody = config(&server);
    nobody.access_key_id = None;
    nobody.secret_access_key = None;
    let error = first_error(nobody, S3Server::BUCKET).await;
    assert!(error.contains("no credentials"), "{error}");
}
