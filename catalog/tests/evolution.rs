//! Changes of schema, partitioning and references, racing with each other and with appends:
//! what fits is rebased, what does not fit is refused, and nothing is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use common::*;
use futures::future::BoxFuture;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, NestedField,
    PrimitiveType, Struct, Transform, Type, UnboundPartitionSpec,
};
use iceberg::{TableIdent, TableUpdate};
use ingot_catalog::commit::{
    append_files, append_files_to_branch, commit_metadata, delete_table_files,
};
use ingot_catalog::evolve::{
    ColumnPosition, ReferenceChange, ReferenceKind, ReferenceMode, SchemaChange, change_schema,
    drop_reference, set_partitioning, set_reference,
};
use ingot_catalog::{
    Catalog, CatalogError, Result, SqlCatalog, Storage, Table, TableCommit, TableVersion,
};

/// A catalog in which somebody else is faster once: `first` runs before the next commit. It must
/// come from another coordinator: writers of one process wait for each other.
struct Overtaken {
    inner: Arc<SqlCatalog>,
    first: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl std::fmt::Debug for Overtaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Overtaken {
    fn new(inner: &Arc<SqlCatalog>, first: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            inner: Arc::clone(inner),
            first: Mutex::new(Some(Box::pin(first))),
        }
    }
}

#[async_trait]
impl Catalog for Overtaken {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn storage(&self) -> &Arc<Storage> {
        self.inner.storage()
    }
    async fn list_schemas(&self) -> Result<Vec<String>> {
        self.inner.list_schemas().await
    }
    async fn load_schema(&self, schema: &str) -> Result<HashMap<String, String>> {
        self.inner.load_schema(schema).await
    }
    async fn create_schema(&self, schema: &str, properties: HashMap<String, String>) -> Result<()> {
        self.inner.create_schema(schema, properties).await
    }
    async fn drop_schema(&self, schema: &str) -> Result<()> {
        self.inner.drop_schema(schema).await
    }
    async fn list_tables(&self, schema: &str) -> Result<Vec<String>> {
        self.inner.list_tables(schema).await
    }
    async fn load_table(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.load_table(ident).await
    }
    async fn new_table_location(&self, ident: &TableIdent) -> Result<String> {
        self.inner.new_table_location(ident).await
    }
    async fn commit(&self, commits: Vec<TableCommit>) -> Result<Vec<Table>> {
        let first = self.first.lock().unwrap().take();
        if let Some(first) = first {
            first.await;
        }
        self.inner.commit(commits).await
    }
    async fn drop_table(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.drop_table(ident).await
    }
    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.inner.rename_table(from, to).await
    }
}

fn add(name: &str) -> SchemaChange {
    SchemaChange::AddColumn {
        parent: vec![],
        field: NestedField::optional(1, name, Type::Primitive(PrimitiveType::Int)).into(),
        position: ColumnPosition::Last,
        if_not_exists: false,
    }
}

fn drop_column(name: &str) -> SchemaChange {
    SchemaChange::DropColumn {
        path: vec![name.to_string()],
        if_exists: false,
    }
}

fn rename(name: &str, new_name: &str) -> SchemaChange {
    SchemaChange::RenameColumn {
        path: vec![name.to_string()],
        new_name: new_name.to_string(),
        if_exists: false,
    }
}

async fn change(catalog: &dyn Catalog, name: &TableIdent, change: &SchemaChange) -> Result<Table> {
    commit_metadata(catalog, name, |table| change_schema(table, change)).await
}

async fn partition_by(
    catalog: &dyn Catalog,
    name: &TableIdent,
    fields: &[(i32, &str, Transform)],
) -> Result<Table> {
    commit_metadata(catalog, name, |table| {
        let mut builder = UnboundPartitionSpec::builder();
        for (source_id, field_name, transform) in fields {
            builder = builder
                .add_partition_field(*source_id, *field_name, *transform)
                .unwrap();
        }
        let schema = Arc::clone(table.metadata.current_schema());
        set_partitioning(table, &builder.build().bind(schema).unwrap())
    })
    .await
}

