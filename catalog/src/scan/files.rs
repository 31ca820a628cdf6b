//! From manifest entries to file tasks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::spec::{
    DataFile, Datum, Manifest, ManifestEntry, ManifestFile, PartitionSpecRef, PrimitiveType,
    Schema, SchemaRef, TableMetadata, Type,
};
use iceberg::{Error, ErrorKind};

use super::values::datum_of;
use super::{ColumnMetrics, FileTask, PartitionValue};
use crate::error::{CatalogError, Result};

/// A partition spec of the table with the result type of each of its fields.
#[derive(Debug)]
pub(super) struct ResolvedSpec {
    /// The spec.
    pub(super) spec: PartitionSpecRef,
    /// Result types in the order of the fields; `None` if no schema of the table has the
    /// source column any more, which leaves the value unusable.
    pub(super) types: Vec<Option<PrimitiveType>>,
}

/// The partition specs of a table, resolved against one read schema.
pub(super) struct Specs<'a> {
    metadata: &'a TableMetadata,
    schema: &'a SchemaRef,
    specs: Mutex<HashMap<i32, Arc<ResolvedSpec>>>,
}

impl<'a> Specs<'a> {
    pub(super) fn new(metadata: &'a TableMetadata, schema: &'a SchemaRef) -> Self {
        Self {
            metadata,
            schema,
            specs: Mutex::new(HashMap::new()),
        }
    }

    /// The partition spec that a manifest was written with.
    ///
    /// # Errors
    /// `Metadata` when the table metadata does not have it.
    pub(super) fn of_manifest(&self, manifest: &ManifestFile) -> Result<Arc<ResolvedSpec>> {
        let spec_id = manifest.partition_spec_id;
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolved) = specs.get(&spec_id) {
            return Ok(Arc::clone(resolved));
        }
        let spec = self.metadata.partition_spec_by_id(spec_id).ok_or_else(|| {
            let message = format!("has partition spec {spec_id}, which the table does not have");
            let source = Error::new(ErrorKind::DataInvalid, message);
            CatalogError::metadata(&manifest.manifest_path, source)
        })?;
        let resolved = Arc::new(self.resolve(spec));
        specs.insert(spec_id, Arc::clone(&resolved));
        Ok(resolved)
    }

    /// A spec with the types of its fields.
    pub(super) fn resolve(&self, spec: &PartitionSpecRef) -> ResolvedSpec {
        let types = spec
            .fields()
            .iter()
            .map(|field| {
                let source_type = self.column_type(field.source_id)?;
                match field.transform.result_type(source_type) {
                    Ok(Type::Primitive(result_type)) => Some(result_type),
                    _ => None,
                }
            })
            .collect();
        ResolvedSpec {
            spec: Arc::clone(spec),
            types,
        }
    }

    /// The read schema.
    pub(super) fn schema(&self) -> &'a SchemaRef {
        self.schema
    }

    /// The type of a column: of the read schema if it has it, else of any other schema of
    /// the table (the column was dropped or came later).
    fn column_type(&self, field_id: i32) -> Option<&Type> {
        let other_schemas = self.metadata.schemas_iter().map(|schema| schema.as_ref());
        std::iter::once(self.schema.as_ref())
            .chain(other_schemas)
            .find_map(|schema| schema.field_by_id(field_id))
            .map(|field| field.field_type.as_ref())
    }
}

/// The first row id of each entry of a data manifest (Iceberg specification, "First Row ID
/// Inheritance"): its own, or what it inherits from the manifest's place in the manifest list,
/// which `iceberg` 0.10.1 does not resolve. `None` before format version 3.
pub(crate) fn first_row_ids(file: &ManifestFile, manifest: &Manifest) -> Vec<Option<i64>> {
    let mut next_row_id = file.first_row_id.and_then(|id| i64::try_from(id).ok());
    let entries = manifest.entries().iter().map(|entry| {
        let data_file = entry.data_file();
        if data_file.first_row_id().is_some() || !entry.is_alive() {
            return data_file.first_row_id();
        }
        let first_row_id = next_row_id?;
        let rows = i64::try_from(data_file.record_count()).ok()?;
        next_row_id = first_row_id.checked_add(rows);
        Some(first_row_id)
    });
    entries.collect()
}

