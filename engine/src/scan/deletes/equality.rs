//! Equality delete files: a data row equal to one of their rows, in the columns compared,
//! is deleted. Null equals null.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::TryStreamExt;
use ingot_catalog::scan::DeleteFileRef;
use object_store::ObjectMeta;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::schema::types::SchemaDescriptor;
use roaring::RoaringTreemap;

use super::DeletedFile;
use crate::error::{EngineError, Result};
use crate::scan::reader::BoxedReader;
use crate::scan::services::ScanServices;

/// The content of one equality delete file.
pub(super) struct EqualityDeletes {
    /// Columns compared: field id and type in the delete file.
    columns: Vec<(i32, DataType)>,
    converter: RowConverter,
    rows: HashSet<OwnedRow>,
    memory_size: usize,
}

impl EqualityDeletes {
    pub(super) fn memory_size(&self) -> usize {
        self.memory_size
    }
}

/// Reads an equality delete file.
pub(super) async fn load(
    services: &Arc<ScanServices>,
    delete: &DeleteFileRef,
    field_ids: &[i32],
) -> Result<EqualityDeletes> {
    let columns = ColumnReader {
        services,
        path: &delete.path,
        size: delete.file_size_in_bytes,
    };
    let (metadata, found) = columns.open(field_ids).await?;
    let mut indices = Vec::with_capacity(field_ids.len());
    for (id, index) in field_ids.iter().zip(&found) {
        match index {
            Some(index) => indices.push(*index),
            None => return Err(columns.corrupt(format!("it has no column with field id {id}"))),
        }
    }
    let batches = columns.read(metadata, &indices).await?;
    let mut types: Vec<DataType> = Vec::new();
    if let Some(batch) = batches.first() {
        types = batch
            .columns()
            .iter()
            .map(|c| c.data_type().clone())
            .collect();
    }
    let fields = types.iter().cloned().map(SortField::new).collect();
    let converter =
        RowConverter::new(fields).map_err(|error| columns.corrupt(error.to_string()))?;
    let mut rows = HashSet::new();
    let mut memory_size = 0;
    for batch in &batches {
        let converted = converter
            .convert_columns(batch.columns())
            .map_err(|error| columns.corrupt(error.to_string()))?;
        for row in &converted {
            memory_size += row.as_ref().len() + 64;
            rows.insert(row.owned());
        }
    }
    Ok(EqualityDeletes {
        columns: field_ids.iter().copied().zip(types).collect(),
        converter,
        rows,
        memory_size,
    })
}

/// The positions of the rows of a data file that equal a row of one of the delete files.
pub(super) async fn matching_positions(
    services: &Arc<ScanServices>,
    file: DeletedFile<'_>,
    deletes: &[Arc<EqualityDeletes>],
) -> Result<RoaringTreemap> {
    let mut field_ids: Vec<i32> = Vec::new();
    for (id, _) in deletes.iter().flat_map(|delete| &delete.columns) {
        if !field_ids.contains(id) {
            field_ids.push(*id);
        }
    }
    let columns = ColumnReader {
        services,
        path: file.location,
        size: file.size,
    };
    let (metadata, found) = columns.open(&field_ids).await?;
    let present: Vec<usize> = found.iter().flatten().copied().collect();
    if present.len() != found.len() {
        // A column added after the file was written: its value depends on the table's schema.
        return Err(EngineError::Unsupported(format!(
            "file {}: equality deletes on a column that the file lacks",
            file.location
        )));
    }
    let batches = columns.read(metadata, &present).await?;
    let mut deleted = RoaringTreemap::new();
    let mut first_row = 0;
    for batch in &batches {
        for delete in deletes.iter().filter(|delete| !delete.rows.is_empty()) {
            let compared = delete
                .columns
                .iter()
                .map(|(id, data_type)| {
                    let position = field_ids.iter().position(|candidate| candidate == id);
                    let column = position.map(|position| batch.column(position));
                    match column {
                        Some(column) => convert(column, data_type)
                            .map_err(|error| columns.corrupt(error.to_string())),
                        None => Ok(new_null_array(data_type, batch.num_rows())),
                    }
                })
                .collect::<Result<Vec<_>>>()?;
            let rows = delete
                .converter
                .convert_columns(&compared)
                .map_err(|error| columns.corrupt(error.to_string()))?;
            for (index, row) in rows.iter().enumerate() {
                if delete.rows.contains(&row.owned()) {
                    deleted.insert(first_row + index as u64);
                }
            }
        }
        first_row += batch.num_rows() as u64;
    }
    Ok(deleted)
}

