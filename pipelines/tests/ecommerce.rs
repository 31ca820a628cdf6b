//! The e-commerce pipeline from its generated files to gold, with all of its checks, in
//! Ingot's own sessions over tables in memory; and what its cleaning must have found,
//! against what the generator planted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use ingot_catalog::database::Database;
use ingot_catalog::{Storage, StorageConfig};
use ingot_engine::catalog_list::CatalogList;
use ingot_engine::runtime::{RuntimeOptions, build_runtime};
use ingot_engine::scan::ScanServices;
use ingot_engine::session::{SessionOptions, new_session_state};
use ingot_jobs::{
    CheckOutcome, JobRunner, JobStore, PipelineFolder, RunContext, RunOptions, RunReport,
    RunStatus, StatementError, StatementReport, StatementRunner,
};
use ingot_pipelines::{FolderSink, GenerateOptions, GenerateReport, generate, write_sample};
use ingot_sql::{Statement, parse_statement};

/// Executes statements over tables in memory.
struct InMemory {
    context: SessionContext,
    tables: Arc<MemoryCatalogProvider>,
}

impl InMemory {
    fn new() -> Self {
        let storage = Storage::new(StorageConfig::default());
        let runtime = build_runtime(storage.clone(), &RuntimeOptions::default()).unwrap();
        let catalogs = CatalogList::new(vec![], ScanServices::new(storage));
        let tables = Arc::new(MemoryCatalogProvider::new());
        catalogs.add_other_catalog("iceberg", tables.clone());
        let options = SessionOptions {
            target_partitions: 2,
            ..SessionOptions::default()
        };
        let state = new_session_state(runtime, &catalogs, &options);
        Self {
            context: SessionContext::new_with_state(state),
            tables,
        }
    }

    async fn collect(&self, query: &ingot_sql::sqlparser::ast::Query) -> Vec<RecordBatch> {
        let statement = ingot_sql::sqlparser::ast::Statement::Query(Box::new(query.clone()));
        let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement));
        let plan = self
            .context
            .state()
            .statement_to_plan(statement)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{query}"));
        let frame = self.context.execute_logical_plan(plan).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let schema = plan.schema();
        let mut batches = datafusion::physical_plan::collect(plan, self.context.task_ctx())
            .await
            .unwrap_or_else(|error| panic!("{error}\n{query}"));
        batches.push(RecordBatch::new_empty(schema));
        batches
    }

    async fn number(&self, sql: &str) -> u64 {
        let Statement::Query(query) = parse_statement(sql).unwrap() else {
            panic!("{sql}");
        };
        let batches = self.collect(&query).await;
        let column = batches[0].column(0).as_primitive::<Int64Type>();
        u64::try_from(column.value(0)).unwrap()
    }
}

#[async_trait]
impl StatementRunner for InMemory {
    async fn execute(
        &self,
        sql: &str,
        _context: &RunContext,
    ) -> Result<StatementReport, StatementError> {
        match parse_statement(sql).unwrap() {
            Statement::CreateSchema(create) => {
                let schema = Arc::new(MemorySchemaProvider::new());
                self.tables
                    .register_schema(create.name.object(), schema)
                    .unwrap();
                Ok(StatementReport::default())
            }
            Statement::CreateTableAs(create) => {
                let batches = self.collect(&create.query).await;
                let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                let table = MemTable::try_new(batches[0].schema(), vec![batches]).unwrap();
                let schema = self.tables.schema(create.name.schema().unwrap()).unwrap();
                let name = create.name.object().to_string();
                if schema.table_exist(&name) {
                    schema.deregister_table(&name).unwrap();
                }
                schema.register_table(name, Arc::new(table)).unwrap();
                Ok(StatementReport {
                    rows_written: rows as u64,
                    ..StatementReport::default()
                })
            }
            other => panic!("{other:?}"),
        }
    }

    async fn query(
        &self,
        sql: &str,
        _context: &RunContext,
    ) -> Result<Vec<RecordBatch>, StatementError> {
        let Statement::Query(query) = parse_statement(sql).unwrap() else {
            panic!("{sql}");
        };
        Ok(self.collect(&query).await)
    }
}

fn planted(report: &GenerateReport, file: &str, defect: &str) -> u64 {
    let file = report
        .files
        .iter()
        .find(|other| other.file == file)
        .unwrap();
    file.planted.get(defect).copied().unwrap_or_default()
}

