//! Partition specs and sort orders of tables that have data.

use iceberg::TableUpdate;
use iceberg::spec::{
    FormatVersion, PartitionField, PartitionSpec, SortOrder, Transform, UnboundPartitionField,
    UnboundPartitionSpec,
};

use crate::error::{CatalogError, Result};
use crate::table::Table;

/// Makes a partition spec, bound to the table's current schema, that of new files. Files that
/// exist keep theirs.
///
/// A field that the table had before gets its name and id again; a new one gets a name that no
/// other field of any spec has, so that metadata tables can tell them apart.
///
/// # Errors
/// `Unsupported` for format version 1, where fields are told apart by their position.
pub fn set_partitioning(table: &Table, wanted: &PartitionSpec) -> Result<Vec<TableUpdate>> {
    let metadata = &table.metadata;
    let current = metadata.default_partition_spec();
    if is_same_layout(current.fields(), wanted.fields()) {
        return Ok(Vec::new());
    }
    if metadata.format_version() == FormatVersion::V1 {
        return Err(CatalogError::InvalidInput(format!(
            "table {} has format version 1, which keeps its partitioning: raise it first with SET \
             PROPERTIES format_version = 2",
            table.name()
        )));
    }
    let earlier: Vec<&PartitionField> = metadata
        .partition_specs_iter()
        .flat_map(|spec| spec.fields())
        .collect();
    let schema = metadata.current_schema();
    let mut names: Vec<String> = Vec::new();
    for field in wanted.fields() {
        let same = earlier
            .iter()
            .find(|other| is_same_field(other, field))
            .map(|other| other.name.clone());
        let is_column = |name: &str| {
            // An identity field may have the name of its own column.
            let is_own = field.transform == Transform::Identity
                && schema.field_id_by_name(name) == Some(field.source_id);
            schema.field_by_name(name).is_some() && !is_own
        };
        let is_free = |name: &String| {
            let of_another = earlier
                .iter()
                .any(|other| other.name == *name && !is_same_field(other, field));
            !of_another && !names.contains(name) && !is_column(name)
        };
        let name = same
            .into_iter()
            .chain(candidate_names(field))
            .find(is_free)
            .ok_or_else(|| {
                CatalogError::InvalidInput(format!(
                    "table {} has too many partition fields called {}",
                    table.name(),
                    field.name
                ))
            })?;
        names.push(name);
    }
    let fields = wanted.fields().iter().zip(names);
    let fields = fields.map(|(field, name)| UnboundPartitionField {
        source_id: field.source_id,
        // The metadata builder gives equal fields their ids again.
        field_id: None,
        name,
        transform: field.transform,
    });
    let spec = UnboundPartitionSpec::builder()
        .add_partition_fields(fields)
        .map_err(|source| {
            CatalogError::InvalidInput(format!("table {}: {}", table.name(), source.message()))
        })?
        .build();
    Ok(vec![
        TableUpdate::AddSpec { spec },
        TableUpdate::SetDefaultSpec { spec_id: -1 },
    ])
}

/// Makes a sort order, bound to the table's current schema, that of new files.
pub fn set_sort_order(table: &Table, wanted: &SortOrder) -> Vec<TableUpdate> {
    if table.metadata.default_sort_order().fields == wanted.fields {
        return Vec::new();
    }
    vec![
        TableUpdate::AddSortOrder {
            sort_order: wanted.clone(),
        },
        TableUpdate::SetDefaultSortOrder { sort_order_id: -1 },
    ]
}

fn is_same_field(left: &PartitionField, right: &PartitionField) -> bool {
    left.source_id == right.source_id && left.transform == right.transform
}

fn is_same_layout(left: &[PartitionField], right: &[PartitionField]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(left, right)| is_same_field(left, right))
}

/// The usual name of a field, then the name with its number (`id_bucket_16`, as Iceberg's own
/// evolution has it), then numbered ones.
fn candidate_names(field: &PartitionField) -> impl Iterator<Item = String> {
    const MANY: u32 = 10_000;
    let base = field.name.clone();
    let with_number = match field.transform {
        Transform::Bucket(number) | Transform::Truncate(number) => format!("{base}_{number}"),
        _ => base.clone(),
    };
    let numbered = with_number.clone();
    [base, with_number]
        .into_iter()
        .chain((2..MANY).map(move |count| format!("{numbered}_{count}")))
}
