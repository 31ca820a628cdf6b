//! The metadata files of views that were dropped: who deletes them, and when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;

use common::*;
use ingot_catalog::maintenance::{AbandonedReport, OrphanOptions, remove_abandoned_folders};
use ingot_catalog::{
    Catalog, CatalogReference, CatalogReferenceKind, SqlCatalog, VersionedCatalog, ViewDefinition,
};

fn definition(sql: &str) -> ViewDefinition {
    ViewDefinition {
        sql: sql.to_string(),
        default_catalog: None,
        default_schema: "s".to_string(),
        schema: schema(),
        query_columns: vec!["id".to_string(), "d".to_string(), "name".to_string()],
        comment: None,
        materialization: None,
    }
}

/// Creates or replaces the view; returns its new metadata file.
async fn put(catalog: &dyn Catalog, name: &str, sql: &str) -> String {
    let name = ident("s", name);
    let put = catalog.put_view(&name, definition(sql), true);
    put.await.unwrap().metadata_location
}

/// Cleans up the files of schema `s` that changed at least so many milliseconds ago.
async fn clean(catalog: &dyn Catalog, age_ms: i64) -> AbandonedReport {
    let options = OrphanOptions {
        older_than_ms: chrono::Utc::now().timestamp_millis() - age_ms,
        ..OrphanOptions::default()
    };
    remove_abandoned_folders(catalog, "s", &options)
        .await
        .unwrap()
}

async fn existing(catalog: &dyn Catalog, files: &[&String]) -> Vec<bool> {
    let mut existing = Vec::with_capacity(files.len());
    for file in files {
        existing.push(catalog.storage().exists(file).await.unwrap());
    }
    existing
}

#[tokio::test]
async fn views_dropped_in_a_transaction_are_cleaned_up_after_it() {
    let (_folder, catalog) = local_catalog().await;
    let first = put(&*catalog, "before", "SELECT 1").await;
    let kept = put(&*catalog, "kept", "SELECT 1").await;

    let transaction = catalog.begin_transaction().await.unwrap();
    let own = transaction.catalog();
    let second = put(&*own, "before", "SELECT 2").await;
    let dropped = own.drop_view(&ident("s", "before")).await.unwrap();
    assert_eq!(dropped.unread_files, Vec::<String>::new());
    let short_lived = put(&*own, "short_lived", "SELECT 1").await;
    own.drop_view(&ident("s", "short_lived")).await.unwrap();
    let replaced = put(&*own, "new", "SELECT 1").await;
    let published = put(&*own, "new", "SELECT 2").await;
    transaction.commit().await.unwrap();

    // What only the transaction could read goes with it.
    let files = [&second, &short_lived, &replaced, &first, &kept, &published];
    assert_eq!(
        existing(&*catalog, &files).await,
        [false, false, false, true, true, true]
    );
    // What was there before is found later, when it is old enough.
    assert_eq!(clean(&*catalog, 3_600_000).await.view_files, 0);
    let report = clean(&*catalog, -1_000).await;
    assert_eq!((report.view_files, report.files.deleted), (1, 1));
    assert_eq!(
        existing(&*catalog, &files).await,
        [false, false, false, false, true, true]
    );
    let view = catalog.load_view(&ident("s", "new")).await.unwrap();
    assert_eq!(view.definition().unwrap().sql, "SELECT 2");
    assert_eq!(
        clean(&*catalog, -1_000).await,
        AbandonedReport {
            files: report_of(2),
            ..AbandonedReport::default()
        }
    );
}

/// Nothing deleted of so many files.
fn report_of(listed: usize) -> ingot_catalog::maintenance::OrphanReport {
    ingot_catalog::maintenance::OrphanReport {
        listed,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_takes_no_file_of_others() {
    let (_folder, catalog) = local_catalog().await;
    let first = put(&*catalog, "v", "SELECT 1").await;
    let transaction = catalog.begin_transaction().await.unwrap();
    let own = transaction.catalog();
    let second = put(&*own, "v", "SELECT 2").await;
    own.drop_view(&ident("s", "v")).await.unwrap();
    // What was there before it stays, as the transaction is not committed yet.
    clean(&*catalog, -1_000).await;
    assert_eq!(existing(&*catalog, &[&first]).await, [true]);
    transaction.roll_back().await.unwrap();
    clean(&*catalog, -1_000).await;
    let files = [&first, &second];
    assert_eq!(existing(&*catalog, &files).await, [true, false]);
}

#[tokio::test]
async fn views_stay_as_long_as_a_kept_version_or_a_branch_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path()).await;
    let catalog = open_keeping(folder.path(), &database, 3600).await;
    catalog.create_schema("s", HashMap::new()).await.unwrap();
    let dropped = put(&*catalog, "dropped", "SELECT 1").await;
    let with_dropped = catalog.references().await.unwrap()[0].version.clone();
    let gone = catalog.drop_view(&ident("s", "dropped")).await.unwrap();
    assert_eq!(gone.unread_files, Vec::<String>::new());
    let forked = put(&*catalog, "forked", "SELECT 1").await;
    let replaced = put(&*catalog, "replaced", "SELECT 1").await;
    let branch = CatalogReferenceKind::Branch;
    catalog.create_reference(branch, "b", None).await.unwrap();
    let newest = put(&*catalog, "replaced", "SELECT 2").await;
    let gone = catalog.drop_view(&ident("s", "forked")).await.unwrap();
    assert_eq!(gone.unread_files, Vec::<String>::new());

    let files = [&dropped, &forked, &replaced, &newest];
    assert_eq!(clean(&*catalog, -1_000).await.view_files, 0);
    assert_eq!(existing(&*catalog, &files).await, [true; 4]);
    let version = CatalogReference::Version(with_dropped);
    let version = catalog.at(&version).await.unwrap();
    version.load_view(&ident("s", "dropped")).await.unwrap();

    // Without retention, what the branch has stays.
    let later = open_keeping(folder.path(), &database, 0).await;
    assert_eq!(clean(&*later, -1_000).await.view_files, 1);
    assert_eq!(existing(&*later, &files).await, [false, true, true, true]);
    let on_branch = later
        .at(&CatalogReference::Branch("b".to_string()))
        .await
        .unwrap();
    for name in ["forked", "replaced"] {
        let view = on_branch.load_view(&ident("s", name)).await.unwrap();
        assert_eq!(view.definition().unwrap().sql, "SELECT 1");
    }
    later.drop_reference(branch, "b").await.unwrap();
    assert_eq!(clean(&*later, -1_000).await.view_files, 2);
    assert_eq!(existing(&*later, &files).await, [false, false, false, true]);
    later.load_view(&ident("s", "replaced")).await.unwrap();
}

#[tokio::test]
async fn another_catalog_in_the_same_folder_keeps_its_views() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path()).await;
    let catalog = open_keeping(folder.path(), &database, 0).await;
    let other = SqlCatalog::open(
        "other",
        database.clone(),
        local_storage(),
        catalog.warehouse(),
    )
    .await
    .unwrap();
    for one in [&catalog, &other] {
        one.create_schema("s", HashMap::new()).await.unwrap();
    }
    let theirs = put(&*other, "v", "SELECT 1").await;
    put(&*other, "v", "SELECT 2").await;
    assert_eq!(clean(&*catalog, -1_000).await.view_files, 0);
    assert_eq!(existing(&*catalog, &[&theirs]).await, [true]);
    // The replaced state is the other catalog's to clean up.
    assert_eq!(clean(&*other, -1_000).await.view_files, 1);
}
