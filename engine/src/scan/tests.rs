//! Scans against plain readers: evolved schemas, deletes, pruning, splits and the codec.

mod files;
mod row_ids;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use iceberg::spec::{Datum, PrimitiveType, Transform};
use ingot_catalog::scan::{FileTask, PartitionValue};
use ingot_catalog::{Storage, StorageConfig};
use proptest::prelude::*;

use self::files::{DeleteStyle, FileContent, Row, read_schema, rows_as_batch, write_file};
use super::planner::{Wanted, scan_of_tasks};
use super::{IcebergFileSource, ScanDescription, ScanServices, ScannedFiles};
use crate::codec::IngotPhysicalCodec;
use crate::runtime::{RuntimeOptions, build_runtime};
use crate::schema::query_schema_of;
use crate::session::{SessionOptions, session_config};

/// A table of files that no catalog knows.
#[derive(Debug)]
struct TasksTable {
    source: IcebergFileSource,
    tasks: Vec<FileTask>,
    schema: SchemaRef,
    row_ids: Option<Arc<ScannedFiles>>,
}

#[async_trait]
impl TableProvider for TasksTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let tasks = self.tasks.clone();
        let wanted = Wanted {
            projection,
            limit,
            row_ids: self.row_ids.as_deref(),
            ..Wanted::default()
        };
        Ok(scan_of_tasks(&self.source, tasks, state, wanted)?)
    }
}

struct Fixture {
    _folder: tempfile::TempDir,
    storage: Arc<Storage>,
    context: SessionContext,
    /// The same rows in memory, as table `plain`.
    rows: usize,
}

async fn fixture(contents: &[FileContent], config: SessionConfig) -> Fixture {
    fixture_with(contents, config, |_| {}).await
}

async fn fixture_with(
    contents: &[FileContent],
    config: SessionConfig,
    change_task: impl Fn(&mut FileTask),
) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(StorageConfig::default());
    let services = ScanServices::new(Arc::clone(&storage));
    let schema = read_schema();
    let arrow_schema = query_schema_of(&schema).unwrap();

    let mut tasks = Vec::new();
    let mut left: Vec<Row> = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let mut task = write_file(folder.path(), index, content);
        change_task(&mut task);
        tasks.push(task);
        left.extend(content.rows_left());
    }
    let describe = |has_row_ids: bool| {
        let name = "s.t".to_string();
        let (schema, services) = (Arc::clone(&schema), Arc::clone(&services));
        let mut description = ScanDescription::new(name, schema, None, services).unwrap();
        description.has_row_ids = has_row_ids;
        description.snapshot_id = Some(7);
        let options = &config.options().execution.parquet;
        IcebergFileSource::new(Arc::new(description), options).unwrap()
    };
    let with_row_ids = TasksTable {
        source: describe(true),
        tasks: tasks.clone(),
        schema: super::row_ids::with_row_ids(&arrow_schema),
        row_ids: Some(Arc::default()),
    };
    let source = describe(false);
    let table = TasksTable {
        source,
        tasks,
        schema: Arc::clone(&arrow_schema),
        row_ids: None,
    };
    let plain = MemTable::try_new(
        Arc::clone(&arrow_schema),
        vec![vec![rows_as_batch(&left, &arrow_schema)]],
    )
    .unwrap();
    let runtime = build_runtime(Arc::clone(&storage), &RuntimeOptions::default()).unwrap();
    let config = config
        .with_create_default_catalog_and_schema(true)
        .with_default_catalog_and_schema("datafusion", "public");
    let context = SessionContext::new_with_config_rt(config, runtime);
    context.register_table("t", Arc::new(table)).unwrap();
    let with_row_ids = Arc::new(with_row_ids);
    context.register_table("ids", with_row_ids).unwrap();
    context.register_table("plain", Arc::new(plain)).unwrap();
    Fixture {
        _folder: folder,
        storage,
        context,
        rows: left.len(),
    }
}

fn options(target_partitions: usize, filter_while_scanning: bool) -> SessionConfig {
    let mut config = session_config(&SessionOptions {
        target_partitions,
        batch_size: 64,
        filter_while_scanning,
        ..SessionOptions::default()
    });
    // Small files are to be split, too.
    config.options_mut().optimizer.repartition_file_min_size = 1;
    config
}

