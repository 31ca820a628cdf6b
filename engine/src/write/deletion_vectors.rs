//! Writing deletion vectors (format version 3).
//!
//! Rules: Puffin specification, "File structure" and "deletion-vector-v1"; Iceberg
//! specification, "Deletion Vectors": at most one per data file, which takes the place of all
//! position deletes of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::metadata_columns::RESERVED_FIELD_ID_POS;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat};
use ingot_catalog::scan::FileTask;
use ingot_catalog::{Storage, Table};
use roaring::RoaringTreemap;
use serde_json::json;
use uuid::Uuid;

use super::position_deletes::partition_of;
use super::target::data_location;
use crate::error::{EngineError, Result};
use crate::scan::vector_blob;

const MAGIC: &[u8; 4] = b"PFA1";
/// No flags: the footer is not compressed.
const FLAGS: [u8; 4] = [0; 4];
const BLOB_TYPE: &str = "deletion-vector-v1";

/// Writes the deletion vectors of data files, all of them into one new Puffin file in the
/// table's data folder whose name begins with the statement's id. `vectors` has every deleted
/// position of each file, those that were deleted before too.
///
/// # Errors
/// `Catalog` when it cannot be stored; `Unsupported` when a partition value of a data file
/// cannot be written again.
pub async fn write_deletion_vectors(
    storage: &Arc<Storage>,
    table: &Table,
    statement_id: Uuid,
    vectors: &[(FileTask, RoaringTreemap)],
) -> Result<Vec<(i32, DataFile)>> {
    let name = format!("{statement_id}-deletes-{}.puffin", Uuid::new_v4());
    let location = format!("{}/{name}", data_location(table));
    let mut content = MAGIC.to_vec();
    let mut blobs = Vec::with_capacity(vectors.len());
    let mut places = Vec::with_capacity(vectors.len());
    for (task, positions) in vectors {
        let blob = vector_blob(positions)?;
        let offset = content.len();
        blobs.push(json!({
            "type": BLOB_TYPE,
            "fields": [RESERVED_FIELD_ID_POS],
            "snapshot-id": -1,
            "sequence-number": -1,
            "offset": offset,
            "length": blob.len(),
            "properties": BTreeMap::from([
                ("referenced-data-file", task.path.clone()),
                ("cardinality", positions.len().to_string()),
            ]),
        }));
        places.push((offset as i64, blob.len() as i64));
        content.extend(blob);
    }
    let footer = json!({
        "blobs": blobs,
        "properties": { "created-by": format!("ingot {}", env!("CARGO_PKG_VERSION")) },
    });
    let footer = footer.to_string().into_bytes();
    let footer_length = i32::try_from(footer.len()).map_err(|_| {
        EngineError::InvalidInput(format!(
            "table {}: too many files with deleted rows for one file of deletion vectors",
            table.name()
        ))
    })?;
    content.extend(MAGIC);
    content.extend(footer);
    content.extend(footer_length.to_le_bytes());
    content.extend(FLAGS);
    content.extend(MAGIC);
    let size = content.len() as u64;
    storage.write(&location, content.into()).await?;

    let files = vectors.iter().zip(places);
    let files = files.map(|((task, positions), (offset, length))| {
        let file = DataFileBuilder::default()
            .content(DataContentType::PositionDeletes)
            .file_format(DataFileFormat::Puffin)
            .file_path(location.clone())
            .partition(partition_of(table, task)?)
            .partition_spec_id(task.spec_id)
            .record_count(positions.len())
            .file_size_in_bytes(size)
            .column_sizes(HashMap::new())
            .referenced_data_file(Some(task.path.clone()))
            .content_offset(Some(offset))
            .content_size_in_bytes(Some(length))
            .build();
        let file = file.map_err(|error| {
            EngineError::InvalidInput(format!("deletion vector of file {}: {error}", task.path))
        })?;
        Ok((task.spec_id, file))
    });
    files.collect()
}
