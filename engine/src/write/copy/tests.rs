//! Files are loaded exactly once, on a real catalog.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use iceberg::spec::{NestedField, PrimitiveType, Schema, SortOrder, Type, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::commit::{commit_metadata, commit_staged, stage_create, stage_replace};
use ingot_catalog::database::Database;
use ingot_catalog::evolve::rollback_to_snapshot;
use ingot_catalog::maintenance::{ExpireOptions, expire_snapshots};
use ingot_catalog::sql_catalog::SqlCatalog;
use ingot_catalog::{Catalog, FileInfo, Storage, StorageConfig, Table};
use ingot_sql::{CopyFormat, CopyInto, Statement, parse_statement};
use tempfile::TempDir;
use uuid::Uuid;

use super::{CopyPlan, CopyReport, commit_copy, prepare_copy, prepare_listed};
use crate::error::Result;
use crate::runtime::{RuntimeOptions, build_runtime};
use crate::write::{WriteOptions, decode_written_files, plan_write};

struct Fixture {
    folder: TempDir,
    storage: Arc<Storage>,
    catalog: Arc<dyn Catalog>,
    session: SessionContext,
}

fn ident() -> TableIdent {
    TableIdent::new(NamespaceIdent::new("s".to_string()), "t".to_string())
}

fn schema() -> Schema {
    let field = |id, name: &str, primitive| {
        Arc::new(NestedField::optional(id, name, Type::Primitive(primitive)))
    };
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    Schema::builder()
        .with_fields([
            Arc::new(id),
            field(2, "name", PrimitiveType::String),
            field(3, "day", PrimitiveType::Date),
        ])
        .build()
        .unwrap()
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(StorageConfig::default());
        let url = format!("sqlite://{}/catalog.db", folder.path().display());
        let database = Database::connect(&url).await.unwrap();
        let warehouse = format!("file://{}/warehouse", folder.path().display());
        let catalog: Arc<dyn Catalog> =
            SqlCatalog::open("iceberg", database, Arc::clone(&storage), &warehouse)
                .await
                .unwrap();
        catalog.create_schema("s", HashMap::new()).await.unwrap();
        let staged = stage_create(
            catalog.as_ref(),
            &ident(),
            schema(),
            UnboundPartitionSpec::default(),
            SortOrder::unsorted_order(),
            HashMap::new(),
        )
        .await
        .unwrap();
        commit_staged(catalog.as_ref(), staged, Vec::new())
            .await
            .unwrap();
        let runtime = build_runtime(Arc::clone(&storage), &RuntimeOptions::default()).unwrap();
        Self {
            folder,
            storage,
            catalog,
            session: SessionContext::new_with_config_rt(SessionConfig::new(), runtime),
        }
    }

    async fn table(&self) -> Table {
        self.catalog.load_table(&ident()).await.unwrap()
    }

    async fn file(&self, name: &str, text: &str, last_modified_ms: i64) -> FileInfo {
        let location = format!("{}/{name}", self.folder.path().display());
        self.storage
            .write(&location, text.to_string().into())
            .await
            .unwrap();
        FileInfo {
            location,
            size: text.len() as u64,
            last_modified_ms,
        }
    }

    async fn prepare(&self, copy: &CopyInto, files: &[FileInfo]) -> Result<CopyPlan> {
        let table = self.table().await;
        let state = self.session.state();
        let files = files.to_vec();
        prepare_listed(&state, &self.catalog, &table, copy, files, Uuid::new_v4()).await
    }

    async fn finish(&self, plan: &CopyPlan) -> Result<CopyReport> {
        let mut files = Vec::new();
        if let Some(query) = plan.query() {
            let state = self.session.state();
            let input = state.create_physical_plan(query).await?;
            let options = WriteOptions::new(Uuid::new_v4());
            let write = plan_write(&plan.table, input, &options)?;
            let batches = collect(write, self.session.task_ctx()).await?;
            files = decode_written_files(&batches, &plan.table)?;
        }
        commit_copy(self.catalog.as_ref(), plan, files, BTreeMap::new()).await
    }

    async fn copy(&self, copy: &CopyInto, files: &[FileInfo]) -> Result<CopyReport> {
        let plan = self.prepare(copy, files).await?;
        self.finish(&plan).await
    }

    async fn total_records(&self) -> String {
        let table = self.table().await;
        let snapshot = table.metadata.current_snapshot().unwrap();
        snapshot.summary().additional_properties["total-records"].clone()
    }
}