impl Fixture {
    async fn plan(&self, sql: &str) -> Arc<dyn ExecutionPlan> {
        let frame = self.context.sql(sql).await.unwrap();
        frame.create_physical_plan().await.unwrap()
    }

    async fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Vec<String> {
        let batches = datafusion::physical_plan::collect(plan, self.context.task_ctx())
            .await
            .unwrap();
        sorted_rows(&batches)
    }

    /// Runs a query on the files, directly and after the way to a worker, and on the same
    /// rows in memory; all must agree.
    async fn check(&self, select: &str, condition: &str) -> usize {
        let sql = |table: &str| format!("SELECT {select} FROM {table} WHERE {condition}");
        let expected = self.run(self.plan(&sql("plain")).await).await;
        let plan = self.plan(&sql("t")).await;
        let found = self.run(Arc::clone(&plan)).await;
        assert_eq!(found, expected, "{condition}");
        let decoded = self.travel(plan);
        assert_eq!(self.run(decoded).await, expected, "decoded: {condition}");
        expected.len()
    }

    async fn error_of(&self, plan: &Arc<dyn ExecutionPlan>) -> String {
        let context = self.context.task_ctx();
        let read = datafusion::physical_plan::collect(Arc::clone(plan), context);
        read.await.unwrap_err().to_string()
    }

    /// A plan as a worker gets it.
    fn travel(&self, plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let codec = IngotPhysicalCodec::new(Arc::clone(&self.storage));
        let before = shown(&plan);
        let bytes = physical_plan_to_bytes_with_extension_codec(plan, &codec).unwrap();
        let context = self.context.task_ctx();
        let decoded =
            physical_plan_from_bytes_with_extension_codec(&bytes, context.as_ref(), &codec)
                .unwrap();
        assert_eq!(shown(&decoded), before);
        decoded
    }
}

fn shown(plan: &Arc<dyn ExecutionPlan>) -> String {
    let display = datafusion::physical_plan::displayable(plan.as_ref());
    display.indent(true).to_string()
}

fn sorted_rows(batches: &[RecordBatch]) -> Vec<String> {
    let options = arrow::util::display::FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            rows.push(values.join("|"));
        }
    }
    rows.sort();
    rows
}

/// Files that are broken or gone are named with the table and the snapshot, here and on a worker.
#[tokio::test]
async fn lost_files_are_named() {
    for (style, kind, file) in [
        (DeleteStyle::None, "data", "data 0.parquet"),
        (DeleteStyle::Vector, "data", "data 0.parquet"),
        (DeleteStyle::Positions, "delete", "deletes 0"),
        (DeleteStyle::Vector, "delete", "deletes 0"),
        (DeleteStyle::Equality, "delete", "deletes 0"),
    ] {
        let deleted: &[usize] = match style {
            DeleteStyle::None => &[],
            _ => &[1, 2],
        };
        let contents = [FileContent::new(0, 50, style, deleted)];
        let fixture = fixture(&contents, options(1, false)).await;
        let path = fixture._folder.path().join(file);
        let name = format!("file://{}", path.display());
        // Executing a plan once takes its files: the second time it has none.
        let errors = async || {
            let here = fixture.plan("SELECT a FROM t").await;
            let there = fixture.travel(Arc::clone(&here));
            [
                fixture.error_of(&here).await,
                fixture.error_of(&there).await,
            ]
        };
        let size = std::fs::metadata(&path).unwrap().len();
        std::fs::write(&path, vec![0; size as usize]).unwrap();
        let broken = format!("table s.t, snapshot 7: file {name}: ");
        for error in errors().await {
            assert!(error.contains(&broken), "{style:?}: {error}");
        }
        std::fs::remove_file(&path).unwrap();
        let gone = format!("table s.t, snapshot 7: {kind} file {name} does not exist: ");
        for error in errors().await {
            assert!(error.contains(&gone), "{style:?}: {error}");
        }
    }
}

const ALL: &str = "bb, a, s, l, c, m, d";

