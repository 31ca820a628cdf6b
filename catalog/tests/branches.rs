//! Forks, merges and tags are not offered yet. This shows that the tables are ready for
//! them: the SQL of decision record 0001, on the tables as they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use ingot_catalog::commit::append_files;
use ingot_catalog::{Catalog, SqlCatalog, Table};
use sqlx::{AnyPool, Row};

const FORK: i64 = 2;

/// One row: nothing is copied.
async fn fork_main(pool: &AnyPool) -> i64 {
    sqlx::query(
        "INSERT INTO catalog_refs
            (catalog_id, ref_id, name, kind, head_version, parent_ref_id, fork_version, created_at_ms)
         SELECT catalog_id, $1, 'run-1', 'branch', head_version, ref_id, head_version, 0
         FROM catalog_refs WHERE catalog_id = 1 AND ref_id = 1",
    )
    .bind(FORK)
    .execute(pool)
    .await
    .unwrap();
    sqlx::query_scalar("SELECT fork_version FROM catalog_refs WHERE ref_id = $1")
        .bind(FORK)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// The state of a table on the fork: its own, else that of `main` when it was forked.
async fn on_fork(pool: &AnyPool, fork_version: i64, table: &str) -> Option<String> {
    let rows = sqlx::query(
        "SELECT 1 AS nearness, content FROM catalog_objects
         WHERE catalog_id = 1 AND ref_id = $1 AND schema_name = 's' AND object_name = $2
           AND to_version IS NULL
         UNION ALL
         SELECT 2, content FROM catalog_objects
         WHERE catalog_id = 1 AND ref_id = 1 AND schema_name = 's' AND object_name = $2
           AND from_version <= $3 AND (to_version IS NULL OR to_version > $3)
         ORDER BY nearness LIMIT 1",
    )
    .bind(FORK)
    .bind(table)
    .bind(fork_version)
    .fetch_optional(pool)
    .await
    .unwrap();
    rows.and_then(|row| row.get(1))
}

/// A change on the fork; without content, a drop.
async fn change_on_fork(pool: &AnyPool, table: &str, content: Option<&str>) {
    let version: i64 = sqlx::query_scalar(
        "UPDATE catalogs SET last_version = last_version + 1 WHERE catalog_id = 1
         RETURNING last_version",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO catalog_objects
            (catalog_id, ref_id, schema_name, object_name, from_version, kind, content)
         VALUES (1, $1, 's', $2, $3, 'table', $4)",
    )
    .bind(FORK)
    .bind(table)
    .bind(version)
    .bind(content.map(str::to_string))
    .execute(pool)
    .await
    .unwrap();
}

/// Tables of the fork that moved on `main` since.
async fn conflicts(pool: &AnyPool, fork_version: i64) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT DISTINCT mine.object_name FROM catalog_objects AS mine
         WHERE mine.catalog_id = 1 AND mine.ref_id = $1 AND EXISTS (
            SELECT 1 FROM catalog_changes AS theirs
            JOIN catalog_versions AS version
              ON version.catalog_id = theirs.catalog_id AND version.version_id = theirs.version_id
            WHERE theirs.catalog_id = 1 AND version.ref_id = 1 AND theirs.version_id > $2
              AND theirs.schema_name = mine.schema_name
              AND theirs.object_name = mine.object_name)
         ORDER BY mine.object_name",
    )
    .bind(FORK)
    .bind(fork_version)
    .fetch_all(pool)
    .await
    .unwrap()
}

async fn append(catalog: &SqlCatalog, table: &Table, file: &str) -> Table {
    let files = vec![data_file(table, file, 1)];
    append_files(catalog, table, files, no_summary())
        .await
        .unwrap()
}

#[tokio::test]
async fn forks_need_no_migration() {
    let (_folder, catalog) = local_catalog().await;
    let pool = catalog.database().pool();
    let kept = create_table(&*catalog, &ident("s", "kept"), &[]).await;
    let moved = create_table(&*catalog, &ident("s", "moved"), &[]).await;
    let gone = create_table(&*catalog, &ident("s", "gone"), &[]).await;
    let kept = append(&catalog, &kept, "a").await;

    let fork_version = fork_main(pool).await;
    for table in [&kept, &moved, &gone] {
        let seen = on_fork(pool, fork_version, table.ident.name()).await;
        assert_eq!(seen, table.metadata_location);
    }

    // `main` goes on; the fork does not see it.
    let newer = append(&catalog, &moved, "b").await;
    catalog.drop_table(&kept.ident).await.unwrap();
    assert_eq!(
        on_fork(pool, fork_version, "moved").await,
        moved.metadata_location
    );
    assert_eq!(
        on_fork(pool, fork_version, "kept").await,
        kept.metadata_location
    );

    // The fork goes on; `main` does not see it.
    change_on_fork(pool, "moved", Some("of the fork")).await;
    change_on_fork(pool, "gone", None).await;
    assert_eq!(
        on_fork(pool, fork_version, "moved").await.as_deref(),
        Some("of the fork")
    );
    assert_eq!(on_fork(pool, fork_version, "gone").await, None);
    let on_main = catalog.load_table(&moved.ident).await.unwrap();
    assert_eq!(on_main.metadata_location, newer.metadata_location);
    assert_eq!(catalog.list_tables("s").await.unwrap(), ["gone", "moved"]);

    // A merge would be refused because of the one table that both changed.
    assert_eq!(conflicts(pool, fork_version).await, ["moved"]);
}
