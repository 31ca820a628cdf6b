//! Object stores by location, shared by table metadata and table data.
//!
//! One [`Storage`] per process serves every file that Ingot touches: catalog
//! metadata through [`Storage::file_io`], data files through
//! [`Storage::store_for`]. So there is one S3 configuration, one credential path
//! and one connection pool per bucket.

mod access;
mod allowed;
mod granted;
mod iceberg_io;
mod location;
mod s3;
mod unfinished;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use iceberg::io::{FileIO, FileIOBuilder};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::error::{CatalogError, Result};

use granted::GrantedBucket;
use unfinished::{delete_unfinished, list_unfinished, unfinished_file};

pub use access::{AccessRenewal, StorageAccess};
pub use location::{Location, Scheme};
pub use s3::S3Config;

/// Where files can live and with which credentials.
#[derive(Debug, Clone, Default)]
pub struct StorageConfig {
    /// How to reach S3-compatible storage.
    pub s3: S3Config,
    /// Local folders whose files statements may name; `None` is all of them. See
    /// [`Storage::check_allowed`].
    pub allowed_folders: Option<Vec<PathBuf>>,
}

/// A file as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Full location, in the spelling of the listed prefix (`s3://…`, `file:///…` or a bare path).
    pub location: String,
    /// Size in bytes.
    pub size: u64,
    /// Last modification, in milliseconds since the epoch.
    pub last_modified_ms: i64,
}

