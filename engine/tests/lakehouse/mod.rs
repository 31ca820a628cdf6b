//! A catalog of its own with a schema `s`, and its tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use iceberg::spec::{DataFile, SortOrder, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::commit::{append_files, commit_staged, stage_create};
use ingot_catalog::database::Database;
use ingot_catalog::sql_catalog::SqlCatalog;
use ingot_catalog::{Catalog, Storage, StorageConfig, Table};
use ingot_engine::catalog_list::CatalogList;
use ingot_engine::runtime::{RuntimeOptions, build_runtime};
use ingot_engine::scan::ScanServices;
use ingot_engine::session::{SessionOptions, new_session_state};
use ingot_engine::write::{WriteOptions, decode_written_files, plan_write, table_schema_of};
use uuid::Uuid;

pub struct Lakehouse {
    // Deleted with the lakehouse; not every test file looks into it.
    #[allow(dead_code)]
    pub folder: tempfile::TempDir,
    pub catalog: Arc<dyn Catalog>,
    catalogs: Arc<CatalogList>,
    runtime: Arc<RuntimeEnv>,
}

impl Lakehouse {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(StorageConfig::default());
        let database = Database::connect_sqlite(&folder.path().join("catalog.db"))
            .await
            .unwrap();
        let warehouse = folder.path().join("warehouse").display().to_string();
        let catalog: Arc<dyn Catalog> =
            SqlCatalog::open("iceberg", database, Arc::clone(&storage), &warehouse)
                .await
                .unwrap();
        catalog.create_schema("s", HashMap::new()).await.unwrap();
        let runtime = build_runtime(Arc::clone(&storage), &RuntimeOptions::default()).unwrap();
        let catalogs = CatalogList::new(vec![Arc::clone(&catalog)], ScanServices::new(storage));
        Self {
            folder,
            catalog,
            catalogs,
            runtime,
        }
    }

    pub fn context(&self) -> SessionContext {
        let options = SessionOptions {
            target_partitions: 3,
            default_schema: "s".to_string(),
            ..SessionOptions::default()
        };
        let runtime = Arc::clone(&self.runtime);
        SessionContext::new_with_state(new_session_state(runtime, &self.catalogs, &options))
    }

    pub async fn plan(&self, sql: &str) -> Arc<dyn ExecutionPlan> {
        let frame = self.context().sql(sql).await.unwrap();
        frame.create_physical_plan().await.unwrap()
    }

    async fn write(&self, table: &Table, sql: &str) -> Vec<DataFile> {
        let plan = self.plan(sql).await;
        let plan = plan_write(table, plan, &WriteOptions::new(Uuid::now_v7())).unwrap();
        let batches = collect(plan, self.context().task_ctx()).await.unwrap();
        decode_written_files(&batches, table).unwrap()
    }

    pub async fn create(&self, name: &str, sql: &str) -> Table {
        let frame = self.context().sql(sql).await.unwrap();
        let schema = table_schema_of(frame.schema()).unwrap();
        let ident = TableIdent::new(NamespaceIdent::new("s".to_string()), name.to_string());
        let staged = stage_create(
            self.catalog.as_ref(),
            &ident,
            schema,
            UnboundPartitionSpec::default(),
            SortOrder::unsorted_order(),
            HashMap::new(),
        )
        .await
        .unwrap();
        let files = self.write(staged.table(), sql).await;
        commit_staged(self.catalog.as_ref(), staged, files)
            .await
            .unwrap()
    }

    // Not every test file appends.
    #[allow(dead_code)]
    pub async fn append(&self, table: &Table, sql: &str) -> Table {
        let files = self.write(table, sql).await;
        append_files(self.catalog.as_ref(), table, files, BTreeMap::new())
            .await
            .unwrap()
    }
}
