//! One Parquet file while it is written and uploaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use bytes::Bytes;
use futures::future::BoxFuture;
use iceberg::spec::SchemaRef;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::ParquetError;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;

use super::metrics::{FileMetrics, NanCounter};
use super::properties::WriteProperties;
use super::written::{HexBytes, WrittenFile};
use crate::error::{EngineError, Result};
use ingot_catalog::CatalogError;

/// Bytes that an upload holds back before it begins, and the size of its parts: the least
/// that S3 accepts, because every open partition holds so much.
const UPLOAD_PART_BYTES: usize = 5 * 1024 * 1024;
/// Parts of one file on their way at one time.
const CONCURRENT_PARTS: usize = 4;

/// What all files of a task have in common.
#[derive(Debug, Clone)]
pub(super) struct FileFormat {
    pub(super) table_name: String,
    pub(super) arrow_schema: ArrowSchemaRef,
    pub(super) schema: SchemaRef,
    pub(super) properties: Arc<WriteProperties>,
    pub(super) spec_id: i32,
    pub(super) sort_order_id: Option<i32>,
    pub(super) nan_counter: NanCounter,
}

/// Where one file goes and which rows it has.
#[derive(Debug, Clone)]
pub(super) struct FilePlace {
    /// Location as the table's metadata will spell it.
    pub(super) location: String,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: Path,
    pub(super) partition: Vec<Option<HexBytes>>,
}

/// An open file. Dropped before [`OpenFile::finish`], it aborts its upload.
pub(super) struct OpenFile {
    format: Arc<FileFormat>,
    place: FilePlace,
    writer: Option<AsyncArrowWriter<Upload>>,
    nan_counter: NanCounter,
    rows: u64,
}

impl OpenFile {
    pub(super) fn open(format: &Arc<FileFormat>, place: FilePlace) -> Result<Self> {
        let upload = Upload {
            writer: BufWriter::with_capacity(
                Arc::clone(&place.store),
                place.path.clone(),
                UPLOAD_PART_BYTES,
            )
            .with_max_concurrency(CONCURRENT_PARTS),
            is_completing: false,
        };
        let options = ArrowWriterOptions::new()
            .with_properties(format.properties.parquet.clone())
            // The Iceberg schema decides the types, not a schema in the file.
            .with_skip_arrow_metadata(true);
        let arrow_schema = Arc::clone(&format.arrow_schema);
        let writer = AsyncArrowWriter::try_new_with_options(upload, arrow_schema, options)
            .map_err(|error| write_error(format, &place, error))?;
        Ok(Self {
            format: Arc::clone(format),
            place,
            writer: Some(writer),
            nan_counter: format.nan_counter.clone(),
            rows: 0,
        })
    }

    pub(super) fn place(&self) -> &FilePlace {
        &self.place
    }