/// All object stores of this process, opened on demand and kept, one per bucket
/// and one for the local file system.
pub struct Storage {
    config: StorageConfig,
    stores: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    /// Buckets with temporary credentials for some of their folders, by name.
    granted: Mutex<HashMap<String, GrantedBucket>>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// Storage with this configuration. Opens nothing yet.
    pub fn new(config: StorageConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            stores: Mutex::new(HashMap::new()),
            granted: Mutex::new(HashMap::new()),
        })
    }

    /// The configuration, for handing the same access to another process.
    pub fn config(&self) -> &StorageConfig {
        &self.config
    }

    /// The store that holds `location`, and the path within it.
    ///
    /// Understands `file:///…`, bare absolute paths, `s3://bucket/key` and its
    /// synonyms `s3a://` and `s3n://`. Paths are taken literally: a `%20` in a
    /// location is those three characters in the file's name, as for every other
    /// Iceberg reader.
    ///
    /// # Errors
    /// `InvalidInput` for another scheme, a relative path, `.` or `..` segments, or
    /// an S3 configuration that cannot work.
    pub fn store_for(&self, location: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let parsed = Location::parse(location)?;
        let store = self.store(&parsed, location)?;
        Ok((store, parsed.path))
    }

    /// Uses `store` for every location that is in the same bucket as `location` (or on
    /// the local file system, as it is), instead of opening one: for stores that need
    /// more than the configuration says, and for tests that inject failures.
    pub fn register_store(&self, location: &str, store: Arc<dyn ObjectStore>) -> Result<()> {
        let parsed = Location::parse(location)?;
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.insert(parsed.store_key(), store);
        Ok(())
    }

    /// Uses temporary credentials for all files of a folder from now on, in the place of those
    /// of the configuration or of earlier ones. They are renewed before they end if `renewal` says
    /// how.
    ///
    /// # Errors
    /// `InvalidInput` for a location that is not in S3; `Storage` when its client cannot be made.
    pub fn grant(
        &self,
        access: StorageAccess,
        renewal: Option<Arc<dyn AccessRenewal>>,
    ) -> Result<()> {
        let parsed = Location::parse(&access.location)?;
        let Scheme::S3 { bucket } = &parsed.scheme else {
            return Err(CatalogError::InvalidInput(format!(
                "credentials for {}, which is not in s3, cannot be used",
                access.location
            )));
        };
        let key = parsed.store_key();
        let bucket = {
            let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
            let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
            let known = granted.entry(bucket.clone()).or_insert_with(|| {
                GrantedBucket::new(bucket, self.config.s3.clone(), stores.get(&key).cloned())
            });
            known.clone()
        };
        let location = access.location.clone();
        bucket
            .grant(parsed.path, access, renewal)
            .map_err(|source| self.error("open", &location, source))
    }

    /// The temporary credentials with which this process reaches these locations, for another one
    /// that is to do so. None for those that it reaches by its configuration.
    pub fn accesses<'a>(&self, locations: impl IntoIterator<Item = &'a str>) -> Vec<StorageAccess> {
        let granted = self
            .granted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if granted.is_empty() {
            return Vec::new();
        }
        let mut found = BTreeMap::new();
        for location in locations {
            let Ok(parsed) = Location::parse(location) else {
                continue;
            };
            let Scheme::S3 { bucket } = &parsed.scheme else {
                continue;
            };
            let bucket = granted.get(bucket);
            if let Some(grant) = bucket.and_then(|bucket| bucket.grant_of(&parsed.path)) {
                grant.renew_in_background();
                let access = grant.access();
                found.insert(access.location.clone(), access);
            }
        }
        found.into_values().collect()
    }

    fn granted_bucket(&self, parsed: &Location) -> Option<GrantedBucket> {
        let Scheme::S3 { bucket } = &parsed.scheme else {
            return None;
        };
        let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.get(bucket).cloned()
    }

    fn store(&self, parsed: &Location, location: &str) -> Result<Arc<dyn ObjectStore>> {
        if let Some(bucket) = self.granted_bucket(parsed) {
            return Ok(Arc::new(bucket));
        }
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let key = parsed.store_key();
        if let Some(store) = stores.get(&key) {
            return Ok(Arc::clone(store));
        }
        let store: Arc<dyn ObjectStore> = match &parsed.scheme {
            Scheme::File => Arc::new(LocalFileSystem::new()),
            Scheme::S3 { bucket } => Arc::new(
                self.config
                    .s3
                    .open(bucket)
                    .map_err(|source| self.error("open", location, source))?,
            ),
        };
        stores.insert(key, Arc::clone(&store));
        Ok(store)
    }

    /// The same storage as the `iceberg` crate wants it.
    pub fn file_io(self: &Arc<Self>) -> FileIO {
        FileIOBuilder::new(Arc::new(iceberg_io::IngotFileIoFactory::new(Arc::clone(
            self,
        ))))
        .build()
    }

    /// Wraps a store's error, naming the file, and for S3 the endpoint.
    pub(crate) fn error(
        &self,
        action: &'static str,
        location: &str,
        source: object_store::Error,
    ) -> CatalogError {
        let parsed = Location::parse(location).ok();
        let is_s3 = parsed
            .as_ref()
            .is_some_and(|parsed| parsed.scheme != Scheme::File);
        let grant = parsed.and_then(|parsed| self.granted_bucket(&parsed)?.grant_of(&parsed.path));
        let path = match (grant, &self.config.s3.endpoint) {
            (Some(grant), _) => match grant.access().s3.endpoint {
                Some(endpoint) => {
                    format!("{location} at {endpoint} with credentials of the catalog")
                }
                None => format!("{location} with credentials of the catalog"),
            },
            (None, Some(endpoint)) if is_s3 => format!("{location} at {endpoint}"),
            _ => location.to_string(),
        };
        CatalogError::Storage {
            action,
            path,
            source,
        }
    }

    /// Reads a whole file.
    pub async fn read(&self, location: &str) -> Result<Bytes> {
        let (store, path) = self.store_for(location)?;
        let read = async { store.get(&path).await?.bytes().await };
        read.await
            .map_err(|source| self.error("read", location, source))
    }

    /// Size of a file in bytes.
    pub async fn size(&self, location: &str) -> Result<u64> {
        let (store, path) = self.store_for(location)?;
        let meta = store.head(&path).await;
        Ok(meta
            .map_err(|source| self.error("read", location, source))?
            .size)
    }

    /// When a file was last written.
    pub async fn modified_time(&self, location: &str) -> Result<DateTime<Utc>> {
        let (store, path) = self.store_for(location)?;
        let meta = store.head(&path).await;
        Ok(meta
            .map_err(|source| self.error("read", location, source))?
            .last_modified)
    }

    /// Whether the file exists.
    pub async fn exists(&self, location: &str) -> Result<bool> {
        let (store, path) = self.store_for(location)?;
        match store.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.error("read", location, source)),
        }
    }

    /// Writes a whole file in one step: readers see all of it or nothing. Replaces
    /// an existing file; makes missing parent folders.
    pub async fn write(&self, location: &str, content: Bytes) -> Result<()> {
        let (store, path) = self.store_for(location)?;
        let put = store.put(&path, content.into()).await;
        put.map(drop)
            .map_err(|source| self.error("write", location, source))
    }

    /// Writes a whole file that must not exist yet.
    ///
    /// # Errors
    /// `Storage` with `object_store::Error::AlreadyExists` when it does: the
    /// existing file is unchanged.
    pub async fn write_new(&self, location: &str, content: Bytes) -> Result<()> {
        let (store, path) = self.store_for(location)?;
        let options = PutOptions::from(PutMode::Create);
        let put = store.put_opts(&path, content.into(), options).await;
        put.map(drop)
            .map_err(|source| self.error("create", location, source))
    }

    /// Deletes a file. A file that is not there counts as deleted.
    pub async fn delete(&self, location: &str) -> Result<()> {
        let parsed = Location::parse(location)?;
        if let Some(file) = unfinished_file(&parsed) {
            return self.delete_unfinished(location, file).await;
        }
        let store = self.store(&parsed, location)?;
        match store.delete(&parsed.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.error("delete", location, source)),
        }
    }

    /// Deletes many files, in bulk requests where the store has them. Goes on after
    /// a failure; returns how many files could not be deleted and the first error.
    pub async fn delete_all(
        &self,
        locations: impl IntoIterator<Item = String>,
    ) -> Result<(), (usize, CatalogError)> {
        /// The files of one store.
        struct Batch {
            store: Arc<dyn ObjectStore>,
            locations: Vec<String>,
            paths: Vec<object_store::Result<Path>>,
        }
        let mut batches: HashMap<String, Batch> = HashMap::new();
        let mut unfinished = Vec::new();
        let mut failed = 0;
        let mut first_error = None;
        for location in locations {
            let opened = Location::parse(&location)
                .and_then(|parsed| Ok((self.store(&parsed, &location)?, parsed)));
            match opened {
                Ok((store, parsed)) => {
                    if let Some(file) = unfinished_file(&parsed) {
                        unfinished.push((location, file));
                        continue;
                    }
                    let batch = batches.entry(parsed.store_key()).or_insert_with(|| Batch {
                        store,
                        locations: Vec::new(),
                        paths: Vec::new(),
                    });
                    batch.locations.push(location);
                    batch.paths.push(Ok(parsed.path));
                }
                Err(error) => {
                    failed += 1;
                    first_error.get_or_insert(error);
                }
            }
        }
        for (location, file) in unfinished {
            if let Err(error) = self.delete_unfinished(&location, file).await {
                failed += 1;
                first_error.get_or_insert(error);
            }
        }
        for batch in batches.into_values() {
            let paths = futures::stream::iter(batch.paths).boxed();
            let outcomes: Vec<_> = batch.store.delete_stream(paths).collect().await;
            for (index, outcome) in outcomes.into_iter().enumerate() {
                match outcome {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(source) => {
                        failed += 1;
                        // Outcomes come in the order of the paths, but a failed bulk
                        // request has one for all of its paths.
                        let location = batch.locations.get(index).map_or("", String::as_str);
                        first_error.get_or_insert_with(|| self.error("delete", location, source));
                    }
                }
            }
        }
        match first_error {
            None => Ok(()),
            Some(error) => Err((failed, error)),
        }
    }

    async fn delete_unfinished(&self, location: &str, file: PathBuf) -> Result<()> {
        let deleted = tokio::task::spawn_blocking(move || delete_unfinished(&file)).await;
        let deleted = deleted.unwrap_or_else(|error| Err(error.into()));
        deleted.map_err(|error| self.local_error("delete", location, error))
    }

    /// [`Storage::list`] with the files whose writers ended before they were finished, which
    /// nobody reads: for finding what is left over.
    pub async fn list_with_unfinished(&self, folder: &str) -> Result<Vec<FileInfo>> {
        let mut files = self.list(folder).await?;
        let parsed = Location::parse(folder)?;
        let unfinished = tokio::task::spawn_blocking(move || list_unfinished(&parsed)).await;
        let unfinished = unfinished.unwrap_or_else(|error| Err(error.into()));
        files.extend(unfinished.map_err(|error| self.local_error("list", folder, error))?);
        Ok(files)
    }

    /// An error of the local file system itself.
    fn local_error(
        &self,
        action: &'static str,
        location: &str,
        error: std::io::Error,
    ) -> CatalogError {
        let source = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(error),
        };
        self.error(action, location, source)
    }

    /// All files below a folder, in no order. An absent folder has none.
    pub async fn list(&self, folder: &str) -> Result<Vec<FileInfo>> {
        let parsed = Location::parse(folder)?;
        let store = self.store(&parsed, folder)?;
        let root = parsed.root();
        let listed: Result<Vec<_>, object_store::Error> = store
            .list(Some(&parsed.path))
            .map_ok(|meta| FileInfo {
                location: format!("{root}{}", meta.location),
                size: meta.size,
                last_modified_ms: meta.last_modified.timestamp_millis(),
            })
            .try_collect()
            .await;
        match listed {
            Ok(files) => Ok(files),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(source) => Err(self.error("list", folder, source)),
        }
    }

    /// Removes a folder and those in it, as far as they are empty. Object stores have no
    /// folders: there, nothing happens.
    pub async fn remove_empty_folders(&self, folder: &str) -> Result<()> {
        let parsed = Location::parse(folder)?;
        if parsed.scheme != Scheme::File || parsed.path.as_ref().is_empty() {
            return Ok(());
        }
        let path = std::path::PathBuf::from(format!("/{}", parsed.path));
        let removed = tokio::task::spawn_blocking(move || remove_if_empty(&path)).await;
        let removed = removed.unwrap_or_else(|error| Err(error.into()));
        let removed = removed.map(drop);
        removed.map_err(|error| self.local_error("delete", folder, error))
    }
}

