//! Whether a change of rows still holds on top of what others committed meanwhile.
//!
//! The state that a statement read and the newest one are compared by their manifests: those
//! that both have are equal, and the entries of the others show which files came and went,
//! whatever kinds of commits brought that about.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use iceberg::expr::Predicate;
use iceberg::spec::{
    DataContentType, MAIN_BRANCH, Manifest, ManifestContentType, ManifestEntryRef, ManifestFile,
    ManifestStatus, Operation, SnapshotRef,
};

use super::produce::read_manifest_list;
use super::removal::ReadManifests;
use crate::error::{CatalogError, Result};
use crate::scan::{ConcurrentDeletes, RowFilter};
use crate::storage::Storage;
use crate::table::Table;

/// What a statement is isolated from, as Iceberg's `write.*.isolation-level` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// The outcome is one of the statements running one after the other: rows that others
    /// added meanwhile and that the statement could have changed are a conflict.
    #[default]
    Serializable,
    /// The statement works on the rows of its start snapshot: others may have added rows.
    Snapshot,
}

/// What concurrent commits must not have done. They must never have removed a file that the
/// change removes or deletes from, nor have deleted rows of it.
#[derive(Debug, Clone)]
pub struct Validation {
    /// How far others may have gone.
    pub isolation: Isolation,
    /// Every row that the statement could change fulfils it; names columns of the schema that
    /// the table had at the start.
    pub filter: Predicate,
    /// The statement also looked at rows that it could not change, in a subquery on the same
    /// table: in serializable isolation nobody may have changed any row.
    pub reads_other_rows: bool,
}

/// Validates the attempts of one commit.
pub(super) struct Validator<'a> {
    start: &'a Table,
    branch: &'a str,
    /// Data files that the change removes or deletes from.
    touched: HashSet<String>,
    validation: Option<Validation>,
    /// The partition spec of the files that come, when they keep the sequence number of those
    /// that go.
    kept_number_of_spec: Option<i32>,
    same_snapshot_only: bool,
    read: ReadManifests,
}

/// A manifest with its place in the manifest list.
type Listed = (ManifestFile, Arc<Manifest>);

impl<'a> Validator<'a> {
    pub(super) fn new(
        start: &'a Table,
        branch: &'a str,
        touched: HashSet<String>,
        validation: Option<Validation>,
    ) -> Self {
        Self {
            start,
            branch,
            touched,
            validation,
            kept_number_of_spec: None,
            same_snapshot_only: false,
            read: ReadManifests::default(),
        }
    }

    /// The files that come, all of the partition spec `spec_id`, keep the sequence number of those
    /// that go, so that equality deletes of their spec or of all partitions apply to them as well.
    pub(super) fn with_kept_sequence_number(mut self, spec_id: i32) -> Self {
        self.kept_number_of_spec = Some(spec_id);
        self
    }

    /// When `is_so`, nobody else may have made another snapshot of the branch current.
    pub(super) fn on_same_snapshot_only(mut self, is_so: bool) -> Self {
        self.same_snapshot_only = is_so;
        self
    }

    /// # Errors
    /// `CommitConflict`, naming the concurrent snapshot; errors of the metadata files.
    pub(super) async fn validate(&mut self, storage: &Arc<Storage>, newest: &Table) -> Result<()> {
        let start = self.snapshot_of(self.start);
        let snapshot = self.snapshot_of(newest);
        let id = |snapshot: Option<&SnapshotRef>| snapshot.map(|snapshot| snapshot.snapshot_id());
        if id(start) == id(snapshot) {
            return Ok(());
        }
        if self.same_snapshot_only {
            return Err(CatalogError::CommitConflict {
                table: self.start.name(),
                reason: "its rows were changed meanwhile; run the statement again".to_string(),
            });
        }
        let Some(validation) = self.validation.clone() else {
            return Ok(());
        };
        let before = manifests_of(storage, self.start, start).await?;
        let after = manifests_of(storage, newest, snapshot).await?;
        let gone = self.read(storage, difference(&before, &after)).await?;
        let come = self.read(storage, difference(&after, &before)).await?;

        let is_serializable = validation.isolation == Isolation::Serializable;
        let reads_other_rows = is_serializable && validation.reads_other_rows;
        self.check_removed_files(newest, &gone, &come, reads_other_rows)?;
        if is_serializable {
            self.check_added_rows(newest, &validation.filter, &gone, &come)?;
        }
        let deletes = self.new_deletes(newest, &gone, &come)?;
        if reads_other_rows && !deletes.is_empty() {
            return Err(self.conflict(newest, None, "deleted rows that it looked at"));
        }
        if !deletes.is_empty() && !self.touched.is_empty() {
            let all = self.read(storage, after).await?;
            self.check_new_deletes(newest, &deletes, &all)?;
        }
        Ok(())
    }

