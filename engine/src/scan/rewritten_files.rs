//! Data files that are written again with the same rows (`optimize`).
//!
//! In format version 3 a row keeps its id when it moves (Iceberg specification, "Row Lineage"):
//! the new files have the columns `_row_id` and `_last_updated_sequence_number`, filled from the
//! old files' own columns or, where these have none, from the old file's place in the table.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DataFusionResult;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableType, case, cast, ident, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use iceberg::metadata_columns::{
    RESERVED_COL_NAME_LAST_UPDATED_SEQUENCE_NUMBER, RESERVED_COL_NAME_ROW_ID,
    RESERVED_FIELD_ID_LAST_UPDATED_SEQUENCE_NUMBER, RESERVED_FIELD_ID_ROW_ID,
};
use iceberg::spec::{
    FormatVersion, NestedField, PrimitiveType, Schema, SchemaRef as IcebergSchemaRef, SortOrder,
    Type,
};
use ingot_catalog::Table;
use ingot_catalog::scan::FileTask;

use super::packing::Packing;
use super::planner::{Wanted, describe, scan_of_tasks};
use super::row_ids::{FILE_COLUMN, POSITION_COLUMN, ScannedFiles, with_row_ids};
use super::services::ScanServices;
use super::source::IcebergFileSource;
use crate::error::{EngineError, Result};
use crate::schema::query_schema_of;
use crate::write::{IcebergWriteExec, WriteOptions, WriteTarget};

const DISTRIBUTION_MODE: &str = "write.distribution-mode";
const LINEAGE_COLUMNS: [&str; 2] = [
    RESERVED_COL_NAME_ROW_ID,
    RESERVED_COL_NAME_LAST_UPDATED_SEQUENCE_NUMBER,
];

/// In which order the rows of a new file are.
#[derive(Debug, Clone, PartialEq)]
pub enum RewriteOrder {
    /// In the table's sort order, or as they come.
    OfTable,
    /// In this order.
    Sorted(SortOrder),
    /// Along a Z-order curve over these columns, by field id.
    ZOrder(Vec<i32>),
}

/// The rows of some data files of a table, without those that their deletes hide, to be written
/// into new files of the table.
#[derive(Debug)]
pub struct RewrittenFiles {
    table: Table,
    files: Vec<FileTask>,
    order: RewriteOrder,
    /// New files are to have about this size, in bytes.
    target_bytes: u64,
    /// The table's current schema, with the columns of row lineage where the table has it.
    schema: IcebergSchemaRef,
    arrow_schema: SchemaRef,
    scanned: ScannedFiles,
    services: Arc<ScanServices>,
}

impl RewrittenFiles {
    /// The rows of `files` of `table`. Those of one table partition go to as few tasks as there
    /// are `target_bytes` in it, or to one when they are ordered anew.
    ///
    /// # Errors
    /// `Unsupported` for a column type that Arrow cannot hold, and for a table of format version
    /// 3 with a column that has the name of one of row lineage.
    pub fn new(
        table: Table,
        files: Vec<FileTask>,
        order: RewriteOrder,
        target_bytes: u64,
        services: Arc<ScanServices>,
    ) -> Result<Self> {
        let schema = Arc::clone(table.metadata.current_schema());
        let scanned = ScannedFiles::default();
        let has_lineage = table.metadata.format_version() == FormatVersion::V3;
        let (schema, arrow_schema) = match has_lineage {
            false => (Arc::clone(&schema), query_schema_of(&schema)?),
            true => {
                for file in &files {
                    scanned.number_of(file);
                }
                let schema = with_lineage(&table, &schema)?;
                let arrow_schema = with_row_ids(&query_schema_of(&schema)?);
                (schema, arrow_schema)
            }
        };
        Ok(Self {
            table,
            files,
            order,
            target_bytes,
            schema,
            arrow_schema,
            scanned,
            services,
        })
    }

    /// The plan that writes the rows; it returns rows of
    /// [`WRITTEN_FILES_SCHEMA`](crate::write::WRITTEN_FILES_SCHEMA).
    ///
    /// # Errors
    /// When the plan cannot be built.
    pub fn plan(self) -> Result<LogicalPlan> {
        let name = TableReference::bare(self.table.ident.name().to_owned());
        let columns = self.has_lineage().then(|| self.columns_with_lineage());
        let columns = columns.transpose()?;
        let source = provider_as_source(Arc::new(self));
        let mut rows = LogicalPlanBuilder::scan(name.clone(), Arc::clone(&source), None)?;
        if let Some(columns) = columns {
            rows = rows.project(columns)?;
        }
        let plan = LogicalPlanBuilder::insert_into(rows.build()?, name, source, InsertOp::Append)?;
        Ok(plan.build()?)
    }

    fn has_lineage(&self) -> bool {
        self.table.metadata.format_version() == FormatVersion::V3
    }

