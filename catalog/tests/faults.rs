//! Commits that fail between any two of their steps: the old state stays, and nothing
//! is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use common::*;
use futures::StreamExt;
use futures::stream::BoxStream;
use ingot_catalog::commit::{
    Rewrite, append_files, commit_rewrite, commit_staged, optimize_manifests, stage_create,
    stage_replace,
};
use ingot_catalog::maintenance::{
    ExpireOptions, OrphanOptions, expire_snapshots, remove_orphan_files,
};
use ingot_catalog::{Catalog, CatalogError, SqlCatalog, Storage, Table, TableVersion};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Fails one write: the one before which `writes_left` have succeeded.
#[derive(Debug)]
struct FaultyStore {
    inner: LocalFileSystem,
    writes_left: AtomicI64,
    /// Whether the failing write is done all the same, as when an answer is lost.
    writes_anyway: bool,
    /// Whether all that comes after fails too, deletions included: a process that was killed.
    dies: bool,
}

impl FaultyStore {
    fn is_dead(&self) -> bool {
        self.dies && self.writes_left.load(Ordering::SeqCst) < 0
    }
}

fn injected() -> object_store::Error {
    object_store::Error::Generic {
        store: "FaultyStore",
        source: "injected failure".into(),
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if self.is_dead() {
            return Err(injected());
        }
        if self.writes_left.fetch_sub(1, Ordering::SeqCst) != 0 {
            return self.inner.put_opts(location, payload, options).await;
        }
        if self.writes_anyway {
            self.inner.put_opts(location, payload, options).await?;
        }
        Err(injected())
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        // A deletion counts as a write, for a process that dies.
        if self.dies && self.writes_left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return locations.map(|_| Err(injected())).boxed();
        }
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn order() -> iceberg::spec::SortOrder {
    iceberg::spec::SortOrder::unsorted_order()
}

/// The three kinds of commit, on a table `t` with one file, or creating `new`.
async fn attempt(catalog: &SqlCatalog, kind: usize, table: &Table) -> Result<(), CatalogError> {
    match kind {
        0 => {
            let files = vec![data_file(table, "b", 2)];
            append_files(catalog, table, files, no_summary()).await?;
        }
        1 => {
            let staged = stage_replace(
                catalog,
                &table.ident,
                schema(),
                by_day(),
                order(),
                HashMap::new(),
            )
            .await?;
            let files = vec![data_file(staged.table(), "b", 2)];
            commit_staged(catalog, staged, files).await?;
        }
        _ => {
            let name = ident("s", "new");
            let staged =
                stage_create(catalog, &name, schema(), by_day(), order(), HashMap::new()).await?;
            let files = vec![data_file(staged.table(), "b", 2)];
            commit_staged(catalog, staged, files).await?;
        }
    }
    Ok(())
}

async fn assert_unchanged(catalog: &SqlCatalog, table: &Table, what: &str) {
    let loaded = catalog.load_table(&table.ident).await.unwrap();
    assert_eq!(loaded.metadata_location, table.metadata_location, "{what}");
    assert_eq!(catalog.list_tables("s").await.unwrap(), ["t"], "{what}");
    let files = live_files(catalog.storage(), &loaded, &TableVersion::Current).await;
    assert_eq!(names(&files), ["a"], "{what}");
    let left = orphans(catalog.storage(), catalog.warehouse(), &[loaded]).await;
    assert_eq!(left, Vec::<String>::new(), "{what}");
}

async fn table_with_one_file(catalog: &SqlCatalog) -> Table {
    let table = create_table(catalog, &ident("s", "t"), &[]).await;
    let files = vec![data_file(&table, "a", 1)];
    append_files(catalog, &table, files, no_summary())
        .await
        .unwrap()
}

fn inject(storage: &Arc<Storage>, writes_left: i64, writes_anyway: bool) {
    let store = FaultyStore {
        inner: LocalFileSystem::new(),
        writes_left: AtomicI64::new(writes_left),
        writes_anyway,
        dies: false,
    };
    storage.register_store("/", Arc::new(store)).unwrap();
}

/// Lets the process die before its write or deletion of this number.
fn kill_at(storage: &Arc<Storage>, writes_left: i64) -> Arc<FaultyStore> {
    let store = Arc::new(FaultyStore {
        inner: LocalFileSystem::new(),
        writes_left: AtomicI64::new(writes_left),
        writes_anyway: false,
        dies: true,
    });
    storage.register_store("/", store.clone()).unwrap();
    store
}

/// A change of a table with the files `a` and `b`, and the files that it has afterwards.
async fn change(
    catalog: &SqlCatalog,
    kind: usize,
    table: &Table,
) -> (Result<(), CatalogError>, Vec<&'static str>) {
    match kind {
        0 => {
            let files = vec![data_file(table, "c", 2)];
            let outcome = append_files(catalog, table, files, no_summary()).await;
            (outcome.map(drop), vec!["a", "b", "c"])
        }
        1 => {
            let rewrite = Rewrite {
                removed: HashSet::from([data_path(table, "a"), data_path(table, "b")]),
                added: vec![data_file(table, "ab", 1)],
            };
            let outcome = commit_rewrite(catalog, table, rewrite).await;
            (outcome.map(drop), vec!["ab"])
        }
        2 => {
            let outcome = optimize_manifests(catalog, &table.ident).await;
            (outcome.map(drop), vec!["a", "b"])
        }
        _ => {
            let options = ExpireOptions {
                now_ms: chrono::Utc::now().timestamp_millis() + 1_000_000,
                max_age_ms: Some(0),
                default_max_age_ms: 0,
                retain_last: None,
                clean_expired_metadata: true,
            };
            let outcome = expire_snapshots(catalog, &table.ident, options).await;
            (outcome.map(drop), vec!["a", "b"])
        }
    }
}

#[tokio::test]
async fn a_process_that_dies_leaves_one_state_and_orphans_that_are_found() {
    for kind in 0..4 {
        for writes_left in 0.. {
            let what = format!("kind {kind}, {writes_left} writes");
            let (_folder, catalog) = local_catalog().await;
            let storage = catalog.storage();
            let mut table = table_with_one_file(&catalog).await;
            let files = vec![data_file(&table, "b", 1)];
            table = append_files(&*catalog, &table, files, no_summary())
                .await
                .unwrap();

            let store = kill_at(storage, writes_left);
            let (outcome, after) = change(&catalog, kind, &table).await;
            let survived = !store.is_dead();
            let alive = Arc::new(LocalFileSystem::new());
            storage.register_store("/", alive).unwrap();

            let loaded = catalog.load_table(&table.ident).await.unwrap();
            let files = live_files(storage, &loaded, &TableVersion::Current).await;
            match loaded.metadata_location == table.metadata_location {
                true => {
                    assert!(outcome.is_err(), "{what}");
                    assert_eq!(names(&files), ["a", "b"], "{what}");
                }
                false => assert_eq!(names(&files), after, "{what}"),
            }
            let options = OrphanOptions {
                older_than_ms: chrono::Utc::now().timestamp_millis() + 1_000,
                ..OrphanOptions::default()
            };
            remove_orphan_files(&*catalog, &table.ident, &options)
                .await
                .unwrap();
            let left = orphans(storage, catalog.warehouse(), &[loaded]).await;
            assert_eq!(left, Vec::<String>::new(), "{what}");
            // And what is left can be worked with.
            change(&catalog, 0, &table).await.0.unwrap();
            if survived {
                assert!(writes_left > 1, "{what}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_failed_write_at_any_step_leaves_nothing_behind() {
    for kind in 0..3 {
        for writes_anyway in [false, true] {
            let (_folder, catalog) = local_catalog().await;
            let table = table_with_one_file(&catalog).await;
            let mut writes_left = 0;
            loop {
                inject(catalog.storage(), writes_left, writes_anyway);
                let what = format!("kind {kind}, {writes_left} writes, anyway {writes_anyway}");
                match attempt(&catalog, kind, &table).await {
                    Ok(()) => break,
                    Err(error) => {
                        assert!(error.to_string().contains("injected failure"), "{error}");
                        assert_unchanged(&catalog, &table, &what).await;
                    }
                }
                writes_left += 1;
            }
            // A manifest, a manifest list and a metadata file.
            assert_eq!(writes_left, 3, "kind {kind}");
        }
    }
}

#[tokio::test]
async fn a_database_that_fails_at_any_step_leaves_nothing_behind() {
    for kind in 0..3 {
        for (event, on) in [
            ("UPDATE", "catalogs"),
            ("UPDATE", "catalog_objects"),
            ("INSERT", "catalog_objects"),
            ("INSERT", "catalog_changes"),
            ("INSERT", "catalog_versions"),
            ("UPDATE", "catalog_refs"),
        ] {
            let what = format!("kind {kind}, {event} of {on}");
            let (_folder, catalog) = local_catalog().await;
            let table = table_with_one_file(&catalog).await;
            let pool = catalog.database().pool();
            let trigger = format!(
                "CREATE TRIGGER fault BEFORE {event} ON {on}
                 BEGIN SELECT RAISE(ABORT, 'injected failure'); END"
            );
            sqlx::query(sqlx::AssertSqlSafe(trigger))
                .execute(pool)
                .await
                .unwrap();
            let outcome = attempt(&catalog, kind, &table).await;
            sqlx::query("DROP TRIGGER fault")
                .execute(pool)
                .await
                .unwrap();
            if (kind, event, on) == (2, "UPDATE", "catalog_objects") {
                // A creation has nothing to end.
                outcome.unwrap();
                continue;
            }
            let error = outcome.unwrap_err();
            assert!(
                error.to_string().contains("injected failure"),
                "{what}: {error}"
            );
            assert_unchanged(&catalog, &table, &what).await;
            // And nothing is locked.
            attempt(&catalog, kind, &table).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_commit_that_the_database_refuses_at_the_end_is_undone() {
    for kind in 0..3 {
        let (_folder, catalog) = local_catalog().await;
        let table = table_with_one_file(&catalog).await;
        let pool = catalog.database().pool();
        // A deferred constraint is checked by COMMIT itself.
        for statement in [
            "CREATE TABLE fault (x BIGINT REFERENCES catalogs (catalog_id)
             DEFERRABLE INITIALLY DEFERRED)",
            "CREATE TRIGGER fault_late AFTER INSERT ON catalog_versions
             BEGIN INSERT INTO fault VALUES (-1); END",
        ] {
            sqlx::query(statement).execute(pool).await.unwrap();
        }
        let error = attempt(&catalog, kind, &table).await.unwrap_err();
        // The catalog asked, and so knows that nothing was published.
        assert!(matches!(error, CatalogError::Database { .. }), "{error}");
        assert!(error.to_string().contains("FOREIGN KEY"), "{error}");
        assert_unchanged(&catalog, &table, &format!("kind {kind}")).await;
        sqlx::query("DROP TRIGGER fault_late")
            .execute(pool)
            .await
            .unwrap();
        attempt(&catalog, kind, &table).await.unwrap();
    }
}

#[tokio::test]
async fn a_caller_that_stops_waiting_leaves_a_whole_commit_or_none() {
    let (_folder, catalog) = local_catalog().await;
    let table = table_with_one_file(&catalog).await;
    for steps in 0..40 {
        let name = format!("c{steps}");
        let files = vec![data_file(&table, &name, 1)];
        let append = append_files(&*catalog, &table, files, no_summary());
        // Polls it a few times and drops it in the middle.
        let mut append = Box::pin(append);
        for _ in 0..steps {
            let waker = futures::task::noop_waker_ref();
            let mut context = std::task::Context::from_waker(waker);
            if append.as_mut().poll(&mut context).is_ready() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        drop(append);
    }
    // Lets commits that were handed over end.
    let files = vec![data_file(&table, "z", 1)];
    let last = append_files(&*catalog, &table, files, no_summary())
        .await
        .unwrap();
    let files = live_files(catalog.storage(), &last, &TableVersion::Current).await;
    let mut seen = names(&files);
    assert!(seen.contains(&"a") && seen.contains(&"z"));
    seen.dedup();
    assert_eq!(seen.len(), files.len());
}