    /// # Errors
    /// When the rows cannot be encoded or uploaded.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.nan_counter.count(batch);
        self.rows += batch.num_rows() as u64;
        match &mut self.writer {
            Some(writer) => writer
                .write(batch)
                .await
                .map_err(|error| write_error(&self.format, &self.place, error)),
            None => Ok(()),
        }
    }

    /// Bytes that the file has, and that the rows still in memory will take, about.
    pub(super) fn encoded_bytes(&self) -> usize {
        self.writer.as_ref().map_or(0, |writer| {
            writer.bytes_written() + writer.in_progress_size()
        })
    }

    /// Bytes of memory held: the row group in progress and what waits to be uploaded.
    pub(super) fn memory_bytes(&self) -> usize {
        self.writer.as_ref().map_or(0, |writer| {
            let held_back = UPLOAD_PART_BYTES * (1 + CONCURRENT_PARTS);
            writer.memory_size() + writer.bytes_written().min(held_back)
        })
    }

    /// Writes the footer and ends the upload: from then on the file exists.
    ///
    /// # Errors
    /// When the upload fails; then the file does not exist.
    pub(super) async fn finish(mut self) -> Result<WrittenFile> {
        let Some(mut writer) = self.writer.take() else {
            return Err(EngineError::InvalidInput(format!(
                "file {} was finished twice",
                self.place.location
            )));
        };
        let parquet = match writer.finish().await {
            Ok(parquet) => parquet,
            Err(error) => {
                let error = write_error(&self.format, &self.place, error);
                self.writer = Some(writer);
                self.abort().await;
                return Err(error);
            }
        };
        let file_size_in_bytes = writer.bytes_written() as u64;
        let nan_counts: BTreeMap<i32, u64> = self.nan_counter.counts();
        let metrics = FileMetrics::of(
            &parquet,
            &self.format.schema,
            &self.format.properties.metrics,
            &nan_counts,
        );
        let written = WrittenFile {
            path: self.place.location.clone(),
            spec_id: self.format.spec_id,
            partition: self.place.partition.clone(),
            record_count: self.rows,
            file_size_in_bytes,
            column_sizes: metrics.column_sizes,
            value_counts: metrics.value_counts,
            null_value_counts: metrics.null_value_counts,
            nan_value_counts: metrics.nan_value_counts,
            lower_bounds: metrics.lower_bounds,
            upper_bounds: metrics.upper_bounds,
            split_offsets: metrics.split_offsets,
            sort_order_id: self.format.sort_order_id,
        };
        Ok(written)
    }

    /// Ends the upload without a file.
    pub(super) async fn abort(&mut self) {
        if let Some(writer) = self.writer.take() {
            abort_upload(writer.into_inner(), &self.place).await;
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) = (self.writer.take(), Handle::try_current()) {
            let place = self.place.clone();
            runtime.spawn(async move { abort_upload(writer.into_inner(), &place).await });
        }
    }
}

async fn abort_upload(mut upload: Upload, place: &FilePlace) {
    if upload.is_completing {
        // The outcome of the last request is unknown: the file may exist.
        delete_quietly(place).await;
    } else if let Err(error) = upload.writer.abort().await {
        tracing::warn!(file = place.location, %error, "cannot abort an upload");
    }
}

/// Deletes a file that no commit will name. A failure is logged only: the statement's own
/// error matters more, and the coordinator looks for left-over files again.
pub(super) async fn delete_quietly(place: &FilePlace) {
    match place.store.delete(&place.path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => {
            tracing::warn!(file = place.location, %error, "cannot delete an unused data file");
        }
    }
}

fn write_error(format: &FileFormat, place: &FilePlace, error: ParquetError) -> EngineError {
    let error = match error {
        ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(source) => {
                return EngineError::Catalog(CatalogError::Storage {
                    action: "write",
                    path: place.location.clone(),
                    source: *source,
                });
            }
            Err(source) => ParquetError::External(source),
        },
        other => other,
    };
    EngineError::DataFusion(Box::new(
        datafusion::error::DataFusionError::from(error).context(format!(
            "cannot write {} of table {}",
            place.location, format.table_name
        )),
    ))
}

/// The upload as the Parquet writer wants it, without copying the bytes.
struct Upload {
    writer: BufWriter,
    /// Whether the request that makes the file visible was sent.
    is_completing: bool,
}

impl AsyncFileWriter for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, parquet::errors::Result<()>> {
        Box::pin(async move {
            self.writer
                .put(bytes)
                .await
                .map_err(|error| ParquetError::External(Box::new(error)))
        })
    }

    fn complete(&mut self) -> BoxFuture<'_, parquet::errors::Result<()>> {
        Box::pin(async move {
            self.is_completing = true;
            self.writer.shutdown().await.map_err(|error| {
                match error.downcast::<object_store::Error>() {
                    Ok(error) => ParquetError::External(Box::new(error)),
                    Err(error) => ParquetError::External(Box::new(error)),
                }
            })
        })
    }
}
