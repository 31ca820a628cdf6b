//! Which data files snapshots added, and when that is not all that they did.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;

use common::*;
use ingot_catalog::commit::{Removal, RowDelta, append_files, commit_row_delta};
use ingot_catalog::scan::{Appends, ManifestCache, appended_files};
use ingot_catalog::{Catalog, SqlCatalog, Table};

async fn append(catalog: &SqlCatalog, table: &Table, names: &[&str]) -> Table {
    let files = names.iter().map(|name| data_file(table, name, 1)).collect();
    append_files(catalog, table, files, no_summary())
        .await
        .unwrap()
}

fn current(table: &Table) -> i64 {
    table.metadata.current_snapshot_id().unwrap()
}

/// The names of the files added, by snapshot; or why there are others.
async fn added(
    catalog: &SqlCatalog,
    table: &Table,
    from: Option<i64>,
    to: i64,
) -> Result<Vec<Vec<String>>, String> {
    let cache = ManifestCache::new(1 << 20);
    let schema = table.metadata.current_schema();
    let appends = appended_files(catalog.storage(), &cache, table, from, to, schema)
        .await
        .unwrap();
    let snapshots = match appends {
        Appends::Only(snapshots) => snapshots,
        Appends::NotOnly { reason } => return Err(reason),
    };
    let names = |path: &str| path.rsplit('/').next().unwrap().replace(".parquet", "");
    let of_snapshots = snapshots.iter().map(|append| {
        let mut files: Vec<String> = append.files.iter().map(|file| names(&file.path)).collect();
        files.sort();
        files
    });
    Ok(of_snapshots.collect())
}

#[tokio::test]
async fn appended_files_are_found_by_snapshot_even_in_merged_manifests() {
    let (_folder, catalog) = local_catalog().await;
    // Every second append merges the manifests.
    let merging = [("commit.manifest.min-count-to-merge", "2")];
    let empty = create_table(&*catalog, &ident("s", "t"), &merging).await;
    let one = append(&catalog, &empty, &["a", "b"]).await;
    let two = append(&catalog, &one, &["c"]).await;
    let three = append(&catalog, &two, &["d"]).await;

    let all = added(&catalog, &three, None, current(&three)).await;
    assert_eq!(all.unwrap(), [vec!["a", "b"], vec!["c"], vec!["d"]]);
    let last = added(&catalog, &three, Some(current(&one)), current(&three)).await;
    assert_eq!(last.unwrap(), [["c"], ["d"]]);
    let none = added(&catalog, &three, Some(current(&three)), current(&three)).await;
    assert_eq!(none.unwrap(), Vec::<Vec<String>>::new());
    let backwards = added(&catalog, &three, Some(current(&three)), current(&two)).await;
    assert!(backwards.unwrap_err().starts_with("does not have snapshot"));
}

#[tokio::test]
async fn removed_files_are_told() {
    let (_folder, catalog) = local_catalog().await;
    let empty = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let one = append(&catalog, &empty, &["a", "b"]).await;
    let removal = Removal::Files(HashSet::from([data_path(&one, "a")]));
    let delta = RowDelta {
        removal,
        ..RowDelta::default()
    };
    let two = commit_row_delta(&*catalog, &one, delta).await.unwrap();
    let three = append(&catalog, &two, &["c"]).await;

    let reason = added(&catalog, &three, Some(current(&one)), current(&three)).await;
    let expected = format!(
        "had rows removed or changed by snapshot {} (delete)",
        current(&two)
    );
    assert_eq!(reason.unwrap_err(), expected);
    let later = added(&catalog, &three, Some(current(&two)), current(&three)).await;
    assert_eq!(later.unwrap(), [["c"]]);
}
