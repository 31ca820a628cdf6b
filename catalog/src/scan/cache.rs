//! Parsed manifests and manifest lists, kept by path.

use std::sync::Arc;

use futures::future::BoxFuture;
use iceberg::spec::{DataFile, FormatVersion, Manifest, ManifestFile, ManifestList};
use iceberg::{Error, ErrorKind};
use moka::future::Cache;

use crate::error::{CatalogError, Result};
use crate::manifest::read_manifest;
use crate::storage::Storage;

/// What the cache holds under one path.
#[derive(Clone)]
enum Parsed {
    List(Arc<ManifestList>),
    Manifest(Arc<Manifest>),
}

/// Parsed manifests and manifest lists by their path, bounded by bytes of memory.
///
/// Both are immutable files with unique names, so nothing is ever invalidated. One cache
/// serves a whole process; concurrent scans that miss the same file read it once.
pub struct ManifestCache {
    parsed: Cache<String, (Parsed, u32)>,
}

impl std::fmt::Debug for ManifestCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ManifestCache")
            .field("entries", &self.parsed.entry_count())
            .field("bytes", &self.parsed.weighted_size())
            .finish()
    }
}

impl ManifestCache {
    /// A cache that keeps about `max_bytes` of parsed files in memory; 0 keeps nothing.
    pub fn new(max_bytes: u64) -> Self {
        let parsed = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|path: &String, (_, bytes): &(Parsed, u32)| {
                bytes.saturating_add(u32::try_from(path.len()).unwrap_or(u32::MAX))
            })
            .build();
        Self { parsed }
    }

    /// The manifest list of a snapshot; `version_one` if it was written by format version 1.
    /// The flag tells whether it was read from storage.
    ///
    /// # Errors
    /// `Storage` when it cannot be read, `Metadata` when it is corrupt.
    pub(super) async fn list(
        &self,
        storage: &Arc<Storage>,
        path: &str,
        version: FormatVersion,
    ) -> Result<(Arc<ManifestList>, bool)> {
        let load = async {
            let bytes = storage.read(path).await?;
            let owned_path = path.to_string();
            let list = off_thread(path, move || {
                ManifestList::parse_with_version(&bytes, version)
                    .map_err(|source| CatalogError::metadata(owned_path, source))
            })
            .await?;
            let size = list.entries().iter().map(list_entry_size).sum();
            Ok((Parsed::List(Arc::new(list)), saturating_u32(size)))
        };
        match self.load(path, Box::pin(load)).await? {
            (Parsed::List(list), loaded) => Ok((list, loaded)),
            (Parsed::Manifest(_), _) => Err(wrong_kind(path, "is a manifest, not a manifest list")),
        }
    }

    /// A manifest, its entries completed with what they inherit from the manifest list
    /// (snapshot id and sequence numbers). The flag tells whether it was read from storage.
    ///
    /// # Errors
    /// `Storage` when it cannot be read, `Metadata` when it is corrupt, `Unsupported`
    /// when it is encrypted.
    pub(super) async fn manifest(
        &self,
        storage: &Arc<Storage>,
        file: &ManifestFile,
    ) -> Result<(Arc<Manifest>, bool)> {
        let path = &file.manifest_path;
        if file
            .key_metadata
            .as_ref()
            .is_some_and(|key| !key.is_empty())
        {
            return Err(CatalogError::Unsupported(format!(
                "reading the encrypted manifest {path}"
            )));
        }
        let load = async {
            let bytes = storage.read(path).await?;
            let owned_file = file.clone();
            let manifest = off_thread(path, move || {
                read_manifest(&bytes, &owned_file)
                    .map_err(|source| CatalogError::metadata(&owned_file.manifest_path, source))
            })
            .await?;
            let entries = manifest.entries().iter();
            let size = entries.map(|entry| data_file_size(&entry.data_file)).sum();
            Ok((Parsed::Manifest(Arc::new(manifest)), saturating_u32(size)))
        };
        match self.load(path, Box::pin(load)).await? {
            (Parsed::Manifest(manifest), loaded) => Ok((manifest, loaded)),
            (Parsed::List(_), _) => Err(wrong_kind(path, "is a manifest list, not a manifest")),
        }
    }

    async fn load(
        &self,
        path: &str,
        load: BoxFuture<'_, Result<(Parsed, u32)>>,
    ) -> Result<(Parsed, bool)> {
        if let Some((parsed, _)) = self.parsed.get(path).await {
            return Ok((parsed, false));
        }
        // Two scans may load the same file at once: harmless, and their errors stay typed.
        let (parsed, size) = load.await?;
        self.parsed
            .insert(path.to_string(), (parsed.clone(), size))
            .await;
        Ok((parsed, true))
    }
}

/// Runs parsing where it does not hold up the async threads.
async fn off_thread<T: Send + 'static>(
    path: &str,
    parse: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(parse).await {
        Ok(parsed) => parsed,
        // A panic of the Avro reader: report the file instead of taking the process down.
        Err(error) => {
            let source = Error::new(ErrorKind::DataInvalid, format!("cannot parse it: {error}"));
            Err(CatalogError::metadata(path, source))
        }
    }
}

fn wrong_kind(path: &str, what: &str) -> CatalogError {
    CatalogError::metadata(path, Error::new(ErrorKind::DataInvalid, what.to_string()))
}

fn saturating_u32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// About the memory of one entry of a manifest list, in bytes.
fn list_entry_size(file: &ManifestFile) -> usize {
    let partitions = file.partitions.as_deref().unwrap_or_default();
    let bounds =
        |bound: &Option<_>| -> usize { bound.as_ref().map_or(0, |bytes: &_| bytes_len(bytes)) };
    let summaries = partitions.iter().map(|summary| {
        size_of_val(summary) + bounds(&summary.lower_bound) + bounds(&summary.upper_bound)
    });
    size_of::<ManifestFile>() + file.manifest_path.len() + summaries.sum::<usize>()
}

fn bytes_len(bytes: &impl AsRef<[u8]>) -> usize {
    bytes.as_ref().len()
}

/// About the memory of one manifest entry, in bytes.
fn data_file_size(file: &DataFile) -> usize {
    /// A key, its value and the hash table's own share.
    const MAP_SLOT: usize = 20;
    /// The same for a map of bounds: a value with its type.
    const BOUND_SLOT: usize = 80;
    let count_slots = file.column_sizes().len()
        + file.value_counts().len()
        + file.null_value_counts().len()
        + file.nan_value_counts().len();
    let bound_slots = file.lower_bounds().len() + file.upper_bounds().len();
    let bound_bytes = file
        .lower_bounds()
        .values()
        .chain(file.upper_bounds().values())
        .map(|bound| match bound.literal() {
            iceberg::spec::PrimitiveLiteral::String(text) => text.len(),
            iceberg::spec::PrimitiveLiteral::Binary(bytes) => bytes.len(),
            _ => 0,
        });
    size_of::<iceberg::spec::ManifestEntry>()
        + file.file_path().len()
        + file.partition().fields().len() * 56
        + file.split_offsets().map_or(0, |offsets| offsets.len() * 8)
        + count_slots * MAP_SLOT
        + bound_slots * BOUND_SLOT
        + bound_bytes.sum::<usize>()
}
