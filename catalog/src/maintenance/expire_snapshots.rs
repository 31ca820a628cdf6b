//! Forgetting old snapshots of a table, and deleting the files that only they have.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use iceberg::spec::{DataContentType, SnapshotRef, TableMetadata};
use iceberg::{TableIdent, TableUpdate};

use super::expiry::{Expiry, Retention, expiry_of};
use super::reachable::{
    FileSet, SnapshotFiles, check_owns_files, reachable_states, visit_manifests,
};
use crate::catalog::{Catalog, TableCommit};
use crate::commit::{LocationJudge, one_table, take_turn};
use crate::error::Result;
use crate::storage::Storage;
use crate::table::Table;

/// How often to begin again when others commit meanwhile.
const ATTEMPTS: usize = 20;

/// What to expire.
#[derive(Debug, Clone, Copy)]
pub struct ExpireOptions {
    /// The time now, in milliseconds since the epoch.
    pub now_ms: i64,
    /// The age beyond which snapshots expire, in milliseconds. Without it, what the table's
    /// property `history.expire.max-snapshot-age-ms` says.
    pub max_age_ms: Option<i64>,
    /// The age where that property is missing.
    pub default_max_age_ms: i64,
    /// Snapshots of each branch that stay, however old. Without it, what the table's property
    /// `history.expire.min-snapshots-to-keep` says, or 1.
    pub retain_last: Option<usize>,
    /// Whether partition specs and schemas that nothing has any more go, too.
    pub clean_expired_metadata: bool,
}

/// What [`expire_snapshots`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpireReport {
    /// Snapshots forgotten.
    pub snapshots: usize,
    /// Names of branches and tags that were too old.
    pub references: Vec<String>,
    /// Partition specs and schemas removed.
    pub definitions: usize,
    /// Data files deleted.
    pub data_files: usize,
    /// Delete files deleted.
    pub delete_files: usize,
    /// Manifest lists, manifests and statistics deleted.
    pub metadata_files: usize,
    /// Files that could not be deleted; `remove_orphan_files` finds them.
    pub failed: usize,
}

/// Removes the snapshots of a table that have outlived their retention, and the files that no
/// other state of the table refers to ([`Catalog::reachable_metadata`]).
///
/// Branches keep what their own retention or the options say, tags their snapshot. Files are
/// deleted after the commit; one that cannot be deleted is counted.
///
/// # Errors
/// `InvalidInput` for a table with `gc.enabled = false` and for properties that are no numbers;
/// `Unsupported` when the catalog does not know all states ([`Catalog::knows_all_states`]);
/// `CommitConflict` when others never stop committing; errors of metadata files. Nothing is
/// deleted then; when the error comes after the commit, `remove_orphan_files` finds the files.
pub async fn expire_snapshots(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    options: ExpireOptions,
) -> Result<(Table, ExpireReport)> {
    let mut attempts = 1..ATTEMPTS;
    loop {
        let uuid = catalog.load_table(ident).await?.metadata.uuid();
        let turn = take_turn(catalog.storage(), uuid).await;
        let before = catalog.load_table(ident).await?;
        check_owns_files(catalog, &before)?;
        let retention = Retention::of(
            &before,
            options.now_ms,
            options.max_age_ms,
            options.default_max_age_ms,
            options.retain_last,
        )?;
        let expiry = expiry_of(&before, &retention)?;
        let mut updates = updates_of(&before.metadata, &expiry);
        let mut definitions = 0;
        if options.clean_expired_metadata {
            let unused = Unused::find(catalog.storage(), &before, &expiry).await?;
            definitions = unused.specs.len() + unused.schemas.len();
            updates.extend(unused.updates());
        }
        let mut report = ExpireReport {
            snapshots: expiry.snapshot_ids.len(),
            references: expiry.references.clone(),
            definitions,
            ..ExpireReport::default()
        };
        if updates.is_empty() {
            return Ok((before, report));
        }
        let mut commit = TableCommit {
            ident: ident.clone(),
            requirements: Vec::new(),
            // A reference that somebody makes meanwhile must not lose its snapshot.
            based_on: before.metadata_location.clone(),
            created_from: None,
            updates,
        };
        // A catalog that does not say where the metadata is gets requirements in its place: a
        // commit without either fits every state.
        if commit.based_on.is_none() {
            commit.require_state(&before)?;
        }
        match catalog.commit(vec![commit]).await {
            Ok(tables) => {
                drop(turn);
                let after = one_table(tables, &before)?;
                delete_unreachable(catalog, &before, &after, &expiry, &mut report).await?;
                return Ok((after, report));
            }
            Err(error) if error.is_conflict() && attempts.next().is_some() => {}
            Err(error) => return Err(error),
        }
    }
}

fn updates_of(metadata: &TableMetadata, expiry: &Expiry) -> Vec<TableUpdate> {
    let references = expiry.references.iter();
    let mut updates: Vec<TableUpdate> = references
        .map(|name| TableUpdate::RemoveSnapshotRef {
            ref_name: name.clone(),
        })
        .collect();
    if expiry.snapshot_ids.is_empty() {
        return updates;
    }
    let expired: HashSet<i64> = expiry.snapshot_ids.iter().copied().collect();
    for file in metadata.statistics_iter() {
        if expired.contains(&file.snapshot_id) {
            updates.push(TableUpdate::RemoveStatistics {
                snapshot_id: file.snapshot_id,
            });
        }
    }
    for file in metadata.partition_statistics_iter() {
        if expired.contains(&file.snapshot_id) {
            updates.push(TableUpdate::RemovePartitionStatistics {
                snapshot_id: file.snapshot_id,
            });
        }
    }
    updates.push(TableUpdate::RemoveSnapshots {
        snapshot_ids: expiry.snapshot_ids.clone(),
    });
    updates
}

