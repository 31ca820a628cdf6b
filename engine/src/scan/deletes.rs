//! Delete files: which rows of a data file are deleted.
//!
//! Position deletes, deletion vectors and equality deletes all end as one set of row
//! positions of the data file, which becomes a Parquet row selection. For equality deletes
//! the compared columns of the data file are read once for that. Files without deletes pay
//! nothing.
//!
//! Rules: Iceberg specification, "Delete Formats" and "Scan Planning".

mod equality;
mod positions;
mod vector;

use std::sync::Arc;

use ingot_catalog::CatalogError;
use ingot_catalog::scan::{DeleteFileRef, DeleteKind, FileFormat, FileTask};
use moka::future::Cache;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use roaring::RoaringTreemap;

pub(crate) use self::vector::blob_of as vector_blob;

use self::equality::EqualityDeletes;
use self::positions::PositionDeletes;
use super::services::ScanServices;
use crate::error::{EngineError, Result};

/// Memory for each kind of thing the cache holds, in bytes.
const CACHE_BYTES: u64 = 32 << 20;

/// Parsed delete files, and their combined effect on data files.
pub(super) struct DeleteCache {
    /// Position delete files by location.
    positions: Cache<Arc<str>, Arc<PositionDeletes>>,
    /// Equality delete files by location.
    equality: Cache<Arc<str>, Arc<EqualityDeletes>>,
    /// Deleted positions of data files, by the data file's and the delete files' locations.
    combined: Cache<Arc<str>, Arc<RoaringTreemap>>,
}

impl DeleteCache {
    pub(super) fn new() -> Self {
        let positions = Cache::builder()
            .max_capacity(CACHE_BYTES)
            .weigher(|_, deletes: &Arc<PositionDeletes>| weight(deletes.memory_size()))
            .build();
        let equality = Cache::builder()
            .max_capacity(CACHE_BYTES)
            .weigher(|_, deletes: &Arc<EqualityDeletes>| weight(deletes.memory_size()))
            .build();
        let combined = Cache::builder()
            .max_capacity(CACHE_BYTES)
            .weigher(|_, deletes: &Arc<RoaringTreemap>| weight(deletes.serialized_size()))
            .build();
        Self {
            positions,
            equality,
            combined,
        }
    }
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_add(64)).unwrap_or(u32::MAX)
}

/// One data file and the deletes that apply to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeletedFile<'a> {
    /// Location as the manifest spells it.
    pub location: &'a str,
    /// Size in bytes.
    pub size: u64,
    /// What applies to it.
    pub deletes: &'a [DeleteFileRef],
}

/// The positions of the rows of a data file that its deletes delete.
///
/// # Errors
/// `Unsupported` for delete files in Avro or ORC, `CorruptFile` for malformed ones, and
/// errors of the storage. A delete file is never ignored.
pub(super) async fn deleted_positions(
    services: &Arc<ScanServices>,
    file: DeletedFile<'_>,
) -> Result<Arc<RoaringTreemap>> {
    let key = combined_key(&file);
    let load = load_positions(services, file);
    services
        .deletes()
        .combined
        .try_get_with(key, async move { load.await.map(Arc::new) })
        .await
        .map_err(shared_error)
}

/// A loader's error is shared by all who waited for it; DataFusion wants one of its own.
fn shared_error(error: Arc<EngineError>) -> EngineError {
    Arc::try_unwrap(error).unwrap_or_else(|shared| match shared.as_ref() {
        EngineError::Unsupported(what) => EngineError::Unsupported(what.clone()),
        EngineError::CorruptFile { path, reason } => EngineError::CorruptFile {
            path: path.clone(),
            reason: reason.clone(),
        },
        EngineError::Catalog(CatalogError::Storage {
            action,
            path,
            source,
        }) => EngineError::Catalog(CatalogError::Storage {
            action,
            path: path.clone(),
            source: store_error(source),
        }),
        other => EngineError::InvalidInput(other.to_string()),
    })
}

/// A store's error once more, with what is behind it as text.
fn store_error(error: &object_store::Error) -> object_store::Error {
    use object_store::Error;
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let source = innermost.to_string().into();
    match error {
        Error::NotFound { path, .. } => Error::NotFound {
            path: path.clone(),
            source,
        },
        Error::PermissionDenied { path, .. } => Error::PermissionDenied {
            path: path.clone(),
            source,
        },
        Error::Unauthenticated { path, .. } => Error::Unauthenticated {
            path: path.clone(),
            source,
        },
        _ => Error::Generic {
            store: "object storage",
            source,
        },
    }
}

fn combined_key(file: &DeletedFile) -> Arc<str> {
    let mut key = file.location.to_string();
    for delete in file.deletes {
        key.push('\n');
        key.push_str(&delete.path);
        if let DeleteKind::DeletionVector { offset, length } = delete.kind {
            key.push_str(&format!("#{offset}+{length}"));
        }
    }
    key.into()
}

