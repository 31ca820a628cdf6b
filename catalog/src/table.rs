//! One loaded table and the versions of it that can be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::{
    MAIN_BRANCH, SchemaRef, SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata,
    TableMetadataRef,
};

use crate::error::{CatalogError, Result};

/// How many branches and tags a message lists.
const MAX_LISTED_REFERENCES: usize = 8;

/// A table as the catalog knew it at one moment.
#[derive(Debug, Clone)]
pub struct Table {
    /// Schema and name within its catalog.
    pub ident: TableIdent,
    /// The table metadata, immutable.
    pub metadata: TableMetadataRef,
    /// Where that metadata is stored; `None` for a table that is staged and not yet committed.
    pub metadata_location: Option<String>,
}

/// Which state of a table to read (`FOR VERSION AS OF`, `FOR TIMESTAMP AS OF`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TableVersion {
    /// The current state of the main branch.
    Current,
    /// A snapshot by its id.
    SnapshotId(i64),
    /// A branch or tag of the table by its name.
    Reference(String),
    /// The newest main-branch state at or before this time, in milliseconds since the epoch.
    TimestampMillis(i64),
}

impl Table {
    /// `schema.table`, as error messages write it.
    pub fn name(&self) -> String {
        ident_name(&self.ident)
    }

    /// The snapshot that holds the rows of a version; `None` when the table had no
    /// rows yet, which only the current state (or branch `main`) of a table that was
    /// never written can be.
    ///
    /// By time, it is what was current on `main` at that time, by the table's
    /// snapshot log: a snapshot that was rolled back counts for as long as it was
    /// current, and one written to another branch does not count.
    ///
    /// # Errors
    /// `VersionNotFound` when there is no such snapshot, branch or tag, when the time
    /// is before the log begins, and when the snapshot has expired.
    pub fn snapshot_at(&self, version: &TableVersion) -> Result<Option<SnapshotRef>> {
        let metadata = &self.metadata;
        match version {
            TableVersion::Current => Ok(metadata.current_snapshot().cloned()),
            TableVersion::SnapshotId(snapshot_id) => self.snapshot(*snapshot_id).map(Some),
            TableVersion::Reference(name) => match metadata.snapshot_for_ref(name) {
                Some(snapshot) => Ok(Some(Arc::clone(snapshot))),
                None if name == MAIN_BRANCH => Ok(metadata.current_snapshot().cloned()),
                None => Err(self.version_not_found(format!(
                    "branch or tag {name:?}{}",
                    self.references_near(name, |_| true)
                ))),
            },
            TableVersion::TimestampMillis(timestamp_ms) => {
                // The log is in commit order; like Iceberg's own readers, take the last
                // entry that is not later, even if clocks made the log go backwards.
                let entry = metadata
                    .history()
                    .iter()
                    .rfind(|entry| entry.timestamp_ms <= *timestamp_ms);
                match entry {
                    Some(entry) => self.snapshot(entry.snapshot_id).map(Some),
                    None => Err(self.version_not_found(format!(
                        "snapshot at or before {}{}",
                        format_millis(*timestamp_ms),
                        match metadata.history().first() {
                            Some(first) => format!(
                                " (its history begins at {})",
                                format_millis(first.timestamp_ms)
                            ),
                            None => " (it was never written)".to_string(),
                        }
                    ))),
                }
            }
        }
    }

    fn snapshot(&self, snapshot_id: i64) -> Result<SnapshotRef> {
        self.metadata
            .snapshot_by_id(snapshot_id)
            .cloned()
            .ok_or_else(|| self.version_not_found(format!("snapshot {snapshot_id}")))
    }

    fn version_not_found(&self, what: String) -> CatalogError {
        CatalogError::VersionNotFound {
            table: self.name(),
            what,
        }
    }

    /// The branches and tags that somebody may have meant who wrote `name`, nearest first, as
    /// the end of a message.
    pub(crate) fn references_near(
        &self,
        name: &str,
        is_wanted: impl Fn(&SnapshotReference) -> bool,
    ) -> String {
        let references = self.references().unwrap_or_default();
        let wanted = references
            .iter()
            .filter(|(_, reference)| is_wanted(reference));
        let mut names: Vec<&str> = wanted.map(|(name, _)| name.as_str()).collect();
        names.sort_by_key(|known| (strsim::damerau_levenshtein(known, name), *known));
        names.truncate(MAX_LISTED_REFERENCES);
        match names.as_slice() {
            [] => String::new(),
            names => format!(" (there is {})", names.join(", ")),
        }
    }

