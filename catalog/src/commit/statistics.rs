//! Committing statistics of a snapshot's columns.

use std::collections::HashSet;

use iceberg::TableUpdate;
use iceberg::puffin::Blob;
use uuid::Uuid;

use super::metadata::commit_metadata;
use crate::catalog::Catalog;
use crate::error::{CatalogError, Result};
use crate::statistics::{ColumnSketch, newest_sketches, read_sketches, write_statistics};
use crate::table::Table;

/// Writes a statistics file for a snapshot of `table`, in which the columns were looked at, and
/// makes it the snapshot's. Of the table's other columns it has what is known from earlier ones.
/// Its name begins with the statement's id.
///
/// Returns the newest state of the table, which may be at a later snapshot.
///
/// # Errors
/// `VersionNotFound` when the snapshot is not, or no longer, the table's; `Metadata` for an earlier
/// statistics file that cannot be read, and otherwise those of [`commit_metadata`].
pub async fn commit_statistics(
    catalog: &dyn Catalog,
    table: &Table,
    snapshot_id: i64,
    statement_id: Uuid,
    columns: Vec<ColumnSketch>,
) -> Result<Table> {
    let storage = catalog.storage();
    let missing = || CatalogError::VersionNotFound {
        table: table.name(),
        what: format!("snapshot {snapshot_id}: it expired while its statistics were gathered"),
    };
    let snapshot = table.metadata.snapshot_by_id(snapshot_id);
    let snapshot = snapshot.ok_or_else(missing)?;
    let taken_over = sketches_of_others(catalog, table, snapshot_id, &columns).await?;
    let location = format!(
        "{}/metadata/{statement_id}-{snapshot_id}.stats",
        table.metadata.location().trim_end_matches('/')
    );
    let statistics = write_statistics(storage, &location, snapshot, columns, taken_over).await?;

    let uuid = table.metadata.uuid();
    let committed = commit_metadata(catalog, &table.ident, |newest| {
        let is_there =
            newest.metadata.uuid() == uuid && newest.metadata.snapshot_by_id(snapshot_id).is_some();
        match is_there {
            true => Ok(vec![TableUpdate::SetStatistics {
                statistics: statistics.clone(),
            }]),
            false => Err(missing()),
        }
    })
    .await;
    if let Err(error) = &committed
        && !matches!(error, CatalogError::CommitStateUnknown { .. })
        && let Err(error) = storage.delete(&location).await
    {
        tracing::warn!(table = table.name(), location, %error, "cannot delete uncommitted statistics");
    }
    committed
}

/// The newest sketches of the table's columns that are not among `columns`.
async fn sketches_of_others(
    catalog: &dyn Catalog,
    table: &Table,
    snapshot_id: i64,
    columns: &[ColumnSketch],
) -> Result<Vec<Blob>> {
    let fields = table.metadata.current_schema().as_struct().fields().iter();
    let mut others: HashSet<i32> = fields.map(|field| field.id).collect();
    for column in columns {
        others.remove(&column.field_id);
    }
    let mut sketches = Vec::new();
    for (file, field_ids) in newest_sketches(&table.metadata, snapshot_id, &others) {
        sketches.extend(read_sketches(catalog.storage(), file, &field_ids).await?);
    }
    Ok(sketches)
}