fn copy_into(options: &str) -> CopyInto {
    let sql = format!("COPY INTO s.t FROM '/nowhere' {options}");
    match parse_statement(&sql).unwrap() {
        Statement::CopyInto(copy) => copy,
        other => panic!("{other:?}"),
    }
}

const TWO_ROWS: &str = "id,name,day\n1,a,2024-01-01\n2,b,\n";

#[tokio::test]
async fn each_file_is_loaded_once() {
    let fixture = Fixture::new().await;
    let copy = copy_into("");
    let first = fixture.file("1.csv", TWO_ROWS, 1).await;
    let second = fixture.file("2.csv", "name,id,day\nc,3,\n", 1).await;
    let report = fixture
        .copy(&copy, std::slice::from_ref(&first))
        .await
        .unwrap();
    assert_eq!(
        (
            report.files_loaded,
            report.files_skipped,
            report.rows_loaded
        ),
        (1, 0, 2)
    );
    let respelled = FileInfo {
        location: format!("file://{}", first.location),
        ..first.clone()
    };
    let both = [respelled, second];
    let report = fixture.copy(&copy, &both).await.unwrap();
    assert_eq!(
        (
            report.files_loaded,
            report.files_skipped,
            report.rows_loaded
        ),
        (1, 1, 1)
    );
    let plan = fixture.prepare(&copy, &both).await.unwrap();
    assert!(plan.query().is_none());
    let report = fixture.finish(&plan).await.unwrap();
    assert_eq!(
        (
            report.files_loaded,
            report.files_skipped,
            report.rows_loaded
        ),
        (0, 2, 0)
    );
    assert_eq!(fixture.total_records().await, "3");
    // A changed file is another file.
    let changed = fixture.file("1.csv", TWO_ROWS, 2).await;
    let report = fixture
        .copy(&copy, std::slice::from_ref(&changed))
        .await
        .unwrap();
    assert_eq!(report.rows_loaded, 2);
    let mut again = copy_into("");
    again.force = true;
    let report = fixture.copy(&again, &[changed]).await.unwrap();
    assert_eq!((report.rows_loaded, report.files_skipped), (2, 0));
    assert_eq!(fixture.total_records().await, "7");
}

#[tokio::test]
async fn concurrent_copies_of_one_file_load_it_once() {
    let fixture = Fixture::new().await;
    let copy = copy_into("");
    let shared = fixture.file("1.csv", TWO_ROWS, 1).await;
    let other = fixture.file("2.csv", TWO_ROWS, 1).await;
    let first = fixture
        .prepare(&copy, std::slice::from_ref(&shared))
        .await
        .unwrap();
    let second = fixture
        .prepare(&copy, std::slice::from_ref(&shared))
        .await
        .unwrap();
    let third = fixture
        .prepare(&copy, std::slice::from_ref(&other))
        .await
        .unwrap();
    fixture.finish(&first).await.unwrap();
    let error = fixture.finish(&second).await.unwrap_err().to_string();
    assert!(
        error.contains("another statement copied the same files"),
        "{error}"
    );
    fixture.finish(&third).await.unwrap();
    assert_eq!(fixture.total_records().await, "4");
    let plan = fixture.prepare(&copy, &[shared, other]).await.unwrap();
    assert!(plan.query().is_none(), "both are remembered");
    let warehouse = format!("{}/warehouse", fixture.folder.path().display());
    let files = fixture.storage.list(&warehouse).await.unwrap();
    let lists = files.into_iter();
    let lists = lists.filter(|file| file.location.ends_with("copied-files.json"));
    assert_eq!(lists.count(), 2, "one list per commit");
}

