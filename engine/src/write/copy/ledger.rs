//! Which files were copied into a table.
//!
//! The list is a JSON file among the table's metadata. A table property names it, and the
//! commit that adds the rows sets the property: rows and list change together or not at all,
//! and neither expired snapshots nor other writers' commits touch it. Replacing the table
//! drops the property, since the rows are gone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, TableMetadata};
use ingot_catalog::commit::AppendChanges;
use ingot_catalog::{CatalogError, FileInfo, Storage, Table};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{EngineError, Result};

/// Location of the list. Begins with [`ingot_catalog::commit::CONTENT_PROPERTY_PREFIX`].
pub(super) const LEDGER_PROPERTY: &str = "ingot.content.copied-files";

/// The files of a table's `COPY INTO` statements.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    files: Vec<LedgerEntry>,
}

/// One file. A file of the same name with another size or time is another file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct LedgerEntry {
    location: String,
    size: u64,
    last_modified_ms: i64,
    /// The snapshot that has its rows.
    snapshot_id: i64,
    /// That snapshot's sequence number; `None` in format version 1, which has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence_number: Option<i64>,
}

type FileKey<'a> = (&'a str, u64, i64);

impl Ledger {
    /// The files whose rows are part of the table's current history. Files of a snapshot
    /// that was rolled back are not; those of an expired snapshot are, if it may be one of those
    /// before the oldest that is left of the history.
    pub(super) async fn load(storage: &Arc<Storage>, table: &Table) -> Result<Self> {
        let metadata = &table.metadata;
        let Some(location) = metadata.properties().get(LEDGER_PROPERTY) else {
            return Ok(Self::default());
        };
        let bytes = storage.read(location).await?;
        let mut ledger: Self =
            serde_json::from_slice(&bytes).map_err(|error| EngineError::CorruptFile {
                path: location.clone(),
                reason: error.to_string(),
            })?;
        let history = History::of(metadata);
        ledger.files.retain(|entry| {
            let has_expired = metadata.snapshot_by_id(entry.snapshot_id).is_none();
            let may_be_older = has_expired && !history.is_too_young(entry);
            may_be_older || history.snapshot_ids.contains(&entry.snapshot_id)
        });
        Ok(ledger)
    }

    /// Splits files into those to load and the number of those loaded before.
    pub(super) fn unloaded(&self, files: Vec<FileInfo>) -> (Vec<FileInfo>, usize) {
        let loaded = self.keys();
        let count = files.len();
        let new: Vec<FileInfo> = files
            .into_iter()
            .filter(|file| !loaded.contains(&key_of(file)))
            .collect();
        let skipped = count - new.len();
        (new, skipped)
    }

    fn keys(&self) -> HashSet<FileKey<'_>> {
        let keys = self.files.iter().map(|entry| {
            let location = entry.location.as_str();
            (location, entry.size, entry.last_modified_ms)
        });
        keys.collect()
    }

    /// With files whose rows are in a snapshot of this sequence number.
    fn with(mut self, files: &[FileInfo], snapshot_id: i64, sequence_number: Option<i64>) -> Self {
        let added: HashSet<FileKey<'_>> = files.iter().map(key_of).collect();
        self.files.retain(|entry| {
            let key = (entry.location.as_str(), entry.size, entry.last_modified_ms);
            !added.contains(&key)
        });
        self.files.extend(files.iter().map(|file| LedgerEntry {
            location: file.location.clone(),
            size: file.size,
            last_modified_ms: file.last_modified_ms,
            snapshot_id,
            sequence_number,
        }));
        self
    }
}

fn key_of(file: &FileInfo) -> FileKey<'_> {
    (file.location.as_str(), file.size, file.last_modified_ms)
}

/// What is left of a table's history: its current snapshot and those before it, without a gap.
struct History {
    snapshot_ids: HashSet<i64>,
    /// The sequence number of the oldest of them.
    oldest: Option<i64>,
}

impl History {
    fn of(metadata: &TableMetadata) -> Self {
        let mut history = Self {
            snapshot_ids: HashSet::new(),
            oldest: None,
        };
        let mut next = metadata.current_snapshot();
        while let Some(snapshot) = next {
            if !history.snapshot_ids.insert(snapshot.snapshot_id()) {
                break;
            }
            history.oldest = Some(snapshot.sequence_number());
            let parent = snapshot.parent_snapshot_id();
            next = parent.and_then(|parent| metadata.snapshot_by_id(parent));
        }
        history
    }

    /// Whether a file's snapshot would be there if it were part of the history, because it came
    /// after the oldest one that is left: it was rolled back before it expired.
    fn is_too_young(&self, entry: &LedgerEntry) -> bool {
        match (entry.sequence_number, self.oldest) {
            (Some(number), Some(oldest)) => number > oldest,
            _ => false,
        }
    }
}

/// Adds files to the list in the commit that adds their rows.
pub(super) struct LedgerChange {
    storage: Arc<Storage>,
    files: Vec<FileInfo>,
    /// Whether files may be loaded that were loaded before.
    force: bool,
    /// The list of the last attempt.
    written: Mutex<Option<String>>,
}

impl LedgerChange {
    pub(super) fn new(storage: Arc<Storage>, files: Vec<FileInfo>, force: bool) -> Self {
        Self {
            storage,
            files,
            force,
            written: Mutex::new(None),
        }
    }

    async fn delete_last(&self) {
        let last = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.take()
        };
        if let Some(location) = last
            && let Err(error) = self.storage.delete(&location).await
        {
            tracing::warn!(%error, "cannot delete an unused list of copied files");
        }
    }

    /// Deletes the list of an attempt that was not committed. Not for an unknown outcome.
    pub(super) async fn discard(&self) {
        self.delete_last().await;
    }
}

#[async_trait]
impl AppendChanges for LedgerChange {
    async fn updates(
        &self,
        newest: &Table,
        snapshot_id: i64,
    ) -> ingot_catalog::Result<Vec<TableUpdate>> {
        self.delete_last().await;
        let ledger = Ledger::load(&self.storage, newest)
            .await
            .map_err(|error| match error {
                EngineError::Catalog(error) => error,
                other => CatalogError::InvalidInput(other.to_string()),
            })?;
        let (unloaded, _) = ledger.unloaded(self.files.clone());
        if !self.force && unloaded.len() < self.files.len() {
            return Err(CatalogError::CommitConflict {
                table: newest.name(),
                reason: "another statement copied the same files meanwhile".to_string(),
            });
        }
        // The snapshot is made from the same state.
        let sequence_number = match newest.metadata.format_version() {
            FormatVersion::V1 => None,
            _ => Some(newest.metadata.next_sequence_number()),
        };
        let ledger = ledger.with(&self.files, snapshot_id, sequence_number);
        let folder = newest.metadata.location().trim_end_matches('/');
        let location = format!("{folder}/metadata/{}-copied-files.json", Uuid::new_v4());
        let bytes = serde_json::to_vec(&ledger)
            .map_err(|error| CatalogError::InvalidInput(format!("copied files: {error}")))?;
        self.storage.write_new(&location, bytes.into()).await?;
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(location.clone());
        Ok(vec![TableUpdate::SetProperties {
            updates: [(LEDGER_PROPERTY.to_string(), location)].into(),
        }])
    }
}