/// Definitions that no snapshot needs that stays.
struct Unused {
    specs: Vec<i32>,
    schemas: Vec<i32>,
}

impl Unused {
    async fn find(storage: &Arc<Storage>, table: &Table, expiry: &Expiry) -> Result<Self> {
        let metadata = &table.metadata;
        let expired: HashSet<i64> = expiry.snapshot_ids.iter().copied().collect();
        let staying: Vec<SnapshotRef> = metadata
            .snapshots()
            .filter(|snapshot| !expired.contains(&snapshot.snapshot_id()))
            .cloned()
            .collect();
        let mut files = SnapshotFiles::default();
        files.add(storage, metadata, &staying).await?;
        let manifests = files.manifests.values();
        let mut used_specs: HashSet<i32> = manifests.map(|file| file.partition_spec_id).collect();
        used_specs.insert(metadata.default_partition_spec_id());
        let used_schemas = staying.iter().filter_map(|snapshot| snapshot.schema_id());
        let mut used_schemas: HashSet<i32> = used_schemas.collect();
        used_schemas.insert(metadata.current_schema_id());
        // Partition values of older specs are read with the schema that had their columns.
        for spec_id in &used_specs {
            let spec = metadata.partition_spec_by_id(*spec_id);
            for field in spec.iter().flat_map(|spec| spec.fields()) {
                let has_column = |schema: &&iceberg::spec::SchemaRef| {
                    schema.field_by_id(field.source_id).is_some()
                };
                let is_known = metadata
                    .schemas_iter()
                    .filter(|schema| used_schemas.contains(&schema.schema_id()))
                    .any(|schema| schema.field_by_id(field.source_id).is_some());
                if !is_known && let Some(schema) = metadata.schemas_iter().find(has_column) {
                    used_schemas.insert(schema.schema_id());
                }
            }
        }
        let specs = metadata.partition_specs_iter().map(|spec| spec.spec_id());
        let schemas = metadata.schemas_iter().map(|schema| schema.schema_id());
        Ok(Self {
            specs: specs.filter(|id| !used_specs.contains(id)).collect(),
            schemas: schemas.filter(|id| !used_schemas.contains(id)).collect(),
        })
    }

    fn updates(self) -> Vec<TableUpdate> {
        let mut updates = Vec::new();
        if !self.specs.is_empty() {
            updates.push(TableUpdate::RemovePartitionSpecs {
                spec_ids: self.specs,
            });
        }
        if !self.schemas.is_empty() {
            updates.push(TableUpdate::RemoveSchemas {
                schema_ids: self.schemas,
            });
        }
        updates
    }
}

/// Deletes what only the expired snapshots refer to.
async fn delete_unreachable(
    catalog: &dyn Catalog,
    before: &Table,
    after: &Table,
    expiry: &Expiry,
    report: &mut ExpireReport,
) -> Result<()> {
    let storage = catalog.storage();
    let snapshots = expiry.snapshot_ids.iter();
    let snapshots: Vec<SnapshotRef> = snapshots
        .filter_map(|id| before.metadata.snapshot_by_id(*id).cloned())
        .collect();
    let mut expired = SnapshotFiles::default();
    expired.add(storage, &before.metadata, &snapshots).await?;
    let states = reachable_states(catalog, after).await?;
    let remaining = SnapshotFiles::of_states(storage, &states).await?;

    let is_gone = |path: &&String| !remaining.manifests.contains_key(*path);
    let gone_manifests: Vec<&String> = expired.manifests.keys().filter(is_gone).collect();
    let mut candidates: BTreeMap<String, DataContentType> = BTreeMap::new();
    let gone = gone_manifests.iter().map(|path| &expired.manifests[*path]);
    visit_manifests(storage, gone, |manifest| {
        for entry in manifest.entries() {
            let kind = entry.data_file().content_type();
            candidates.insert(entry.file_path().to_string(), kind);
        }
    })
    .await?;
    if !candidates.is_empty() {
        let mut needed = FileSet::default();
        visit_manifests(storage, remaining.manifests.values(), |manifest| {
            for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
                needed.insert(entry.file_path());
            }
        })
        .await?;
        candidates.retain(|path, _| !needed.contains(path));
    }
    let lists = expired.lists.difference(&remaining.lists);
    let statistics = expired.statistics.difference(&remaining.statistics);
    let metadata_files: Vec<String> = lists
        .chain(statistics)
        .chain(gone_manifests.iter().copied())
        .cloned()
        .collect();

    // Metadata is data, which a client may have written.
    let mut judge = LocationJudge::new(catalog, before)?;
    let is_data = |path: &String| candidates.get(path) == Some(&DataContentType::Data);
    let data_files = judge.allowed(candidates.keys().cloned()).await;
    report.data_files = data_files.iter().filter(|path| is_data(path)).count();
    report.delete_files = data_files.len() - report.data_files;
    let metadata_files = judge.allowed(metadata_files).await;
    report.metadata_files = metadata_files.len();
    // Metadata last: what is left after an interruption is still found by its location.
    for files in [data_files, metadata_files] {
        if let Err((failed, error)) = storage.delete_all(files).await {
            tracing::warn!(table = before.name(), failed, %error, "cannot delete expired files");
            report.failed += failed;
        }
    }
    Ok(())
}
