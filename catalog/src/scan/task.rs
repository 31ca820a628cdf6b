//! What a scan plan is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::spec::{DataFileFormat, Datum, SchemaRef, SnapshotRef, Transform};
use serde::{Deserialize, Serialize};

use super::datum_bytes;

/// The data files that hold a table version's rows which may match a predicate.
#[derive(Debug, Clone)]
pub struct ScanPlan {
    /// The snapshot read; `None` for a table that was never written (then `tasks` is empty).
    pub snapshot: Option<SnapshotRef>,
    /// The schema to read with: the table's current one for its current state and for
    /// branches, the snapshot's own for time travel.
    pub schema: SchemaRef,
    /// One task per data file, in the order of the manifests.
    pub tasks: Vec<FileTask>,
    /// What was looked at and what was left out.
    pub metrics: ScanMetrics,
}

impl ScanPlan {
    /// The exact number of rows of the planned files, or `None` if delete files may hide
    /// some of them. It is the number of rows of the *scan*, not of the rows that match.
    pub fn exact_row_count(&self) -> Option<u64> {
        self.tasks.iter().try_fold(0_u64, |total, task| {
            (task.deletes.is_empty()).then(|| total + task.record_count)
        })
    }

    /// Size of the planned data files, in bytes.
    pub fn size_in_bytes(&self) -> u64 {
        self.tasks.iter().map(|task| task.file_size_in_bytes).sum()
    }
}

/// What planning looked at and what it left out. Counts are of data manifests and data
/// files unless they say otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanMetrics {
    /// Data manifests of the snapshot.
    pub manifests_total: usize,
    /// Data manifests not opened, thanks to the partition summaries of the manifest list.
    pub manifests_skipped: usize,
    /// Delete manifests of the snapshot.
    pub delete_manifests_total: usize,
    /// Delete manifests not opened, for want of matching data or by partition summaries.
    pub delete_manifests_skipped: usize,
    /// Live data files of the manifests that were opened.
    pub files_total: usize,
    /// Live data files left out by their partition values or column metrics.
    pub files_skipped: usize,
    /// Data files planned that have at least one delete file.
    pub files_with_deletes: usize,
    /// Size of the data files planned, in bytes.
    pub bytes_planned: u64,
    /// Size of the data files left out, in bytes (of manifests that were opened).
    pub bytes_skipped: u64,
    /// Manifests and manifest lists read from storage; the others were cached.
    pub manifests_loaded: usize,
}

/// File format of a data or delete file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// Apache Avro.
    Avro,
    /// Apache ORC.
    Orc,
    /// Puffin, which holds deletion vectors.
    Puffin,
}

impl From<DataFileFormat> for FileFormat {
    fn from(format: DataFileFormat) -> Self {
        match format {
            DataFileFormat::Parquet => Self::Parquet,
            DataFileFormat::Avro => Self::Avro,
            DataFileFormat::Orc => Self::Orc,
            DataFileFormat::Puffin => Self::Puffin,
        }
    }
}

impl std::fmt::Display for FileFormat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Parquet => "parquet",
            Self::Avro => "avro",
            Self::Orc => "orc",
            Self::Puffin => "puffin",
        })
    }
}

/// One data file to read, with all that a worker needs to read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileTask {
    /// Location as the manifest spells it; position deletes name the file by this text.
    pub path: String,
    /// Size of the file, in bytes.
    pub file_size_in_bytes: u64,
    /// Rows in the file, before deletes.
    pub record_count: u64,
    /// Its format.
    pub format: FileFormat,
    /// Where row groups begin, in bytes, ascending; empty when unknown.
    pub split_offsets: Vec<u64>,
    /// Partition spec the file was written with.
    pub spec_id: i32,
    /// Its partition values, one per field of that spec, in order.
    pub partition: Arc<[PartitionValue]>,
    /// Sequence number of the data, which decides which deletes apply.
    pub data_sequence_number: i64,
    /// Row id of the first row (format version 3), if assigned.
    pub first_row_id: Option<i64>,
    /// Sort order the rows were written in, if known.
    pub sort_order_id: Option<i32>,
    /// Metrics of top-level columns of the read schema, by field id. Columns without
    /// metrics are absent.
    pub columns: BTreeMap<i32, ColumnMetrics>,
    /// Delete files to apply to it, deletion vector first.
    pub deletes: Vec<DeleteFileRef>,
}

/// A partition spec and the values of one of its partitions, in Iceberg's single-value bytes.
pub type FilePartition = (i32, Vec<Option<Vec<u8>>>);

impl FileTask {
    /// The partition that the file is in: equal for files of the same one.
    pub fn partition_key(&self) -> FilePartition {
        let values = self.partition.iter().map(|value| {
            let bytes = value.value.as_ref()?.to_bytes().ok()?;
            Some(bytes.to_vec())
        });
        (self.spec_id, values.collect())
    }

    /// The value that an identity-partitioned column has in every row of the file, by the
    /// column's field id: `Some(None)` means null in every row, `None` means not known.
    pub fn constant(&self, source_id: i32) -> Option<Option<&Datum>> {
        self.partition
            .iter()
            .find(|value| value.source_id == source_id && value.transform == Transform::Identity)
            .map(|value| value.value.as_ref())
    }
}

/// One value of a file's partition tuple.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionValue {
    /// Id of the partition field (1000 and up).
    pub field_id: i32,
    /// Its name, such as `ts_day`.
    pub name: String,
    /// Field id of the column it is made from.
    pub source_id: i32,
    /// How it is made.
    pub transform: Transform,
    /// The value, in the transform's result type; `None` is null.
    #[serde(with = "datum_bytes::optional")]
    pub value: Option<Datum>,
}

/// Metrics of one column of one data file. Bounds are inexact: they may be truncated or
/// wider than the values, and exclude nulls and NaNs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnMetrics {
    /// Values, nulls and NaNs included.
    pub value_count: Option<u64>,
    /// Nulls.
    pub null_count: Option<u64>,
    /// NaNs; only meaningful for floats.
    pub nan_count: Option<u64>,
    /// Compressed size in bytes.
    pub size_in_bytes: Option<u64>,
    /// At most every value.
    #[serde(with = "datum_bytes::optional")]
    pub lower_bound: Option<Datum>,
    /// At least every value.
    #[serde(with = "datum_bytes::optional")]
    pub upper_bound: Option<Datum>,
}

/// What a delete file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeleteKind {
    /// A file of (file path, position) rows; rows of other data files are to be ignored.
    Positions,
    /// A file of rows: data rows equal to one of them in all these columns are deleted.
    Equality {
        /// Field ids of the columns to compare.
        field_ids: Vec<i32>,
    },
    /// A `deletion-vector-v1` blob of a Puffin file: exactly the deleted positions of this
    /// one data file.
    DeletionVector {
        /// Where the blob begins, in bytes.
        offset: u64,
        /// Its length, in bytes.
        length: u64,
    },
}

/// A delete file that applies to a data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteFileRef {
    /// Location of the delete file.
    pub path: String,
    /// What it holds and how it applies.
    pub kind: DeleteKind,
    /// Its format.
    pub format: FileFormat,
    /// Size of the whole file, in bytes.
    pub file_size_in_bytes: u64,
    /// Deleted rows that it lists, for this and other data files.
    pub record_count: u64,
    /// Sequence number of the deletes.
    pub data_sequence_number: i64,
    /// Partition spec that it was written with.
    pub spec_id: i32,
}
