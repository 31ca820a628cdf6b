//! Which delete files apply to which data files: the rules of "Scan planning" and
//! "Delete formats" in the table specification.

use std::collections::HashMap;

use iceberg::metadata_columns::RESERVED_FIELD_ID_DELETE_FILE_PATH;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Literal, ManifestEntry, ManifestFile,
    PrimitiveLiteral, Struct,
};
use iceberg::{Error, ErrorKind};

use super::files::{ResolvedSpec, sequence_number};
use super::{DeleteFileRef, DeleteKind};
use crate::error::{CatalogError, Result};

/// The live delete files of a snapshot, by what they apply to.
#[derive(Debug, Default)]
pub(super) struct DeleteIndex {
    /// Deletion vectors by the data file they belong to.
    vectors: HashMap<String, DeleteFileRef>,
    /// Position deletes of one data file, by its path.
    positions_by_path: HashMap<String, Vec<DeleteFileRef>>,
    /// Position deletes of any files of a partition.
    positions_by_partition: HashMap<PartitionKey, Vec<PositionDeletes>>,
    /// Equality deletes of a partition.
    equality_by_partition: HashMap<PartitionKey, Vec<DeleteFileRef>>,
    /// Equality deletes written with an unpartitioned spec: they apply to all partitions.
    global_equality: Vec<DeleteFileRef>,
}

/// Position deletes of several data files.
#[derive(Debug)]
struct PositionDeletes {
    file: DeleteFileRef,
    /// Bounds of the paths it names, if known.
    lowest_path: Option<String>,
    highest_path: Option<String>,
}

/// A partition: spec and values, such that a value equals itself after its column's type
/// was promoted.
pub(crate) type PartitionKey = (i32, Vec<Option<PartitionKeyValue>>);

/// See [`PartitionKey`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum PartitionKeyValue {
    Boolean(bool),
    Integer(i128),
    /// Bits of a double; all NaNs are one.
    Float(u64),
    String(String),
    Bytes(Vec<u8>),
    Uuid(u128),
    /// Not a value that a partition can have.
    Other,
}

impl DeleteIndex {
    pub(super) fn is_empty(&self) -> bool {
        self.vectors.is_empty()
            && self.positions_by_path.is_empty()
            && self.positions_by_partition.is_empty()
            && self.equality_by_partition.is_empty()
            && self.global_equality.is_empty()
    }

    /// Adds a live entry of a delete manifest.
    ///
    /// # Errors
    /// `Metadata` when the entry cannot be right: applying it wrongly would give wrong rows.
    pub(super) fn add(
        &mut self,
        manifest: &ManifestFile,
        entry: &ManifestEntry,
        resolved: &ResolvedSpec,
    ) -> Result<()> {
        let file = &entry.data_file;
        let invalid = |reason: &str| {
            let message = format!("its delete file {} {reason}", file.file_path());
            let source = Error::new(ErrorKind::DataInvalid, message);
            CatalogError::metadata(&manifest.manifest_path, source)
        };
        let reference = |kind: DeleteKind| {
            Ok::<_, CatalogError>(DeleteFileRef {
                path: file.file_path().to_string(),
                kind,
                format: file.file_format().into(),
                file_size_in_bytes: file.file_size_in_bytes(),
                record_count: file.record_count(),
                data_sequence_number: sequence_number(manifest, entry)?,
                spec_id: resolved.spec.spec_id(),
            })
        };
        match file.content_type() {
            DataContentType::Data => Err(invalid("is a data file")),
            DataContentType::EqualityDeletes => {
                let field_ids = file.equality_ids().unwrap_or_default();
                if field_ids.is_empty() {
                    return Err(invalid("has equality deletes without column ids"));
                }
                let reference = reference(DeleteKind::Equality { field_ids })?;
                if resolved.spec.is_unpartitioned() {
                    self.global_equality.push(reference);
                } else {
                    let key = partition_key(resolved.spec.spec_id(), file.partition());
                    let deletes = self.equality_by_partition.entry(key);
                    deletes.or_default().push(reference);
                }
                Ok(())
            }
            DataContentType::PositionDeletes if file.file_format() == DataFileFormat::Puffin => {
                let data_path = file
                    .referenced_data_file()
                    .ok_or_else(|| invalid("is a deletion vector without a data file"))?;
                let offset = file.content_offset().and_then(|at| u64::try_from(at).ok());
                let length = file.content_size_in_bytes();
                let length = length.and_then(|length| u64::try_from(length).ok());
                let (Some(offset), Some(length)) = (offset, length) else {
                    return Err(invalid("is a deletion vector without a position"));
                };
                let reference = reference(DeleteKind::DeletionVector { offset, length })?;
                match self.vectors.insert(data_path, reference) {
                    None => Ok(()),
                    Some(_) => Err(invalid("is a second deletion vector of its data file")),
                }
            }
            DataContentType::PositionDeletes => {
                let reference = reference(DeleteKind::Positions)?;
                let (lowest_path, highest_path) = path_bounds(file);
                match only_data_file(file) {
                    Some(path) => {
                        let deletes = self.positions_by_path.entry(path);
                        deletes.or_default().push(reference);
                    }
                    None => {
                        let key = partition_key(resolved.spec.spec_id(), file.partition());
                        let deletes = self.positions_by_partition.entry(key);
                        deletes.or_default().push(PositionDeletes {
                            file: reference,
                            lowest_path,
                            highest_path,
                        });
                    }
                }
                Ok(())
            }
        }
    }

