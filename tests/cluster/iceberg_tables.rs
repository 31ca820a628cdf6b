//! Iceberg tables written and read by the workers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::execution::SessionState;
use iceberg::spec::{
    NestedField, NestedFieldRef, PrimitiveType, Schema, SortOrder, Transform, Type,
    UnboundPartitionSpec,
};
use iceberg::{TableIdent, TableUpdate};
use ingot_catalog::commit::{append_files, commit_staged, stage_create};
use ingot_catalog::{Table, TableCommit};
use ingot_coordinator::cluster::{ExecuteOptions, Placement, UsedPlacement};
use ingot_engine::write::{WriteOptions, decode_written_files, delete_statement_files};
use uuid::Uuid;

use crate::harness::{FILES, ROWS_PER_FILE, TestCluster, collect, sorted_rows, wait_until};

fn ident() -> TableIdent {
    TableIdent::from_strs(["demo", "events"]).unwrap()
}

fn optional(id: i32, name: &str, kind: PrimitiveType) -> NestedFieldRef {
    Arc::new(NestedField::optional(id, name, Type::Primitive(kind)))
}

async fn create_events(test: &TestCluster) -> Table {
    let schema = Schema::builder()
        .with_fields([
            optional(1, "id", PrimitiveType::Long),
            optional(2, "grp", PrimitiveType::Long),
            optional(3, "name", PrimitiveType::String),
        ])
        .build()
        .unwrap();
    let spec = UnboundPartitionSpec::builder()
        .add_partition_field(1, "id_bucket", Transform::Bucket(4))
        .unwrap()
        .build();
    let staged = stage_create(
        test.catalog.as_ref(),
        &ident(),
        schema,
        spec,
        SortOrder::unsorted_order(),
        HashMap::new(),
    )
    .await
    .unwrap();
    commit_staged(test.catalog.as_ref(), staged, vec![])
        .await
        .unwrap()
}

async fn run(test: &TestCluster, state: &SessionState, sql: &str) -> Vec<RecordBatch> {
    let plan = state.create_logical_plan(sql).await.unwrap();
    let options = ExecuteOptions {
        placement: Placement::Distributed,
        ..ExecuteOptions::new()
    };
    let query = test.engine.run(state, plan, options).await.unwrap();
    assert_eq!(query.placement, UsedPlacement::Distributed, "{sql}");
    collect(query).await.unwrap()
}

/// Rows of a query on the workers.
async fn rows(test: &TestCluster, sql: &str) -> Vec<String> {
    sorted_rows(&run(test, &test.session(), sql).await)
}

/// A session that sees the Parquet files of the test table and can write.
async fn writing_session(test: &TestCluster, statement: Uuid) -> SessionState {
    let mut state = test.session();
    let config = state.config().clone();
    let config = config.with_extension(Arc::new(WriteOptions::new(statement)));
    *state.config_mut() = config;
    let source = test
        .context
        .catalog("datafusion")
        .unwrap()
        .schema("public")
        .unwrap();
    if test.catalogs.iceberg_catalog("files").is_none() {
        test.catalogs.add_other_schema("iceberg", "files", source);
    }
    state
}

async fn insert(test: &TestCluster, sql: &str) -> (Uuid, Vec<RecordBatch>) {
    let statement = Uuid::now_v7();
    let state = writing_session(test, statement).await;
    (statement, run(test, &state, sql).await)
}

