//! Removing files from the manifests of a snapshot's parent.
//!
//! A manifest with a removed file is written again: the file's entry becomes one of status
//! deleted that names the removing snapshot and keeps the file's sequence numbers, the others
//! stay as they were (Iceberg specification, "Manifests"). Every other manifest is kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, Manifest, ManifestContentType, ManifestEntry, ManifestFile, Struct,
    TableMetadata,
};
use iceberg::{Error, ErrorKind};

use super::dangling::RemainingData;
use super::entries::with_first_row_id;
use super::manifests::{ManifestContext, load_manifest};
use super::summary::ChangedFile;
use crate::error::{CatalogError, Result};
use crate::scan::{PartitionKey, first_row_ids, only_data_file, partition_key};

/// How many manifests to read at once.
const CONCURRENT_READS: usize = 8;

/// Which files of its parent a snapshot removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Removal {
    /// None.
    #[default]
    Nothing,
    /// These data files, by path, and the delete files that delete only from one of them.
    Files(HashSet<String>),
    /// The delete files that delete only from one of these data files, which stay: a deletion
    /// vector takes the place of what was there before.
    DeletesOf(HashSet<String>),
    /// These data files, whose rows are in the files that the snapshot adds, and every delete
    /// file that applies to no data file any more.
    Rewritten(HashSet<String>),
    /// Every file in these partitions of one partition spec, whenever it was added.
    Partitions(Partitions),
    /// Every file, whenever it was added.
    All,
}

/// Partitions of one partition spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitions {
    spec_id: i32,
    keys: HashSet<PartitionKey>,
}

impl Partitions {
    /// The partitions of these data files, all of them written with the spec of this id.
    pub fn of_files<'a>(spec_id: i32, files: impl IntoIterator<Item = &'a DataFile>) -> Self {
        let partitions = files.into_iter().map(DataFile::partition);
        Self {
            spec_id,
            keys: partitions
                .map(|partition| partition_key(spec_id, partition))
                .collect(),
        }
    }

    fn contains(&self, spec_id: i32, partition: &Struct) -> bool {
        spec_id == self.spec_id && self.keys.contains(&partition_key(spec_id, partition))
    }
}

impl Removal {
    /// Whether it removes files at all.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Files(paths) | Self::DeletesOf(paths) | Self::Rewritten(paths) => {
                paths.is_empty()
            }
            Self::Partitions(partitions) => partitions.keys.is_empty(),
            Self::All => false,
        }
    }

    /// Whether a manifest has to be read to know whether something in it is removed.
    fn may_remove_from(&self, manifest: &ManifestFile) -> bool {
        match self {
            Self::Nothing => false,
            Self::Files(_) | Self::Rewritten(_) | Self::All => true,
            Self::DeletesOf(_) => manifest.content == ManifestContentType::Deletes,
            Self::Partitions(partitions) => manifest.partition_spec_id == partitions.spec_id,
        }
    }

    fn removes(
        &self,
        manifest: &ManifestFile,
        entry: &ManifestEntry,
        remaining: &RemainingData,
    ) -> bool {
        let file = entry.data_file();
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Partitions(partitions) => {
                partitions.contains(manifest.partition_spec_id, file.partition())
            }
            Self::Rewritten(paths) => match file.content_type() {
                DataContentType::Data => paths.contains(file.file_path()),
                _ => remaining.is_dangling(manifest, entry),
            },
            Self::DeletesOf(paths) => match file.content_type() {
                DataContentType::PositionDeletes => {
                    only_data_file(file).is_some_and(|path| paths.contains(&path))
                }
                DataContentType::Data | DataContentType::EqualityDeletes => false,
            },
            Self::Files(paths) => match file.content_type() {
                DataContentType::Data => paths.contains(file.file_path()),
                DataContentType::PositionDeletes => {
                    only_data_file(file).is_some_and(|path| paths.contains(&path))
                }
                DataContentType::EqualityDeletes => false,
            },
        }
    }
}

/// Manifests that were read for a commit, kept for its next attempt.
#[derive(Debug, Default)]
pub(super) struct ReadManifests {
    by_path: HashMap<String, Arc<Manifest>>,
}

impl ReadManifests {
    /// The given manifests in order, several read at a time.
    pub(super) async fn read(
        &mut self,
        file_io: &FileIO,
        files: &[ManifestFile],
    ) -> Result<Vec<Arc<Manifest>>> {
        let missing = files
            .iter()
            .filter(|file| !self.by_path.contains_key(&file.manifest_path));
        let reads: Vec<_> = missing.map(|file| load_entry(file_io, file)).collect();
        let read: Vec<_> = futures::stream::iter(reads)
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await?;
        self.by_path.extend(read);
        let wanted = files.iter().map(|file| {
            self.by_path
                .get(&file.manifest_path)
                .cloned()
                .ok_or_else(|| {
                    let source = Error::new(ErrorKind::Unexpected, "it was not read");
                    CatalogError::metadata(&file.manifest_path, source)
                })
        });
        wanted.collect()
    }
}

async fn load_entry(file_io: &FileIO, file: &ManifestFile) -> Result<(String, Arc<Manifest>)> {
    let manifest = load_manifest(file_io, file).await?;
    Ok((file.manifest_path.clone(), Arc::new(manifest)))
}

/// The manifests of a parent snapshot after a removal.
pub(super) struct Remaining {
    /// Those without a removed file.
    pub kept: Vec<ManifestFile>,
    /// Those written again.
    pub rewritten: Vec<ManifestFile>,
    /// What was removed.
    pub removed_files: Vec<ChangedFile>,
}

