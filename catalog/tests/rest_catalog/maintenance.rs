//! Maintenance of tables whose catalog leaves out where their metadata is.

use std::sync::Arc;
use std::time::Duration;

use iceberg::TableUpdate;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention};
use ingot_catalog::commit::{append_files, commit_metadata};
use ingot_catalog::maintenance::{
    ExpireOptions, OrphanOptions, expire_snapshots, remove_orphan_files,
};
use ingot_catalog::{Catalog, CatalogError, RestCatalog, Table};

use crate::common::*;
use crate::server::{Fault, Server};
use crate::started;

/// A table of two snapshots, whose metadata location is not told.
async fn hidden() -> (tempfile::TempDir, Server, Arc<RestCatalog>, Table) {
    let (folder, server, client) = started().await;
    server.set_rules(|rules| rules.hides_metadata_location = true);
    let mut table = create_table(&*client, &ident("s", "t"), &[]).await;
    for name in ["a", "b"] {
        let file = data_file(&table, name, 1);
        let appended = append_files(&*client, &table, vec![file], no_summary());
        table = appended.await.unwrap();
    }
    assert_eq!(table.metadata_location, None);
    (folder, server, client, table)
}

#[tokio::test]
async fn snapshots_that_become_current_meanwhile_do_not_expire() {
    let (_folder, server, client, table) = hidden().await;
    let newest = table.metadata.current_snapshot().unwrap();
    let first = newest.parent_snapshot_id().unwrap();
    let options = ExpireOptions {
        now_ms: chrono::Utc::now().timestamp_millis() + 1_000_000,
        max_age_ms: Some(0),
        default_max_age_ms: 0,
        retain_last: None,
        clean_expired_metadata: false,
    };
    let sent = server.count("POST", "tables/t");
    // The expiry is sent again unless it finds that it does not fit any more; several failures give
    // the rollback time.
    for _ in 0..3 {
        server.plan("POST", "tables/t", Fault::Instead(500, ""));
    }
    let expiring = expire_snapshots(&*client, &table.ident, options);
    let rolling_back = async {
        while server.count("POST", "tables/t") == sent {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rolled_back = commit_metadata(&*server.catalog, &table.ident, |_| {
            let retention = SnapshotRetention::branch(None, None, None);
            Ok(vec![TableUpdate::SetSnapshotRef {
                ref_name: MAIN_BRANCH.to_string(),
                reference: SnapshotReference::new(first, retention),
            }])
        });
        rolled_back.await.unwrap();
    };
    let (expired, ()) = tokio::join!(expiring, rolling_back);
    let (after, report) = expired.unwrap();
    assert_eq!(report.snapshots, 1);
    assert_eq!(after.metadata.current_snapshot_id(), Some(first));
    let left: Vec<i64> = after
        .metadata
        .snapshots()
        .map(|snapshot| snapshot.snapshot_id())
        .collect();
    assert_eq!(left, [first]);
}

#[tokio::test]
async fn metadata_that_is_not_told_is_not_deleted_as_an_orphan() {
    let (_folder, server, client, table) = hidden().await;
    let options = OrphanOptions {
        older_than_ms: i64::MAX,
        ..OrphanOptions::default()
    };
    let error = remove_orphan_files(&*client, &table.ident, &options)
        .await
        .unwrap_err();
    assert!(matches!(error, CatalogError::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("s.t"), "{error}");
    server.catalog.load_table(&table.ident).await.unwrap();
}
