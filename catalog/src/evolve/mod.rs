//! Evolution of tables: what a change of schema, partitioning, properties or references means for
//! one state of a table, as Iceberg's metadata updates.
//!
//! Nothing here writes or commits: [`commit_metadata`](crate::commit::commit_metadata) asks these
//! functions again for each attempt.

mod column_properties;
mod columns;
mod partitioning;
mod promotion;
mod references;
mod rollback;
mod schema;

pub use partitioning::{set_partitioning, set_sort_order};
pub use promotion::sql_type_name;
pub use references::{
    ReferenceChange, ReferenceKind, ReferenceMode, drop_reference, set_reference,
};
pub use rollback::{fast_forward, rollback_to_snapshot, rollback_to_time, set_current_snapshot};
pub use schema::{ColumnPosition, SchemaChange, change_schema};

pub(crate) use rollback::{ancestors, is_ancestor};

use std::collections::HashMap;

use iceberg::TableUpdate;
use iceberg::spec::FormatVersion;

use crate::commit::CONTENT_PROPERTY_PREFIX;
use crate::error::{CatalogError, Result};
use crate::table::Table;

/// Sets and removes table properties. Those that have their value already are left out.
///
/// # Errors
/// `InvalidInput` for properties that say what is in the table, which only writes may change.
pub fn change_properties(
    table: &Table,
    set: &[(String, String)],
    removed: &[String],
) -> Result<Vec<TableUpdate>> {
    let mut names = set.iter().map(|(name, _)| name).chain(removed);
    if let Some(name) = names.find(|name| name.starts_with(CONTENT_PROPERTY_PREFIX)) {
        return Err(CatalogError::InvalidInput(format!(
            "property {name} of table {} is kept by its writers and cannot be set",
            table.name()
        )));
    }
    let current = table.metadata.properties();
    let mut updates = Vec::new();
    let changed: HashMap<String, String> = set
        .iter()
        .filter(|(name, value)| current.get(name) != Some(value))
        .cloned()
        .collect();
    if !changed.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: changed });
    }
    let removals: Vec<_> = removed
        .iter()
        .filter(|name| current.contains_key(*name))
        .cloned()
        .collect();
    if !removals.is_empty() {
        updates.push(TableUpdate::RemoveProperties { removals });
    }
    Ok(updates)
}

/// Raises the format version.
///
/// # Errors
/// `InvalidInput` when the table has a higher one.
pub fn upgrade_format_version(
    table: &Table,
    format_version: FormatVersion,
) -> Result<Vec<TableUpdate>> {
    let current = table.metadata.format_version();
    if format_version < current {
        return Err(CatalogError::InvalidInput(format!(
            "table {} has format version {}, which cannot be lowered to {}",
            table.name(),
            current as u8,
            format_version as u8
        )));
    }
    Ok(match format_version == current {
        true => Vec::new(),
        false => vec![TableUpdate::UpgradeFormatVersion { format_version }],
    })
}
