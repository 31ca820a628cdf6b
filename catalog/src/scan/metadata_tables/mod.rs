//! What a table knows about itself, as rows: `"t$snapshots"`, `"t$files"` and the like, with
//! the columns that Trino's Iceberg connector documents.
//!
//! Schemas and values are Iceberg's own, so that one conversion to the engine's format
//! serves all of them. Their field ids are only unique within each schema.

mod columns;
mod from_manifests;
mod from_metadata;
mod text;

use std::sync::Arc;

use iceberg::spec::{Literal, SchemaRef};

use super::ManifestCache;
use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::{Table, TableVersion};

pub use text::value_text;

/// Which metadata table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataTableKind {
    /// Every snapshot that has not expired.
    Snapshots,
    /// What was current on the main branch, and when.
    History,
    /// Data and delete files of one version.
    Files,
    /// Manifests of one version.
    Manifests,
    /// Partitions of one version, with totals and, per column, bounds and null counts.
    Partitions,
    /// Branches and tags.
    Refs,
    /// Manifest entries of one version, deleted ones included.
    Entries,
    /// Table properties.
    Properties,
    /// Metadata files of the table, up to the current one.
    MetadataLogEntries,
    /// Manifests of every snapshot: one row for each snapshot that has the manifest.
    AllManifests,
    /// Entries of the manifests of all snapshots, each manifest once.
    AllEntries,
}

impl MetadataTableKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Snapshots,
        Self::History,
        Self::Files,
        Self::Manifests,
        Self::Partitions,
        Self::Refs,
        Self::Entries,
        Self::Properties,
        Self::MetadataLogEntries,
        Self::AllManifests,
        Self::AllEntries,
    ];

    /// The part after the `$`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::History => "history",
            Self::Files => "files",
            Self::Manifests => "manifests",
            Self::Partitions => "partitions",
            Self::Refs => "refs",
            Self::Entries => "entries",
            Self::Properties => "properties",
            Self::MetadataLogEntries => "metadata_log_entries",
            Self::AllManifests => "all_manifests",
            Self::AllEntries => "all_entries",
        }
    }

    /// By the part after the `$`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether its rows depend on the version read; the others describe the whole table.
    pub fn depends_on_version(self) -> bool {
        matches!(
            self,
            Self::Files | Self::Manifests | Self::Partitions | Self::Entries
        )
    }
}

/// Rows of a metadata table.
#[derive(Debug, Clone)]
pub struct MetadataRows {
    /// Its columns.
    pub schema: SchemaRef,
    /// Values in the order of the columns; `None` is null.
    pub rows: Vec<Vec<Option<Literal>>>,
}

/// The columns of a metadata table. For `Files`, `Partitions`, `Entries` and `AllEntries` they
/// depend on the table's partitioning and columns.
///
/// # Errors
/// `Metadata` when the table metadata is inconsistent.
pub fn metadata_table_schema(table: &Table, kind: MetadataTableKind) -> Result<SchemaRef> {
    let columns = match kind {
        MetadataTableKind::Snapshots => from_metadata::snapshots_columns(),
        MetadataTableKind::History => from_metadata::history_columns(),
        MetadataTableKind::Refs => from_metadata::refs_columns(),
        MetadataTableKind::Properties => from_metadata::properties_columns(),
        MetadataTableKind::MetadataLogEntries => from_metadata::metadata_log_columns(),
        MetadataTableKind::Manifests => from_manifests::manifests_columns(),
        MetadataTableKind::AllManifests => from_manifests::all_manifests_columns(),
        MetadataTableKind::Files => from_manifests::files_columns(table),
        MetadataTableKind::Entries | MetadataTableKind::AllEntries => {
            from_manifests::entries_columns(table)
        }
        MetadataTableKind::Partitions => from_manifests::partitions_columns(table),
    };
    let schema = columns::schema_of(columns);
    schema.map(Arc::new).map_err(|source| {
        CatalogError::metadata(format!("{}${}", table.name(), kind.name()), source)
    })
}

/// The rows of a metadata table. `version` says which state of the table `Files`,
/// `Manifests`, `Partitions` and `Entries` describe; the others describe the whole table
/// and take only the current version.
///
/// # Errors
/// `VersionNotFound` for an unknown version, `Unsupported` for a version of a metadata
/// table that has none, `Storage` and `Metadata` when manifests cannot be read.
pub async fn metadata_table_rows(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    kind: MetadataTableKind,
    version: &TableVersion,
) -> Result<MetadataRows> {
    if *version != TableVersion::Current && !kind.depends_on_version() {
        return Err(CatalogError::Unsupported(format!(
            "time travel on {}${}, which describes all versions of the table,",
            table.name(),
            kind.name()
        )));
    }
    let rows = match kind {
        MetadataTableKind::Snapshots => from_metadata::snapshots(table),
        MetadataTableKind::History => from_metadata::history(table),
        MetadataTableKind::Refs => from_metadata::refs(table)?,
        MetadataTableKind::Properties => from_metadata::properties(table),
        MetadataTableKind::MetadataLogEntries => from_metadata::metadata_log(table),
        MetadataTableKind::Manifests => {
            from_manifests::manifests(storage, cache, table, version).await?
        }
        MetadataTableKind::Files => from_manifests::files(storage, cache, table, version).await?,
        MetadataTableKind::Entries => {
            from_manifests::entries(storage, cache, table, version).await?
        }
        MetadataTableKind::Partitions => {
            from_manifests::partitions(storage, cache, table, version).await?
        }
        MetadataTableKind::AllManifests => {
            from_manifests::all_manifests(storage, cache, table).await?
        }
        MetadataTableKind::AllEntries => from_manifests::all_entries(storage, cache, table).await?,
    };
    Ok(MetadataRows {
        schema: metadata_table_schema(table, kind)?,
        rows,
    })
}
