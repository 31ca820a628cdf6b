//! Bringing what one snapshot added to the current state of a table.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use iceberg::spec::{
    DataFile, ManifestContentType, ManifestStatus, Operation, SnapshotRef, SortOrder,
    TableMetadataBuilder,
};
use iceberg::{TableIdent, TableUpdate};

use super::append::{AppendChanges, append_files_with};
use super::manifests::load_manifest;
use super::metadata::commit_metadata;
use super::produce::read_manifest_list;
use crate::catalog::Catalog;
use crate::error::{CatalogError, Result};
use crate::evolve::{is_ancestor, set_current_snapshot};
use crate::table::{Table, TableVersion};

/// Summary entry of a snapshot that was made from another one.
pub(super) const SOURCE_SNAPSHOT: &str = "source-snapshot-id";
/// Summary entries that say which staged write (write-audit-publish) a snapshot is, or publishes.
const STAGED_WRITE: &str = "wap.id";
const PUBLISHED_WRITE: &str = "published-wap-id";

/// Makes `main` have what a snapshot of the table added, as Iceberg's cherry-pick does: `main`
/// moves to the snapshot when that directly follows its state; else the files of an append are
/// appended again, in a snapshot of their own.
///
/// # Errors
/// `VersionNotFound`; `InvalidInput` for a snapshot that `main` has already and for one that
/// neither follows its state nor is an append; errors of
/// [`append_files`](super::append_files) and of [`commit_metadata`].
pub async fn cherry_pick_snapshot(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    snapshot_id: i64,
) -> Result<Table> {
    let version = TableVersion::SnapshotId(snapshot_id);
    let table = commit_metadata(catalog, ident, |newest| {
        check_not_picked(newest, snapshot_id)?;
        let picked = find(newest, snapshot_id)?;
        match picked.parent_snapshot_id() == newest.metadata.current_snapshot_id() {
            true => set_current_snapshot(newest, &version),
            false => Ok(Vec::new()),
        }
    })
    .await?;
    if table.metadata.current_snapshot_id() == Some(snapshot_id) {
        return Ok(table);
    }
    let picked = find(&table, snapshot_id)?;
    if picked.summary().operation != Operation::Append {
        return Err(CatalogError::InvalidInput(format!(
            "snapshot {snapshot_id} of table {} cannot be cherry-picked: it neither directly \
             follows the current state nor is it an append",
            table.name()
        )));
    }
    let (spec_id, files) = added_files(catalog, &table, &picked).await?;
    let mut summary = BTreeMap::from([(SOURCE_SNAPSHOT.to_string(), snapshot_id.to_string())]);
    let staged_write = picked.summary().additional_properties.get(STAGED_WRITE);
    if let Some(id) = staged_write {
        summary.insert(PUBLISHED_WRITE.to_string(), id.clone());
    }
    let as_written = as_written(&table, &picked, spec_id)?;
    let check = StillNotPicked { snapshot_id };
    append_files_with(catalog, &as_written, files, summary, &check).await
}

/// Refuses each attempt of an append when the snapshot was picked meanwhile.
struct StillNotPicked {
    snapshot_id: i64,
}

#[async_trait]
impl AppendChanges for StillNotPicked {
    async fn updates(&self, newest: &Table, _snapshot_id: i64) -> Result<Vec<TableUpdate>> {
        check_not_picked(newest, self.snapshot_id)?;
        Ok(Vec::new())
    }
}

fn find(table: &Table, snapshot_id: i64) -> Result<SnapshotRef> {
    let found = table.snapshot_at(&TableVersion::SnapshotId(snapshot_id))?;
    found.ok_or_else(|| CatalogError::VersionNotFound {
        table: table.name(),
        what: format!("snapshot {snapshot_id}"),
    })
}

/// Refuses a snapshot that is in the history of `main`, itself or as a copy.
fn check_not_picked(table: &Table, snapshot_id: i64) -> Result<()> {
    let metadata = &table.metadata;
    let Some(current) = metadata.current_snapshot_id() else {
        return Ok(());
    };
    if is_ancestor(metadata, snapshot_id, current) {
        return Err(CatalogError::InvalidInput(format!(
            "snapshot {snapshot_id} is in the history of table {} already",
            table.name()
        )));
    }
    let picked = find(table, snapshot_id)?;
    let staged_write = picked.summary().additional_properties.get(STAGED_WRITE);
    let copy = metadata.snapshots().find(|snapshot| {
        let entries = &snapshot.summary().additional_properties;
        let is_copy = entries.get(SOURCE_SNAPSHOT) == Some(&snapshot_id.to_string());
        let is_published = staged_write.is_some() && entries.get(PUBLISHED_WRITE) == staged_write;
        (is_copy || is_published) && is_ancestor(metadata, snapshot.snapshot_id(), current)
    });
    match copy {
        Some(copy) => Err(CatalogError::InvalidInput(format!(
            "snapshot {snapshot_id} of table {} was cherry-picked already, as snapshot {}",
            table.name(),
            copy.snapshot_id()
        ))),
        None => Ok(()),
    }
}

/// The data files that a snapshot added, and their partition spec.
async fn added_files(
    catalog: &dyn Catalog,
    table: &Table,
    picked: &SnapshotRef,
) -> Result<(i32, Vec<DataFile>)> {
    let unsupported = |what: &str| {
        CatalogError::Unsupported(format!(
            "cherry-picking snapshot {} of table {}, which {what},",
            picked.snapshot_id(),
            table.name()
        ))
    };
    let storage = catalog.storage();
    let manifests = read_manifest_list(storage, &table.metadata, picked).await?;
    let mut files = Vec::new();
    let mut spec_ids = HashSet::new();
    for file in manifests
        .iter()
        .filter(|file| file.added_snapshot_id == picked.snapshot_id())
    {
        let manifest = load_manifest(&storage.file_io(), file).await?;
        for entry in manifest.entries() {
            let is_added = entry.status() == ManifestStatus::Added
                && entry.snapshot_id() == Some(picked.snapshot_id());
            if !is_added {
                continue;
            }
            if file.content != ManifestContentType::Data {
                return Err(unsupported("has delete files"));
            }
            spec_ids.insert(file.partition_spec_id);
            files.push(entry.data_file().clone());
        }
    }
    let mut spec_ids = spec_ids.into_iter();
    let spec_id = match (spec_ids.next(), spec_ids.next()) {
        (Some(spec_id), None) => spec_id,
        (None, _) => table.metadata.default_partition_spec_id(),
        (Some(_), Some(_)) => return Err(unsupported("has files of several partition specs")),
    };
    Ok((spec_id, files))
}

/// The table with the schema and partition spec that the files of a snapshot were written with.
fn as_written(table: &Table, picked: &SnapshotRef, spec_id: i32) -> Result<Table> {
    let current_schema_id = table.metadata.current_schema_id();
    let schema_id = picked.schema_id().unwrap_or(current_schema_id);
    let builder = TableMetadataBuilder::new_from_metadata(
        table.metadata.as_ref().clone(),
        table.metadata_location.clone(),
    );
    let built = builder
        .set_current_schema(schema_id)
        .and_then(|builder| builder.set_default_partition_spec(spec_id))
        // The current sort order may be of a column that came later.
        .and_then(|builder| builder.add_sort_order(SortOrder::unsorted_order()))
        .and_then(|builder| builder.set_default_sort_order(-1))
        .and_then(TableMetadataBuilder::build)
        .map_err(|source| CatalogError::metadata(table.name(), source))?;
    Ok(Table {
        ident: table.ident.clone(),
        metadata: built.metadata.into(),
        metadata_location: table.metadata_location.clone(),
    })
}