fn branch(name: &str) -> ReferenceChange {
    ReferenceChange {
        kind: ReferenceKind::Branch,
        name: name.to_string(),
        mode: ReferenceMode::Create,
        version: TableVersion::Current,
        max_ref_age_ms: None,
        min_snapshots_to_keep: None,
        max_snapshot_age_ms: None,
    }
}

fn column_names(table: &Table) -> Vec<String> {
    let schema = table.metadata.current_schema();
    let fields = schema.as_struct().fields().iter();
    fields.map(|field| field.name.clone()).collect()
}

async fn assert_no_orphans(catalog: &Arc<SqlCatalog>, name: &TableIdent) {
    let table = catalog.load_table(name).await.unwrap();
    let found = orphans(
        catalog.storage(),
        table.metadata.location(),
        std::slice::from_ref(&table),
    )
    .await;
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test]
async fn many_columns_added_at_once_are_all_there() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    create_table(&*catalog, &name, &[]).await;
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let (catalog, name) = (Arc::clone(&catalog), name.clone());
            tokio::spawn(async move {
                change(&*catalog, &name, &add(&format!("c{number}")))
                    .await
                    .unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let table = catalog.load_table(&name).await.unwrap();
    let schema = table.metadata.current_schema();
    let ids: BTreeSet<i32> = schema.field_id_to_name_map().keys().copied().collect();
    assert_eq!(ids, (1..=19).collect());
    assert_eq!(table.metadata.last_column_id(), 19);
    assert_no_orphans(&catalog, &name).await;
}

#[tokio::test]
async fn a_change_is_made_on_top_of_the_one_that_overtook_it() {
    let (folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    create_table(&*catalog, &name, &[]).await;
    let (other, other_name) = (open_local(folder.path()).await, name.clone());
    let overtaken = Overtaken::new(&catalog, async move {
        change(&*other, &other_name, &add("first")).await.unwrap();
    });
    let table = change(&overtaken, &name, &add("second")).await.unwrap();
    assert_eq!(
        column_names(&table),
        ["id", "day", "name", "first", "second"]
    );
    let schema = table.metadata.current_schema();
    assert_eq!(schema.field_id_by_name("first"), Some(4));
    assert_eq!(schema.field_id_by_name("second"), Some(5));
}

#[tokio::test]
async fn a_change_that_no_longer_fits_says_what_conflicts() {
    let (folder, catalog) = local_catalog().await;
    for (table_name, theirs, ours, expected) in [
        (
            "a",
            add("new"),
            add("new"),
            "column new of table s.a already exists",
        ),
        (
            "b",
            drop_column("name"),
            rename("name", "label"),
            "column name of table s.b does not exist",
        ),
        (
            "c",
            rename("name", "label"),
            drop_column("name"),
            "column name of table s.c does not exist",
        ),
    ] {
        let name = ident("s", table_name);
        create_table(&*catalog, &name, &[]).await;
        let (other, other_name) = (open_local(folder.path()).await, name.clone());
        let overtaken = Overtaken::new(&catalog, async move {
            change(&*other, &other_name, &theirs).await.unwrap();
        });
        let error = change(&overtaken, &name, &ours).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_no_orphans(&catalog, &name).await;
    }

    // Nobody interferes: it is the statement that is wrong.
    let error = change(&*catalog, &ident("s", "a"), &add("new"))
        .await
        .unwrap_err();
    assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
}

#[tokio::test]
async fn a_source_column_is_not_dropped_while_partitioning_takes_it() {
    let (folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    create_table(&*catalog, &name, &[]).await;
    let (other, other_name) = (open_local(folder.path()).await, name.clone());
    let overtaken = Overtaken::new(&catalog, async move {
        partition_by(&*other, &other_name, &[(3, "name", Transform::Identity)])
            .await
            .unwrap();
    });
    let error = change(&overtaken, &name, &drop_column("name"))
        .await
        .unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(error.to_string().contains("partitioned by it"), "{error}");
    let table = catalog.load_table(&name).await.unwrap();
    assert_eq!(column_names(&table), ["id", "day", "name"]);
}

#[tokio::test]
async fn a_table_that_was_replaced_meanwhile_is_another_one() {
    let (folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    create_table(&*catalog, &name, &[]).await;
    let (other, other_name) = (open_local(folder.path()).await, name.clone());
    let overtaken = Overtaken::new(&catalog, async move {
        other.drop_table(&other_name).await.unwrap();
        create_table(&*other, &other_name, &[]).await;
    });
    let error = change(&overtaken, &name, &add("new")).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let table = catalog.load_table(&name).await.unwrap();
    assert_eq!(column_names(&table), ["id", "day", "name"]);
}

/// Appends a file that was written for the table as it was before `theirs`, which comes in
/// either before the append begins or just before its commit.
async fn append_after(
    folder: &Path,
    catalog: &Arc<SqlCatalog>,
    name: &TableIdent,
    at_commit: bool,
    theirs: impl Fn(Arc<SqlCatalog>, TableIdent) -> BoxFuture<'static, ()>,
) -> Result<Table> {
    let table = create_table(&**catalog, name, &[]).await;
    let table = append_files(
        &**catalog,
        &table,
        vec![data_file(&table, "a", 1)],
        no_summary(),
    )
    .await
    .unwrap();
    let files = vec![data_file(&table, "b", 2)];
    let interference = theirs(open_local(folder).await, name.clone());
    if at_commit {
        let overtaken = Overtaken::new(catalog, interference);
        append_files(&overtaken, &table, files, no_summary()).await
    } else {
        interference.await;
        append_files(&**catalog, &table, files, no_summary()).await
    }
}

#[tokio::test]
async fn appends_are_rebased_on_changes_that_leave_their_columns() {
    let (folder, catalog) = local_catalog().await;
    for at_commit in [false, true] {
        let name = ident("s", &format!("added_{at_commit}"));
        let table = append_after(
            folder.path(),
            &catalog,
            &name,
            at_commit,
            |catalog, name| {
                Box::pin(async move {
                    change(&*catalog, &name, &add("new")).await.unwrap();
                    change(&*catalog, &name, &rename("name", "label"))
                        .await
                        .unwrap();
                })
            },
        )
        .await
        .unwrap();
        assert_eq!(column_names(&table), ["id", "day", "label", "new"]);
        let snapshot = table.metadata.current_snapshot().unwrap();
        assert_eq!(
            snapshot.schema_id(),
            Some(table.metadata.current_schema_id())
        );
        let files = live_files(catalog.storage(), &table, &TableVersion::Current).await;
        assert_eq!(names(&files), ["a", "b"]);
        assert_no_orphans(&catalog, &name).await;

        let name = ident("s", &format!("respecified_{at_commit}"));
        let table = append_after(
            folder.path(),
            &catalog,
            &name,
            at_commit,
            |catalog, name| {
                Box::pin(async move {
                    let fields = [(1, "id_bucket", Transform::Bucket(4))];
                    partition_by(&*catalog, &name, &fields).await.unwrap();
                })
            },
        )
        .await
        .unwrap();
        assert_eq!(table.metadata.default_partition_spec_id(), 1);
        let manifests = manifests_of(&catalog, &table).await;
        // Both files are in the partitioning that they were written with.
        assert!(
            manifests.iter().all(|(spec_id, _)| *spec_id == 0),
            "{manifests:?}"
        );
        let files = live_files(catalog.storage(), &table, &TableVersion::Current).await;
        assert_eq!(names(&files), ["a", "b"]);
        assert_no_orphans(&catalog, &name).await;
    }
}

#[tokio::test]
async fn appends_to_columns_that_are_gone_are_refused() {
    let (folder, catalog) = local_catalog().await;
    for at_commit in [false, true] {
        for is_added_again in [false, true] {
            let name = ident("s", &format!("dropped_{at_commit}_{is_added_again}"));
            let error = append_after(
                folder.path(),
                &catalog,
                &name,
                at_commit,
                |catalog, name| {
                    Box::pin(async move {
                        change(&*catalog, &name, &drop_column("name"))
                            .await
                            .unwrap();
                        if is_added_again {
                            change(&*catalog, &name, &add("name")).await.unwrap();
                        }
                    })
                },
            )
            .await
            .unwrap_err();
            assert!(error.is_conflict(), "{error}");
            assert!(
                error.to_string().contains("column name was dropped"),
                "{error}"
            );
            let table = catalog.load_table(&name).await.unwrap();
            let files = live_files(catalog.storage(), &table, &TableVersion::Current).await;
            assert_eq!(names(&files), ["a"]);
            assert_no_orphans(&catalog, &name).await;
        }
    }
}

/// Partition spec and entries of each manifest of the current snapshot.
async fn manifests_of(catalog: &Arc<SqlCatalog>, table: &Table) -> Vec<(i32, usize)> {
    let snapshot = table.metadata.current_snapshot().unwrap();
    let content = catalog
        .storage()
        .read(snapshot.manifest_list())
        .await
        .unwrap();
    let version = table.metadata.format_version();
    let list = iceberg::spec::ManifestList::parse_with_version(&content, version).unwrap();
    let mut manifests = Vec::new();
    for manifest in list.entries() {
        let loaded = manifest
            .load_manifest(&catalog.storage().file_io())
            .await
            .unwrap();
        manifests.push((manifest.partition_spec_id, loaded.entries().len()));
    }
    manifests.sort_unstable();
    manifests
}

#[tokio::test]
async fn branches_get_their_own_snapshots() {
    let (folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    let table = create_table(&*catalog, &name, &[]).await;
    let table = append_files(
        &*catalog,
        &table,
        vec![data_file(&table, "a", 1)],
        no_summary(),
    )
    .await
    .unwrap();
    let on_main = table.metadata.current_snapshot_id();
    let table = commit_metadata(&*catalog, &name, |table| {
        set_reference(table, &branch("audit"))
    })
    .await
    .unwrap();
    let files = vec![data_file(&table, "b", 2)];
    let table = append_files_to_branch(&*catalog, &table, "audit", files, no_summary())
        .await
        .unwrap();
    assert_eq!(table.metadata.current_snapshot_id(), on_main);
    let audit = table.metadata.snapshot_for_ref("audit").unwrap();
    assert_eq!(audit.parent_snapshot_id(), on_main);
    assert_eq!(
        audit.summary().additional_properties["total-data-files"],
        "2"
    );
    let on_audit = TableVersion::Reference("audit".to_string());
    let files = live_files(catalog.storage(), &table, &on_audit).await;
    assert_eq!(names(&files), ["a", "b"]);
    let table = append_files(
        &*catalog,
        &table,
        vec![data_file(&table, "c", 3)],
        no_summary(),
    )
    .await
    .unwrap();
    let files = live_files(catalog.storage(), &table, &TableVersion::Current).await;
    assert_eq!(names(&files), ["a", "c"]);
    // Only what was current on main is in its log.
    assert_eq!(table.metadata.history().len(), 2);

    // The branch is dropped while it is written to.
    let (other, other_name) = (open_local(folder.path()).await, name.clone());
    let overtaken = Overtaken::new(&catalog, async move {
        commit_metadata(&*other, &other_name, |table| {
            drop_reference(table, ReferenceKind::Branch, "audit", false)
        })
        .await
        .unwrap();
    });
    let files = vec![data_file(&table, "d", 2)];
    let error = append_files_to_branch(&overtaken, &table, "audit", files, no_summary())
        .await
        .unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(
        error.to_string().contains("branch audit was dropped"),
        "{error}"
    );
    assert_no_orphans(&catalog, &name).await;
}

/// A file partitioned by `id`.
fn file_by_id(table: &Table, name: &str, id: Literal, bound: Datum) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(data_path(table, name))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(id)]))
        .partition_spec_id(table.metadata.default_partition_spec_id())
        .record_count(10)
        .file_size_in_bytes(1_000)
        .lower_bounds(HashMap::from([(4, bound.clone())]))
        .upper_bounds(HashMap::from([(4, bound)]))
        .build()
        .unwrap()
}

#[tokio::test]
async fn manifests_of_a_widened_partition_column_are_merged_by_type() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    create_table(
        &*catalog,
        &name,
        &[("commit.manifest.min-count-to-merge", "2")],
    )
    .await;
    change(&*catalog, &name, &add("number")).await.unwrap();
    let mut table = partition_by(&*catalog, &name, &[(4, "number", Transform::Identity)])
        .await
        .unwrap();
    for number in 0..3 {
        let file_name = format!("int-{number}");
        let file = file_by_id(&table, &file_name, Literal::int(number), Datum::int(number));
        table = append_files(&*catalog, &table, vec![file], no_summary())
            .await
            .unwrap();
    }
    let widen = SchemaChange::SetColumnType {
        path: vec!["number".to_string()],
        new_type: Type::Primitive(PrimitiveType::Long),
    };
    let before = table.clone();
    table = change(&*catalog, &name, &widen).await.unwrap();
    for number in 0..3 {
        let file_name = format!("long-{number}");
        let value = i64::from(number) + 5_000_000_000;
        let file = file_by_id(&table, &file_name, Literal::long(value), Datum::long(value));
        table = append_files(&*catalog, &table, vec![file], no_summary())
            .await
            .unwrap();
    }
    // Written before the column was widened, committed after.
    let late = file_by_id(&before, "late", Literal::int(7), Datum::int(7));
    table = append_files(&*catalog, &before, vec![late], no_summary())
        .await
        .unwrap();
    let late = file_by_id(&table, "last", Literal::long(8), Datum::long(8));
    table = append_files(&*catalog, &table, vec![late], no_summary())
        .await
        .unwrap();
    let files = live_files(catalog.storage(), &table, &TableVersion::Current).await;
    assert_eq!(
        names(&files),
        [
            "int-0", "int-1", "int-2", "last", "late", "long-0", "long-1", "long-2"
        ]
    );
    let manifests = manifests_of(&catalog, &table).await;
    assert!(manifests.len() <= 4, "{manifests:?}");
    let entries: usize = manifests.iter().map(|(_, entries)| entries).sum();
    assert_eq!(entries, 8);
    assert_no_orphans(&catalog, &name).await;
}