    /// The schema that a version is read with: the current one for the current state
    /// and for branches (it is what the next write to them will have), the snapshot's
    /// own for a snapshot id, a tag or a time. These are Iceberg's rules.
    ///
    /// # Errors
    /// Those of [`Table::snapshot_at`], and `Metadata` when the metadata lacks the
    /// snapshot's schema.
    pub fn schema_at(&self, version: &TableVersion) -> Result<SchemaRef> {
        let snapshot = self.snapshot_at(version)?;
        let is_branch = match version {
            TableVersion::Current => true,
            TableVersion::Reference(name) => self.is_branch(name)?,
            TableVersion::SnapshotId(_) | TableVersion::TimestampMillis(_) => false,
        };
        match snapshot {
            Some(snapshot) if !is_branch => snapshot
                .schema(&self.metadata)
                .map_err(|source| CatalogError::metadata(self.metadata_path(), source)),
            _ => Ok(Arc::clone(self.metadata.current_schema())),
        }
    }

    /// The table's branches and tags by name, `main` included once the table has a snapshot.
    ///
    /// # Errors
    /// `Metadata` when the metadata cannot be written as JSON, which is where this
    /// reads them from: `iceberg` 0.10.1 offers only a look-up by name.
    pub fn references(&self) -> Result<BTreeMap<String, SnapshotReference>> {
        references_of(&self.metadata)
            .map_err(|source| CatalogError::metadata(self.metadata_path(), source))
    }

    /// Whether `name` is a branch of the table (`main` always is) and not a tag.
    fn is_branch(&self, name: &str) -> Result<bool> {
        if name == MAIN_BRANCH {
            return Ok(true);
        }
        Ok(self
            .references()?
            .get(name)
            .is_some_and(SnapshotReference::is_branch))
    }

    /// Where the metadata is, for error messages.
    fn metadata_path(&self) -> String {
        self.metadata_location
            .clone()
            .unwrap_or_else(|| self.name())
    }
}

/// See [`Table::references`].
pub(crate) fn references_of(
    metadata: &TableMetadata,
) -> iceberg::Result<BTreeMap<String, SnapshotReference>> {
    let mut json = serde_json::to_value(metadata)?;
    let mut references: BTreeMap<_, _> = match json.get_mut("refs") {
        Some(references) => serde_json::from_value(references.take())?,
        None => BTreeMap::new(),
    };
    // Format version 1 does not write references: its one branch is implied.
    if let Some(snapshot_id) = metadata.current_snapshot_id() {
        references
            .entry(MAIN_BRANCH.to_string())
            .or_insert_with(|| {
                let retention = SnapshotRetention::branch(None, None, None);
                SnapshotReference::new(snapshot_id, retention)
            });
    }
    Ok(references)
}

/// `schema.table`, as error messages write it.
pub fn ident_name(ident: &TableIdent) -> String {
    format!("{}.{}", ident.namespace().as_ref().join("."), ident.name())
}

/// The folder of the table or view whose metadata file this is, by the layout of Iceberg's own
/// writers; `None` for a file that is in no folder `metadata`.
pub(crate) fn object_folder(metadata_location: &str) -> Option<&str> {
    let (folder, _) = metadata_location.rsplit_once('/')?;
    folder.strip_suffix("/metadata")
}

/// The schema's part of a table's name. Namespaces have one level.
pub(crate) fn schema_of(ident: &TableIdent) -> Result<&str> {
    match ident.namespace().as_ref().as_slice() {
        [schema] => Ok(schema),
        _ => Err(CatalogError::InvalidInput(format!(
            "table name {} must be schema.table",
            ident_name(ident)
        ))),
    }
}

/// A time as error messages write it: UTC, to the millisecond.
pub(crate) fn format_millis(timestamp_ms: i64) -> String {
    match chrono::DateTime::from_timestamp_millis(timestamp_ms) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string(),
        None => format!("{timestamp_ms} ms"),
    }
}
