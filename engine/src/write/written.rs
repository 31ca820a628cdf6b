//! The rows that a write emits: one per data file.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, PrimitiveType,
    Schema, Struct, StructType, Type,
};
use ingot_catalog::Table;
use serde::{Deserialize, Serialize};

use super::target::partition_type;
use crate::error::{EngineError, Result};

/// Schema of the rows that [`super::IcebergWriteExec`] emits, one per data file:
/// `data_file` (JSON, read by [`decode_written_files`]), `record_count` (rows) and
/// `file_size_in_bytes`, none of them ever null.
pub static WRITTEN_FILES_SCHEMA: LazyLock<ArrowSchemaRef> = LazyLock::new(|| {
    Arc::new(ArrowSchema::new(vec![
        Field::new("data_file", DataType::Utf8, false),
        Field::new("record_count", DataType::Int64, false),
        Field::new("file_size_in_bytes", DataType::Int64, false),
    ]))
});

/// A data file on its way to the coordinator.
///
/// Partition values and bounds are Iceberg's single-value bytes in hexadecimal digits:
/// the JSON of the `iceberg` crate turns NaN and infinity into null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct WrittenFile {
    pub(super) path: String,
    pub(super) spec_id: i32,
    pub(super) partition: Vec<Option<HexBytes>>,
    pub(super) record_count: u64,
    pub(super) file_size_in_bytes: u64,
    #[serde(default)]
    pub(super) column_sizes: BTreeMap<i32, u64>,
    #[serde(default)]
    pub(super) value_counts: BTreeMap<i32, u64>,
    #[serde(default)]
    pub(super) null_value_counts: BTreeMap<i32, u64>,
    #[serde(default)]
    pub(super) nan_value_counts: BTreeMap<i32, u64>,
    #[serde(default)]
    pub(super) lower_bounds: BTreeMap<i32, HexBytes>,
    #[serde(default)]
    pub(super) upper_bounds: BTreeMap<i32, HexBytes>,
    pub(super) split_offsets: Vec<i64>,
    pub(super) sort_order_id: Option<i32>,
}

/// Bytes that JSON shows as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct HexBytes(pub(super) Vec<u8>);

impl From<HexBytes> for String {
    fn from(bytes: HexBytes) -> Self {
        bytes.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for HexBytes {
    type Error = String;

    fn try_from(digits: String) -> std::result::Result<Self, String> {
        let bytes = digits.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        });
        match bytes.collect() {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(format!("{digits:?} are not hexadecimal digits")),
        }
    }
}

/// One batch of [`WRITTEN_FILES_SCHEMA`].
pub(super) fn encode_written_files(files: &[WrittenFile]) -> Result<RecordBatch> {
    let json: Vec<String> = files
        .iter()
        .map(serde_json::to_string)
        .collect::<serde_json::Result<_>>()
        .map_err(|error| EngineError::InvalidInput(format!("written files: {error}")))?;
    let record_counts = files.iter().map(|file| file.record_count as i64);
    let sizes = files.iter().map(|file| file.file_size_in_bytes as i64);
    RecordBatch::try_new(
        Arc::clone(&WRITTEN_FILES_SCHEMA),
        vec![
            Arc::new(StringArray::from(json)),
            Arc::new(Int64Array::from_iter_values(record_counts)),
            Arc::new(Int64Array::from_iter_values(sizes)),
        ],
    )
    .map_err(|error| EngineError::DataFusion(Box::new(error.into())))
}

/// The data files that a write reported, ready to be committed to `table`.
///
/// # Errors
/// `InvalidInput` when the batches are not of [`WRITTEN_FILES_SCHEMA`] or when the table's
/// partition spec is not the one that the files were written with.
pub fn decode_written_files(batches: &[RecordBatch], table: &Table) -> Result<Vec<DataFile>> {
    let mut decoder = Decoder {
        table,
        partition_types: HashMap::new(),
    };
    let mut files = Vec::new();
    for batch in batches {
        let column = batch
            .column_by_name("data_file")
            .and_then(|column| column.as_any().downcast_ref::<StringArray>())
            .ok_or_else(|| {
                EngineError::InvalidInput(format!(
                    "a write to {} returned rows of another schema: {:?}",
                    table.name(),
                    batch.schema()
                ))
            })?;
        for json in column.iter() {
            let written: WrittenFile = serde_json::from_str(json.unwrap_or_default())
                .map_err(|error| decoder.invalid(&error))?;
            files.push(decoder.data_file(written)?);
        }
    }
    Ok(files)
}