    /// The delete files that apply to a data file of this sequence number: its deletion
    /// vector, or else its position deletes, then equality deletes.
    pub(super) fn deletes_of(
        &self,
        file: &DataFile,
        resolved: &ResolvedSpec,
        data_sequence_number: i64,
    ) -> Vec<DeleteFileRef> {
        if self.is_empty() {
            return Vec::new();
        }
        let path = file.file_path();
        let key = partition_key(resolved.spec.spec_id(), file.partition());
        let is_not_older =
            |delete: &&DeleteFileRef| delete.data_sequence_number >= data_sequence_number;
        let is_newer = |delete: &&DeleteFileRef| delete.data_sequence_number > data_sequence_number;

        let mut deletes = Vec::new();
        match self.vectors.get(path).filter(is_not_older) {
            // Writers merge a file's earlier position deletes into its deletion vector.
            Some(vector) => deletes.push(vector.clone()),
            None => {
                let of_path = self.positions_by_path.get(path).into_iter().flatten();
                let of_partition = self.positions_by_partition.get(&key).into_iter().flatten();
                let of_partition = of_partition
                    .filter(|deletes| deletes.may_name(path))
                    .map(|deletes| &deletes.file);
                deletes.extend(of_path.chain(of_partition).filter(is_not_older).cloned());
            }
        }
        let of_partition = self.equality_by_partition.get(&key).into_iter().flatten();
        let equality = of_partition.chain(&self.global_equality).filter(is_newer);
        deletes.extend(equality.cloned());
        deletes
    }
}

impl PositionDeletes {
    fn may_name(&self, path: &str) -> bool {
        self.lowest_path
            .as_deref()
            .is_none_or(|lowest| lowest <= path)
            && self
                .highest_path
                .as_deref()
                .is_none_or(|highest| path <= highest)
    }
}

/// The one data file that a position delete file or deletion vector deletes from; `None` if
/// it may be several.
pub(crate) fn only_data_file(file: &DataFile) -> Option<String> {
    file.referenced_data_file().or_else(|| {
        let (lowest_path, highest_path) = path_bounds(file);
        let is_one_path = lowest_path == highest_path;
        lowest_path.filter(|_| is_one_path)
    })
}

/// Bounds of the data file paths that a position delete file names.
fn path_bounds(file: &DataFile) -> (Option<String>, Option<String>) {
    let bound = |bounds: &HashMap<i32, iceberg::spec::Datum>| {
        let datum = bounds.get(&RESERVED_FIELD_ID_DELETE_FILE_PATH)?;
        match datum.literal() {
            PrimitiveLiteral::String(path) => Some(path.clone()),
            _ => None,
        }
    };
    (bound(file.lower_bounds()), bound(file.upper_bounds()))
}

/// The key of a partition of a spec.
pub(crate) fn partition_key(spec_id: i32, partition: &Struct) -> PartitionKey {
    let values = partition.fields().iter().map(|value| {
        value.as_ref().map(|value| match value {
            Literal::Primitive(literal) => partition_key_value(literal),
            _ => PartitionKeyValue::Other,
        })
    });
    (spec_id, values.collect())
}

fn partition_key_value(literal: &PrimitiveLiteral) -> PartitionKeyValue {
    // As in Java, all NaNs are one partition and zeros of either sign are two.
    let float = |value: f64| {
        let canonical = if value.is_nan() { f64::NAN } else { value };
        PartitionKeyValue::Float(canonical.to_bits())
    };
    match literal {
        PrimitiveLiteral::Boolean(value) => PartitionKeyValue::Boolean(*value),
        PrimitiveLiteral::Int(value) => PartitionKeyValue::Integer(i128::from(*value)),
        PrimitiveLiteral::Long(value) => PartitionKeyValue::Integer(i128::from(*value)),
        PrimitiveLiteral::Int128(value) => PartitionKeyValue::Integer(*value),
        PrimitiveLiteral::Float(value) => float(f64::from(value.0)),
        PrimitiveLiteral::Double(value) => float(value.0),
        PrimitiveLiteral::String(value) => PartitionKeyValue::String(value.clone()),
        PrimitiveLiteral::Binary(value) => PartitionKeyValue::Bytes(value.clone()),
        PrimitiveLiteral::UInt128(value) => PartitionKeyValue::Uuid(*value),
        PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin => PartitionKeyValue::Other,
    }
}
