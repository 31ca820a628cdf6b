//! Resolving a Parquet file's columns to the read schema by field id.
//!
//! The file's footer is rewritten in memory: every column that the read schema has, nested
//! ones included, gets the name it has there; every other column gets a name that nothing
//! refers to; the embedded Arrow schema (`ARROW:schema`) goes, so that the Parquet types
//! alone decide (it would bring in string views, large strings and time zones). After that
//! matching by name is matching by field id.
//!
//! Rules: Iceberg specification, "Column Projection" and "Parquet" under "Appendix A".

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use iceberg::spec::{MappedField, NameMapping, NestedField, SchemaRef, StructType, Type};
use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::file::metadata::{FileMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::{SchemaDescriptor, Type as ParquetType, TypePtr};

use crate::error::{EngineError, Result};

/// Key of the Arrow schema that Arrow writers embed in Parquet files.
const EMBEDDED_ARROW_SCHEMA: &str = "ARROW:schema";

/// How the columns of a table's files map to the columns of one read schema.
#[derive(Debug)]
pub struct ColumnMapping {
    schema: SchemaRef,
    name_mapping: Option<NameMapping>,
    fingerprint: u64,
}

/// Where the field ids of one level of a file's schema come from.
#[derive(Clone)]
enum IdSource<'a> {
    /// The file itself.
    File,
    /// The table's name mapping (`schema.name-mapping.default`).
    Names(Vec<&'a MappedField>),
    /// The position in the file, from 1, as in Iceberg's own readers for files that have
    /// neither ids nor a name mapping.
    Position,
    /// The name (inside a column found by position).
    Name,
}

impl ColumnMapping {
    /// The mapping to `schema`, with the table's name mapping for files without field ids.
    pub fn new(schema: SchemaRef, name_mapping: Option<NameMapping>) -> Self {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", schema.as_struct()).hash(&mut hasher);
        format!("{name_mapping:?}").hash(&mut hasher);
        Self {
            schema,
            name_mapping,
            fingerprint: hasher.finish(),
        }
    }

    /// The read schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Tells mappings apart: equal mappings have equal fingerprints.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The footer of a file as if it had been written with the names of the read schema.
    ///
    /// # Errors
    /// `CorruptFile`, naming `path`, when a column's structure is not that of the read schema.
    pub fn map_footer(&self, footer: &ParquetMetaData, path: &str) -> Result<ParquetMetaData> {
        let file = footer.file_metadata();
        let file_schema = file.schema_descr();
        let renamed = Arc::new(SchemaDescriptor::new(self.rename(file_schema, path)?));
        let key_values = file.key_value_metadata().map(|pairs| {
            let kept = pairs
                .iter()
                .filter(|pair| pair.key != EMBEDDED_ARROW_SCHEMA);
            kept.cloned().collect()
        });
        let file = FileMetaData::new(
            file.version(),
            file.num_rows(),
            file.created_by().map(str::to_string),
            key_values,
            Arc::clone(&renamed),
            file.column_orders().cloned(),
        );
        let row_groups = footer
            .row_groups()
            .iter()
            .enumerate()
            .map(|(index, row_group)| {
                let mut builder = RowGroupMetaData::builder(Arc::clone(&renamed))
                    .set_num_rows(row_group.num_rows())
                    .set_total_byte_size(row_group.total_byte_size())
                    .set_sorting_columns(row_group.sorting_columns().cloned())
                    .set_column_metadata(row_group.columns().to_vec());
                // Row positions are counted by it, and not every writer fills it in.
                if let Ok(ordinal) = i16::try_from(index) {
                    builder = builder.set_ordinal(ordinal);
                }
                if let Some(offset) = row_group.file_offset() {
                    builder = builder.set_file_offset(offset);
                }
                builder
                    .build()
                    .map_err(|error| corrupt(path, error.to_string()))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(ParquetMetaData::new(file, row_groups))
    }

    fn rename(&self, file_schema: &SchemaDescriptor, path: &str) -> Result<TypePtr> {
        let root = file_schema.root_schema();
        let ids = if has_ids(root) {
            IdSource::File
        } else if let Some(mapping) = &self.name_mapping {
            IdSource::Names(mapping.fields().iter().collect())
        } else {
            IdSource::Position
        };
        let renaming = Renaming { path };
        let fields = renaming.fields(root.get_fields(), self.schema.as_struct(), &ids)?;
        renaming.group(root, root.name(), fields)
    }
}

/// Whether any node below `node` has a field id.
fn has_ids(node: &ParquetType) -> bool {
    node.get_fields()
        .iter()
        .any(|child| child.get_basic_info().has_id() || (child.is_group() && has_ids(child)))
}

fn corrupt(path: &str, reason: impl Into<String>) -> EngineError {
    EngineError::CorruptFile {
        path: path.to_string(),
        reason: reason.into(),
    }
}

/// One renaming of the schema of the file at `path`.
struct Renaming<'a> {
    path: &'a str,
}

impl Renaming<'_> {
    /// Renames the columns of one level.
    fn fields(&self, nodes: &[TypePtr], read: &StructType, ids: &IdSource) -> Result<Vec<TypePtr>> {
        let mut seen = HashSet::new();
        let mut renamed = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let (field, inner_ids) = resolve(node, index, read, ids);
            let Some(field) = field else {
                renamed.push(self.unused(node, index, read)?);
                continue;
            };
            if !seen.insert(field.id) {
                let reason = format!("two columns have field id {}", field.id);
                return Err(corrupt(self.path, reason));
            }
            renamed.push(self.field(node, field, &inner_ids)?);
        }
        Ok(renamed)
    }

    /// A column that the read schema does not have, under a name that it cannot have.
    fn unused(&self, node: &TypePtr, index: usize, read: &StructType) -> Result<TypePtr> {
        let mut name = format!("__unused_{index}");
        while read.field_by_name(&name).is_some() {
            name.push('_');
        }
        if node.is_primitive() {
            self.primitive(node, &name)
        } else {
            self.group(node, &name, node.get_fields().to_vec())
        }
    }

    fn field(&self, node: &TypePtr, field: &NestedField, ids: &IdSource) -> Result<TypePtr> {
        let mismatch = |expected: &str| {
            corrupt(
                self.path,
                format!(
                    "column {:?} is not the {expected} that the table says",
                    node.name()
                ),
            )
        };
        match field.field_type.as_ref() {
            Type::Primitive(_) if node.is_primitive() => self.primitive(node, &field.name),
            Type::Primitive(_) => Err(mismatch("primitive column")),
            _ if node.is_primitive() => Err(mismatch("nested column")),
            Type::Struct(read) => {
                let fields = self.fields(node.get_fields(), read, ids)?;
                self.group(node, &field.name, fields)
            }
            Type::List(list) => {
                let [repeated] = node.get_fields() else {
                    return Err(mismatch("list"));
                };
                let inner = if is_three_level_list(repeated) {
                    let [element] = repeated.get_fields() else {
                        return Err(mismatch("list"));
                    };
                    let element_ids = child_ids(ids, "element", element.name());
                    let element = self.field(element, &list.element_field, &element_ids)?;
                    self.group(repeated, repeated.name(), vec![element])?
                } else {
                    // The old two-level layout: readers tell it by the name, which must stay.
                    let element = NestedField {
                        name: repeated.name().to_string(),
                        ..list.element_field.as_ref().clone()
                    };
                    let element_ids = child_ids(ids, "element", repeated.name());
                    self.field(repeated, &element, &element_ids)?
                };
                self.group(node, &field.name, vec![inner])
            }
            Type::Map(map) => {
                let [repeated] = node.get_fields() else {
                    return Err(mismatch("map"));
                };
                if repeated.is_primitive() {
                    return Err(mismatch("map"));
                }
                let [key, value] = repeated.get_fields() else {
                    return Err(mismatch("map"));
                };
                let key_ids = child_ids(ids, "key", key.name());
                let key = self.field(key, &map.key_field, &key_ids)?;
                let value_ids = child_ids(ids, "value", value.name());
                let value = self.field(value, &map.value_field, &value_ids)?;
                let repeated = self.group(repeated, "key_value", vec![key, value])?;
                self.group(node, &field.name, vec![repeated])
            }
        }
    }

    fn primitive(&self, node: &ParquetType, name: &str) -> Result<TypePtr> {
        let ParquetType::PrimitiveType {
            basic_info,
            physical_type,
            type_length,
            scale,
            precision,
        } = node
        else {
            return Err(corrupt(self.path, "a group where a column should be"));
        };
        ParquetType::primitive_type_builder(name, *physical_type)
            .with_repetition(basic_info.repetition())
            .with_converted_type(basic_info.converted_type())
            .with_logical_type(basic_info.logical_type_ref().cloned())
            .with_length(*type_length)
            .with_scale(*scale)
            .with_precision(*precision)
            .build()
            .map(Arc::new)
            .map_err(|error| corrupt(self.path, error.to_string()))
    }

    fn group(&self, node: &ParquetType, name: &str, fields: Vec<TypePtr>) -> Result<TypePtr> {
        let info = node.get_basic_info();
        let mut builder = ParquetType::group_type_builder(name)
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(fields);
        if info.has_repetition() {
            builder = builder.with_repetition(info.repetition());
        }
        builder
            .build()
            .map(Arc::new)
            .map_err(|error| corrupt(self.path, error.to_string()))
    }
}