fn rows(report: &RunReport, job: &str) -> u64 {
    report
        .jobs
        .iter()
        .find(|other| other.job == job)
        .unwrap()
        .rows_written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pipeline_runs_and_its_checks_pass() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let options = GenerateOptions {
        scale: 0.01,
        seed: 42,
        threads: 2,
    };
    let generated = generate("ecommerce", &options, &FolderSink::new(&source), &|_| {}).unwrap();

    let sample = folder.path().join("ecommerce");
    write_sample("ecommerce", &sample).unwrap();
    let pipeline = PipelineFolder::load(&sample).unwrap();
    let database = Database::connect_sqlite(&folder.path().join("catalog.db"))
        .await
        .unwrap();
    let store = JobStore::open(database).await.unwrap();
    assert_eq!(store.apply(&pipeline).await.unwrap(), 1);

    let tables = Arc::new(InMemory::new());
    let runner = JobRunner::new(store, tables.clone());
    let mut options = RunOptions::manual("test");
    let source = source.to_str().unwrap().to_string();
    options.variables.insert("source_dir".to_string(), source);
    let report = runner.run("ecommerce", options.clone()).await.unwrap();
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(report.jobs.len(), 11);
    let checks: Vec<_> = report.jobs.iter().flat_map(|job| &job.checks).collect();
    assert!(checks.len() > 80, "{}", checks.len());
    let not_passed: Vec<_> = checks
        .iter()
        .filter(|check| check.outcome != CheckOutcome::Passed)
        .collect();
    assert!(not_passed.is_empty(), "{not_passed:#?}");

    // Bronze has every row of the files.
    for file in &generated.files {
        let table = file.file.trim_end_matches(".csv");
        assert_eq!(rows(&report, &format!("bronze.{table}")), file.rows);
    }
    let events = "customer_events.csv";
    let payments = "payment_transactions.csv";
    let number = async |sql: &str| tables.number(sql).await;
    let malformed = "SELECT COUNT(DISTINCT event_id) FROM bronze.customer_events \
                     WHERE malformed LIKE 'event_timestamp=%'";
    assert_eq!(
        number(malformed).await,
        planted(&generated, events, "malformed event_timestamp")
    );
    let malformed = "SELECT COUNT(DISTINCT transaction_id) FROM bronze.payment_transactions \
                     WHERE malformed LIKE 'amount=%'";
    assert_eq!(
        number(malformed).await,
        planted(&generated, payments, "malformed amount")
    );
    // Silver has what is left after cleaning: every defect is in a row of its own.
    let dropped: u64 = [
        "customer_id is empty",
        "malformed event_timestamp",
        "unknown event_type",
    ]
    .iter()
    .map(|defect| planted(&generated, events, defect))
    .sum();
    let duplicates = planted(&generated, events, "duplicate row");
    let clean_events = generated.files[0].rows - duplicates - dropped;
    let silver_events = "SELECT CAST(SUM(total_events) AS BIGINT) FROM silver.customer_sessions";
    assert_eq!(number(silver_events).await, clean_events);
    let dropped: u64 = [
        "transaction_id is empty",
        "customer_id is empty",
        "malformed amount",
        "unknown payment_status",
    ]
    .iter()
    .map(|defect| planted(&generated, payments, defect))
    .sum();
    let duplicates = planted(&generated, payments, "duplicate row");
    assert_eq!(
        rows(&report, "silver.payment_analysis"),
        generated.files[1].rows - duplicates - dropped
    );
    assert_eq!(rows(&report, "gold.daily_metrics"), 366);
    assert_eq!(rows(&report, "gold.product_summary"), 100);
    let segments = "SELECT COUNT(DISTINCT customer_segment) FROM gold.customer_summary";
    assert_eq!(number(segments).await, 3);

    // A second run over the same files gives the same rows.
    options.run_id = uuid::Uuid::now_v7();
    let again = runner.run("ecommerce", options).await.unwrap();
    assert_eq!(again.status, RunStatus::Succeeded, "{:?}", again.error);
    for (first, second) in report.jobs.iter().zip(&again.jobs) {
        assert_eq!(first.rows_written, second.rows_written, "{}", first.job);
    }
}