async fn commit_rows(test: &TestCluster, written: &[RecordBatch]) -> Table {
    let table = test.catalog.load_table(&ident()).await.unwrap();
    let files = decode_written_files(written, &table).unwrap();
    append_files(test.catalog.as_ref(), &table, files, BTreeMap::new())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_write_and_read_tables_whose_columns_were_renamed() {
    let test = TestCluster::start().await;
    let _workers = test.add_workers(2, 2).await;
    create_events(&test).await;
    let (_, written) = insert(
        &test,
        "INSERT INTO events SELECT id, grp, name FROM files.t",
    )
    .await;
    let table = commit_rows(&test, &written).await;
    let count = FILES * ROWS_PER_FILE;
    let expected = test
        .plain_rows("SELECT count(*), sum(id), count(name), count(DISTINCT grp) FROM t")
        .await;
    let sql = "SELECT count(id), sum(id), count(name), count(DISTINCT grp) FROM events";
    assert_eq!(rows(&test, sql).await, expected);

    // The columns `grp` and `name` exchange their names.
    let fields = [
        optional(1, "id", PrimitiveType::Long),
        optional(2, "name", PrimitiveType::Long),
        optional(3, "grp", PrimitiveType::String),
        optional(4, "added", PrimitiveType::Int),
    ];
    let schema = Schema::builder()
        .with_schema_id(1)
        .with_fields(fields)
        .build()
        .unwrap();
    test.catalog
        .commit(vec![TableCommit {
            ident: ident(),
            requirements: vec![],
            based_on: None,
            created_from: None,
            updates: vec![
                TableUpdate::AddSchema { schema },
                TableUpdate::SetCurrentSchema { schema_id: -1 },
            ],
        }])
        .await
        .unwrap();
    assert!(table.metadata.current_snapshot().is_some());
    let expected = test
        .plain_rows("SELECT grp, name, count(*), 0 FROM t GROUP BY grp, name")
        .await;
    let sql = "SELECT name, grp, count(*), count(added) FROM events GROUP BY name, grp";
    assert_eq!(rows(&test, sql).await, expected);
    let sql = "SELECT count(*) FROM events WHERE name = 5 OR grp = 'name-3' AND id > 100";
    let expected = test
        .plain_rows("SELECT count(*) FROM t WHERE grp = 5 OR name = 'name-3' AND id > 100")
        .await;
    assert_eq!(rows(&test, sql).await, expected);
    let sql = "SELECT count(*) FROM events a JOIN events b ON a.id = b.id WHERE a.id >= 0";
    assert_eq!(rows(&test, sql).await, [count.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_loses_a_worker_adds_every_row_once() {
    let test = TestCluster::start().await;
    let mut workers = test.add_workers(3, 1).await;
    create_events(&test).await;
    let statement = Uuid::now_v7();
    let state = writing_session(&test, statement).await;
    let sql = "INSERT INTO events SELECT slowly(id), grp, name FROM files.t";
    let plan = state.create_logical_plan(sql).await.unwrap();
    let options = ExecuteOptions {
        placement: Placement::Distributed,
        ..ExecuteOptions::new()
    };
    let query = test
        .engine
        .run(&state, plan, options.clone())
        .await
        .unwrap();
    let result = tokio::spawn(collect(query));
    wait_until("running tasks", || async {
        let workers = test.cluster.workers().await;
        workers.iter().all(|worker| worker.used_slots > 0)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    workers[0].kill();
    let written = tokio::time::timeout(Duration::from_secs(90), result)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let table = test.catalog.load_table(&ident()).await.unwrap();
    let files = decode_written_files(&written, &table).unwrap();
    let keep = files
        .iter()
        .map(|file| file.file_path().to_string())
        .collect();
    commit_rows(&test, &written).await;
    let storage = test.catalog.storage();
    delete_statement_files(storage, &table, statement, &keep)
        .await
        .unwrap();
    let expected = test.plain_rows("SELECT count(*), sum(id) FROM t").await;
    assert_eq!(
        rows(&test, "SELECT count(id), sum(id) FROM events").await,
        expected
    );
    let folder = format!("{}/data", table.metadata.location());
    let left = storage.list(&folder).await.unwrap();
    assert_eq!(left.len(), files.len(), "orphans: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_file_that_a_worker_does_not_find_is_named_with_its_snapshot() {
    let test = TestCluster::start().await;
    let _workers = test.add_workers(2, 2).await;
    create_events(&test).await;
    let sql = "INSERT INTO events SELECT id, grp, name FROM files.t";
    let (_, written) = insert(&test, sql).await;
    let table = commit_rows(&test, &written).await;
    let storage = test.catalog.storage();
    let folder = format!("{}/data", table.metadata.location());
    let files = storage.list(&folder).await.unwrap();
    let gone = &files[0].location;
    storage.delete(gone).await.unwrap();

    let state = test.session();
    let plan = state.create_logical_plan("SELECT sum(id) FROM events");
    let options = ExecuteOptions {
        placement: Placement::Distributed,
        ..ExecuteOptions::new()
    };
    let plan = plan.await.unwrap();
    let query = test.engine.run(&state, plan, options).await.unwrap();
    let error = collect(query).await.unwrap_err().to_string();
    let snapshot_id = table.metadata.current_snapshot_id().unwrap();
    let expected =
        format!("table demo.events, snapshot {snapshot_id}: data file {gone} does not exist: ");
    assert!(error.contains(&expected), "{error}");
}
