//! [`Storage`](super::Storage) behind the `iceberg` crate's storage traits.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage as IcebergStorage,
    StorageConfig as IcebergStorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Storage;
use crate::error::CatalogError;

/// Hands [`IngotFileIo`] to `iceberg::io::FileIO`.
#[derive(Debug)]
pub(super) struct IngotFileIoFactory {
    file_io: IngotFileIo,
}

impl IngotFileIoFactory {
    pub(super) fn new(storage: Arc<Storage>) -> Self {
        Self {
            file_io: IngotFileIo { storage },
        }
    }
}

/// `iceberg`'s storage trait over our object stores.
#[derive(Debug, Clone)]
struct IngotFileIo {
    storage: Arc<Storage>,
}

const NOT_SERIALISABLE: &str =
    "ingot storage holds credentials and open connections: each process opens its own";

/// `iceberg` asks for serialisable storages; ours is per process and refuses.
macro_rules! refuse_serialisation {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
                Err(S::Error::custom(NOT_SERIALISABLE))
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
                Err(D::Error::custom(NOT_SERIALISABLE))
            }
        }
    };
}

refuse_serialisation!(IngotFileIo);
refuse_serialisation!(IngotFileIoFactory);

#[typetag::serde]
impl StorageFactory for IngotFileIoFactory {
    fn build(&self, _config: &IcebergStorageConfig) -> Result<Arc<dyn IcebergStorage>> {
        Ok(Arc::new(self.file_io.clone()))
    }
}

fn iceberg_error(error: CatalogError) -> Error {
    Error::new(ErrorKind::Unexpected, error.to_string()).with_source(error)
}

#[async_trait]
#[typetag::serde]
impl IcebergStorage for IngotFileIo {
    async fn exists(&self, path: &str) -> Result<bool> {
        self.storage.exists(path).await.map_err(iceberg_error)
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let size = self.storage.size(path).await.map_err(iceberg_error)?;
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        self.storage.read(path).await.map_err(iceberg_error)
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        let (store, store_path) = self.storage.store_for(path).map_err(iceberg_error)?;
        Ok(Box::new(RangeReader {
            storage: Arc::clone(&self.storage),
            store,
            store_path,
            location: path.to_string(),
        }))
    }

    async fn write(&self, path: &str, content: Bytes) -> Result<()> {
        self.storage
            .write(path, content)
            .await
            .map_err(iceberg_error)
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(WholeFileWriter {
            storage: Arc::clone(&self.storage),
            location: path.to_string(),
            content: Some(BytesMut::new()),
        }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.storage.delete(path).await.map_err(iceberg_error)
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let files = self.storage.list(path).await.map_err(iceberg_error)?;
        let locations = files.into_iter().map(|file| file.location);
        self.storage
            .delete_all(locations)
            .await
            .map_err(|(_, error)| iceberg_error(error))
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> Result<()> {
        let locations: Vec<_> = paths.collect().await;
        self.storage
            .delete_all(locations)
            .await
            .map_err(|(_, error)| iceberg_error(error))
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_string()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_string()))
    }
}

/// Reads ranges of one file.
struct RangeReader {
    storage: Arc<Storage>,
    store: Arc<dyn ObjectStore>,
    store_path: Path,
    location: String,
}

#[async_trait]
impl FileRead for RangeReader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let read = self.store.get_range(&self.store_path, range).await;
        read.map_err(|source| iceberg_error(self.storage.error("read", &self.location, source)))
    }
}

/// Collects a file in memory and writes it when closed, so that it appears whole
/// or not at all. Meant for metadata and manifests, which are small; data files
/// are written by the engine.
struct WholeFileWriter {
    storage: Arc<Storage>,
    location: String,
    /// `None` once closed.
    content: Option<BytesMut>,
}

impl WholeFileWriter {
    fn closed(&self) -> Error {
        let message = format!("{} is closed already", self.location);
        Error::new(ErrorKind::PreconditionFailed, message)
    }
}

#[async_trait]
impl FileWrite for WholeFileWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.content {
            Some(content) => {
                content.extend_from_slice(&bytes);
                Ok(())
            }
            None => Err(self.closed()),
        }
    }

    async fn close(&mut self) -> Result<()> {
        let content = self.content.take().ok_or_else(|| self.closed())?;
        self.storage
            .write(&self.location, content.freeze())
            .await
            .map_err(iceberg_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StorageConfig;

    #[tokio::test]
    async fn file_io_writes_on_close_and_reads_ranges() {
        let folder = tempfile::tempdir().unwrap();
        let root = format!("file://{}", folder.path().display());
        let file_io = Storage::new(StorageConfig::default()).file_io();
        let name = format!("{root}/x/m.avro");
        let output = file_io.new_output(&name).unwrap();
        let mut writer = output.writer().await.unwrap();
        writer.write(Bytes::from_static(b"hello ")).await.unwrap();
        writer.write(Bytes::from_static(b"world")).await.unwrap();
        assert!(!file_io.exists(&name).await.unwrap());
        writer.close().await.unwrap();
        assert!(writer.close().await.is_err());
        let input = file_io.new_input(&name).unwrap();
        assert_eq!(input.metadata().await.unwrap().size, 11);
        let reader = input.reader().await.unwrap();
        assert_eq!(reader.read(6..11).await.unwrap(), "world");
        file_io.delete_prefix(format!("{root}/x")).await.unwrap();
        assert!(!file_io.exists(&name).await.unwrap());
    }

    #[test]
    fn storage_refuses_to_be_serialised() {
        let file_io = IngotFileIo {
            storage: Storage::new(StorageConfig::default()),
        };
        let storage: &dyn IcebergStorage = &file_io;
        assert!(serde_json::to_string(storage).is_err());
    }
}
