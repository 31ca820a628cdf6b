//! What scan planning knows, for commits: whether files that others committed meanwhile
//! could hold rows that a statement was about, and whether their deletes apply to its files.

use std::sync::Arc;

use iceberg::expr::Predicate;
use iceberg::spec::{DataFile, ManifestEntry, ManifestFile, SchemaRef, TableMetadata};

use super::deletes::DeleteIndex;
use super::files::{Specs, sequence_number};
use super::filter::Filter;
use super::prune::{file_may_match, manifest_may_match};
use crate::error::Result;

/// The rows that a statement is about, as far as files can tell.
pub(crate) struct RowFilter<'a> {
    filter: Filter,
    specs: Specs<'a>,
}

impl<'a> RowFilter<'a> {
    /// The rows that may fulfil `predicate`, which names columns of `schema`.
    ///
    /// # Errors
    /// `InvalidInput` when it names a column that the schema does not have.
    pub(crate) fn new(
        predicate: &Predicate,
        schema: &'a SchemaRef,
        metadata: &'a TableMetadata,
    ) -> Result<Self> {
        Ok(Self {
            filter: Filter::bind(predicate, schema)?,
            specs: Specs::new(metadata, schema),
        })
    }

    /// Whether a manifest may list a file with such rows.
    ///
    /// # Errors
    /// `Metadata` when the table does not have the manifest's partition spec.
    pub(crate) fn may_match_manifest(&self, manifest: &ManifestFile) -> Result<bool> {
        let resolved = self.specs.of_manifest(manifest)?;
        Ok(manifest_may_match(&self.filter, manifest, &resolved))
    }

    /// Whether a data file that `manifest` lists may hold such rows.
    ///
    /// # Errors
    /// As [`RowFilter::may_match_manifest`].
    pub(crate) fn may_match_file(&self, manifest: &ManifestFile, file: &DataFile) -> Result<bool> {
        let resolved = self.specs.of_manifest(manifest)?;
        Ok(file_may_match(&self.filter, file, &resolved))
    }
}

/// Delete files that others added meanwhile.
pub(crate) struct ConcurrentDeletes<'a> {
    index: DeleteIndex,
    specs: Specs<'a>,
}

impl<'a> ConcurrentDeletes<'a> {
    pub(crate) fn new(metadata: &'a TableMetadata) -> Self {
        Self {
            index: DeleteIndex::default(),
            specs: Specs::new(metadata, metadata.current_schema()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Adds a live entry of a delete manifest.
    ///
    /// # Errors
    /// `Metadata` when the entry cannot be right.
    pub(crate) fn add(&mut self, manifest: &ManifestFile, entry: &ManifestEntry) -> Result<()> {
        let resolved = self.specs.of_manifest(manifest)?;
        self.index.add(manifest, entry, &resolved)
    }

    /// The path of a delete file that applies to a data file.
    ///
    /// # Errors
    /// `Metadata` when the entry cannot be right.
    pub(crate) fn applying_to(
        &self,
        manifest: &ManifestFile,
        entry: &Arc<ManifestEntry>,
    ) -> Result<Option<String>> {
        let resolved = self.specs.of_manifest(manifest)?;
        let sequence_number = sequence_number(manifest, entry)?;
        let deletes = self
            .index
            .deletes_of(entry.data_file(), &resolved, sequence_number);
        Ok(deletes.into_iter().next().map(|delete| delete.path))
    }
}