/// The removal of files from the manifests of the parent snapshot of `base`.
pub(super) struct Removing<'a> {
    pub context: &'a ManifestContext,
    pub base: &'a TableMetadata,
    /// The parent, if there is one.
    pub parent_id: Option<i64>,
    pub removal: &'a Removal,
    /// Partitions of the data files that take the place of rewritten ones, with the lowest
    /// sequence number of these.
    pub added: HashMap<PartitionKey, i64>,
}

impl Removing<'_> {
    /// Adds the path of each manifest to `written` before writing it.
    ///
    /// # Errors
    /// `CommitConflict` when a file that [`Removal::Files`] or [`Removal::Rewritten`] names is
    /// not there any more.
    pub(super) async fn remove_entries(
        self,
        manifests: Vec<ManifestFile>,
        read: &mut ReadManifests,
        written: &mut Vec<String>,
    ) -> Result<Remaining> {
        let Self {
            context,
            base,
            parent_id,
            removal,
            added,
        } = self;
        let (candidates, mut kept): (Vec<_>, Vec<_>) = manifests
            .into_iter()
            .partition(|manifest| removal.may_remove_from(manifest));
        let contents = read.read(&context.file_io, &candidates).await;
        let contents = contents.map_err(|error| match parent_id {
            Some(parent_id) => error.in_snapshot(base.location(), parent_id),
            None => error,
        })?;
        let remaining = match removal {
            Removal::Rewritten(paths) => {
                let listed = candidates.iter().zip(&contents);
                RemainingData::after(listed, paths, added, base)
            }
            _ => RemainingData::default(),
        };
        let mut rewritten = Vec::new();
        let mut removed_files: Vec<ChangedFile> = Vec::new();
        for (file, manifest) in candidates.into_iter().zip(contents) {
            let is_removed = |entry: &ManifestEntry| removal.removes(&file, entry, &remaining);
            let mut alive = manifest.entries().iter().filter(|entry| entry.is_alive());
            if !alive.any(|entry| is_removed(entry)) {
                kept.push(file);
                continue;
            }
            let rewrite = Rewrite {
                context,
                base,
                file: &file,
                manifest: &manifest,
            };
            let manifest = rewrite.write(is_removed, written, &mut removed_files);
            rewritten.push(manifest.await?);
        }
        if let Removal::Files(paths) | Removal::Rewritten(paths) = removal {
            check_all_found(base, paths, &removed_files)?;
        }
        Ok(Remaining {
            kept,
            rewritten,
            removed_files,
        })
    }
}

fn check_all_found(
    base: &TableMetadata,
    paths: &HashSet<String>,
    removed_files: &[ChangedFile],
) -> Result<()> {
    let found: HashSet<&str> = removed_files
        .iter()
        .map(|removed| removed.file.file_path())
        .collect();
    match paths.iter().find(|path| !found.contains(path.as_str())) {
        None => Ok(()),
        Some(missing) => Err(CatalogError::CommitConflict {
            table: base.location().to_string(),
            reason: format!("file {missing} is no longer in the table; run the statement again"),
        }),
    }
}

/// One manifest that loses entries.
struct Rewrite<'a> {
    context: &'a ManifestContext,
    base: &'a TableMetadata,
    file: &'a ManifestFile,
    manifest: &'a Manifest,
}

impl Rewrite<'_> {
    async fn write(
        &self,
        is_removed: impl Fn(&ManifestEntry) -> bool,
        written: &mut Vec<String>,
        removed_files: &mut Vec<ChangedFile>,
    ) -> Result<ManifestFile> {
        let failed = |source| CatalogError::metadata(&self.file.manifest_path, source);
        let spec_id = self.file.partition_spec_id;
        let spec = self.base.partition_spec_by_id(spec_id).ok_or_else(|| {
            let message = format!("has partition spec {spec_id}, which the table does not have");
            failed(Error::new(ErrorKind::DataInvalid, message))
        })?;
        // The schema that it was written with: the current one may lack a column that the
        // spec is about.
        let schema = &self.manifest.metadata().schema;
        let (path, mut writer) = self.context.writer(self.file.content, schema, spec)?;
        let first_row_ids = first_row_ids(self.file, self.manifest);
        for (entry, first_row_id) in self.manifest.entries().iter().zip(first_row_ids) {
            if !entry.is_alive() {
                continue;
            }
            let file = with_first_row_id(self.file, entry.data_file(), first_row_id)?;
            let inherited = self.file.sequence_number;
            let sequence_number = entry.sequence_number().unwrap_or(inherited);
            let file_sequence_number = Some(entry.file_sequence_number.unwrap_or(inherited));
            if is_removed(entry) {
                removed_files.push(ChangedFile {
                    file: file.clone(),
                    schema: Arc::clone(schema),
                    spec: Arc::clone(spec),
                });
                writer
                    .add_delete_file(file, sequence_number, file_sequence_number)
                    .map_err(failed)?;
                continue;
            }
            let snapshot_id = entry.snapshot_id().unwrap_or(self.file.added_snapshot_id);
            writer
                .add_existing_file(file, snapshot_id, sequence_number, file_sequence_number)
                .map_err(failed)?;
        }
        written.push(path.clone());
        let manifest = writer.write_manifest_file().await;
        manifest.map_err(|source| CatalogError::metadata(path, source))
    }
}
