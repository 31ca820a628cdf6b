//! Table properties that name a column follow it when it is renamed or dropped.

use std::collections::HashMap;

use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;

/// What stands before a column's full name.
const PREFIXES: [&str; 5] = [
    "write.metadata.metrics.column.",
    "write.parquet.bloom-filter-enabled.column.",
    "write.parquet.bloom-filter-fpp.column.",
    "write.parquet.bloom-filter-ndv.column.",
    "write.parquet.stats-enabled.column.",
];

/// Moves the properties of a column, and of the fields in it, to its new full name, or removes
/// them.
pub(super) fn follow_column(
    metadata: &TableMetadata,
    full_name: &str,
    new_full_name: Option<&str>,
) -> Vec<TableUpdate> {
    let mut removals = Vec::new();
    let mut moved = HashMap::new();
    for (name, value) in metadata.properties() {
        for prefix in PREFIXES {
            let Some(column) = name.strip_prefix(prefix) else {
                continue;
            };
            let rest = match column.strip_prefix(full_name) {
                Some(rest) if rest.is_empty() || rest.starts_with('.') => rest,
                _ => continue,
            };
            removals.push(name.clone());
            if let Some(new_name) = new_full_name {
                moved.insert(format!("{prefix}{new_name}{rest}"), value.clone());
            }
        }
    }
    let mut updates = Vec::new();
    if !removals.is_empty() {
        updates.push(TableUpdate::RemoveProperties { removals });
    }
    if !moved.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: moved });
    }
    updates
}
