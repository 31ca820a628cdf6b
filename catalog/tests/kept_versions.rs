//! Branches of old versions of the catalog: made as long as their files are kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use common::*;
use ingot_catalog::commit::{append_files, purge_table};
use ingot_catalog::database::Database;
use ingot_catalog::maintenance::{ExpireOptions, expire_snapshots};
use ingot_catalog::{
    Catalog, CatalogError, CatalogReference, CatalogReferenceKind, SqlCatalog, Table, VersionId,
    VersionedCatalog,
};

const BRANCH: CatalogReferenceKind = CatalogReferenceKind::Branch;
const TAG: CatalogReferenceKind = CatalogReferenceKind::Tag;

async fn append(catalog: &dyn Catalog, table: &Table, file: &str) -> Table {
    let files = vec![data_file(table, file, 1)];
    append_files(catalog, table, files, no_summary())
        .await
        .unwrap()
}

/// The newest version of `main`.
async fn head(catalog: &SqlCatalog) -> i64 {
    number(&catalog.references().await.unwrap()[0].version)
}

fn number(version: &VersionId) -> i64 {
    match version {
        VersionId::Number(number) => *number,
        VersionId::Hash(hash) => panic!("{hash} is no number"),
    }
}

async fn make(
    catalog: &SqlCatalog,
    kind: CatalogReferenceKind,
    name: &str,
    version: i64,
) -> Result<(), CatalogError> {
    let from = CatalogReference::Version(VersionId::Number(version));
    let made = catalog.create_reference(kind, name, Some(&from)).await;
    made.map(drop)
}

/// Makes the commits up to a version two hours older.
async fn age(database: &Database, up_to: i64) {
    let sql = format!(
        "UPDATE catalog_versions SET committed_at_ms = committed_at_ms - 7200000
         WHERE version_id <= {up_to}"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .execute(database.pool())
        .await
        .unwrap();
}

/// A catalog with the schema `s` that keeps its versions for an hour.
async fn with_retention() -> (tempfile::TempDir, Database, Arc<SqlCatalog>) {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path()).await;
    let catalog = open_keeping(folder.path(), &database, 3600).await;
    catalog.create_schema("s", HashMap::new()).await.unwrap();
    (folder, database, catalog)
}

#[tokio::test]
async fn versions_beyond_the_retention_are_refused() {
    let (_folder, database, catalog) = with_retention().await;
    let mut table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let mut versions = vec![head(&catalog).await];
    for file in ["a", "b", "c"] {
        table = append(&*catalog, &table, file).await;
        versions.push(head(&catalog).await);
    }
    let [created, first, second, third] = versions[..] else {
        panic!("{versions:?}");
    };
    // All of them are young.
    make(&catalog, TAG, "old", created).await.unwrap();
    make(&catalog, BRANCH, "young", first).await.unwrap();
    catalog.drop_reference(BRANCH, "young").await.unwrap();

    // The commit that ended the first one is too old now; the tag keeps what it reads.
    age(&database, second).await;
    let error = make(&catalog, BRANCH, "b", first).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "version {first} of catalog iceberg has expired: catalog.version_retention keeps its \
             files no longer; available on branch main: versions {created}, {second} to {third}"
        )
    );
    let error = make(&catalog, TAG, "b", first).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::VersionExpired { .. }),
        "{error}"
    );
    for (name, version) in [("of_tag", created), ("ended", second), ("head", third)] {
        make(&catalog, BRANCH, name, version).await.unwrap();
        let reference = CatalogReference::Branch(name.to_string());
        let branch = catalog.at(&reference).await.unwrap();
        branch.load_table(&table.ident).await.unwrap();
    }
    // A version of a branch has what the branch was made from, which may have expired.
    let on_branch = CatalogReference::Branch("ended".to_string());
    let on_branch = catalog.at(&on_branch).await.unwrap();
    let made = on_branch.create_schema("made_there", HashMap::new());
    made.await.unwrap();
    let log = catalog.log(1).await.unwrap();
    let there = number(&log[0].version);
    make(&catalog, BRANCH, "of_branch", there).await.unwrap();
    for name in ["ended", "of_branch"] {
        catalog.drop_reference(BRANCH, name).await.unwrap();
    }
    let error = make(&catalog, BRANCH, "again", there).await.unwrap_err();
    assert!(
        error.to_string().ends_with("; choose a branch or tag"),
        "{error}"
    );
}

#[tokio::test]
async fn versions_within_the_retention_that_lost_a_table_are_refused() {
    let (_folder, _database, catalog) = with_retention().await;
    create_table(&*catalog, &ident("s", "stays"), &[]).await;
    let purged = create_table(&*catalog, &ident("s", "purged"), &[]).await;
    let with_both = head(&catalog).await;
    make(&catalog, BRANCH, "whole", with_both).await.unwrap();
    catalog.drop_reference(BRANCH, "whole").await.unwrap();
    let dropped = catalog.drop_table_for_purge(&purged.ident).await.unwrap();
    purge_table(&*catalog, &dropped).await.unwrap();

    let newest = head(&catalog).await;
    let expected = format!(
        "version {with_both} of catalog iceberg has expired: table s.purged has lost files; \
         available on branch main: version {newest}"
    );
    let error = make(&catalog, BRANCH, "b", with_both).await.unwrap_err();
    assert_eq!(error.to_string(), expected);
    // The same of a handle that is there already.
    let version = CatalogReference::Version(VersionId::Number(with_both));
    let there = catalog.at(&version).await.unwrap();
    let made = there.versioned().unwrap().create_reference(TAG, "b", None);
    assert_eq!(made.await.unwrap_err().to_string(), expected);
    make(&catalog, BRANCH, "b", newest).await.unwrap();
}

#[tokio::test]
async fn without_a_retention_versions_that_lost_files_are_refused() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&*catalog, &table, "a").await;
    let first = head(&catalog).await;
    let table = append(&*catalog, &table, "b").await;
    make(&catalog, BRANCH, "whole", first).await.unwrap();
    catalog.drop_reference(BRANCH, "whole").await.unwrap();

    let options = ExpireOptions {
        now_ms: chrono::Utc::now().timestamp_millis() + 1_000_000,
        max_age_ms: Some(0),
        default_max_age_ms: 0,
        retain_last: None,
        clean_expired_metadata: false,
    };
    let (_, report) = expire_snapshots(&*catalog, &table.ident, options)
        .await
        .unwrap();
    assert_eq!(report.snapshots, 1);
    let newest = head(&catalog).await;
    let error = make(&catalog, BRANCH, "b", first).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "version {first} of catalog iceberg has expired: table s.t has lost files; available \
             on branch main: version {newest}"
        )
    );
    make(&catalog, BRANCH, "b", newest).await.unwrap();
}
