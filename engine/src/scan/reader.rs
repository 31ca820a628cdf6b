//! Opening data files: the footer that DataFusion sees has the names of the read schema.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::error::Result as DataFusionResult;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::columns::ColumnMapping;
use super::read_state::ReadState;
use super::services::ScanServices;
use super::source::FileDetails;
use crate::error::EngineError;

/// Makes readers of data files whose footers are mapped to one read schema.
#[derive(Debug)]
pub(super) struct MappedReaderFactory {
    state: ReadState,
    files: DefaultParquetFileReaderFactory,
    mapping: Arc<ColumnMapping>,
    services: Arc<ScanServices>,
}

impl MappedReaderFactory {
    pub(super) fn new(
        state: ReadState,
        store: Arc<dyn ObjectStore>,
        mapping: Arc<ColumnMapping>,
        services: Arc<ScanServices>,
    ) -> Self {
        Self {
            state,
            files: DefaultParquetFileReaderFactory::new(store),
            mapping,
            services,
        }
    }
}

impl ParquetFileReaderFactory for MappedReaderFactory {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DataFusionResult<Box<dyn AsyncFileReader + Send>> {
        let Some(details) = file.extension::<FileDetails>().cloned() else {
            let path = file.path().to_string();
            let reason = "it was planned without its details".to_string();
            return Err(EngineError::CorruptFile { path, reason }.into());
        };
        let files = &self.files;
        let inner = files.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(Box::new(MappedReader {
            inner,
            state: self.state.clone(),
            details,
            mapping: Arc::clone(&self.mapping),
            services: Arc::clone(&self.services),
        }))
    }
}

struct MappedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    state: ReadState,
    details: FileDetails,
    mapping: Arc<ColumnMapping>,
    services: Arc<ScanServices>,
}

impl MappedReader {
    /// Checks what was promised at planning and can only be seen in the file.
    fn check(&self, footer: &ParquetMetaData) -> Result<(), EngineError> {
        let columns = footer
            .file_metadata()
            .schema_descr()
            .root_schema()
            .get_fields();
        for field_id in self.details.columns_that_must_exist.iter() {
            let Some(field) = self.mapping.schema().field_by_id(*field_id) else {
                continue;
            };
            if !columns.iter().any(|column| column.name() == field.name) {
                return Err(EngineError::Unsupported(format!(
                    "file {}: reading the partition column {:?}, which the file lacks and whose \
                     value is a float or whose rows have deletes,",
                    self.details.location, field.name
                )));
            }
        }
        Ok(())
    }
}

impl AsyncFileReader for MappedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            match self.inner.get_bytes(range).await {
                Ok(bytes) => Ok(bytes),
                Err(error) => {
                    let location = &self.details.location;
                    Err(self.state.explain_data_file(error, location).await)
                }
            }
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            match self.inner.get_byte_ranges(ranges).await {
                Ok(bytes) => Ok(bytes),
                Err(error) => {
                    let location = &self.details.location;
                    Err(self.state.explain_data_file(error, location).await)
                }
            }
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let wants_page_index =
                options.is_some_and(|o| o.column_index_policy() != PageIndexPolicy::Skip);
            let key = (
                Arc::clone(&self.details.location),
                self.mapping.fingerprint(),
            );
            if !wants_page_index && let Some(footer) = self.services.footers().get(&key).await {
                return Ok(footer);
            }
            let footer = match self.inner.get_metadata(options).await {
                Ok(footer) => footer,
                Err(error) => {
                    let location = &self.details.location;
                    return Err(self.state.explain_data_file(error, location).await);
                }
            };
            let mapped = self
                .mapping
                .map_footer(&footer, &self.details.location)
                .and_then(|mapped| self.check(&mapped).map(|()| mapped))
                .map_err(|error| ParquetError::External(Box::new(self.state.explain(error))))?;
            let mapped = Arc::new(mapped);
            self.services
                .footers()
                .insert(key, Arc::clone(&mapped))
                .await;
            Ok(mapped)
        }
        .boxed()
    }
}

/// A reader of any kind, where Parquet wants a sized one.
pub(super) struct BoxedReader(pub Box<dyn AsyncFileReader + Send>);

impl AsyncFileReader for BoxedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.0.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.0.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        self.0.get_metadata(options)
    }
}
