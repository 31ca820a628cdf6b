//! The planning of one scan.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use iceberg::expr::Predicate;
use iceberg::spec::{
    DataContentType, FormatVersion, Manifest, ManifestContentType, ManifestEntryRef, ManifestFile,
    ManifestList, SchemaRef, Snapshot, SnapshotRef,
};

use iceberg::{Error, ErrorKind};

use super::deletes::DeleteIndex;
use super::files::{Specs, file_task, first_row_ids};
use super::filter::Filter;
use super::prune::{file_may_match, manifest_is_empty, manifest_may_match};
use super::{ManifestCache, ScanMetrics, ScanPlan};
use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::{Table, TableVersion};

/// Manifests that one scan reads at the same time.
const CONCURRENT_MANIFESTS: usize = 16;

/// Plans a scan of one version of a table: which data files may hold rows that match
/// `predicate`, and which delete files apply to them.
///
/// `predicate` names columns of the read schema ([`Table::schema_at`]), nested ones with
/// dots; the engine still has to filter the rows.
///
/// # Errors
/// `VersionNotFound` for an unknown version, `InvalidInput` for a predicate on an unknown
/// column, `Storage` and `Metadata` when the manifest list or a manifest cannot be read.
pub async fn plan_scan(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    version: &TableVersion,
    predicate: &Predicate,
) -> Result<ScanPlan> {
    let snapshot = table.snapshot_at(version)?;
    let schema = table.schema_at(version)?;
    plan_snapshot(storage, cache, table, snapshot, schema, predicate).await
}

/// [`plan_scan`] of a snapshot, read with any schema of the table. Errors about files name it.
pub(super) async fn plan_snapshot(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    snapshot: Option<SnapshotRef>,
    schema: SchemaRef,
    predicate: &Predicate,
) -> Result<ScanPlan> {
    let snapshot_id = snapshot.as_ref().map(|snapshot| snapshot.snapshot_id());
    let planned = plan_files(storage, cache, table, snapshot, schema, predicate).await;
    match snapshot_id {
        Some(snapshot_id) => planned.map_err(|error| error.in_snapshot(table.name(), snapshot_id)),
        None => planned,
    }
}

async fn plan_files(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    snapshot: Option<SnapshotRef>,
    schema: SchemaRef,
    predicate: &Predicate,
) -> Result<ScanPlan> {
    let mut plan = ScanPlan {
        snapshot,
        schema,
        tasks: Vec::new(),
        metrics: ScanMetrics::default(),
    };
    let filter = Filter::bind(predicate, &plan.schema)?;
    let Some(snapshot) = plan.snapshot.clone() else {
        return Ok(plan);
    };
    let metrics = &mut plan.metrics;
    let (list, list_loaded) = load_list(storage, cache, &snapshot, table).await?;
    metrics.manifests_loaded += usize::from(list_loaded);

    let specs = Specs::new(&table.metadata, &plan.schema);
    let mut data_files: Vec<&ManifestFile> = Vec::new();
    let mut delete_files: Vec<&ManifestFile> = Vec::new();
    for file in list.entries() {
        let is_data = file.content == ManifestContentType::Data;
        if is_data {
            metrics.manifests_total += 1;
        } else {
            metrics.delete_manifests_total += 1;
        }
        // Deletes are written into the partition of the data that they delete from, so
        // the same summaries rule both out. Equality deletes without a partition have no
        // summaries.
        if manifest_is_empty(file)
            || !manifest_may_match(&filter, file, specs.of_manifest(file)?.as_ref())
        {
            continue;
        }
        if is_data {
            data_files.push(file);
        } else {
            delete_files.push(file);
        }
    }
    if data_files.is_empty() {
        delete_files.clear();
    }
    metrics.manifests_skipped = metrics.manifests_total - data_files.len();
    metrics.delete_manifests_skipped = metrics.delete_manifests_total - delete_files.len();

    let read = (table, Some(snapshot.snapshot_id()));
    let (data_manifests, delete_manifests) = futures::try_join!(
        load_manifests(storage, cache, read, data_files),
        load_manifests(storage, cache, read, delete_files),
    )?;
    metrics.manifests_loaded += data_manifests.loaded + delete_manifests.loaded;

    let mut deletes = DeleteIndex::default();
    for (file, manifest) in &delete_manifests.manifests {
        let resolved = specs.of_manifest(file)?;
        for entry in live_entries(manifest) {
            deletes.add(file, entry, &resolved)?;
        }
    }
    for (file, manifest) in &data_manifests.manifests {
        let resolved = specs.of_manifest(file)?;
        let first_row_ids = first_row_ids(file, manifest);
        for (entry, first_row_id) in manifest.entries().iter().zip(first_row_ids) {
            if !entry.is_alive() {
                continue;
            }
            let data_file = &entry.data_file;
            if data_file.content_type() != DataContentType::Data {
                let message = format!("it lists {} as a data file", data_file.file_path());
                let source = Error::new(ErrorKind::DataInvalid, message);
                return Err(CatalogError::metadata(&file.manifest_path, source));
            }
            metrics.files_total += 1;
            if !file_may_match(&filter, data_file, &resolved) {
                metrics.files_skipped += 1;
                metrics.bytes_skipped += data_file.file_size_in_bytes();
                continue;
            }
            let mut task = file_task(file, entry, first_row_id, &resolved, &plan.schema)?;
            task.deletes = deletes.deletes_of(data_file, &resolved, task.data_sequence_number);
            metrics.files_with_deletes += usize::from(!task.deletes.is_empty());
            metrics.bytes_planned += task.file_size_in_bytes;
            plan.tasks.push(task);
        }
    }
    Ok(plan)
}

