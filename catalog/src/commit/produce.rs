//! Producing one snapshot: its manifests, its manifest list and its entry in the table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestList,
    ManifestListWriter, Operation, PartitionSpecRef, SchemaRef, Snapshot, SnapshotRef,
    SnapshotReference, SnapshotRetention, TableMetadata,
};
use iceberg::{TableRequirement, TableUpdate};
use tracing::warn;
use uuid::Uuid;

use super::manifests::{ManifestContext, ManifestOptions};
use super::removal::{ReadManifests, Removal, Removing};
use super::summary::{ChangedFile, ParentFiles, summary};
use crate::error::{CatalogError, Result};
use crate::materialized_view::keep_refresh;
use crate::scan::{PartitionKey, partition_key};
use crate::storage::Storage;

/// What a snapshot does with the manifests that it takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ManifestLayout {
    /// Joins small ones when there are many.
    Merged,
    /// Writes all of them again, ordered by partition.
    Clustered,
}

/// A snapshot that adds and removes files, produced again for each attempt to commit it.
///
/// Manifests of the new files are written once: they name the snapshot, not its place
/// in the table's history. The manifest list is written for every attempt.
pub(super) struct SnapshotProducer {
    storage: Arc<Storage>,
    file_io: FileIO,
    snapshot_id: i64,
    operation: Operation,
    parent_files: ParentFiles,
    /// The branch that gets the snapshot; its newest snapshot is the parent.
    branch: String,
    files: Vec<DataFile>,
    /// What the files were written with.
    schema: SchemaRef,
    spec: PartitionSpecRef,
    summary: BTreeMap<String, String>,
    /// New delete files by partition spec.
    delete_files: Vec<(PartitionSpecRef, Vec<DataFile>)>,
    removal: Removal,
    /// Of the data files, when they hold rows that were in the table before.
    data_sequence_number: Option<i64>,
    manifest_layout: ManifestLayout,
    /// Manifests that were read to remove files from them.
    manifests: ReadManifests,
    /// Manifests of new files, and the format version that they were written for.
    added: Option<(FormatVersion, Vec<ManifestFile>)>,
    /// Every file written so far.
    written: Vec<String>,
}

/// A snapshot ready to be committed.
pub(super) struct ProducedSnapshot {
    /// Adds the snapshot and makes its branch point at it.
    pub updates: Vec<TableUpdate>,
    /// That the branch is still where it was.
    pub requirement: TableRequirement,
    /// The files that the snapshot refers to and this producer wrote.
    files: HashSet<String>,
}

impl SnapshotProducer {
    /// The snapshot's id, the same for every attempt.
    pub(super) fn snapshot_id(&self) -> i64 {
        self.snapshot_id
    }

    pub(super) fn new(
        storage: &Arc<Storage>,
        operation: Operation,
        parent_files: ParentFiles,
        files: Vec<DataFile>,
        (schema, spec): (SchemaRef, PartitionSpecRef),
        summary: BTreeMap<String, String>,
    ) -> Self {
        Self {
            storage: Arc::clone(storage),
            file_io: storage.file_io(),
            snapshot_id: new_snapshot_id(),
            operation,
            parent_files,
            branch: MAIN_BRANCH.to_string(),
            files,
            schema,
            spec,
            summary,
            delete_files: Vec::new(),
            removal: Removal::Nothing,
            data_sequence_number: None,
            manifest_layout: ManifestLayout::Merged,
            manifests: ReadManifests::default(),
            added: None,
            written: Vec::new(),
        }
    }

    /// The same snapshot, which also adds delete files, by the partition spec that they were
    /// written with, and removes files of its parent.
    pub(super) fn with_row_changes(
        mut self,
        delete_files: Vec<(PartitionSpecRef, Vec<DataFile>)>,
        removal: Removal,
    ) -> Self {
        self.delete_files = delete_files;
        self.removal = removal;
        self
    }

