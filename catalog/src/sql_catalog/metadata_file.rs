//! Metadata files: building the next one of a table and writing it.

use std::str::FromStr;
use std::sync::Arc;

use iceberg::MetadataLocation;
use iceberg::compression::CompressionCodec;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use uuid::Uuid;

use crate::catalog::TableCommit;
use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::{Table, ident_name};

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
    let name = ident_name(&commit.ident);
    let current_metadata = current.map(|table| table.metadata.as_ref());
    for requirement in &commit.requirements {
        if let Err(error) = requirement.check(current_metadata) {
            if *requirement == iceberg::TableRequirement::NotExist {
                return Err(CatalogError::TableExists { name });
            }
            return Err(CatalogError::CommitConflict {
                table: name,
                reason: error
                    .message()
                    .trim_start_matches("Requirement failed: ")
                    .to_lowercase(),
            });
        }
    }
    let mut builder = match (current, &commit.created_from) {
        (Some(table), None) => TableMetadataBuilder::new_from_metadata(
            table.metadata.as_ref().clone(),
            table.metadata_location.clone(),
        ),
        (None, Some(metadata)) => TableMetadataBuilder::new_from_metadata(metadata.clone(), None),
        (Some(_), Some(_)) => return Err(CatalogError::TableExists { name }),
        (None, None) => {
            return Err(CatalogError::TableNotFound {
                name,
                suggestion: None,
            });
        }
    };
    for update in &commit.updates {
        builder = update
            .clone()
            .apply(builder)
            .map_err(|source| CatalogError::metadata(&name, source))?;
    }
    let built = builder
        .build()
        .map_err(|source| CatalogError::metadata(&name, source))?;
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
