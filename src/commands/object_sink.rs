//! Generated files in an object store.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use ingot_catalog::Storage;
use ingot_pipelines::{FileSink, GeneratedFile};
use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;

/// Writes files below an `s3://` location, in parts as they grow.
pub struct ObjectSink {
    storage: Arc<Storage>,
    location: String,
    /// The generator's threads wait for the uploads here.
    runtime: Handle,
}

impl ObjectSink {
    /// Files go below `location`.
    pub fn new(storage: Arc<Storage>, location: &str, runtime: Handle) -> Self {
        Self {
            storage,
            location: location.trim_end_matches('/').to_owned(),
            runtime,
        }
    }
}

impl FileSink for ObjectSink {
    fn create(&self, file_name: &str) -> io::Result<Box<dyn GeneratedFile>> {
        let location = format!("{}/{file_name}", self.location);
        let (store, path) = self
            .storage
            .store_for(&location)
            .map_err(io::Error::other)?;
        Ok(Box::new(ObjectFile {
            writer: BufWriter::new(store, path),
            runtime: self.runtime.clone(),
        }))
    }
}

struct ObjectFile {
    writer: BufWriter,
    runtime: Handle,
}

impl Write for ObjectFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let copied = Bytes::copy_from_slice(buffer);
        self.runtime
            .block_on(self.writer.put(copied))
            .map_err(io::Error::other)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl GeneratedFile for ObjectFile {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let runtime = self.runtime.clone();
        runtime.block_on(self.writer.shutdown())
    }
}