    /// Gives the new data files this data sequence number instead of the snapshot's: deletes that
    /// are newer apply to them.
    pub(super) fn with_data_sequence_number(mut self, sequence_number: i64) -> Self {
        self.data_sequence_number = Some(sequence_number);
        self
    }

    /// What becomes of the manifests of the parent.
    pub(super) fn with_manifest_layout(mut self, layout: ManifestLayout) -> Self {
        self.manifest_layout = layout;
        self
    }

    /// Puts the snapshot on this branch of the table instead of on `main`.
    pub(super) fn on_branch(mut self, branch: &str) -> Self {
        self.branch = branch.to_string();
        self
    }

    /// The snapshot that this one comes after.
    fn parent<'a>(&self, base: &'a TableMetadata) -> Option<&'a SnapshotRef> {
        match self.branch.as_str() {
            MAIN_BRANCH => base.current_snapshot(),
            branch => base.snapshot_for_ref(branch),
        }
    }

    /// Writes what the snapshot needs on top of `base`.
    pub(super) async fn produce(&mut self, base: &TableMetadata) -> Result<ProducedSnapshot> {
        while base.snapshot_by_id(self.snapshot_id).is_some() {
            self.snapshot_id = new_snapshot_id();
            self.added = None;
        }
        let format_version = base.format_version();
        let context = ManifestContext {
            file_io: self.file_io.clone(),
            location: base.location().trim_end_matches('/').to_string(),
            format_version,
            snapshot_id: self.snapshot_id,
            schema: Arc::clone(&self.schema),
            options: ManifestOptions::new(base.properties())?,
        };
        let written_before = self.written.len();
        let added = match self.added.take() {
            Some((written_for, manifests)) if written_for == format_version => manifests,
            _ => self.write_added(&context).await?,
        };
        let mut files: HashSet<_> = added
            .iter()
            .map(|manifest| manifest.manifest_path.clone())
            .collect();
        self.added = Some((format_version, added.clone()));

        let mut manifests = added;
        let mut removed_files = Vec::new();
        if self.parent_files == ParentFiles::Keep {
            let existing = match self.parent(base) {
                Some(parent) => self.existing_manifests(base, parent).await?,
                None => Vec::new(),
            };
            let removing = Removing {
                context: &context,
                base,
                parent_id: self.parent(base).map(|parent| parent.snapshot_id()),
                removal: &self.removal,
                added: self.added_partitions(),
            };
            let remaining = removing
                .remove_entries(existing, &mut self.manifests, &mut self.written)
                .await?;
            removed_files = remaining.removed_files;
            manifests.extend(remaining.rewritten);
            match self.manifest_layout {
                ManifestLayout::Merged => {
                    let merged = context.merge(remaining.kept, base, &mut self.written);
                    manifests.extend(merged.await?);
                }
                ManifestLayout::Clustered => {
                    let clustered = context.cluster(remaining.kept, base, &mut self.written);
                    let clustered = clustered.await?;
                    manifests.extend(clustered.manifests);
                    self.summary.extend(clustered.summary);
                }
            }
        }
        let list_path = format!(
            "{}/metadata/snap-{}-{}.avro",
            context.location,
            self.snapshot_id,
            Uuid::new_v4()
        );
        self.written.push(list_path.clone());
        let next_row_id = self.write_list(base, &list_path, manifests).await?;
        files.extend(self.written[written_before..].iter().cloned());

        let snapshot = self.snapshot(base, list_path, next_row_id, &removed_files);
        let requirement = TableRequirement::RefSnapshotIdMatch {
            r#ref: self.branch.clone(),
            snapshot_id: self.parent(base).map(|parent| parent.snapshot_id()),
        };
        let reference = SnapshotReference::new(
            self.snapshot_id,
            branch_retention(base, &self.branch)
                .unwrap_or(SnapshotRetention::branch(None, None, None)),
        );
        Ok(ProducedSnapshot {
            updates: vec![
                TableUpdate::AddSnapshot { snapshot },
                TableUpdate::SetSnapshotRef {
                    ref_name: self.branch.clone(),
                    reference,
                },
            ],
            requirement,
            files,
        })
    }

    /// The partitions of the new data files, with the sequence number that they have.
    fn added_partitions(&self) -> HashMap<PartitionKey, i64> {
        let Some(sequence_number) = self.data_sequence_number else {
            return HashMap::new();
        };
        let spec_id = self.spec.spec_id();
        let keys = self
            .files
            .iter()
            .map(|file| partition_key(spec_id, file.partition()));
        keys.map(|key| (key, sequence_number)).collect()
    }

    /// Writes the manifests of the new data and delete files.
    async fn write_added(&mut self, context: &ManifestContext) -> Result<Vec<ManifestFile>> {
        let mut manifests = Vec::new();
        let data = ManifestContentType::Data;
        if !self.files.is_empty() {
            let sequence_number = self.data_sequence_number;
            let written = &mut self.written;
            let added =
                context.write_added(data, &self.files, &self.spec, sequence_number, written);
            manifests.extend(added.await?);
        }
        let deletes = ManifestContentType::Deletes;
        for (spec, files) in &self.delete_files {
            let added = context.write_added(deletes, files, spec, None, &mut self.written);
            manifests.extend(added.await?);
        }
        Ok(manifests)
    }

    /// The manifests of the parent snapshot, without those that have nothing left in them.
    async fn existing_manifests(
        &self,
        base: &TableMetadata,
        parent: &Snapshot,
    ) -> Result<Vec<ManifestFile>> {
        let list = read_manifest_list(&self.storage, base, parent).await?;
        Ok(list
            .into_iter()
            .filter(|manifest| manifest.has_added_files() || manifest.has_existing_files())
            .collect())
    }

    /// Writes the manifest list; returns the table's next row id after it (format version 3).
    async fn write_list(
        &self,
        base: &TableMetadata,
        path: &str,
        manifests: Vec<ManifestFile>,
    ) -> Result<Option<u64>> {
        let write = async {
            let file = self.file_io.new_output(path)?.writer().await?;
            let parent_id = self.parent(base).map(|parent| parent.snapshot_id());
            let sequence_number = base.next_sequence_number();
            let mut writer = match base.format_version() {
                FormatVersion::V1 => ManifestListWriter::v1(file, self.snapshot_id, parent_id),
                FormatVersion::V2 => {
                    ManifestListWriter::v2(file, self.snapshot_id, parent_id, sequence_number)
                }
                FormatVersion::V3 => ManifestListWriter::v3(
                    file,
                    self.snapshot_id,
                    parent_id,
                    sequence_number,
                    Some(base.next_row_id()),
                ),
            };
            writer.add_manifests(manifests.into_iter())?;
            let next_row_id = writer.next_row_id();
            writer.close().await?;
            Ok(next_row_id)
        };
        write
            .await
            .map_err(|source| CatalogError::metadata(path, source))
    }

    fn snapshot(
        &self,
        base: &TableMetadata,
        manifest_list: String,
        next_row_id: Option<u64>,
        removed_files: &[ChangedFile],
    ) -> Snapshot {
        // Later than the snapshot before, whatever this machine's clock says: time travel
        // relies on the order.
        let parent = self.parent(base);
        let mut entries = self.summary.clone();
        if let (Operation::Replace, Some(parent)) = (&self.operation, parent) {
            keep_refresh(parent.summary(), &mut entries);
        }
        let before_on_main = base
            .history()
            .last()
            .map_or(0, |entry| entry.timestamp_ms() + 1);
        let before = parent.map_or(0, |parent| parent.timestamp_ms() + 1);
        let timestamp_ms = chrono::Utc::now()
            .timestamp_millis()
            .max(before)
            .max(before_on_main);
        let builder = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(parent.map(|parent| parent.snapshot_id()))
            .with_sequence_number(base.next_sequence_number())
            .with_timestamp_ms(timestamp_ms)
            .with_manifest_list(manifest_list)
            .with_summary(summary(
                self.operation.clone(),
                &self.added_files(),
                removed_files,
                parent.map(|parent| parent.as_ref()),
                self.parent_files,
                &entries,
            ))
            .with_schema_id(base.current_schema_id());
        match next_row_id {
            Some(next_row_id) => {
                let first_row_id = base.next_row_id();
                builder
                    .with_row_range(first_row_id, next_row_id.saturating_sub(first_row_id))
                    .build()
            }
            None => builder.build(),
        }
    }

    fn added_files(&self) -> Vec<ChangedFile> {
        let changed = |file: &DataFile, spec: &PartitionSpecRef| ChangedFile {
            file: file.clone(),
            schema: Arc::clone(&self.schema),
            spec: Arc::clone(spec),
        };
        let data = self.files.iter().map(|file| changed(file, &self.spec));
        let deletes = self
            .delete_files
            .iter()
            .flat_map(|(spec, files)| files.iter().map(move |file| changed(file, spec)));
        data.chain(deletes).collect()
    }

    /// Deletes the files of attempts before the one that was committed.
    pub(super) async fn keep_only(self, committed: &ProducedSnapshot) {
        let unused = self
            .written
            .into_iter()
            .filter(|path| !committed.files.contains(path))
            .collect();
        delete_quietly(&self.storage, unused).await;
    }

    /// Deletes the files of an attempt that lost a race, but not the manifests of the
    /// new data files, which the next attempt uses again.
    pub(super) async fn discard_attempt(&mut self) {
        let added: HashSet<_> = self
            .added
            .iter()
            .flat_map(|(_, manifests)| manifests)
            .map(|manifest| manifest.manifest_path.clone())
            .collect();
        let (kept, unused) = std::mem::take(&mut self.written)
            .into_iter()
            .partition(|path| added.contains(path));
        self.written = kept;
        delete_quietly(&self.storage, unused).await;
    }

    /// Deletes everything that was written. Only when no attempt can have succeeded.
    pub(super) async fn discard(self) {
        delete_quietly(&self.storage, self.written).await;
    }
}