/// The field of the read schema that a file's column holds, and where the ids below it
/// come from.
fn resolve<'read, 'ids>(
    node: &ParquetType,
    index: usize,
    read: &'read StructType,
    ids: &IdSource<'ids>,
) -> (Option<&'read NestedField>, IdSource<'ids>) {
    let by_id = |id: Option<i32>| id.and_then(|id| read.field_by_id(id)).map(Arc::as_ref);
    match ids {
        IdSource::File => {
            let info = node.get_basic_info();
            let id = info.has_id().then(|| info.id());
            (by_id(id), IdSource::File)
        }
        IdSource::Names(fields) => {
            let mapped = fields
                .iter()
                .find(|field| field.names().iter().any(|name| name == node.name()));
            let inner = mapped.map(|field| field.fields().iter().map(Arc::as_ref).collect());
            let field = by_id(mapped.and_then(|field| field.field_id()));
            (field, IdSource::Names(inner.unwrap_or_default()))
        }
        IdSource::Position => (by_id(i32::try_from(index + 1).ok()), IdSource::Name),
        IdSource::Name => {
            let field = read.field_by_name(node.name()).map(Arc::as_ref);
            (field, IdSource::Name)
        }
    }
}

/// Where the ids below an element, key or value come from; a name mapping calls it by its
/// role or by the name in the file.
fn child_ids<'a>(ids: &IdSource<'a>, role: &str, name: &str) -> IdSource<'a> {
    match ids {
        IdSource::Names(fields) => {
            let mapped = fields.iter().find(|field| {
                let mut names = field.names().iter();
                names.any(|candidate| candidate == role || candidate == name)
            });
            let inner = mapped.map(|field| field.fields().iter().map(Arc::as_ref).collect());
            IdSource::Names(inner.unwrap_or_default())
        }
        other => other.clone(),
    }
}

/// Whether the repeated node of a list wraps its element (the standard layout) or is it.
/// Rules: Parquet's `LogicalTypes.md`, "Backward-compatibility rules" of lists.
fn is_three_level_list(repeated: &ParquetType) -> bool {
    if repeated.is_primitive() || repeated.get_fields().len() != 1 {
        return false;
    }
    let name = repeated.name();
    let info = repeated.get_basic_info();
    let annotated = matches!(
        info.logical_type_ref(),
        Some(LogicalType::List | LogicalType::Map)
    ) || matches!(
        info.converted_type(),
        ConvertedType::LIST | ConvertedType::MAP
    );
    let repeats_again = repeated.get_fields().iter().any(|field| {
        let field_info = field.get_basic_info();
        field_info.has_repetition() && field_info.repetition() == Repetition::REPEATED
    });
    name != "array" && !name.ends_with("_tuple") && !annotated && !repeats_again
}
