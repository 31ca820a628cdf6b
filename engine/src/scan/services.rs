//! What all scans of a process share: storage, footers and deletes.

use std::sync::Arc;

use ingot_catalog::Storage;
use moka::future::Cache;
use parquet::file::metadata::ParquetMetaData;

use super::deletes::DeleteCache;
use crate::error::Result;

/// Memory for mapped footers, in bytes.
const FOOTER_CACHE_BYTES: u64 = 64 << 20;

/// Files whose modification times are remembered.
const MODIFIED_TIME_CACHE_ENTRIES: u64 = 100_000;

/// Storage and the caches of immutable things read from it. There is one per process: data
/// files, delete files and their footers never change, so nothing is ever invalidated.
pub struct ScanServices {
    storage: Arc<Storage>,
    /// Footers with the columns of one read schema, by location and mapping.
    footers: Cache<(Arc<str>, u64), Arc<ParquetMetaData>>,
    deletes: DeleteCache,
    /// Modification times of data files, in microseconds since the epoch, by location.
    modified_times: Cache<String, i64>,
}

impl std::fmt::Debug for ScanServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanServices")
            .field("footers", &self.footers.entry_count())
            .finish_non_exhaustive()
    }
}

impl ScanServices {
    /// Services over one storage, nothing cached yet.
    pub fn new(storage: Arc<Storage>) -> Arc<Self> {
        let footers = Cache::builder()
            .max_capacity(FOOTER_CACHE_BYTES)
            .weigher(|_, footer: &Arc<ParquetMetaData>| {
                u32::try_from(footer.memory_size()).unwrap_or(u32::MAX)
            })
            .build();
        Arc::new(Self {
            storage,
            footers,
            deletes: DeleteCache::new(),
            modified_times: Cache::new(MODIFIED_TIME_CACHE_ENTRIES),
        })
    }

    /// The storage.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    pub(super) fn footers(&self) -> &Cache<(Arc<str>, u64), Arc<ParquetMetaData>> {
        &self.footers
    }

    /// When a data file was written, in microseconds since the epoch.
    ///
    /// # Errors
    /// `Storage` when the object store cannot tell.
    pub(super) async fn modified_time(&self, location: &str) -> Result<i64> {
        if let Some(known) = self.modified_times.get(location).await {
            return Ok(known);
        }
        let modified = self.storage.modified_time(location).await?;
        let micros = modified.timestamp_micros();
        self.modified_times
            .insert(location.to_string(), micros)
            .await;
        Ok(micros)
    }

    pub(super) fn deletes(&self) -> &DeleteCache {
        &self.deletes
    }
}