#[tokio::test]
async fn evolved_columns_read_as_the_table_says() {
    let contents = [
        FileContent::new(0, 100, DeleteStyle::None, &[]),
        FileContent::new(1, 70, DeleteStyle::None, &[]),
    ];
    let fixture = fixture(&contents, options(4, false)).await;
    assert_eq!(fixture.check(ALL, "true").await, 170);
    assert!(fixture.check(ALL, "a > 20 AND a < 60").await > 0);
    assert!(fixture.check("bb", "bb = 'b7'").await > 0);
    assert!(fixture.check("a, s['z']", "s['new_x'] > 10").await > 0);
    assert!(fixture.check("count(*)", "c IS NULL").await > 0);
}

#[tokio::test]
async fn every_kind_of_delete_hides_its_rows() {
    for style in [
        DeleteStyle::Positions,
        DeleteStyle::Vector,
        DeleteStyle::Equality,
    ] {
        let deleted: Vec<usize> = (0..100).filter(|row| row % 7 == 3 || *row > 90).collect();
        let contents = [
            FileContent::new(0, 100, style, &deleted),
            FileContent::new(1, 50, DeleteStyle::None, &[]),
            FileContent::new(2, 30, style, &(0..30).collect::<Vec<_>>()),
        ];
        for filter_while_scanning in [false, true] {
            let fixture = fixture(&contents, options(3, filter_while_scanning)).await;
            assert_eq!(fixture.check(ALL, "true").await, fixture.rows, "{style:?}");
            fixture.check(ALL, "a >= 10 AND a <= 35").await;
            fixture.check("count(*), sum(a)", "bb <> 'b3'").await;
        }
    }
}

#[tokio::test]
async fn counts_come_from_metadata_only_without_deletes() {
    let clean = [FileContent::new(0, 100, DeleteStyle::None, &[])];
    let clean = fixture(&clean, options(2, false)).await;
    let plan = clean.plan("SELECT count(*) FROM t").await;
    assert!(!shown(&plan).contains("DataSourceExec"), "{}", shown(&plan));

    let dirty = [FileContent::new(0, 100, DeleteStyle::Positions, &[5])];
    let dirty = fixture(&dirty, options(2, false)).await;
    let plan = dirty.plan("SELECT count(*) FROM t").await;
    assert!(shown(&plan).contains("DataSourceExec"), "{}", shown(&plan));
    assert_eq!(dirty.run(plan).await, vec!["99"]);
}

#[tokio::test]
async fn limits_are_exact_with_deletes() {
    let deleted: Vec<usize> = (0..95).collect();
    let contents = [
        FileContent::new(0, 100, DeleteStyle::Positions, &deleted),
        FileContent::new(1, 100, DeleteStyle::Vector, &deleted),
    ];
    let fixture = fixture(&contents, options(2, false)).await;
    for limit in [1, 4, 9, 10, 50] {
        let plan = fixture
            .plan(&format!("SELECT a FROM t LIMIT {limit}"))
            .await;
        let decoded = fixture.travel(Arc::clone(&plan));
        assert_eq!(fixture.run(plan).await.len(), limit.min(10));
        assert_eq!(fixture.run(decoded).await.len(), limit.min(10));
        let sql = format!("SELECT a FROM t ORDER BY a DESC LIMIT {limit}");
        let plan = fixture.plan(&sql).await;
        assert_eq!(fixture.run(plan).await.len(), limit.min(10));
    }
}

/// Files that were imported from Hive lack the columns that they are partitioned by.
#[tokio::test]
async fn an_absent_partition_column_has_the_partitions_value() {
    let decimal = PrimitiveType::Decimal {
        precision: 20,
        scale: 1,
    };
    let constant = Datum::try_from_bytes(&123_i128.to_be_bytes(), decimal).unwrap();
    let partition = |task: &mut FileTask| {
        task.partition = vec![PartitionValue {
            field_id: 1000,
            name: "d".to_string(),
            source_id: 13,
            transform: Transform::Identity,
            value: Some(constant.clone()),
        }]
        .into();
    };
    let clean = [FileContent::new(1, 100, DeleteStyle::None, &[])];
    let clean = fixture_with(&clean, options(2, false), partition).await;
    for (sql, expected) in [
        (
            "SELECT count(*), min(d), max(d) FROM t WHERE a < 50",
            "50|12.3|12.3",
        ),
        ("SELECT count(*) FROM t WHERE d = 12.3", "100"),
        ("SELECT count(*) FROM t WHERE d <> 12.3 OR d IS NULL", "0"),
    ] {
        let plan = clean.plan(sql).await;
        let decoded = clean.travel(Arc::clone(&plan));
        assert_eq!(clean.run(plan).await, vec![expected], "{sql}");
        assert_eq!(clean.run(decoded).await, vec![expected], "{sql}");
    }

    let dirty = [FileContent::new(1, 100, DeleteStyle::Positions, &[3])];
    let dirty = fixture_with(&dirty, options(2, false), partition).await;
    let plan = dirty.plan("SELECT d FROM t").await;
    let outcome = datafusion::physical_plan::collect(plan, dirty.context.task_ctx()).await;
    let error = crate::EngineError::from(outcome.unwrap_err()).to_string();
    assert!(error.ends_with("is not supported"), "{error}");
}

