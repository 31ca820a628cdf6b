//! A bucket some of whose folders have credentials of their own.
//!
//! DataFusion knows stores by bucket, catalogs hand out credentials by folder: this store is the
//! bucket, and picks the folder's client for each path.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::access::Grant;
use super::{AccessRenewal, S3Config, StorageAccess};

/// Cheap to clone: clones are the same bucket.
#[derive(Clone)]
pub(super) struct GrantedBucket {
    inner: Arc<Inner>,
}

struct Inner {
    bucket: String,
    /// The process's own settings, for paths outside of the folders.
    own: S3Config,
    own_store: Mutex<Option<Arc<dyn ObjectStore>>>,
    folders: RwLock<Vec<Folder>>,
}

#[derive(Clone)]
struct Folder {
    grant: Arc<Grant>,
    store: Arc<dyn ObjectStore>,
}

impl fmt::Debug for GrantedBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantedBucket")
            .field("bucket", &self.inner.bucket)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for GrantedBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantedBucket({})", self.inner.bucket)
    }
}

impl GrantedBucket {
    /// A bucket without such folders yet. `own_store` is the one that was opened for it before.
    pub(super) fn new(
        bucket: &str,
        own: S3Config,
        own_store: Option<Arc<dyn ObjectStore>>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                bucket: bucket.to_string(),
                own,
                own_store: Mutex::new(own_store),
                folders: RwLock::default(),
            }),
        }
    }

    /// Uses these keys below `folder` from now on.
    pub(super) fn grant(
        &self,
        folder: Path,
        access: StorageAccess,
        renewal: Option<Arc<dyn AccessRenewal>>,
    ) -> Result<()> {
        let mut folders = self
            .inner
            .folders
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let known = folders.iter().find(|known| *known.grant.folder() == folder);
        if let Some(known) = known
            && known.grant.has_same_endpoint(&access)
        {
            known.grant.update(access, renewal);
            return Ok(());
        }
        let s3 = access.s3.clone();
        let grant = Grant::new(folder.clone(), access, renewal);
        let store = s3.open_with(&self.inner.bucket, Arc::clone(&grant) as _)?;
        folders.retain(|known| *known.grant.folder() != folder && !known.grant.is_stale());
        folders.push(Folder {
            grant,
            store: Arc::new(store),
        });
        Ok(())
    }

    /// The grant for a path, if it is in one of the folders.
    pub(super) fn grant_of(&self, path: &Path) -> Option<Arc<Grant>> {
        self.folder_of(path).map(|folder| folder.grant)
    }

    /// The innermost folder that has the path.
    fn folder_of(&self, path: &Path) -> Option<Folder> {
        let folders = self
            .inner
            .folders
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        folders
            .iter()
            .filter(|folder| path.prefix_matches(folder.grant.folder()))
            .max_by_key(|folder| folder.grant.folder().parts().count())
            .cloned()
    }

    fn store_of(&self, path: &Path) -> Result<Arc<dyn ObjectStore>> {
        match self.folder_of(path) {
            Some(folder) => Ok(folder.store),
            None => self.own_store(),
        }
    }

    fn own_store(&self) -> Result<Arc<dyn ObjectStore>> {
        let inner = &self.inner;
        let mut own_store = inner
            .own_store
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = own_store.as_ref() {
            return Ok(Arc::clone(store));
        }
        let opened: Arc<dyn ObjectStore> = Arc::new(inner.own.open(&inner.bucket)?);
        Ok(Arc::clone(own_store.insert(opened)))
    }

    /// The paths in their order, those that follow each other in one store together.
    fn runs(&self, paths: Vec<Result<Path>>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for path in paths {
            match path.and_then(|path| Ok((self.store_of(&path)?, path))) {
                Ok((store, path)) => {
                    if let Some(Run::In(last, paths)) = runs.last_mut()
                        && Arc::ptr_eq(&store, last)
                    {
                        paths.push(path);
                        continue;
                    }
                    runs.push(Run::In(store, vec![path]));
                }
                Err(error) => runs.push(Run::Failed(error)),
            }
        }
        runs
    }
}

/// Paths of one store, or one that has none.
enum Run {
    In(Arc<dyn ObjectStore>, Vec<Path>),
    Failed(Error),
}

impl Run {
    fn delete(self) -> BoxStream<'static, Result<Path>> {
        match self {
            Self::In(store, paths) => {
                store.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed())
            }
            Self::Failed(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

#[async_trait]
impl ObjectStore for GrantedBucket {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let store = self.store_of(location)?;
        store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let store = self.store_of(location)?;
        store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let store = self.store_of(location)?;
        store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let store = self.store_of(location)?;
        store.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let bucket = self.clone();
        stream::once(locations.collect::<Vec<_>>())
            .flat_map(move |paths| stream::iter(bucket.runs(paths)).flat_map(Run::delete))
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.store_of(prefix.unwrap_or(&Path::default())) {
            Ok(store) => store.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.store_of(prefix.unwrap_or(&Path::default())) {
            Ok(store) => store.list_with_offset(prefix, offset),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let store = self.store_of(prefix.unwrap_or(&Path::default()))?;
        store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let store = self.store_of(to)?;
        store.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    fn access(location: &str) -> StorageAccess {
        StorageAccess {
            location: location.to_string(),
            s3: S3Config {
                endpoint: Some("http://127.0.0.1:1".to_string()),
                access_key_id: Some("key".to_string()),
                secret_access_key: Some("secret".to_string()),
                ..S3Config::default()
            },
            expires_at_ms: None,
        }
    }

    #[tokio::test]
    async fn paths_outside_of_the_folders_use_the_bucket_as_it_was() {
        let own = Arc::new(InMemory::new());
        let bucket = GrantedBucket::new("bucket", S3Config::default(), Some(own.clone()));
        bucket
            .grant(Path::from("wh/t"), access("s3://bucket/wh/t"), None)
            .unwrap();
        let outside = Path::from("wh/t2/f");
        bucket.put(&outside, "x".into()).await.unwrap();
        assert!(own.head(&outside).await.is_ok());
        assert!(bucket.grant_of(&outside).is_none());
        let inside = bucket.grant_of(&Path::from("wh/t/data/f")).unwrap();
        assert_eq!(inside.access().location, "s3://bucket/wh/t");
        let gone = stream::iter([Ok(outside.clone())]).boxed();
        let deleted: Vec<_> = bucket.delete_stream(gone).collect().await;
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
        assert!(own.head(&outside).await.is_err());
    }

    #[tokio::test]
    async fn the_innermost_folder_counts() {
        let bucket = GrantedBucket::new("bucket", S3Config::default(), None);
        for location in ["s3://bucket", "s3://bucket/a/b", "s3://bucket/a"] {
            let path = location.trim_start_matches("s3://bucket");
            bucket
                .grant(Path::from(path), access(location), None)
                .unwrap();
        }
        let found = bucket.grant_of(&Path::from("a/b/c")).unwrap();
        assert_eq!(found.access().location, "s3://bucket/a/b");
        let found = bucket.grant_of(&Path::from("x")).unwrap();
        assert_eq!(found.access().location, "s3://bucket");
    }
}
