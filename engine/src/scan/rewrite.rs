//! Reading given data files: again, without rows that a statement deletes, or with constants that say
//! what a file stands for.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use iceberg::spec::SchemaRef as IcebergSchemaRef;
use ingot_catalog::Table;
use ingot_catalog::scan::FileTask;

use super::planner::{Wanted, describe, scan_of_files};
use super::services::ScanServices;
use super::source::IcebergFileSource;
use crate::error::Result;
use crate::schema::query_schema_of;

/// The rows of some data files of a table.
#[derive(Debug)]
pub struct FilesTable {
    table: Table,
    read_schema: IcebergSchemaRef,
    constants: Vec<FieldRef>,
    files: Vec<(FileTask, Vec<ScalarValue>)>,
    /// The snapshot that the files are of; none where they are of several.
    snapshot_id: Option<i64>,
    schema: SchemaRef,
    services: Arc<ScanServices>,
}

impl FilesTable {
    /// The rows of `files` of a snapshot of `table` that the deletes of each file leave, with the
    /// table's current columns.
    ///
    /// # Errors
    /// `Unsupported` for a column type that Arrow cannot hold.
    pub fn new(
        table: Table,
        snapshot_id: Option<i64>,
        files: Vec<FileTask>,
        services: Arc<ScanServices>,
    ) -> Result<Self> {
        let read_schema = Arc::clone(table.metadata.current_schema());
        let files = files.into_iter().map(|file| (file, Vec::new())).collect();
        let files = Self::with_constants(table, read_schema, Vec::new(), files, services)?;
        Ok(Self {
            snapshot_id,
            ..files
        })
    }

    /// The rows of `files`, which may be of several snapshots, with the columns of `read_schema`,
    /// one of the table's, then `constants`, of which each file has its own values.
    ///
    /// # Errors
    /// `Unsupported` for a column type that Arrow cannot hold.
    pub fn with_constants(
        table: Table,
        read_schema: IcebergSchemaRef,
        constants: Vec<FieldRef>,
        files: Vec<(FileTask, Vec<ScalarValue>)>,
        services: Arc<ScanServices>,
    ) -> Result<Self> {
        let columns = query_schema_of(&read_schema)?;
        let fields = columns.fields().iter().chain(&constants).cloned();
        Ok(Self {
            table,
            read_schema,
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            constants,
            files,
            snapshot_id: None,
            services,
        })
    }
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if self.files.is_empty() {
            let schema = match projection {
                Some(projection) => Arc::new(self.schema.project(projection)?),
                None => Arc::clone(&self.schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let read_schema = Arc::clone(&self.read_schema);
        let mut description = describe(&self.table, read_schema, &self.services)?;
        description.constants.clone_from(&self.constants);
        description.snapshot_id = self.snapshot_id;
        let options = &state.config_options().execution.parquet;
        let source = IcebergFileSource::new(Arc::new(description), options)?;
        let wanted = Wanted {
            projection,
            limit,
            ..Wanted::default()
        };
        Ok(scan_of_files(&source, self.files.clone(), state, wanted)?)
    }
}
