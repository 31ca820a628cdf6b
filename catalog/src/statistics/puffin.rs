//! Writing and reading the Puffin files of statistics.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use iceberg::compression::CompressionCodec;
use iceberg::io::FileIO;
use iceberg::puffin::{
    APACHE_DATASKETCHES_THETA_V1, Blob, CREATED_BY_PROPERTY, PuffinReader, PuffinWriter,
};
use iceberg::spec::{BlobMetadata, Snapshot, StatisticsFile};

use super::{ColumnSketch, NDV};
use crate::error::{CatalogError, Result};
use crate::storage::Storage;

/// What a Puffin file ends with: the length of the footer's payload, flags, and the magic bytes.
const FOOTER_END_BYTES: usize = 12;
/// The magic bytes that a footer begins with.
const FOOTER_START_BYTES: usize = 4;

/// Writes a new statistics file of a snapshot: sketches of its columns, and blobs that were in
/// other files. Columns stand in the order of their field ids.
pub(crate) async fn write_statistics(
    storage: &Arc<Storage>,
    location: &str,
    snapshot: &Snapshot,
    columns: Vec<ColumnSketch>,
    taken_over: Vec<Blob>,
) -> Result<StatisticsFile> {
    let own = columns.into_iter().map(|column| {
        Blob::builder()
            .r#type(APACHE_DATASKETCHES_THETA_V1.to_string())
            .fields(vec![column.field_id])
            .snapshot_id(snapshot.snapshot_id())
            .sequence_number(snapshot.sequence_number())
            .data(column.sketch)
            .properties(HashMap::from([(
                NDV.to_string(),
                column.distinct_values.to_string(),
            )]))
            .build()
    });
    let mut blobs: Vec<Blob> = own.chain(taken_over).collect();
    blobs.sort_by(|left, right| left.fields().cmp(right.fields()));
    let blob_metadata = blobs.iter().map(metadata_of).collect();

    let content = puffin_bytes(blobs)
        .await
        .map_err(|source| CatalogError::metadata(location, source))?;
    let footer_length = footer_length(&content).ok_or_else(|| {
        let message = "the puffin file that was made has no footer";
        let error = iceberg::Error::new(iceberg::ErrorKind::Unexpected, message);
        CatalogError::metadata(location, error)
    })?;
    let file = StatisticsFile {
        snapshot_id: snapshot.snapshot_id(),
        statistics_path: location.to_string(),
        file_size_in_bytes: content.len() as i64,
        file_footer_size_in_bytes: footer_length as i64,
        key_metadata: None,
        blob_metadata,
    };
    storage.write_new(location, content).await?;
    Ok(file)
}

/// The bytes of a Puffin file. They are made in memory, as the writer does not tell how long the
/// footer is.
async fn puffin_bytes(blobs: Vec<Blob>) -> iceberg::Result<Bytes> {
    let output = FileIO::new_with_memory().new_output("statistics.puffin")?;
    let created_by = format!("ingot {}", env!("CARGO_PKG_VERSION"));
    let properties = HashMap::from([(CREATED_BY_PROPERTY.to_string(), created_by)]);
    let mut writer = PuffinWriter::new(&output, properties, false).await?;
    for blob in blobs {
        writer.add(blob, CompressionCodec::zstd_default()).await?;
    }
    writer.close().await?;
    output.to_input_file().read().await
}

/// Length of a Puffin file's footer, in bytes.
fn footer_length(content: &[u8]) -> Option<usize> {
    let end = content.len().checked_sub(FOOTER_END_BYTES)?;
    let payload_length = content.get(end..)?.first_chunk::<4>()?;
    let payload_length = u32::from_le_bytes(*payload_length) as usize;
    let length = FOOTER_START_BYTES + payload_length + FOOTER_END_BYTES;
    (length <= content.len()).then_some(length)
}

/// What the table's metadata says about a blob.
fn metadata_of(blob: &Blob) -> BlobMetadata {
    BlobMetadata {
        r#type: blob.blob_type().to_string(),
        snapshot_id: blob.snapshot_id(),
        sequence_number: blob.sequence_number(),
        fields: blob.fields().to_vec(),
        properties: blob.properties().clone(),
    }
}

/// The sketches of some columns that a statistics file has.
///
/// # Errors
/// `Metadata` for a file that cannot be read, also when that is for the compression of a blob.
pub(crate) async fn read_sketches(
    storage: &Arc<Storage>,
    file: &StatisticsFile,
    columns: &HashSet<i32>,
) -> Result<Vec<Blob>> {
    let path = &file.statistics_path;
    let unreadable = |source| CatalogError::metadata(path, source);
    let input = storage.file_io().new_input(path).map_err(unreadable)?;
    let reader = PuffinReader::new(input);
    let mut sketches = Vec::new();
    for blob in reader.file_metadata().await.map_err(unreadable)?.blobs() {
        let is_wanted = match blob.fields() {
            [field_id] => columns.contains(field_id),
            _ => false,
        };
        if is_wanted && blob.blob_type() == APACHE_DATASKETCHES_THETA_V1 {
            sketches.push(reader.blob(blob).await.map_err(unreadable)?);
        }
    }
    Ok(sketches)
}