fn live_entries(manifest: &Manifest) -> impl Iterator<Item = &ManifestEntryRef> {
    manifest.entries().iter().filter(|entry| entry.is_alive())
}

/// The manifest list of a snapshot, and whether it was read from storage.
pub(super) async fn load_list(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    snapshot: &Snapshot,
    table: &Table,
) -> Result<(Arc<ManifestList>, bool)> {
    // A table upgraded from version 1 keeps its old manifest lists; their snapshots have
    // sequence number 0, which no snapshot of later versions has.
    let version = match snapshot.sequence_number() {
        0 => FormatVersion::V1,
        _ => table.metadata.format_version(),
    };
    if snapshot.encryption_key_id().is_some() {
        return Err(CatalogError::Unsupported(format!(
            "reading the encrypted table {}",
            table.name()
        )));
    }
    let list = cache.list(storage, snapshot.manifest_list(), version).await;
    list.map_err(|error| error.in_snapshot(table.name(), snapshot.snapshot_id()))
}

/// Manifests with their entries in the manifest list.
pub(super) struct LoadedManifests<'a> {
    pub(super) manifests: Vec<(&'a ManifestFile, Arc<Manifest>)>,
    /// How many of them were read from storage.
    pub(super) loaded: usize,
}

/// The given manifests in order, several read at a time. An error names the table and the snapshot
/// that is read, or the one that added the manifest.
pub(super) async fn load_manifests<'a>(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    (table, snapshot_id): (&Table, Option<i64>),
    files: Vec<&'a ManifestFile>,
) -> Result<LoadedManifests<'a>> {
    // Boxed: the compiler cannot tell otherwise that callers' futures may change threads.
    let loads = files.into_iter().map(|file| {
        let load = async move {
            let loaded = cache.manifest(storage, file).await;
            let (manifest, is_loaded) = loaded.map_err(|error| {
                let snapshot_id = snapshot_id.unwrap_or(file.added_snapshot_id);
                error.in_snapshot(table.name(), snapshot_id)
            })?;
            Ok::<_, CatalogError>((file, manifest, is_loaded))
        };
        load.boxed()
    });
    let loads: Vec<_> = loads.collect();
    let loads: Vec<_> = stream::iter(loads)
        .buffered(CONCURRENT_MANIFESTS)
        .try_collect()
        .await?;
    let loaded = loads.iter().filter(|(_, _, is_loaded)| *is_loaded).count();
    let manifests = loads
        .into_iter()
        .map(|(file, manifest, _)| (file, manifest))
        .collect();
    Ok(LoadedManifests { manifests, loaded })
}
