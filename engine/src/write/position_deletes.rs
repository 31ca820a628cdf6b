//! Writing position delete files.
//!
//! Rules: Iceberg specification, "Position Delete Files": rows of (path, position), sorted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use iceberg::metadata_columns::{
    RESERVED_COL_NAME_DELETE_FILE_PATH, RESERVED_COL_NAME_DELETE_FILE_POS,
    RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_FIELD_ID_DELETE_FILE_POS,
};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, Struct,
};
use ingot_catalog::scan::{DeleteFileRef, DeleteKind, FileFormat, FileTask};
use ingot_catalog::{Storage, Table};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use roaring::RoaringTreemap;
use uuid::Uuid;

use super::target::data_location;
use crate::error::{EngineError, Result};
use crate::schema::FIELD_ID_KEY;

/// Rows that are encoded at a time.
const ROWS_PER_BATCH: usize = 64 * 1024;

/// Positions to delete, by the path of the data file.
pub type DeletedPositions<'a> = BTreeMap<&'a str, &'a RoaringTreemap>;

/// A position delete file that was written and that no commit names yet.
#[derive(Debug, Clone)]
pub struct PositionDeleteFile {
    location: String,
    size: u64,
    rows: u64,
}

impl PositionDeleteFile {
    /// Writes the positions into a new file in the table's data folder. Its name begins with
    /// the statement's id, as those of data files do.
    ///
    /// # Errors
    /// `Catalog` when it cannot be stored.
    pub async fn write(
        storage: &Arc<Storage>,
        table: &Table,
        statement_id: Uuid,
        positions: DeletedPositions<'_>,
    ) -> Result<Self> {
        let name = format!("{statement_id}-deletes-{}.parquet", Uuid::new_v4());
        let location = format!("{}/{name}", data_location(table));
        let content = encode(&positions)?;
        let size = content.len() as u64;
        storage.write(&location, content.into()).await?;
        Ok(Self {
            location,
            size,
            rows: positions.values().map(|set| set.len()).sum(),
        })
    }

    /// Where it is.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The file as scans refer to it, to leave the rows out before any commit.
    pub fn reference(&self, spec_id: i32) -> DeleteFileRef {
        DeleteFileRef {
            path: self.location.clone(),
            kind: DeleteKind::Positions,
            format: FileFormat::Parquet,
            file_size_in_bytes: self.size,
            record_count: self.rows,
            data_sequence_number: i64::MAX,
            spec_id,
        }
    }

    /// The file as a commit names it; it deletes rows of one data file only.
    ///
    /// # Errors
    /// `Unsupported` when a partition value of the data file cannot be written again.
    pub fn into_delete_file(
        self,
        table: &Table,
        task: &FileTask,
        positions: &RoaringTreemap,
    ) -> Result<DataFile> {
        let bound = |position: Option<u64>| {
            let position = i64::try_from(position.unwrap_or_default()).unwrap_or(i64::MAX);
            HashMap::from([
                (
                    RESERVED_FIELD_ID_DELETE_FILE_PATH,
                    Datum::string(&task.path),
                ),
                (RESERVED_FIELD_ID_DELETE_FILE_POS, Datum::long(position)),
            ])
        };
        DataFileBuilder::default()
            .content(DataContentType::PositionDeletes)
            .file_format(DataFileFormat::Parquet)
            .file_path(self.location)
            .partition(partition_of(table, task)?)
            .partition_spec_id(task.spec_id)
            .record_count(self.rows)
            .file_size_in_bytes(self.size)
            .lower_bounds(bound(positions.min()))
            .upper_bounds(bound(positions.max()))
            .referenced_data_file(Some(task.path.clone()))
            .build()
            .map_err(|error| {
                EngineError::InvalidInput(format!("deletes of file {}: {error}", task.path))
            })
    }
}

/// The partition tuple of a data file, to be written again.
pub(super) fn partition_of(table: &Table, task: &FileTask) -> Result<Struct> {
    let spec = table.metadata.partition_spec_by_id(task.spec_id);
    let fields = spec.map(|spec| spec.fields()).unwrap_or_default();
    let values = fields.iter().map(|field| {
        let mut known = task.partition.iter();
        let known = known.find(|value| value.field_id == field.field_id);
        match known {
            Some(value) => Ok(value
                .value
                .as_ref()
                .map(|datum| Literal::Primitive(datum.literal().clone()))),
            None => Err(EngineError::Unsupported(format!(
                "table {}: deleting rows of file {}, whose partition field {} has lost its \
                 column, with write mode merge-on-read",
                table.name(),
                task.path,
                field.name
            ))),
        }
    });
    let values: Vec<Option<Literal>> = values.collect::<Result<_>>()?;
    Ok(Struct::from_iter(values))
}

fn encode(positions: &DeletedPositions<'_>) -> Result<Vec<u8>> {
    let failed = |error: parquet::errors::ParquetError| {
        EngineError::DataFusion(Box::new(
            datafusion::error::DataFusionError::from(error)
                .context("cannot write position deletes"),
        ))
    };
    let field = |name: &str, data_type: DataType, id: i32| {
        let metadata = HashMap::from([(FIELD_ID_KEY.to_string(), id.to_string())]);
        Field::new(name, data_type, false).with_metadata(metadata)
    };
    let schema = Arc::new(ArrowSchema::new(vec![
        field(
            RESERVED_COL_NAME_DELETE_FILE_PATH,
            DataType::Utf8,
            RESERVED_FIELD_ID_DELETE_FILE_PATH,
        ),
        field(
            RESERVED_COL_NAME_DELETE_FILE_POS,
            DataType::Int64,
            RESERVED_FIELD_ID_DELETE_FILE_POS,
        ),
    ]));
    let position_column = ColumnPath::from(RESERVED_COL_NAME_DELETE_FILE_POS);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_column_dictionary_enabled(position_column.clone(), false)
        .set_column_encoding(position_column, Encoding::DELTA_BINARY_PACKED)
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut content, Arc::clone(&schema), options)
        .map_err(failed)?;
    // Sorted by path and position: the order of the map and of the bitmaps.
    for (path, set) in positions {
        let mut rows = set.iter().map(|position| position as i64);
        loop {
            let batch: Vec<i64> = rows.by_ref().take(ROWS_PER_BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let paths = StringArray::from_iter_values(std::iter::repeat_n(path, batch.len()));
            let columns = vec![Arc::new(paths) as _, Arc::new(Int64Array::from(batch)) as _];
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
            let batch = batch.map_err(|error| failed(error.into()))?;
            writer.write(&batch).map_err(failed)?;
        }
    }
    writer.close().map_err(failed)?;
    Ok(content)
}
