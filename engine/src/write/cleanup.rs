//! Deleting what failed and superseded attempts of a statement left behind.

use std::collections::HashSet;
use std::sync::Arc;

use ingot_catalog::{Storage, Table};
use uuid::Uuid;

use super::target::data_location;
use crate::error::Result;

/// Deletes the data files that a statement wrote under the table's data folder, except
/// those whose full location is in `keep` (the ones that its commit names). Returns how
/// many were deleted.
///
/// Only files whose names begin with the statement's id are touched. Call it when no task
/// of the statement runs any more, and never when the outcome of its commit is unknown.
///
/// # Errors
/// `Catalog` when the folder cannot be listed or a file not be deleted; the files deleted
/// until then stay deleted.
pub async fn delete_statement_files(
    storage: &Arc<Storage>,
    table: &Table,
    statement_id: Uuid,
    keep: &HashSet<String>,
) -> Result<usize> {
    let prefix = statement_id.to_string();
    // Names are unique (each has a UUID of its own) and plain, so that no spelling of a
    // partition's folder can make a file that is kept look like another.
    let kept_names: HashSet<&str> = keep.iter().map(|location| file_name(location)).collect();
    let mut doomed = Vec::new();
    for file in storage.list(&data_location(table)).await? {
        let name = file_name(&file.location);
        if name.starts_with(&prefix) && !kept_names.contains(name) {
            doomed.push(file.location);
        }
    }
    for location in &doomed {
        storage.delete(location).await?;
    }
    Ok(doomed.len())
}

fn file_name(location: &str) -> &str {
    location.rsplit('/').next().unwrap_or_default()
}