#[tokio::test]
async fn a_replaced_table_forgets_what_was_copied() {
    let fixture = Fixture::new().await;
    let copy = copy_into("");
    let file = fixture.file("1.csv", TWO_ROWS, 1).await;
    fixture
        .copy(&copy, std::slice::from_ref(&file))
        .await
        .unwrap();
    let staged = stage_replace(
        fixture.catalog.as_ref(),
        &ident(),
        schema(),
        UnboundPartitionSpec::default(),
        SortOrder::unsorted_order(),
        HashMap::new(),
    )
    .await
    .unwrap();
    commit_staged(fixture.catalog.as_ref(), staged, Vec::new())
        .await
        .unwrap();
    let report = fixture.copy(&copy, &[file]).await.unwrap();
    assert_eq!(report.rows_loaded, 2);
    assert_eq!(fixture.total_records().await, "2");
}

#[tokio::test]
async fn what_was_rolled_back_can_be_copied_again_once_it_has_expired() {
    let fixture = Fixture::new().await;
    let catalog = fixture.catalog.as_ref();
    let copy = copy_into("");
    let kept = fixture.file("1.csv", TWO_ROWS, 1).await;
    let undone = fixture.file("2.csv", TWO_ROWS, 1).await;
    fixture
        .copy(&copy, std::slice::from_ref(&kept))
        .await
        .unwrap();
    let start = fixture
        .table()
        .await
        .metadata
        .current_snapshot_id()
        .unwrap();
    fixture
        .copy(&copy, std::slice::from_ref(&undone))
        .await
        .unwrap();
    commit_metadata(catalog, &ident(), |table| {
        rollback_to_snapshot(table, start)
    })
    .await
    .unwrap();
    let expire = || ExpireOptions {
        now_ms: chrono::Utc::now().timestamp_millis() + 1_000_000,
        max_age_ms: Some(0),
        default_max_age_ms: 0,
        retain_last: None,
        clean_expired_metadata: false,
    };
    let (_, report) = expire_snapshots(catalog, &ident(), expire()).await.unwrap();
    assert_eq!(report.snapshots, 1);
    let both = [kept, undone];
    let report = fixture.copy(&copy, &both).await.unwrap();
    assert_eq!((report.files_loaded, report.files_skipped), (1, 1));
    assert_eq!(fixture.total_records().await, "4");

    // What has expired without a rollback is still there.
    let (_, report) = expire_snapshots(catalog, &ident(), expire()).await.unwrap();
    assert_eq!(report.snapshots, 1);
    let report = fixture.copy(&copy, &both).await.unwrap();
    assert_eq!((report.files_loaded, report.files_skipped), (0, 2));
}

#[tokio::test]
async fn wrong_records_fail_or_are_counted() {
    let fixture = Fixture::new().await;
    let text = "day,id\n2024-01-01,1\nsoon,2\n2024-01-03,3\n";
    let file = fixture.file("1.csv", text, 1).await;
    let mut copy = copy_into("");
    copy.columns = vec!["id".to_string(), "day".to_string()];
    let error = fixture
        .copy(&copy, std::slice::from_ref(&file))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("1.csv, line 3, column day: \"soon\" is not a valid date"),
        "{error}"
    );
    assert!(fixture.table().await.metadata.current_snapshot().is_none());
    copy.mode = ingot_sql::CopyMode::Permissive;
    let report = fixture
        .copy(&copy, std::slice::from_ref(&file))
        .await
        .unwrap();
    assert_eq!((report.rows_loaded, report.rows_rejected), (2, 1));
    let folder = report.rejects_folder.unwrap();
    let rejects = crate::csv::read_rejects(&fixture.storage, &folder)
        .await
        .unwrap();
    assert_eq!(rejects[0].record, "soon,2");
    // A required column that the files lack.
    copy.columns = vec!["name".to_string(), "day".to_string()];
    let file = fixture.file("2.csv", "name,day\na,\n", 1).await;
    let error = fixture.copy(&copy, &[file]).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "null value in column id of table s.t, which is not null"
    );
}