    /// The table's columns, then the ids of the rows.
    fn columns_with_lineage(&self) -> Result<Vec<Expr>> {
        let count = self.arrow_schema.fields().len() - LINEAGE_COLUMNS.len() * 2;
        let fields = self.arrow_schema.fields().iter().take(count);
        let mut columns: Vec<Expr> = fields.map(|field| ident(field.name())).collect();
        let long = |value: Option<i64>| lit(ScalarValue::Int64(value));
        let first_row_id = self.by_file(|file| long(file.first_row_id))?;
        // Rows without an id get one from the new file, and count as changed by it.
        let sequence_number = self.by_file(|file| {
            let has_ids = file.first_row_id.is_some();
            long(has_ids.then_some(file.data_sequence_number))
        })?;
        let row_id = first_row_id + cast(ident(POSITION_COLUMN), DataType::Int64);
        for (name, inherited) in LINEAGE_COLUMNS.into_iter().zip([row_id, sequence_number]) {
            columns.push(coalesce(vec![ident(name), inherited]).alias(name));
        }
        Ok(columns)
    }

    /// A value that depends on the file that a row is in.
    fn by_file(&self, value: impl Fn(&FileTask) -> Expr) -> Result<Expr> {
        let mut files = self.files.iter();
        let Some(first) = files.next() else {
            return Ok(lit(ScalarValue::Int64(None)));
        };
        let number = |file: &FileTask| lit(self.scanned.number_of(file));
        let mut choice = case(ident(FILE_COLUMN)).when(number(first), value(first));
        for file in files {
            choice = choice.when(number(file), value(file));
        }
        Ok(choice.end()?)
    }

    /// What the rows are written to.
    fn target(&self) -> WriteTarget {
        let mut target = WriteTarget::of(&self.table);
        target.schema = Arc::clone(&self.schema);
        let target_bytes = self.target_bytes.to_string();
        let size = "write.target-file-size-bytes".to_owned();
        target.properties.insert(size, target_bytes);
        if self.is_partitioned_already() {
            let none = "none".to_owned();
            target.properties.insert(DISTRIBUTION_MODE.to_owned(), none);
        }
        match &self.order {
            RewriteOrder::OfTable => {}
            RewriteOrder::Sorted(order) => target.sort_order = order.clone(),
            RewriteOrder::ZOrder(field_ids) => {
                target.sort_order = SortOrder::unsorted_order();
                target.z_order = field_ids.clone();
            }
        }
        target
    }

    /// Whether the rows of a table partition are together in their files.
    fn is_partitioned_already(&self) -> bool {
        let spec_id = self.table.metadata.default_partition_spec_id();
        self.files.iter().all(|file| file.spec_id == spec_id)
    }

    fn packing(&self) -> Packing {
        Packing {
            by_table_partition: self.is_partitioned_already(),
            least_bytes: match self.order {
                RewriteOrder::OfTable => Some(self.target_bytes),
                RewriteOrder::Sorted(_) | RewriteOrder::ZOrder(_) => None,
            },
        }
    }
}

/// The schema with the optional columns of row lineage at its end.
fn with_lineage(table: &Table, schema: &Schema) -> Result<IcebergSchemaRef> {
    let ids = [
        RESERVED_FIELD_ID_ROW_ID,
        RESERVED_FIELD_ID_LAST_UPDATED_SEQUENCE_NUMBER,
    ];
    let mut fields = schema.as_struct().fields().to_vec();
    for (name, id) in LINEAGE_COLUMNS.into_iter().zip(ids) {
        let long = Type::Primitive(PrimitiveType::Long);
        fields.push(Arc::new(NestedField::optional(id, name, long)));
    }
    for name in LINEAGE_COLUMNS
        .into_iter()
        .chain([FILE_COLUMN, POSITION_COLUMN])
    {
        if schema.as_struct().field_by_name(name).is_some() {
            return Err(EngineError::Unsupported(format!(
                "rewriting files of table {}, which has a column {name},",
                table.name()
            )));
        }
    }
    let schema = Schema::builder()
        .with_schema_id(schema.schema_id())
        .with_fields(fields)
        .build();
    schema
        .map(Arc::new)
        .map_err(|source| EngineError::iceberg(format!("row lineage of {}", table.name()), source))
}

#[async_trait]
impl TableProvider for RewrittenFiles {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.arrow_schema)
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
        let mut description = describe(&self.table, Arc::clone(&self.schema), &self.services)?;
        description.has_row_ids = self.has_lineage();
        description.snapshot_id = self.table.metadata.current_snapshot_id();
        let options = &state.config_options().execution.parquet;
        let source = IcebergFileSource::new(Arc::new(description), options)?;
        let wanted = Wanted {
            projection,
            limit,
            row_ids: self.has_lineage().then_some(&self.scanned),
            packing: Some(self.packing()),
            distinct_values: None,
        };
        Ok(scan_of_tasks(&source, self.files.clone(), state, wanted)?)
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        _insert_op: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let options = state.config().get_extension::<WriteOptions>();
        let Some(options) = options else {
            let what = format!(
                "table {}: rewriting files without a statement that commits",
                self.table.name()
            );
            return Err(EngineError::Unsupported(what).into());
        };
        let node = IcebergWriteExec::try_new(self.target(), options.as_ref().clone(), input)?;
        Ok(Arc::new(node))
    }
}
