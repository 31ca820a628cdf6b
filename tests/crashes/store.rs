//! A store and a database that a process writes to until it is killed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use ingot_catalog::Database;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// The local files as a process reaches them that is killed at one of its writes and deletions.
/// From then on it reaches neither files nor database, so that it cannot clean up either.
#[derive(Debug, Clone)]
pub struct StoppingStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    files: LocalFileSystem,
    database: Database,
    /// The writes and deletions that still succeed.
    steps_left: AtomicI64,
    is_dead: AtomicBool,
    may_delete: bool,
}

impl StoppingStore {
    /// Of a process that is killed in its next write or deletion after so many.
    pub fn after(steps: i64, database: Database) -> Self {
        Self::new(steps, database, true)
    }

    /// Of a process that is killed when the database refuses what it wants to commit: it can
    /// still write what nobody will refer to, but no longer clean up.
    pub fn without_deletions(database: Database) -> Self {
        Self::new(i64::MAX, database, false)
    }

    fn new(steps: i64, database: Database, may_delete: bool) -> Self {
        let shared = Shared {
            files: LocalFileSystem::new(),
            database,
            steps_left: AtomicI64::new(steps),
            is_dead: AtomicBool::new(false),
            may_delete,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Whether the process was killed.
    pub fn is_dead(&self) -> bool {
        self.shared.is_dead.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn check_alive(&self) -> Result<()> {
        match self.is_dead.load(Ordering::SeqCst) {
            true => Err(killed()),
            false => Ok(()),
        }
    }

    /// Counts a step; true when it is the one in which the process is killed.
    fn is_last_step(&self) -> Result<bool> {
        self.check_alive()?;
        Ok(self.steps_left.fetch_sub(1, Ordering::SeqCst) <= 0)
    }

    fn die(&self) -> Error {
        self.is_dead.store(true, Ordering::SeqCst);
        // From this call on nobody gets a connection; only their end would have to be awaited.
        drop(self.database.pool().close());
        killed()
    }
}

fn killed() -> Error {
    Error::Generic {
        store: "StoppingStore",
        source: "the process was killed".into(),
    }
}

/// What the local file system has of a file whose writer was killed: half of it, under another
/// name.
fn leave_unfinished(location: &Path, payload: &PutPayload) {
    let file = PathBuf::from(format!("/{location}#1"));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let content: Vec<u8> = payload.iter().flat_map(|bytes| bytes.to_vec()).collect();
    std::fs::write(&file, &content[..content.len() / 2]).unwrap();
}

async fn delete_one(shared: Arc<Shared>, location: Result<Path>) -> Result<Path> {
    let location = location?;
    if !shared.may_delete {
        return Err(killed());
    }
    if shared.is_last_step()? {
        return Err(shared.die());
    }
    shared.files.delete(&location).await?;
    Ok(location)
}

impl fmt::Display for StoppingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoppingStore")
    }
}

#[async_trait]
impl ObjectStore for StoppingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if self.shared.is_last_step()? {
            leave_unfinished(location, &payload);
            return Err(self.shared.die());
        }
        self.shared.files.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        // The files of these tests are small.
        Err(Error::NotImplemented {
            operation: "put_multipart_opts".to_owned(),
            implementer: self.to_string(),
        })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.shared.check_alive()?;
        self.shared.files.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let shared = Arc::clone(&self.shared);
        locations
            .then(move |location| delete_one(Arc::clone(&shared), location))
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.shared.check_alive() {
            Ok(()) => self.shared.files.list(prefix),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.shared.check_alive()?;
        self.shared.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if self.shared.is_last_step()? {
            return Err(self.shared.die());
        }
        self.shared.files.copy_opts(from, to, options).await
    }
}