fn convert(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, data_type, &options)
}

/// Reads a few top-level columns, by field id, of one Parquet file.
struct ColumnReader<'a> {
    services: &'a Arc<ScanServices>,
    path: &'a str,
    size: u64,
}

impl ColumnReader<'_> {
    fn corrupt(&self, reason: String) -> EngineError {
        EngineError::CorruptFile {
            path: self.path.to_string(),
            reason,
        }
    }

    fn object_reader(&self) -> Result<BoxedReader> {
        let (store, location) = self.services.storage().store_for(self.path)?;
        let file = PartitionedFile::new_from_meta(ObjectMeta {
            location,
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: self.size,
            e_tag: None,
            version: None,
        });
        let readers = DefaultParquetFileReaderFactory::new(store);
        let reader = readers.create_reader(0, file, None, &ExecutionPlanMetricsSet::new())?;
        Ok(BoxedReader(reader))
    }

    /// The footer, and the column index of each field id.
    async fn open(&self, field_ids: &[i32]) -> Result<(ArrowReaderMetadata, Vec<Option<usize>>)> {
        let mut reader = self.object_reader()?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load_async(&mut reader, options)
            .await
            .map_err(|error| self.corrupt(error.to_string()))?;
        let found = field_ids
            .iter()
            .map(|id| self.column_of(metadata.parquet_schema(), *id))
            .collect::<Result<_>>()?;
        Ok((metadata, found))
    }

    fn column_of(&self, schema: &SchemaDescriptor, field_id: i32) -> Result<Option<usize>> {
        let fields = schema.root_schema().get_fields();
        if !fields.iter().any(|field| field.get_basic_info().has_id()) {
            return Err(EngineError::Unsupported(format!(
                "file {}: equality deletes in files without field ids",
                self.path
            )));
        }
        let found = fields.iter().enumerate().find(|(_, field)| {
            let info = field.get_basic_info();
            info.has_id() && info.id() == field_id
        });
        match found {
            Some((_, field)) if field.is_group() => Err(EngineError::Unsupported(format!(
                "file {}: equality deletes on the nested column {:?}",
                self.path,
                field.name()
            ))),
            Some((index, _)) => Ok(Some(index)),
            None => Ok(None),
        }
    }

    /// All rows of the columns with these indices, in the order given.
    async fn read(
        &self,
        metadata: ArrowReaderMetadata,
        indices: &[usize],
    ) -> Result<Vec<RecordBatch>> {
        let mask = ProjectionMask::roots(metadata.parquet_schema(), indices.iter().copied());
        let reader = self.object_reader()?;
        let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
            .with_projection(mask)
            .build()
            .map_err(|error| self.corrupt(error.to_string()))?;
        let batches: Vec<RecordBatch> = stream
            .try_collect()
            .await
            .map_err(|error| self.corrupt(error.to_string()))?;
        // The reader gives the columns in the order of the file.
        let mut sorted = indices.to_vec();
        sorted.sort_unstable();
        let order: Vec<usize> = indices
            .iter()
            .filter_map(|index| sorted.iter().position(|candidate| candidate == index))
            .collect();
        batches
            .iter()
            .map(|batch| {
                batch
                    .project(&order)
                    .map_err(|error| self.corrupt(error.to_string()))
            })
            .collect()
    }
}
