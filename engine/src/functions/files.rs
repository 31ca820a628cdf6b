//! `read_parquet` and `read_json`: files of formats that DataFusion reads.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use ingot_catalog::storage::Scheme;
use ingot_catalog::{FileInfo, Location, Storage};
use object_store::{ObjectMeta, ObjectStore};

use super::arguments::Arguments;
use super::file_listing::list_files;
use super::wait_for;
use crate::error::{EngineError, Result};
use crate::results::result_schema;

pub(super) const PARQUET: &str = "read_parquet";
pub(super) const JSON: &str = "read_json";

/// `read_parquet('path')`: the columns of all files together, by name.
#[derive(Debug)]
pub(super) struct ReadParquet {
    storage: Arc<Storage>,
}

impl ReadParquet {
    pub(super) fn new(storage: Arc<Storage>) -> Self {
        Self { storage }
    }
}

impl TableFunctionImpl for ReadParquet {
    fn call_with_args(&self, args: TableFunctionArgs) -> DataFusionResult<Arc<dyn TableProvider>> {
        let mut arguments = Arguments::parse(PARQUET, args.exprs())?;
        let paths = arguments.take_paths()?;
        arguments.finish(&[])?;
        let options = args.session().default_table_options().parquet;
        let format = ParquetFormat::default().with_options(options);
        let files = FileTable::open(&self.storage, paths, Arc::new(format), None, args.session());
        Ok(Arc::new(wait_for(files)?))
    }
}

/// `read_json('path')`: one JSON object per line; `columns => 'a bigint, …'` instead of
/// types guessed from the first lines.
#[derive(Debug)]
pub(super) struct ReadJson {
    storage: Arc<Storage>,
}

impl ReadJson {
    pub(super) fn new(storage: Arc<Storage>) -> Self {
        Self { storage }
    }
}

impl TableFunctionImpl for ReadJson {
    fn call_with_args(&self, args: TableFunctionArgs) -> DataFusionResult<Arc<dyn TableProvider>> {
        let mut arguments = Arguments::parse(JSON, args.exprs())?;
        let paths = arguments.take_paths()?;
        let columns = arguments.take_columns()?;
        arguments.finish(&["columns"])?;
        let options = args.session().default_table_options().json;
        let format = JsonFormat::default().with_options(options);
        let files = FileTable::open(
            &self.storage,
            paths,
            Arc::new(format),
            columns,
            args.session(),
        );
        Ok(Arc::new(wait_for(files)?))
    }
}

/// Files of one format in one store.
#[derive(Debug)]
pub(crate) struct FileTable {
    format: Arc<dyn FileFormat>,
    schema: SchemaRef,
    store_url: ObjectStoreUrl,
    files: Vec<ObjectMeta>,
}

impl FileTable {
    /// Lists the files, and looks into them when the columns are not given.
    pub(crate) async fn open(
        storage: &Arc<Storage>,
        paths: Vec<String>,
        format: Arc<dyn FileFormat>,
        columns: Option<Schema>,
        session: &dyn Session,
    ) -> Result<Self> {
        let files = list_files(storage, &paths).await?;
        let (store_url, store, files) = in_one_store(storage, &files)?;
        let schema = match columns {
            Some(schema) => Arc::new(schema),
            None => {
                let found = format.infer_schema(session, &store, &files).await?;
                let plain = result_schema(&found);
                // Any file may lack a column, and metadata of single files says nothing here.
                let fields = plain.fields().iter().map(|field| {
                    let field = field.as_ref().clone();
                    field.with_nullable(true).with_metadata(Default::default())
                });
                Arc::new(Schema::new(fields.collect::<Vec<_>>()))
            }
        };
        Ok(Self {
            format,
            schema,
            store_url,
            files,
        })
    }
}

type OpenedFiles = (ObjectStoreUrl, Arc<dyn ObjectStore>, Vec<ObjectMeta>);

fn in_one_store(storage: &Storage, files: &[FileInfo]) -> Result<OpenedFiles> {
    let Some(first) = files.first() else {
        let reason = "there are no files to read".to_string();
        return Err(EngineError::InvalidInput(reason));
    };
    let scheme = Location::parse(&first.location)?.scheme;
    let metas = files
        .iter()
        .map(|file| {
            let location = Location::parse(&file.location)?;
            if location.scheme != scheme {
                return Err(EngineError::Unsupported(
                    "reading files of several buckets at once".to_string(),
                ));
            }
            let last_modified = chrono::DateTime::from_timestamp_millis(file.last_modified_ms);
            Ok(ObjectMeta {
                location: location.path,
                last_modified: last_modified.unwrap_or_default(),
                size: file.size,
                e_tag: None,
                version: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let store_url = match scheme {
        Scheme::File => ObjectStoreUrl::local_filesystem(),
        Scheme::S3 { bucket } => ObjectStoreUrl::parse(format!("s3://{bucket}/"))?,
    };
    let (store, _) = storage.store_for(&first.location)?;
    Ok((store_url, store, metas))
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    /// Row groups are pruned where the format has statistics.
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
        let target_partitions = state.config_options().execution.target_partitions;
        let files = self.files.iter().cloned();
        let all = FileGroup::new(files.map(PartitionedFile::new_from_meta).collect());
        let source = self
            .format
            .file_source(TableSchema::from(Arc::clone(&self.schema)));
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(all.split_files(target_partitions))
            .with_limit(limit)
            .with_projection_indices(projection.cloned())?
            .build();
        self.format.create_physical_plan(state, config).await
    }
}