#[tokio::test]
async fn ballistas_restriction_to_some_partitions_reads_every_row_once() {
    use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder};
    use datafusion::datasource::source::DataSourceExec;

    let deleted: Vec<usize> = (0..100).filter(|row| row % 3 == 0).collect();
    let contents: Vec<_> = (0..5)
        .map(|n| FileContent::new(n, 100, DeleteStyle::Positions, &deleted))
        .collect();
    let fixture = fixture(&contents, options(4, false)).await;
    let whole = fixture.plan("SELECT a FROM t").await;
    let config = whole
        .downcast_ref::<DataSourceExec>()
        .unwrap()
        .data_source()
        .downcast_ref::<FileScanConfig>()
        .unwrap();
    let mut rows = Vec::new();
    for group in config.file_groups.clone() {
        let restricted = FileScanConfigBuilder::from(config.clone())
            .with_file_groups(vec![group])
            .build();
        let part = fixture.travel(DataSourceExec::from_data_source(restricted));
        rows.extend(fixture.run(part).await);
    }
    rows.sort();
    assert_eq!(rows, fixture.run(whole).await);
}

fn style() -> impl Strategy<Value = DeleteStyle> {
    prop_oneof![
        Just(DeleteStyle::None),
        Just(DeleteStyle::Positions),
        Just(DeleteStyle::Vector),
        Just(DeleteStyle::Equality),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let simple = prop_oneof![
        (-5_i64..160).prop_map(|n| format!("a > {n}")),
        (-5_i64..160).prop_map(|n| format!("a <= {n}")),
        (-5_i64..160).prop_map(|n| format!("a = {n}")),
        (0_i64..40).prop_map(|n| format!("bb = 'b{n}'")),
        (0_i64..40).prop_map(|n| format!("bb < 'b{n}'")),
        (0_i64..40).prop_map(|n| format!("bb IN ('b{n}', 'b1', 'zz')")),
        (0_i64..90).prop_map(|n| format!("d > {n}.5")),
        (0_i64..90).prop_map(|n| format!("s['new_x'] < {n}")),
        (0_i64..90).prop_map(|n| format!("c = {n}")),
        Just("c IS NULL".to_string()),
        Just("a IS NOT NULL".to_string()),
        Just("bb IS NULL".to_string()),
        Just("s['z'] IS NULL".to_string()),
    ];
    simple.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// proptest prints the failing case and its seed.
    #[test]
    fn scans_equal_the_same_rows_in_memory(
        files in prop::collection::vec((0_u32..4, 1_usize..160, style(), prop::collection::vec(0_usize..160, 0..60)), 1..4),
        conditions in prop::collection::vec(condition(), 4),
        target_partitions in 1_usize..5,
        filter_while_scanning: bool,
    ) {
        let contents: Vec<_> = files
            .iter()
            .map(|(variant, rows, style, deleted)| {
                let deleted: Vec<usize> = deleted.iter().copied().filter(|row| row < rows).collect();
                FileContent::new(*variant, *rows, *style, &deleted)
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_stack_size(16 << 20)
            .enable_all()
            .build()
            .unwrap();
        let config = options(target_partitions, filter_while_scanning);
        runtime.block_on(async {
            let fixture = fixture(&contents, config).await;
            fixture.check(ALL, "true").await;
            for condition in &conditions {
                fixture.check(ALL, condition).await;
            }
        });
    }
}
