//! Metadata files: building the next one of a table and writing it.

use std::str::FromStr;
use std::sync::Arc;

use iceberg::MetadataLocation;
use iceberg::compression::CompressionCodec;
use iceberg::spec::TableMetadata;
use uuid::Uuid;

use crate::catalog::TableCommit;
use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::Table;

/// The next state of a table, not yet written.
pub(super) struct NextMetadata {
    /// The new state.
    pub metadata: TableMetadata,
    /// Where it goes.
    pub location: String,
    /// Metadata files that fell out of the table's metadata log.
    pub expired: Vec<String>,
}

/// Checks a commit's requirements and applies its updates. `None` when they change
/// nothing.
///
/// # Errors
/// `CommitConflict` for a failed requirement, `TableExists` when that was that the
/// table does not exist, `Metadata` when the updates do not fit the table.
pub(super) fn next_metadata(
    commit: &TableCommit,
    current: Option<&Table>,
) -> Result<Option<NextMetadata>> {
    commit.check_requirements(current)?;
    let built = commit.apply(current)?;
    if current.is_some() && built.changes.is_empty() {
        return Ok(None);
    }
    let version = current
        .and_then(|table| table.metadata_location.as_deref())
        .map_or(0, |location| version_of(location).saturating_add(1));
    let location = metadata_location(&built.metadata, version)?;
    let expired = built.expired_metadata_logs.into_iter();
    Ok(Some(NextMetadata {
        metadata: built.metadata,
        location,
        expired: expired.map(|log| log.metadata_file).collect(),
    }))
}

/// The number that a metadata file's name begins with (`00003-….metadata.json`, or
/// `v3.metadata.json` as file-system tables have it); 0 for names without one.
fn version_of(location: &str) -> i32 {
    let file_name = location.rsplit('/').next().unwrap_or(location);
    let digits: String = file_name
        .trim_start_matches('v')
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(0)
}

/// The newest metadata file in the folder of a table, for one that no catalog knows.
///
/// # Errors
/// `InvalidInput` when there is none, or several with the highest number; `Storage` when the folder
/// cannot be listed.
pub async fn newest_metadata_file(storage: &Storage, table_location: &str) -> Result<String> {
    let folder = format!("{}/metadata", table_location.trim_end_matches('/'));
    let mut found: Vec<(i32, String)> = storage
        .list(&folder)
        .await?
        .into_iter()
        .map(|file| file.location)
        .filter(|location| {
            location.ends_with(".metadata.json") || location.ends_with(".metadata.json.gz")
        })
        .map(|location| (version_of(&location), location))
        .collect();
    found.sort();
    let newest = found.pop();
    match (newest, found.pop()) {
        (None, _) => Err(CatalogError::InvalidInput(format!(
            "folder {folder} has no metadata file: give the location of a table"
        ))),
        (Some((version, newest)), Some((other_version, other))) if version == other_version => {
            Err(CatalogError::InvalidInput(format!(
                "folder {folder} has several newest metadata files, such as {other} and {newest}: \
                 name one of them with metadata_file_name"
            )))
        }
        (Some((_, newest)), _) => Ok(newest),
    }
}

/// `<location>/metadata/NNNNN-<uuid>.metadata.json`, with `.gz` before it when the
/// table property `write.metadata.compression-codec` is `gzip`.
fn metadata_location(metadata: &TableMetadata, version: i32) -> Result<String> {
    let codec = metadata
        .metadata_compression_codec()
        .map_err(|source| CatalogError::InvalidInput(source.message().to_string()))?;
    let suffix = match codec {
        CompressionCodec::None => "",
        _ => codec
            .suffix()
            .map_err(|source| CatalogError::metadata(metadata.location(), source))?,
    };
    Ok(format!(
        "{}/metadata/{version:0>5}-{}{suffix}.metadata.json",
        metadata.location().trim_end_matches('/'),
        Uuid::new_v4(),
    ))
}

/// Writes the file.
pub(super) async fn write(storage: &Arc<Storage>, next: &NextMetadata) -> Result<()> {
    let location = MetadataLocation::from_str(&next.location)
        .map_err(|source| CatalogError::metadata(&next.location, source))?;
    next.metadata
        .write_to(&storage.file_io(), &location)
        .await
        .map_err(|source| CatalogError::metadata(&next.location, source))
}

/// Whether files that leave the metadata log are to be deleted
/// (`write.metadata.delete-after-commit.enabled`).
pub(super) fn deletes_expired(metadata: &TableMetadata) -> bool {
    metadata
        .properties()
        .get("write.metadata.delete-after-commit.enabled")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_file_names() {
        for (location, version) in [
            ("s3://b/t/metadata/00012-x.metadata.json", 12),
            ("/t/metadata/v7.metadata.json", 7),
            ("/t/metadata/00000-9.gz.metadata.json", 0),
            ("/t/metadata/other.json", 0),
        ] {
            assert_eq!(version_of(location), version, "{location}");
        }
    }
}