struct Decoder<'a> {
    table: &'a Table,
    partition_types: HashMap<i32, StructType>,
}

impl Decoder<'_> {
    fn invalid(&self, reason: &dyn std::fmt::Display) -> EngineError {
        EngineError::InvalidInput(format!(
            "a data file written to {} cannot be committed: {reason}",
            self.table.name()
        ))
    }

    fn partition_type(&mut self, spec_id: i32) -> Result<&StructType> {
        if !self.partition_types.contains_key(&spec_id) {
            let metadata = &self.table.metadata;
            let spec = metadata.partition_spec_by_id(spec_id).ok_or_else(|| {
                self.invalid(&format!("the table has no partition spec {spec_id}"))
            })?;
            let fields = partition_type(&self.table.name(), spec, metadata.current_schema())?;
            self.partition_types.insert(spec_id, fields);
        }
        Ok(&self.partition_types[&spec_id])
    }

    fn data_file(&mut self, written: WrittenFile) -> Result<DataFile> {
        let partition_type = self.partition_type(written.spec_id)?.clone();
        if partition_type.fields().len() != written.partition.len() {
            return Err(self.invalid(&"its partition has another number of fields"));
        }
        let mut values = Vec::with_capacity(written.partition.len());
        for (field, value) in partition_type.fields().iter().zip(&written.partition) {
            let literal = match value {
                Some(bytes) => {
                    let datum =
                        datum_of(bytes, &field.field_type).map_err(|error| self.invalid(&error))?;
                    Some(Literal::Primitive(datum.literal().clone()))
                }
                None => None,
            };
            values.push(literal);
        }
        let schema = self.table.metadata.current_schema();
        let mut builder = DataFileBuilder::default();
        if let Some(sort_order_id) = written.sort_order_id {
            builder.sort_order_id(sort_order_id);
        }
        builder
            .content(DataContentType::Data)
            .file_format(DataFileFormat::Parquet)
            .file_path(written.path)
            .partition(Struct::from_iter(values))
            .partition_spec_id(written.spec_id)
            .record_count(written.record_count)
            .file_size_in_bytes(written.file_size_in_bytes)
            .column_sizes(written.column_sizes.into_iter().collect())
            .value_counts(written.value_counts.into_iter().collect())
            .null_value_counts(written.null_value_counts.into_iter().collect())
            .nan_value_counts(written.nan_value_counts.into_iter().collect())
            .lower_bounds(bounds_of(&written.lower_bounds, schema)?)
            .upper_bounds(bounds_of(&written.upper_bounds, schema)?)
            .split_offsets(Some(written.split_offsets))
            .build()
            .map_err(|error| self.invalid(&error))
    }
}

fn bounds_of(bounds: &BTreeMap<i32, HexBytes>, schema: &Schema) -> Result<HashMap<i32, Datum>> {
    let mut datums = HashMap::with_capacity(bounds.len());
    for (field_id, bytes) in bounds {
        // A column that was dropped since the statement was planned needs no bounds.
        let Some(field) = schema.field_by_id(*field_id) else {
            continue;
        };
        let datum = datum_of(bytes, &field.field_type)
            .map_err(|source| EngineError::iceberg(format!("bounds of {}", field.name), source))?;
        datums.insert(*field_id, datum);
    }
    Ok(datums)
}

fn datum_of(bytes: &HexBytes, field_type: &Type) -> iceberg::Result<Datum> {
    let primitive: &PrimitiveType = field_type.as_primitive_type().ok_or_else(|| {
        iceberg::Error::new(
            iceberg::ErrorKind::DataInvalid,
            format!("{field_type} is not a primitive type"),
        )
    })?;
    Datum::try_from_bytes(&bytes.0, primitive.clone())
}