/// The task that reads a live data file, without its deletes.
///
/// # Errors
/// `Metadata` when the entry cannot be right.
pub(super) fn file_task(
    manifest: &ManifestFile,
    entry: &ManifestEntry,
    first_row_id: Option<i64>,
    resolved: &ResolvedSpec,
    schema: &Schema,
) -> Result<FileTask> {
    let file = &entry.data_file;
    Ok(FileTask {
        path: file.file_path().to_string(),
        file_size_in_bytes: file.file_size_in_bytes(),
        record_count: file.record_count(),
        format: file.file_format().into(),
        split_offsets: valid_split_offsets(file),
        spec_id: resolved.spec.spec_id(),
        partition: partition_values(resolved, file),
        data_sequence_number: sequence_number(manifest, entry)?,
        first_row_id,
        sort_order_id: file.sort_order_id(),
        columns: column_metrics(schema, file),
        deletes: Vec::new(),
    })
}

/// The data sequence number of an entry, which by now it has or has inherited.
///
/// # Errors
/// `Metadata` when it has none: without it, deletes could be applied to the wrong files.
pub(super) fn sequence_number(manifest: &ManifestFile, entry: &ManifestEntry) -> Result<i64> {
    entry.sequence_number().ok_or_else(|| {
        let message = format!("its entry for {} has no sequence number", entry.file_path());
        let source = Error::new(ErrorKind::DataInvalid, message);
        CatalogError::metadata(&manifest.manifest_path, source)
    })
}

/// Split offsets if they can be right: ascending and within the file. Writers exist that
/// record wrong ones, and the specification asks readers to check.
fn valid_split_offsets(file: &DataFile) -> Vec<u64> {
    let size = file.file_size_in_bytes();
    let offsets = file.split_offsets().unwrap_or_default();
    let converted: Option<Vec<u64>> = offsets
        .iter()
        .map(|offset| u64::try_from(*offset).ok().filter(|offset| *offset < size))
        .collect();
    converted
        .filter(|offsets| offsets.is_sorted_by(|left, right| left < right))
        .unwrap_or_default()
}

/// The partition tuple of a file with what each value means.
pub(super) fn partition_values(resolved: &ResolvedSpec, file: &DataFile) -> Arc<[PartitionValue]> {
    let fields = resolved.spec.fields().iter().zip(&resolved.types);
    fields
        .zip(file.partition().fields())
        .filter_map(|((field, result_type), literal)| {
            let value = match literal {
                None => None,
                Some(literal) => {
                    let literal = literal.as_primitive_literal()?;
                    Some(datum_of(&literal, result_type.as_ref()?)?)
                }
            };
            Some(PartitionValue {
                field_id: field.field_id,
                name: field.name.clone(),
                source_id: field.source_id,
                transform: field.transform,
                value,
            })
        })
        .collect()
}

/// Metrics of the top-level columns of the read schema.
fn column_metrics(schema: &Schema, file: &DataFile) -> BTreeMap<i32, ColumnMetrics> {
    schema
        .as_struct()
        .fields()
        .iter()
        .filter_map(|field| {
            let promoted = |bound: Option<&Datum>| {
                let field_type = field.field_type.as_primitive_type()?;
                datum_of(bound?.literal(), field_type)
            };
            let metrics = ColumnMetrics {
                value_count: file.value_counts().get(&field.id).copied(),
                null_count: file.null_value_counts().get(&field.id).copied(),
                nan_count: file.nan_value_counts().get(&field.id).copied(),
                size_in_bytes: file.column_sizes().get(&field.id).copied(),
                lower_bound: promoted(file.lower_bounds().get(&field.id)),
                upper_bound: promoted(file.upper_bounds().get(&field.id)),
            };
            (metrics != ColumnMetrics::default()).then_some((field.id, metrics))
        })
        .collect()
}