#[tokio::test]
async fn options_that_cannot_be_right_are_refused() {
    let fixture = Fixture::new().await;
    let file = fixture.file("1.csv", TWO_ROWS, 1).await;
    let mut wrong_column = copy_into("");
    wrong_column.columns = vec!["nix".to_string()];
    let mut wrong_delimiter = copy_into("");
    wrong_delimiter.delimiter = 'é';
    let mut rejects_in_strict_mode = copy_into("");
    rejects_in_strict_mode.rejects = Some("/r".to_string());
    let mut json = copy_into("");
    json.format = Some(CopyFormat::Json);
    json.mode = ingot_sql::CopyMode::Permissive;
    let cases = [
        (
            wrong_column,
            "table s.t has no column nix: its columns are id, name, day",
        ),
        (
            wrong_delimiter,
            "option delimiter is 'é': it must be an ascii character",
        ),
        (
            rejects_in_strict_mode,
            "rejects are kept in permissive mode only",
        ),
        (
            json,
            "permissive mode for files other than csv is not supported",
        ),
    ];
    for (copy, message) in cases {
        let error = match fixture.prepare(&copy, std::slice::from_ref(&file)).await {
            Ok(_) => panic!("{message}"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(message), "{error}");
    }
    let unknown = fixture.file("1.dat", TWO_ROWS, 1).await;
    let error = match fixture.prepare(&copy_into(""), &[unknown]).await {
        Ok(_) => panic!("the format is unknown"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("does not tell its format"), "{error}");
}

#[tokio::test]
async fn json_and_parquet_files_are_copied_too() {
    let fixture = Fixture::new().await;
    let text = "{\"id\": 1, \"day\": \"2024-01-01\"}\n{\"name\": \"b\", \"id\": 2}\n";
    let json = fixture.file("1.json", text, 1).await;
    let report = fixture.copy(&copy_into(""), &[json]).await.unwrap();
    assert_eq!(report.rows_loaded, 2);
    // What the table has now, as a Parquet file of another writer.
    let table = fixture.table().await;
    let data = format!("{}/data", table.metadata.location());
    let written = fixture.storage.list(&data).await.unwrap();
    let bytes = fixture.storage.read(&written[0].location).await.unwrap();
    let location = format!("{}/2.parquet", fixture.folder.path().display());
    fixture.storage.write(&location, bytes).await.unwrap();
    let mut copy = copy_into("");
    copy.locations = vec![location.clone()];
    let state = fixture.session.state();
    let plan = prepare_copy(&state, &fixture.catalog, &table, &copy, Uuid::new_v4())
        .await
        .unwrap();
    let report = fixture.finish(&plan).await.unwrap();
    assert_eq!((report.rows_loaded, report.files_loaded), (2, 1));
    assert_eq!(fixture.total_records().await, "4");
    copy.columns = vec!["id".to_string()];
    copy.force = true;
    let plan = prepare_copy(&state, &fixture.catalog, &table, &copy, Uuid::new_v4()).await;
    let error = match plan {
        Ok(_) => panic!("a column is not copied"),
        Err(error) => error.to_string(),
    };
    assert!(
        error.contains("have a column name, which is not copied"),
        "{error}"
    );
}

#[tokio::test]
async fn a_text_can_stand_for_null() {
    let fixture = Fixture::new().await;
    let file = fixture
        .file("1.csv", "id,name,day\n1,\\N,\\N\n2,,2024-01-01\n", 1)
        .await;
    let mut copy = copy_into("");
    copy.null_value = "\\N".to_string();
    fixture.copy(&copy, &[file]).await.unwrap();
    let table = fixture.table().await;
    let data = format!("{}/data", table.metadata.location());
    let written = fixture.storage.list(&data).await.unwrap();
    let bytes = fixture.storage.read(&written[0].location).await.unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes);
    let batch = reader.unwrap().build().unwrap().next().unwrap().unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&[batch])
        .unwrap()
        .to_string();
    assert!(text.contains("| 1  |      |            |"), "{text}");
    use arrow::array::Array;
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        fixture.storage.read(&written[0].location).await.unwrap(),
    );
    let batch = reader.unwrap().build().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.column(1).null_count(), 1, "the empty name is a text");
}