/// Deletes metadata that nothing refers to. A failure leaves garbage and is no reason
/// to fail the statement.
async fn delete_quietly(storage: &Storage, paths: Vec<String>) {
    if let Err((count, error)) = storage.delete_all(paths).await {
        warn!(count, %error, "cannot delete unused manifests");
    }
}

/// A random positive id, as Iceberg makes them.
fn new_snapshot_id() -> i64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    ((high ^ low) & (i64::MAX as u64)) as i64
}

/// How long a branch keeps its snapshots, which a new snapshot must not reset.
fn branch_retention(base: &TableMetadata, branch: &str) -> Option<SnapshotRetention> {
    let references = crate::table::references_of(base).ok()?;
    let reference = references.get(branch)?;
    Some(reference.retention.clone())
}

/// Reads the manifests that a snapshot lists.
pub(crate) async fn read_manifest_list(
    storage: &Storage,
    metadata: &TableMetadata,
    snapshot: &Snapshot,
) -> Result<Vec<ManifestFile>> {
    let listed = parse_manifest_list(storage, metadata, snapshot).await;
    listed.map_err(|error| error.in_snapshot(metadata.location(), snapshot.snapshot_id()))
}

async fn parse_manifest_list(
    storage: &Storage,
    metadata: &TableMetadata,
    snapshot: &Snapshot,
) -> Result<Vec<ManifestFile>> {
    let path = snapshot.manifest_list();
    let content = storage.read(path).await?;
    // A table upgraded from version 1 keeps its old manifest lists.
    let version = match snapshot.sequence_number() {
        0 => FormatVersion::V1,
        _ => metadata.format_version(),
    };
    let list = ManifestList::parse_with_version(&content, version);
    let list = list.map_err(|source| CatalogError::metadata(path, source))?;
    Ok(list.consume_entries().into_iter().collect())
}