/// Removes a folder if all that is in it are folders that can be removed. Returns
/// whether it is gone. Symbolic links are not followed.
fn remove_if_empty(folder: &std::path::Path) -> std::io::Result<bool> {
    use std::io::ErrorKind;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        entries => entries?,
    };
    let mut is_empty = true;
    for entry in entries {
        let entry = entry?;
        let is_gone = entry.file_type()?.is_dir() && remove_if_empty(&entry.path())?;
        is_empty &= is_gone;
    }
    if !is_empty {
        return Ok(false);
    }
    match std::fs::remove_dir(folder) {
        Ok(()) => Ok(true),
        // Another writer was here.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage() -> (tempfile::TempDir, Arc<Storage>) {
        let folder = tempfile::tempdir().unwrap();
        (folder, Storage::new(StorageConfig::default()))
    }

    #[tokio::test]
    async fn files_are_written_read_listed_and_deleted() {
        let (folder, storage) = storage();
        for root in [
            format!("file://{}", folder.path().display()),
            folder.path().display().to_string(),
        ] {
            let name = format!("{root}/a b/c%20d=ä/f.txt");
            storage
                .write(&name, Bytes::from_static(b"one"))
                .await
                .unwrap();
            assert!(folder.path().join("a b/c%20d=ä/f.txt").is_file());
            assert_eq!(storage.read(&name).await.unwrap(), "one");
            assert_eq!(storage.size(&name).await.unwrap(), 3);
            let listed = storage.list(&root).await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].location, name);
            let error = storage
                .write_new(&name, Bytes::from_static(b"two"))
                .await
                .unwrap_err();
            assert!(error.to_string().contains("already exists"), "{error}");
            assert_eq!(storage.read(&name).await.unwrap(), "one");
            storage.delete(&name).await.unwrap();
            storage.delete(&name).await.unwrap();
            assert!(!storage.exists(&name).await.unwrap());
            assert_eq!(storage.list(&root).await.unwrap(), vec![]);
        }
    }

    #[tokio::test]
    async fn delete_all_goes_on_after_a_failure() {
        let (folder, storage) = storage();
        let root = folder.path().display().to_string();
        let mut names: Vec<_> = (0..20).map(|n| format!("{root}/{n}.txt")).collect();
        for name in &names {
            storage.write(name, Bytes::from_static(b"x")).await.unwrap();
        }
        names.push(format!("{root}/never-written"));
        names.insert(0, "gopher://x/y".to_string());
        let (failed, error) = storage.delete_all(names).await.unwrap_err();
        assert_eq!(failed, 1);
        assert!(error.to_string().contains("gopher"), "{error}");
        assert_eq!(storage.list(&root).await.unwrap(), vec![]);
    }

    #[tokio::test]
    async fn files_that_were_never_finished_are_listed_on_request_and_deleted() {
        let (folder, storage) = storage();
        std::fs::create_dir_all(folder.path().join("t/data")).unwrap();
        for root in [
            format!("file://{}", folder.path().display()),
            folder.path().display().to_string(),
        ] {
            let names = [1, 2].map(|n| format!("{root}/t/data/a.parquet#{n}"));
            for n in [1, 2] {
                let path = folder.path().join(format!("t/data/a.parquet#{n}"));
                std::fs::write(path, "abc").unwrap();
            }
            assert_eq!(storage.list(&root).await.unwrap(), vec![]);
            let mut listed = storage.list_with_unfinished(&root).await.unwrap();
            listed.sort_by(|left, right| left.location.cmp(&right.location));
            let locations: Vec<&str> = listed.iter().map(|file| file.location.as_str()).collect();
            assert_eq!(locations, names);
            assert!(listed.iter().all(|file| file.size == 3));
            assert!(listed.iter().all(|file| file.last_modified_ms > 0));
            let [first, second] = names;
            storage.delete(&first).await.unwrap();
            storage.delete(&first).await.unwrap();
            storage.delete_all([first, second]).await.unwrap();
            assert_eq!(storage.list_with_unfinished(&root).await.unwrap(), vec![]);
        }
        let absent = format!("{}/absent", folder.path().display());
        assert_eq!(storage.list_with_unfinished(&absent).await.unwrap(), vec![]);
    }

    #[tokio::test]
    async fn a_missing_file_is_named_on_one_line() {
        let (folder, storage) = storage();
        let name = format!("file://{}/nothing.json", folder.path().display());
        let error = storage.read(&name).await.unwrap_err().to_string();
        assert_eq!(error, format!("cannot read {name}: no such file"));
    }
}