    /// The newest snapshot of the branch in a state of the table.
    fn snapshot_of<'t>(&self, table: &'t Table) -> Option<&'t SnapshotRef> {
        match self.branch {
            MAIN_BRANCH => table.metadata.current_snapshot(),
            branch => table.metadata.snapshot_for_ref(branch),
        }
    }

    async fn read(
        &mut self,
        storage: &Arc<Storage>,
        files: Vec<ManifestFile>,
    ) -> Result<Vec<Listed>> {
        let manifests = self.read.read(&storage.file_io(), &files).await?;
        Ok(files.into_iter().zip(manifests).collect())
    }

    /// No file that the change relies on has left the table; none at all, but by compaction,
    /// when the statement looked at `any_file`.
    fn check_removed_files(
        &self,
        newest: &Table,
        gone: &[Listed],
        come: &[Listed],
        any_file: bool,
    ) -> Result<()> {
        let still: HashSet<&str> = live(come, ManifestContentType::Data)
            .map(|(_, entry)| entry.file_path())
            .collect();
        let entries = come
            .iter()
            .flat_map(|(_, manifest)| manifest.entries().iter())
            .filter(|entry| entry.status() == ManifestStatus::Deleted);
        let removed_by: HashMap<&str, i64> = entries
            .filter_map(|entry| Some((entry.file_path(), entry.snapshot_id()?)))
            .collect();
        for (_, entry) in live(gone, ManifestContentType::Data) {
            let path = entry.file_path();
            if still.contains(path) {
                continue;
            }
            let removing = removed_by.get(path).copied();
            if self.touched.contains(path) {
                let what = "removed or rewrote rows that it changes";
                return Err(self.conflict(newest, removing, what));
            }
            let by_compaction = removing.is_some_and(|id| is_replace(newest, id));
            if any_file && !by_compaction {
                let what = "removed or rewrote rows that it looked at";
                return Err(self.conflict(newest, removing, what));
            }
        }
        Ok(())
    }

    /// No file has come that may hold rows that the statement could change.
    fn check_added_rows(
        &self,
        newest: &Table,
        filter: &Predicate,
        gone: &[Listed],
        come: &[Listed],
    ) -> Result<()> {
        let schema = self.start.metadata.current_schema();
        let filter = RowFilter::new(filter, schema, &newest.metadata)?;
        let known: HashSet<&str> = live(gone, ManifestContentType::Data)
            .map(|(_, entry)| entry.file_path())
            .collect();
        for (manifest, content) in come {
            if manifest.content != ManifestContentType::Data
                || !filter.may_match_manifest(manifest)?
            {
                continue;
            }
            for entry in content.entries().iter().filter(|entry| entry.is_alive()) {
                let is_new = !known.contains(entry.file_path());
                let added_by = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                if is_new
                    && !is_replace(newest, added_by)
                    && filter.may_match_file(manifest, entry.data_file())?
                {
                    let what = "added rows that it could have changed";
                    return Err(self.conflict(newest, Some(added_by), what));
                }
            }
        }
        Ok(())
    }

    /// The delete files that have come, but for those that apply to the new files as well.
    fn new_deletes<'t>(
        &self,
        newest: &'t Table,
        gone: &[Listed],
        come: &[Listed],
    ) -> Result<ConcurrentDeletes<'t>> {
        let known: HashSet<(&str, Option<i64>)> = live(gone, ManifestContentType::Deletes)
            .map(|(_, entry)| (entry.file_path(), entry.data_file().content_offset()))
            .collect();
        let mut deletes = ConcurrentDeletes::new(&newest.metadata);
        for (manifest, entry) in live(come, ManifestContentType::Deletes) {
            let content = entry.data_file().content_type();
            if content == DataContentType::EqualityDeletes
                && self.reaches_new_files(newest, manifest.partition_spec_id)
            {
                continue;
            }
            // Deletion vectors share files.
            let key = (entry.file_path(), entry.data_file().content_offset());
            if !known.contains(&key) {
                deletes.add(manifest, entry)?;
            }
        }
        Ok(deletes)
    }

    /// Whether equality deletes of a partition spec apply to the files that come as they do to
    /// those that go: those of a partitioned spec apply to files of that spec only (Iceberg
    /// specification, "Scan Planning").
    fn reaches_new_files(&self, newest: &Table, spec_id: i32) -> bool {
        self.kept_number_of_spec.is_some_and(|new_files| {
            let spec = newest.metadata.partition_spec_by_id(spec_id);
            new_files == spec_id || spec.is_some_and(|spec| spec.is_unpartitioned())
        })
    }

    fn check_new_deletes(
        &self,
        newest: &Table,
        deletes: &ConcurrentDeletes<'_>,
        all: &[Listed],
    ) -> Result<()> {
        for (manifest, entry) in live(all, ManifestContentType::Data) {
            if !self.touched.contains(entry.file_path()) {
                continue;
            }
            if let Some(path) = deletes.applying_to(manifest, entry)? {
                let added_by = live(all, ManifestContentType::Deletes)
                    .find(|(_, entry)| entry.file_path() == path)
                    .and_then(|(_, entry)| entry.snapshot_id());
                let what = "deleted rows of a file that it changes";
                return Err(self.conflict(newest, added_by, what));
            }
        }
        Ok(())
    }

    /// `snapshot_id` is the newest one when it is not known which of several it was.
    fn conflict(&self, newest: &Table, snapshot_id: Option<i64>, what: &str) -> CatalogError {
        let newest = self.snapshot_of(newest);
        let snapshot_id = snapshot_id.or(newest.map(|snapshot| snapshot.snapshot_id()));
        let snapshot = match snapshot_id {
            Some(snapshot_id) => format!("snapshot {snapshot_id}"),
            None => "a rollback".to_string(),
        };
        CatalogError::CommitConflict {
            table: self.start.name(),
            reason: format!("{snapshot} {what}; run the statement again"),
        }
    }
}

