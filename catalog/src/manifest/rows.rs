//! The rows of a manifest as they are written, and the entries that they become.
//!
//! Source: the Iceberg specification under "Manifests". Columns are known by their names there;
//! those that a writer left out count as null, and others are skipped.

use std::collections::HashMap;

use iceberg::Result;
use iceberg::metadata_columns::get_metadata_field;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, ManifestEntry,
    ManifestMetadata, ManifestStatus, Schema,
};
use serde::Deserialize;
use serde_bytes::ByteBuf;

use super::partition::{PartitionFields, PartitionRow};
use super::{invalid, is_version_one};

/// Files of format version 1 were there before the first sequence number.
const INITIAL_SEQUENCE_NUMBER: i64 = 0;

/// A `manifest_entry`.
#[derive(Deserialize)]
pub(super) struct EntryRow {
    status: i32,
    snapshot_id: Option<i64>,
    sequence_number: Option<i64>,
    file_sequence_number: Option<i64>,
    data_file: FileRow,
}

/// A `data_file`.
#[derive(Deserialize)]
struct FileRow {
    #[serde(default)]
    content: i32,
    file_path: String,
    file_format: String,
    partition: PartitionRow,
    record_count: i64,
    file_size_in_bytes: i64,
    column_sizes: Option<Vec<KeyValue<i64>>>,
    value_counts: Option<Vec<KeyValue<i64>>>,
    null_value_counts: Option<Vec<KeyValue<i64>>>,
    nan_value_counts: Option<Vec<KeyValue<i64>>>,
    lower_bounds: Option<Vec<KeyValue<ByteBuf>>>,
    upper_bounds: Option<Vec<KeyValue<ByteBuf>>>,
    key_metadata: Option<ByteBuf>,
    split_offsets: Option<Vec<i64>>,
    equality_ids: Option<Vec<i32>>,
    sort_order_id: Option<i32>,
    first_row_id: Option<i64>,
    referenced_data_file: Option<String>,
    content_offset: Option<i64>,
    content_size_in_bytes: Option<i64>,
}

/// What Iceberg's maps are arrays of, since Avro's have only texts for keys.
#[derive(Deserialize)]
struct KeyValue<V> {
    key: i32,
    value: V,
}

impl EntryRow {
    /// The entry, with nulls where it inherits.
    ///
    /// # Errors
    /// `DataInvalid` for values that Iceberg does not know, or not for the column's type.
    pub(super) fn into_entry(
        self,
        metadata: &ManifestMetadata,
        partition_fields: &PartitionFields,
    ) -> Result<ManifestEntry> {
        let is_first = is_version_one(metadata);
        if is_first && (self.snapshot_id.is_none() || self.data_file.content != 0) {
            return Err(invalid("it does not have format version 1"));
        }
        let fixed = is_first.then_some(INITIAL_SEQUENCE_NUMBER);
        Ok(ManifestEntry {
            status: ManifestStatus::try_from(self.status)?,
            snapshot_id: self.snapshot_id,
            sequence_number: fixed.or(self.sequence_number),
            file_sequence_number: fixed.or(self.file_sequence_number),
            data_file: self.data_file.into_data_file(metadata, partition_fields)?,
        })
    }
}

impl FileRow {
    fn into_data_file(
        self,
        metadata: &ManifestMetadata,
        partition_fields: &PartitionFields,
    ) -> Result<DataFile> {
        let schema = metadata.schema.as_ref();
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::try_from(self.content)?)
            .file_path(self.file_path)
            .file_format(self.file_format.parse::<DataFileFormat>()?)
            .partition(partition_fields.partition_of(self.partition)?)
            .partition_spec_id(metadata.partition_spec.spec_id())
            .record_count(u64::try_from(self.record_count)?)
            .file_size_in_bytes(u64::try_from(self.file_size_in_bytes)?)
            .column_sizes(counts(self.column_sizes))
            .value_counts(counts(self.value_counts))
            .null_value_counts(counts(self.null_value_counts))
            .nan_value_counts(counts(self.nan_value_counts))
            .lower_bounds(bounds(self.lower_bounds, schema)?)
            .upper_bounds(bounds(self.upper_bounds, schema)?)
            .key_metadata(self.key_metadata.map(ByteBuf::into_vec))
            .split_offsets(self.split_offsets)
            .equality_ids(self.equality_ids)
            .first_row_id(self.first_row_id)
            .referenced_data_file(self.referenced_data_file)
            .content_offset(self.content_offset)
            .content_size_in_bytes(self.content_size_in_bytes);
        if let Some(id) = self.sort_order_id {
            builder.sort_order_id(id);
        }
        builder.build().map_err(invalid)
    }
}

/// Counts by column id, without negative ones, which say nothing.
fn counts(written: Option<Vec<KeyValue<i64>>>) -> HashMap<i32, u64> {
    let written = written.unwrap_or_default().into_iter();
    written
        .filter_map(|entry| Some((entry.key, u64::try_from(entry.value).ok()?)))
        .collect()
}

/// Bounds by column id, without those of columns that the schema does not have.
fn bounds(written: Option<Vec<KeyValue<ByteBuf>>>, schema: &Schema) -> Result<HashMap<i32, Datum>> {
    let written = written.unwrap_or_default();
    let mut bounds = HashMap::with_capacity(written.len());
    for entry in written {
        let reserved = || get_metadata_field(entry.key).ok();
        let Some(field) = schema.field_by_id(entry.key).or_else(reserved) else {
            continue;
        };
        let Some(data_type) = field.field_type.as_primitive_type() else {
            return Err(invalid(format!("column {} has a bound", field.name)));
        };
        let bound = Datum::try_from_bytes(&entry.value, data_type.clone())?;
        bounds.insert(entry.key, bound);
    }
    Ok(bounds)
}
