//! The parts of files that a scan reads, and their distribution over its partitions.

use datafusion::datasource::physical_plan::FileGroup;
use datafusion_datasource::PartitionedFile;
use futures::{StreamExt, TryStreamExt, stream};
use ingot_catalog::storage::Scheme;
use ingot_catalog::{FileInfo, Location, Storage};
use object_store::{ObjectStore, ObjectStoreExt};

use super::CsvDialect;
use super::header::cannot_read;
use super::splits::SplitFinder;
use crate::error::Result;

/// A file is cut only into parts worth a task.
const LEAST_PART_BYTES: u64 = 8 * 1024 * 1024;
/// Parts per partition of the scan, so that they can be balanced.
const PARTS_PER_PARTITION: u64 = 3;
const BLOCK_BYTES: u64 = 8 * 1024 * 1024;
const CONCURRENT_FILES: usize = 8;

/// The files of a scan in at most `partitions` groups of about the same size. Large local
/// files are cut at record ends. Files in a remote store are not: finding the record ends
/// would read each of them twice.
pub(super) async fn file_groups(
    storage: &Storage,
    files: &[FileInfo],
    dialect: &CsvDialect,
    partitions: usize,
) -> Result<Vec<FileGroup>> {
    let total: u64 = files.iter().map(|file| file.size).sum();
    let part_bytes = (total / (partitions as u64 * PARTS_PER_PARTITION)).max(LEAST_PART_BYTES);
    let futures: Vec<_> = files
        .iter()
        .map(|file| pieces_of(storage, file, dialect, part_bytes))
        .collect();
    let pieces: Vec<Vec<PartitionedFile>> = stream::iter(futures)
        .buffered(CONCURRENT_FILES)
        .try_collect()
        .await?;
    Ok(balance(pieces.into_iter().flatten().collect(), partitions))
}

async fn pieces_of(
    storage: &Storage,
    file: &FileInfo,
    dialect: &CsvDialect,
    part_bytes: u64,
) -> Result<Vec<PartitionedFile>> {
    let location = Location::parse(&file.location)?;
    let whole = PartitionedFile::new(location.path.to_string(), file.size);
    if location.scheme != Scheme::File || file.size < 2 * part_bytes {
        return Ok(vec![whole]);
    }
    let Some(mut finder) = SplitFinder::new(dialect, part_bytes) else {
        return Ok(vec![whole]);
    };
    let (store, path) = storage.store_for(&file.location)?;
    let mut offset = 0;
    while offset < file.size {
        let end = (offset + BLOCK_BYTES).min(file.size);
        let block = store
            .get_range(&path, offset..end)
            .await
            .map_err(|source| cannot_read(&file.location, source))?;
        finder.follow(&block);
        offset = end;
    }
    let mut starts = vec![0];
    starts.extend(finder.finish());
    let ends = starts[1..].iter().copied().chain([file.size]);
    let parts = starts.iter().zip(ends);
    let parts = parts.map(|(start, end)| {
        PartitionedFile::new(location.path.to_string(), file.size)
            .with_range(*start as i64, end as i64)
    });
    Ok(parts.collect())
}

/// Largest first into the least filled group.
fn balance(mut pieces: Vec<PartitionedFile>, partitions: usize) -> Vec<FileGroup> {
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.effective_size()));
    let groups = partitions.clamp(1, pieces.len().max(1));
    let mut filled: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); groups];
    for piece in pieces {
        if let Some(group) = filled.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            group.0 += piece.effective_size();
            group.1.push(piece);
        }
    }
    let groups = filled.into_iter().filter(|(_, files)| !files.is_empty());
    groups.map(|(_, files)| FileGroup::new(files)).collect()
}

/// Reads a part of a file in large blocks, the next one while one is decoded.
pub(super) fn blocks(
    store: std::sync::Arc<dyn ObjectStore>,
    path: object_store::path::Path,
    location: String,
    range: std::ops::Range<u64>,
) -> stream::BoxStream<'static, Result<bytes::Bytes>> {
    let starts = (range.start..range.end).step_by(BLOCK_BYTES as usize);
    stream::iter(starts)
        .map(move |start| {
            let (store, path, location) = (store.clone(), path.clone(), location.clone());
            let end = (start + BLOCK_BYTES).min(range.end);
            async move {
                let block = store.get_range(&path, start..end).await;
                block.map_err(|source| cannot_read(&location, source))
            }
        })
        .buffered(2)
        .boxed()
}
