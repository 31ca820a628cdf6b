//! CSV files as a data source of DataFusion, and its encoding for workers.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::CsvOptions as DataFusionCsvOptions;
use datafusion::datasource::physical_plan::{
    CsvSource, FileOpenFuture, FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, PhysicalExpr};
use datafusion_datasource::{PartitionedFile, TableSchema};
use futures::{StreamExt, TryStreamExt};
use ingot_catalog::Storage;
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};

use super::header::Layout;
use super::reader::Piece;
use super::records::{RecordFormat, null_pattern};
use super::{CsvOptions, MalformedRecords};
use crate::error::{EngineError, Result};

const DEFAULT_BATCH_SIZE: usize = 8192;

/// Reads parts of CSV files strictly: a malformed value is an error or a reject, never a
/// null. See the module.
#[derive(Debug, Clone)]
pub struct CsvFileSource {
    /// DataFusion's own source: keeps the projection and encodes what it knows. It never
    /// reads.
    plain: CsvSource,
    settings: Settings,
    storage: Arc<Storage>,
    batch_size: usize,
}

/// What DataFusion's encoding does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    options: CsvOptions,
    /// What comes before a path to make it a location.
    location_prefix: String,
}

impl CsvFileSource {
    pub(super) fn new(
        schema: TableSchema,
        options: CsvOptions,
        location_prefix: String,
        storage: Arc<Storage>,
    ) -> Self {
        let plain_options = DataFusionCsvOptions {
            has_header: Some(options.dialect.has_header),
            delimiter: options.dialect.delimiter,
            quote: options.dialect.quote,
            escape: options.dialect.escape,
            newlines_in_values: Some(true),
            ..Default::default()
        };
        Self {
            plain: CsvSource::new(schema).with_csv_options(plain_options),
            settings: Settings {
                options,
                location_prefix,
            },
            storage,
            batch_size: DEFAULT_BATCH_SIZE,
        }
    }

    fn split_projection(&self) -> SplitProjection {
        let schema = self.plain.table_schema();
        match self.plain.projection() {
            Some(projection) => SplitProjection::new(schema.file_schema(), projection),
            None => SplitProjection::unprojected(schema),
        }
    }
}

impl FileSource for CsvFileSource {
    fn create_file_opener(
        &self,
        _object_store: Arc<dyn ObjectStore>,
        _config: &FileScanConfig,
        _partition: usize,
    ) -> DataFusionResult<Arc<dyn FileOpener>> {
        let projection = self.split_projection();
        let opener = Arc::new(CsvFileOpener {
            source: self.clone(),
            columns: projection.file_indices.clone(),
        });
        let file_schema = self.plain.table_schema().file_schema();
        ProjectionOpener::try_new(projection, opener, file_schema)
    }

    fn table_schema(&self) -> &TableSchema {
        self.plain.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self {
            batch_size,
            ..self.clone()
        })
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.plain.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.plain.metrics()
    }

    fn file_type(&self) -> &str {
        "csv"
    }

    fn fmt_extra(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.settings.options.malformed {
            MalformedRecords::Fail => write!(out, ", malformed=fail"),
            MalformedRecords::SetAside { .. } => write!(out, ", malformed=set aside"),
        }
    }

    /// Parts are cut at record ends when the scan is planned; nobody else may cut them.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> DataFusionResult<Option<Arc<dyn FileSource>>> {
        let Some(pushed) = self.plain.try_pushdown_projection(projection)? else {
            return Ok(None);
        };
        let plain = pushed.downcast_ref::<CsvSource>().cloned().ok_or_else(|| {
            DataFusionError::Internal("a csv source became another source".to_string())
        })?;
        Ok(Some(Arc::new(Self {
            plain,
            ..self.clone()
        })))
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        self.plain.apply_expressions(visit)
    }

    fn try_to_proto(
        &self,
        base: &FileScanConfig,
        context: &datafusion::physical_plan::proto::ExecutionPlanEncodeCtx<'_>,
    ) -> DataFusionResult<Option<datafusion_proto::protobuf::PhysicalPlanNode>> {
        crate::codec::csv::encode_scan(self, base, context).map(Some)
    }
}

struct CsvFileOpener {
    source: CsvFileSource,
    /// Columns of the table to read, ascending.
    columns: Vec<usize>,
}

impl FileOpener for CsvFileOpener {
    fn open(&self, file: PartitionedFile) -> DataFusionResult<FileOpenFuture> {
        let source = self.source.clone();
        let columns = self.columns.clone();
        Ok(Box::pin(async move {
            let batches = open(source, columns, file).await?;
            Ok(batches.map_err(DataFusionError::from).boxed())
        }))
    }
}

async fn open(
    source: CsvFileSource,
    columns: Vec<usize>,
    file: PartitionedFile,
) -> Result<futures::stream::BoxStream<'static, Result<arrow::array::RecordBatch>>> {
    let options = &source.settings.options;
    let location = format!("{}{}", source.settings.location_prefix, file.path());
    let size = file.object_meta.size;
    let schema = source.plain.table_schema().file_schema();
    let layout = Layout::of(&source.storage, &location, size, &options.dialect, schema).await?;
    let range = match &file.range {
        Some(range) => range.start as u64..range.end as u64,
        None => 0..size,
    };
    let projection = columns.iter().map(|column| layout.field_of_column[*column]);
    let format = RecordFormat {
        dialect: options.dialect.clone(),
        null_pattern: null_pattern(&options.null_value)?,
        file_schema: layout.file_schema,
        projection: projection.collect(),
    };
    let piece = Piece {
        storage: Arc::clone(&source.storage),
        location,
        range: range.start.max(layout.data_start)..range.end.max(layout.data_start),
        format,
        malformed: options.malformed.clone(),
        batch_size: source.batch_size,
    };
    piece.read()
}

/// What DataFusion's encoding of a CSV scan leaves out, as JSON.
///
/// # Errors
/// `InvalidInput` when it has no JSON.
pub fn encode(source: &CsvFileSource) -> Result<(String, CsvSource)> {
    let settings = serde_json::to_string(&source.settings)
        .map_err(|error| EngineError::InvalidInput(format!("csv options: {error}")))?;
    Ok((settings, source.plain.clone()))
}

/// The scan that DataFusion decoded as a plain CSV scan, with what [`encode`] kept.
///
/// # Errors
/// `InvalidInput` when it is not a CSV scan or the JSON is not of [`encode`].
pub fn decode(
    plain_scan: &Arc<dyn ExecutionPlan>,
    settings: &str,
    storage: &Arc<Storage>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let invalid = |reason: &str| EngineError::InvalidInput(format!("encoded csv scan: {reason}"));
    let settings: Settings =
        serde_json::from_str(settings).map_err(|error| invalid(&error.to_string()))?;
    let config = plain_scan
        .downcast_ref::<DataSourceExec>()
        .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
        .ok_or_else(|| invalid("it is no file scan"))?;
    let plain = config
        .file_source()
        .downcast_ref::<CsvSource>()
        .ok_or_else(|| invalid("it is no csv scan"))?;
    let source = CsvFileSource {
        plain: plain.clone(),
        settings,
        storage: Arc::clone(storage),
        batch_size: DEFAULT_BATCH_SIZE,
    };
    let config = FileScanConfigBuilder::from(config.clone())
        .with_source(Arc::new(source))
        .build();
    Ok(DataSourceExec::from_data_source(config))
}