/// Appends and changes of columns and partitioning, all at once: each append that succeeded is
/// there once, each that was refused is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_race_with_evolution() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    let properties = [
        ("commit.retry.num-retries", "1000"),
        ("commit.retry.max-wait-ms", "50"),
        ("commit.manifest.min-count-to-merge", "5"),
    ];
    create_table(&*catalog, &name, &properties).await;
    let evolve = {
        let (catalog, name) = (Arc::clone(&catalog), name.clone());
        tokio::spawn(async move {
            for round in 0..15 {
                let column = format!("c{round}");
                change(&*catalog, &name, &add(&column)).await.unwrap();
                let transform = [Transform::Identity, Transform::Year, Transform::Month][round % 3];
                let field = ["day", "day_year", "day_month"][round % 3];
                partition_by(&*catalog, &name, &[(2, field, transform)])
                    .await
                    .unwrap();
                change(&*catalog, &name, &drop_column(&column))
                    .await
                    .unwrap();
            }
        })
    };
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (catalog, name) = (Arc::clone(&catalog), name.clone());
            tokio::spawn(async move {
                let mut written = Vec::new();
                for round in 0..15 {
                    let table = catalog.load_table(&name).await.unwrap();
                    let file_name = format!("w{writer}-r{round:02}");
                    let files = vec![data_file(&table, &file_name, 1)];
                    match append_files(&*catalog, &table, files, no_summary()).await {
                        Ok(_) => written.push(file_name),
                        Err(error) => assert!(error.is_conflict(), "{error}"),
                    }
                }
                written
            })
        })
        .collect();
    evolve.await.unwrap();
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    expected.sort();
    assert!(!expected.is_empty());
    let table = catalog.load_table(&name).await.unwrap();
    let files = live_files(catalog.storage(), &table, &TableVersion::Current).await;
    assert_eq!(names(&files), expected);
    // Every layout was made once and found again.
    assert_eq!(table.metadata.partition_specs_iter().len(), 3);
    assert_no_orphans(&catalog, &name).await;
    let dropped = catalog.drop_table(&name).await.unwrap();
    delete_table_files(catalog.storage(), &dropped)
        .await
        .unwrap();
}

#[tokio::test]
async fn no_updates_are_no_commit() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "t");
    let table = create_table(&*catalog, &name, &[]).await;
    let same = commit_metadata(&*catalog, &name, |_| Ok(Vec::<TableUpdate>::new()))
        .await
        .unwrap();
    assert_eq!(same.metadata_location, table.metadata_location);
}
