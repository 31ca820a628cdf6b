//! Reading given data files again, without rows that a statement deletes.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use ingot_catalog::Table;
use ingot_catalog::scan::FileTask;

use super::planner::{Wanted, describe, scan_of_tasks};
use super::services::ScanServices;
use super::source::IcebergFileSource;
use crate::error::Result;
use crate::schema::query_schema_of;

/// The rows of some data files of a table, with the table's current columns.
#[derive(Debug)]
pub struct FilesTable {
    table: Table,
    files: Vec<FileTask>,
    schema: SchemaRef,
    services: Arc<ScanServices>,
}

impl FilesTable {
    /// The rows of `files` of `table` that the deletes of each file leave.
    ///
    /// # Errors
    /// `Unsupported` for a column type that Arrow cannot hold.
    pub fn new(table: Table, files: Vec<FileTask>, services: Arc<ScanServices>) -> Result<Self> {
        let schema = query_schema_of(table.metadata.current_schema())?;
        Ok(Self {
            table,
            files,
            schema,
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
        let schema = Arc::clone(self.table.metadata.current_schema());
        let description = describe(&self.table, schema, &self.services)?;
        let options = &state.config_options().execution.parquet;
        let source = IcebergFileSource::new(Arc::new(description), options)?;
        let wanted = Wanted {
            projection,
            limit,
            row_ids: None,
        };
        Ok(scan_of_tasks(&source, self.files.clone(), state, wanted)?)
    }
}