async fn load_positions(
    services: &Arc<ScanServices>,
    file: DeletedFile<'_>,
) -> Result<RoaringTreemap> {
    let mut deleted = RoaringTreemap::new();
    let mut equality_deletes = Vec::new();
    for delete in file.deletes {
        let path: Arc<str> = delete.path.as_str().into();
        match &delete.kind {
            DeleteKind::Positions => {
                require_parquet(delete)?;
                let cache = &services.deletes().positions;
                let load = positions::load(services, delete);
                let positions = cache
                    .try_get_with(path, async move { load.await.map(Arc::new) })
                    .await
                    .map_err(shared_error)?;
                if let Some(positions) = positions.of(file.location) {
                    deleted |= positions;
                }
            }
            DeleteKind::DeletionVector { offset, length } => {
                deleted |= vector::load(services, delete, *offset, *length).await?;
            }
            DeleteKind::Equality { field_ids } => {
                require_parquet(delete)?;
                let cache = &services.deletes().equality;
                let load = equality::load(services, delete, field_ids);
                let rows = cache
                    .try_get_with(path, async move { load.await.map(Arc::new) })
                    .await
                    .map_err(shared_error)?;
                equality_deletes.push(rows);
            }
        }
    }
    if !equality_deletes.is_empty() {
        deleted |= equality::matching_positions(services, file, &equality_deletes).await?;
    }
    Ok(deleted)
}

/// The positions of the rows of a data file that position deletes or its deletion vector delete
/// already; equality deletes are left out.
///
/// # Errors
/// `Unsupported` for delete files in Avro or ORC, `CorruptFile` for malformed ones, and
/// errors of the storage.
pub async fn deleted_by_position(
    services: &Arc<ScanServices>,
    task: &FileTask,
) -> Result<RoaringTreemap> {
    let is_by_position =
        |delete: &&DeleteFileRef| !matches!(delete.kind, DeleteKind::Equality { .. });
    let deletes: Vec<_> = task
        .deletes
        .iter()
        .filter(is_by_position)
        .cloned()
        .collect();
    let file = DeletedFile {
        location: &task.path,
        size: task.file_size_in_bytes,
        deletes: &deletes,
    };
    let positions = deleted_positions(services, file).await?;
    Ok(positions.as_ref().clone())
}

fn require_parquet(delete: &DeleteFileRef) -> Result<()> {
    match delete.format {
        FileFormat::Parquet => Ok(()),
        other => Err(EngineError::Unsupported(format!(
            "file {}: a delete file in {other} format",
            delete.path
        ))),
    }
}

/// The rows that are left, of a file of `row_count` rows.
pub(super) fn remaining_rows(deleted: &RoaringTreemap, row_count: u64) -> RowSelection {
    let mut selectors = Vec::new();
    let mut next_row = 0;
    for position in deleted.iter().take_while(|position| *position < row_count) {
        if position > next_row {
            selectors.push(RowSelector::select((position - next_row) as usize));
        }
        selectors.push(RowSelector::skip(1));
        next_row = position + 1;
    }
    if next_row < row_count {
        selectors.push(RowSelector::select((row_count - next_row) as usize));
    }
    // Neighbouring skips are merged by the conversion.
    RowSelection::from(selectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_several_wait_for_keep_their_kind() {
        let failed = |source: object_store::Error| {
            Arc::new(EngineError::Catalog(CatalogError::Storage {
                action: "read",
                path: "s3://b/d.parquet".to_string(),
                source,
            }))
        };
        let first = failed(object_store::Error::Generic {
            store: "S3",
            source: "connection refused".into(),
        });
        let error = shared_error(Arc::clone(&first));
        assert_eq!(error.to_string(), first.to_string());
        assert!(matches!(
            error,
            EngineError::Catalog(CatalogError::Storage {
                source: object_store::Error::Generic { .. },
                ..
            })
        ));
        let first = failed(object_store::Error::NotFound {
            path: "d.parquet".to_string(),
            source: "gone".into(),
        });
        match shared_error(Arc::clone(&first)) {
            EngineError::Catalog(error) => assert!(error.is_missing_file(), "{error}"),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_remaining_rows_are_those_not_deleted() {
        for (deleted, row_count) in [
            (vec![], 5),
            (vec![0, 1, 2], 3),
            (vec![0, 4], 5),
            (vec![1, 2, 3, 7], 10),
            (vec![2, 99], 5),
        ] {
            let set: RoaringTreemap = deleted.iter().copied().collect();
            let selection = remaining_rows(&set, row_count);
            let mut kept = Vec::new();
            let mut row = 0;
            for selector in selection.iter() {
                if !selector.skip {
                    kept.extend(row..row + selector.row_count as u64);
                }
                row += selector.row_count as u64;
            }
            let expected: Vec<_> = (0..row_count)
                .filter(|row| !deleted.contains(row))
                .collect();
            assert_eq!(kept, expected);
            assert_eq!(row, row_count, "the selection covers the file");
        }
    }
}