/// Whether a snapshot only rewrote rows that were there before, as compaction does.
fn is_replace(table: &Table, snapshot_id: i64) -> bool {
    let snapshot = table.metadata.snapshot_by_id(snapshot_id);
    snapshot.is_some_and(|snapshot| snapshot.summary().operation == Operation::Replace)
}

async fn manifests_of(
    storage: &Arc<Storage>,
    table: &Table,
    snapshot: Option<&SnapshotRef>,
) -> Result<Vec<ManifestFile>> {
    match snapshot {
        Some(snapshot) => read_manifest_list(storage, &table.metadata, snapshot).await,
        None => Ok(Vec::new()),
    }
}

/// The manifests of `these` that the `others` do not have.
fn difference(these: &[ManifestFile], others: &[ManifestFile]) -> Vec<ManifestFile> {
    let others: HashSet<&str> = others
        .iter()
        .map(|manifest| manifest.manifest_path.as_str())
        .collect();
    let only = these
        .iter()
        .filter(|manifest| !others.contains(manifest.manifest_path.as_str()));
    only.cloned().collect()
}

/// The live entries of the manifests of one kind.
fn live(
    manifests: &[Listed],
    content: ManifestContentType,
) -> impl Iterator<Item = (&ManifestFile, &ManifestEntryRef)> {
    manifests
        .iter()
        .filter(move |(file, _)| file.content == content)
        .flat_map(|(file, manifest)| {
            let entries = manifest.entries().iter();
            entries
                .filter(|entry| entry.is_alive())
                .map(move |entry| (file, entry))
        })
}
