//! `IcebergFileSource`: DataFusion's Parquet source, with Iceberg's columns and deletes.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Fields, SchemaRef};
use datafusion::common::config::{ConfigOptions, TableParquetOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_expr_common::sort_expr::PhysicalSortExpr;
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::{MorselPlan, MorselPlanner, Morselizer};
use datafusion_datasource_parquet::ParquetRowSelection;
use iceberg::spec::{NameMapping, SchemaRef as IcebergSchemaRef};
use ingot_catalog::scan::DeleteFileRef;
use object_store::ObjectStore;

use super::adaptation::Adaptation;
use super::columns::ColumnMapping;
use super::deletes::{DeletedFile, deleted_positions, remaining_rows};
use super::read_state::ReadState;
use super::reader::MappedReaderFactory;
use super::row_ids;
use super::services::ScanServices;
use crate::error::{EngineError, Result};
use crate::schema::{query_schema_of, with_text_views};

/// What every file of a scan has in common.
#[derive(Debug)]
pub struct ScanDescription {
    /// Name of the table, for plans and messages.
    pub table_name: String,
    /// The table's name mapping as JSON, for files without field ids.
    pub name_mapping_json: Option<String>,
    /// Columns after those of the read schema, of which each file has one value: the
    /// [hidden columns](super::hidden_columns), for instance. Not known where a plan is decoded:
    /// the source's own schema has them.
    pub constants: Vec<FieldRef>,
    /// Whether the columns of [`row_ids`](super::row_ids) come last.
    pub has_row_ids: bool,
    /// Whether text columns are views of strings. Not known where a plan is decoded: workers read
    /// strings.
    pub text_views: bool,
    /// The snapshot that the files are of, for messages; none where they are of several.
    pub snapshot_id: Option<i64>,
    mapping: Arc<ColumnMapping>,
    adaptation: Option<Arc<Adaptation>>,
    services: Arc<ScanServices>,
}

impl ScanDescription {
    /// Describes a scan that reads `schema`.
    ///
    /// # Errors
    /// `InvalidInput` when the name mapping is not one, or a field has a default value that is not
    /// of its type.
    pub fn new(
        table_name: String,
        schema: IcebergSchemaRef,
        name_mapping_json: Option<String>,
        services: Arc<ScanServices>,
    ) -> Result<Self> {
        let name_mapping = name_mapping_json
            .as_deref()
            .map(serde_json::from_str::<NameMapping>)
            .transpose()
            .map_err(|error| {
                EngineError::InvalidInput(format!(
                    "table {table_name}: property schema.name-mapping.default is not a name mapping: {error}"
                ))
            })?;
        Ok(Self {
            table_name,
            name_mapping_json,
            constants: Vec::new(),
            has_row_ids: false,
            text_views: false,
            snapshot_id: None,
            adaptation: Adaptation::of(&schema)?,
            mapping: Arc::new(ColumnMapping::new(schema, name_mapping)),
            services,
        })
    }

    /// The read schema.
    pub fn schema(&self) -> &IcebergSchemaRef {
        self.mapping.schema()
    }

    /// The columns of the read schema as queries see them.
    ///
    /// # Errors
    /// `Unsupported` for a type that Arrow cannot hold.
    pub fn query_schema(&self) -> Result<SchemaRef> {
        let schema = query_schema_of(self.schema())?;
        Ok(match self.text_views {
            true => with_text_views(&schema),
            false => schema,
        })
    }

    /// Storage and caches.
    pub fn services(&self) -> &Arc<ScanServices> {
        &self.services
    }

    /// What errors about the files are to name.
    fn read_state(&self) -> ReadState {
        ReadState::new(&self.table_name, self.snapshot_id, &self.services)
    }
}

/// What DataFusion's `PartitionedFile` does not say about a data file, attached to it as an
/// extension. Without it a file is not read.
#[derive(Debug, Clone, PartialEq)]
pub struct FileDetails {
    /// Location as the table's metadata spells it; position deletes name the file by it.
    pub location: Arc<str>,
    /// Rows in the file, before deletes.
    pub record_count: u64,
    /// Deletes that apply to it.
    pub deletes: Arc<[DeleteFileRef]>,
    /// Field ids of columns whose absence from the file could not be made up for.
    pub columns_that_must_exist: Arc<[i32]>,
}

/// Reads the Parquet data files of one Iceberg table.
#[derive(Debug, Clone)]
pub struct IcebergFileSource {
    parquet: ParquetSource,
    description: Arc<ScanDescription>,
}

impl IcebergFileSource {
    /// A source that reads every column of the description. `options` are the
    /// session's.
    ///
    /// # Errors
    /// `Unsupported` for a type that Arrow cannot hold.
    pub fn new(description: Arc<ScanDescription>, options: &ParquetOptions) -> Result<Self> {
        let schema = description.query_schema()?;
        let table_options = TableParquetOptions {
            global: options.clone(),
            ..TableParquetOptions::default()
        };
        let table_schema = match description.has_row_ids {
            true => row_ids::scan_schema(schema, &description.constants),
            false => TableSchema::builder(schema)
                .with_table_partition_cols(Fields::from(description.constants.clone()))
                .build(),
        };
        let parquet = ParquetSource::new(table_schema).with_table_parquet_options(table_options);
        Ok(Self::wrap(parquet, description))
    }

    /// Puts Iceberg's part around a Parquet source whose schema is the description's.
    pub fn wrap(parquet: ParquetSource, description: Arc<ScanDescription>) -> Self {
        let mut options = parquet.table_parquet_options().clone();
        // Tables written by Hive and old Spark: 96-bit times are UTC, to the microsecond.
        options.global.coerce_int96 = Some("us".to_string());
        // The file's types are those of its Parquet schema, and casts go to the table's.
        options.global.schema_force_view_types = false;
        // Read the footer with one request, not two.
        let footer_bytes = options.global.metadata_size_hint;
        let mut parquet = parquet.with_table_parquet_options(options);
        if let Some(footer_bytes) = footer_bytes {
            parquet = parquet.with_metadata_size_hint(footer_bytes);
        }
        Self {
            parquet,
            description,
        }
    }

    /// The Parquet source inside, which holds projection, predicate and options.
    pub fn parquet(&self) -> &ParquetSource {
        &self.parquet
    }

    /// What the files have in common.
    pub fn description(&self) -> &Arc<ScanDescription> {
        &self.description
    }

    fn rewrap(&self, source: &Arc<dyn FileSource>) -> DataFusionResult<Arc<dyn FileSource>> {
        match source.downcast_ref::<ParquetSource>() {
            Some(parquet) => Ok(Arc::new(Self {
                parquet: parquet.clone(),
                description: Arc::clone(&self.description),
            })),
            None => Err(DataFusionError::Internal(
                "the parquet source became another source".to_string(),
            )),
        }
    }
}

impl FileSource for IcebergFileSource {
    fn create_file_opener(
        &self,
        _object_store: Arc<dyn ObjectStore>,
        _base_config: &FileScanConfig,
        _partition: usize,
    ) -> DataFusionResult<Arc<dyn FileOpener>> {
        Err(DataFusionError::Internal(
            "iceberg files are opened through create_morselizer".to_string(),
        ))
    }

    fn create_morselizer(
        &self,
        object_store: Arc<dyn ObjectStore>,
        base_config: &FileScanConfig,
        partition: usize,
    ) -> DataFusionResult<Box<dyn Morselizer>> {
        let readers = MappedReaderFactory::new(
            self.description.read_state(),
            Arc::clone(&object_store),
            Arc::clone(&self.description.mapping),
            Arc::clone(self.description.services()),
        );
        let parquet = self
            .parquet
            .clone()
            .with_parquet_file_reader_factory(Arc::new(readers));
        let inner = match &self.description.adaptation {
            None => parquet.create_morselizer(object_store, base_config, partition)?,
            Some(adaptation) => {
                let config = FileScanConfigBuilder::from(base_config.clone())
                    .with_expr_adapter(Some(Arc::clone(adaptation) as _))
                    .build();
                parquet.create_morselizer(object_store, &config, partition)?
            }
        };
        Ok(Box::new(IcebergMorselizer {
            inner: Arc::from(inner),
            state: self.description.read_state(),
            services: Arc::clone(self.description.services()),
        }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.parquet.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let source = self.parquet.with_batch_size(batch_size);
        match self.rewrap(&source) {
            Ok(source) => source,
            // Cannot be: a Parquet source with a batch size is a Parquet source.
            Err(_) => Arc::new(self.clone()),
        }
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.parquet.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.parquet.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.parquet.metrics()
    }

    fn file_type(&self) -> &str {
        "iceberg"
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, ", table={}", self.description.table_name)?;
            }
            DisplayFormatType::TreeRender => writeln!(f, "table={}", self.description.table_name)?,
        }
        self.parquet.fmt_extra(format, f)
    }

    /// File groups are made at planning, along row groups; byte ranges would be coarser.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> DataFusionResult<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let adaptation = self.description.adaptation.as_deref();
        let may_obscure = |filter: &Arc<dyn PhysicalExpr>| {
            adaptation.is_some_and(|adaptation| adaptation.may_obscure(filter))
        };
        let is_obscured: Vec<bool> = filters.iter().map(may_obscure).collect();
        let mut pushed = self.parquet.try_pushdown_filters(filters, config)?;
        // Such a filter is left out, without a word, where a file needs its column rebuilt.
        for (pushed, is_obscured) in pushed.filters.iter_mut().zip(is_obscured) {
            if is_obscured {
                *pushed = PushedDown::No;
            }
        }
        let updated_node = match &pushed.updated_node {
            Some(source) => Some(self.rewrap(source)?),
            None => None,
        };
        Ok(FilterPushdownPropagation {
            filters: pushed.filters,
            updated_node,
        })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> DataFusionResult<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(match self.parquet.try_pushdown_sort(order, properties)? {
            SortOrderPushdownResult::Exact { inner } => SortOrderPushdownResult::Exact {
                inner: self.rewrap(&inner)?,
            },
            SortOrderPushdownResult::Inexact { inner } => SortOrderPushdownResult::Inexact {
                inner: self.rewrap(&inner)?,
            },
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.parquet.reorder_files(files)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> DataFusionResult<Option<Arc<dyn FileSource>>> {
        match self.parquet.try_pushdown_projection(projection)? {
            Some(source) => self.rewrap(&source).map(Some),
            None => Ok(None),
        }
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        self.parquet.apply_expressions(f)
    }

    fn try_to_proto(
        &self,
        base: &FileScanConfig,
        context: &datafusion::physical_plan::proto::ExecutionPlanEncodeCtx<'_>,
    ) -> DataFusionResult<Option<datafusion_proto::protobuf::PhysicalPlanNode>> {
        crate::codec::scan::encode(self, base, context).map(Some)
    }
}

/// Opens files: those with deletes after their deletes are known.
#[derive(Debug)]
struct IcebergMorselizer {
    inner: Arc<dyn Morselizer>,
    state: ReadState,
    services: Arc<ScanServices>,
}

impl Morselizer for IcebergMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> DataFusionResult<Box<dyn MorselPlanner>> {
        match file.extension::<FileDetails>() {
            Some(details) if !details.deletes.is_empty() => Ok(Box::new(DirtyFilePlanner {
                details: details.clone(),
                file,
                inner: Arc::clone(&self.inner),
                state: self.state.clone(),
                services: Arc::clone(&self.services),
            })),
            _ => self.inner.plan_file(file),
        }
    }
}

/// Opens a file with deletes.
#[derive(Debug)]
struct DirtyFilePlanner {
    details: FileDetails,
    file: PartitionedFile,
    inner: Arc<dyn Morselizer>,
    state: ReadState,
    services: Arc<ScanServices>,
}

impl MorselPlanner for DirtyFilePlanner {
    fn plan(self: Box<Self>) -> DataFusionResult<Option<MorselPlan>> {
        let opening = async move {
            let deleted_file = DeletedFile {
                location: &self.details.location,
                size: self.file.object_meta.size,
                deletes: &self.details.deletes,
            };
            let deleted = match deleted_positions(&self.services, deleted_file).await {
                Ok(deleted) => deleted,
                Err(error) => {
                    let explained = self.state.explain_deletes(error, &self.details).await;
                    return Err(DataFusionError::from(explained));
                }
            };
            let mut file = self.file;
            if !deleted.is_empty() {
                let remaining = remaining_rows(&deleted, self.details.record_count);
                file.extensions.insert(ParquetRowSelection::new(remaining));
            }
            self.inner.plan_file(file)
        };
        Ok(Some(MorselPlan::new().with_pending_planner(opening)))
    }
}
