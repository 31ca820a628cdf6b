//! The process-wide DataFusion runtime: object stores, memory pool, spill folder, caches.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use ingot_catalog::Storage;
use object_store::ObjectStore;
use url::Url;

use crate::error::Result;

/// How many of the greediest operators an out-of-memory error names.
const CONSUMERS_IN_ERRORS: NonZeroUsize = match NonZeroUsize::new(3) {
    Some(count) => count,
    None => NonZeroUsize::MIN,
};

/// Limits of the runtime.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Memory that operators may hold before they spill, in bytes, over all queries.
    pub memory_limit_bytes: usize,
    /// Folder for spilled data; `None` is the system's temporary folder.
    pub spill_dir: Option<PathBuf>,
    /// Most bytes of spilled data on disk at one time.
    pub max_spill_bytes: u64,
    /// Memory for the footers of Parquet files, in bytes.
    pub metadata_cache_bytes: usize,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            memory_limit_bytes: 1 << 30,
            spill_dir: None,
            max_spill_bytes: 100 << 30,
            metadata_cache_bytes: 64 << 20,
        }
    }
}

/// Builds the runtime. There is one per process, shared by every session and task: so
/// there is one memory pool, one connection pool per bucket and one footer cache.
///
/// # Errors
/// When the spill folder cannot be made.
pub fn build_runtime(storage: Arc<Storage>, options: &RuntimeOptions) -> Result<Arc<RuntimeEnv>> {
    let disk_mode = match &options.spill_dir {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk_manager = DiskManagerBuilder::default()
        .with_mode(disk_mode)
        .with_max_temp_directory_size(options.max_spill_bytes);
    let pool = FairSpillPool::new(options.memory_limit_bytes);
    let tracked_pool = TrackConsumersPool::new(pool, CONSUMERS_IN_ERRORS);
    let runtime = RuntimeEnvBuilder::new()
        .with_object_store_registry(Arc::new(StorageRegistry { storage }))
        .with_memory_pool(Arc::new(tracked_pool))
        .with_disk_manager_builder(disk_manager)
        .with_metadata_cache_limit(options.metadata_cache_bytes)
        .build_arc()?;
    Ok(runtime)
}

/// Resolves every object store of DataFusion through [`Storage`].
#[derive(Debug)]
struct StorageRegistry {
    storage: Arc<Storage>,
}

impl ObjectStoreRegistry for StorageRegistry {
    /// Stores are configured in one place only: a store offered from elsewhere (DataFusion
    /// registers none by itself) is not taken.
    fn register_store(
        &self,
        _url: &Url,
        _store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> DataFusionResult<Arc<dyn ObjectStore>> {
        self.storage
            .store_for(url.as_str())
            .map(|(store, _)| store)
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::object_store::ObjectStoreUrl;
    use ingot_catalog::StorageConfig;
    use object_store::path::Path;
    use object_store::{ObjectStoreExt, PutPayload};

    #[tokio::test]
    async fn object_stores_come_from_the_storage() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(StorageConfig::default());
        let runtime = build_runtime(Arc::clone(&storage), &RuntimeOptions::default()).unwrap();
        let store = runtime
            .object_store(ObjectStoreUrl::parse("file:///").unwrap())
            .unwrap();
        let name = format!("{}/a.txt", folder.path().display());
        store
            .put(&Path::from(name.as_str()), PutPayload::from_static(b"x"))
            .await
            .unwrap();
        assert_eq!(storage.read(&name).await.unwrap(), "x");
        let error = runtime
            .object_store(ObjectStoreUrl::parse("gopher://a/").unwrap())
            .unwrap_err();
        assert!(error.to_string().contains("gopher"), "{error}");
    }
}
