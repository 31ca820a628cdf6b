//! Position delete files: rows of (data file, position).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use ingot_catalog::scan::DeleteFileRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use roaring::RoaringTreemap;

use crate::error::{EngineError, Result};
use crate::scan::services::ScanServices;

/// Reserved field ids of the two columns (Iceberg specification, "Reserved Field IDs").
const FILE_PATH_ID: i32 = 2_147_483_546;
const POSITION_ID: i32 = 2_147_483_545;

/// The content of one position delete file.
#[derive(Debug, Default)]
pub(super) struct PositionDeletes {
    by_file: HashMap<String, RoaringTreemap>,
}

impl PositionDeletes {
    /// The deleted positions of one data file.
    pub(super) fn of(&self, location: &str) -> Option<&RoaringTreemap> {
        self.by_file.get(location)
    }

    pub(super) fn memory_size(&self) -> usize {
        let sizes = self.by_file.iter();
        sizes
            .map(|(path, positions)| path.len() + positions.serialized_size() + 100)
            .sum()
    }
}

/// Reads a position delete file.
pub(super) async fn load(
    services: &Arc<ScanServices>,
    delete: &DeleteFileRef,
) -> Result<PositionDeletes> {
    let content = services.storage().read(&delete.path).await?;
    let path = delete.path.clone();
    let parsed = tokio::task::spawn_blocking(move || parse(content, &path)).await;
    parsed.map_err(|error| EngineError::InvalidInput(format!("cannot read deletes: {error}")))?
}

fn parse(content: bytes::Bytes, path: &str) -> Result<PositionDeletes> {
    let corrupt = |reason: String| EngineError::CorruptFile {
        path: path.to_string(),
        reason,
    };
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata =
        ArrowReaderMetadata::load(&content, options).map_err(|error| corrupt(error.to_string()))?;
    let schema = metadata.parquet_schema();
    let column = |id: i32, name: &str| {
        let fields = schema.root_schema().get_fields().iter();
        fields
            .enumerate()
            .find(|(_, field)| {
                let info = field.get_basic_info();
                if info.has_id() {
                    info.id() == id
                } else {
                    field.name() == name
                }
            })
            .map(|(index, _)| index)
            .ok_or_else(|| corrupt(format!("it has no column {name:?}")))
    };
    let path_column = column(FILE_PATH_ID, "file_path")?;
    let position_column = column(POSITION_ID, "pos")?;
    let mask = ProjectionMask::roots(schema, [path_column, position_column]);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(content, metadata)
        .with_projection(mask)
        .build()
        .map_err(|error| corrupt(error.to_string()))?;
    let (path_column, position_column) = if path_column < position_column {
        (0, 1)
    } else {
        (1, 0)
    };
    let mut deletes = PositionDeletes::default();
    for batch in reader {
        let batch = batch.map_err(|error| corrupt(error.to_string()))?;
        let paths = cast(batch.column(path_column), &DataType::Utf8)
            .map_err(|error| corrupt(error.to_string()))?;
        let positions = cast(batch.column(position_column), &DataType::Int64)
            .map_err(|error| corrupt(error.to_string()))?;
        let paths = paths.as_string::<i32>();
        let positions = positions.as_primitive::<Int64Type>();
        if paths.null_count() + positions.null_count() > 0 {
            return Err(corrupt("a delete has no file or no position".to_string()));
        }
        // Rows are sorted by file: look the file up once per run of rows.
        let mut row = 0;
        while row < batch.num_rows() {
            let file = paths.value(row);
            let set = match deletes.by_file.get_mut(file) {
                Some(set) => set,
                None => deletes.by_file.entry(file.to_string()).or_default(),
            };
            while row < batch.num_rows() && paths.value(row) == file {
                let position = u64::try_from(positions.value(row))
                    .map_err(|_| corrupt(format!("negative position {}", positions.value(row))))?;
                set.insert(position);
                row += 1;
            }
        }
    }
    Ok(deletes)
}
