//! Views that other programs create and change, in dialects of their own.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use iceberg::spec::{Schema, ViewFormatVersion, ViewMetadata, ViewMetadataBuilder, ViewVersion};
use iceberg::{TableIdent, ViewUpdate};
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::commit::retry::Backoff;
use crate::error::{CatalogError, Result};
use crate::table::ident_name;
use crate::view::{View, ViewCommit};

/// A view to be created.
#[derive(Debug, Clone)]
pub struct NewView {
    /// Where its metadata goes; a fresh place when none is given.
    pub location: Option<String>,
    /// Its columns.
    pub schema: Schema,
    /// Its query, in any dialects. Its ids are not used.
    pub version: ViewVersion,
    /// Its properties.
    pub properties: HashMap<String, String>,
}

/// Creates a view.
///
/// # Errors
/// `ViewExists`, `TableExists`, `SchemaNotFound`; `InvalidInput` for a view that cannot be right
/// and a location that is not allowed; `CommitStateUnknown`.
pub async fn create_requested_view(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    new: NewView,
) -> Result<View> {
    // Also validates the name and finds the schema.
    let fresh_location = catalog.new_table_location(ident).await?;
    let metadata = checked(ident, || {
        ViewMetadataBuilder::new(
            new.location.unwrap_or(fresh_location),
            new.schema,
            new.version,
            ViewFormatVersion::V1,
            new.properties,
        )?
        .build()
        .map(|built| built.metadata)
    })?;
    let commit = ViewCommit {
        ident: ident.clone(),
        base: None,
        metadata,
    };
    catalog.commit_view(commit).await
}

/// Applies updates to a view, and again to its newest state when somebody else was first. Each of
/// `uuids` must be that of the view.
///
/// # Errors
/// `ViewNotFound`; `CommitConflict` for another uuid, and when all retries were used up;
/// `InvalidInput` for updates that do not fit; `CommitStateUnknown`.
pub async fn replace_requested_view(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    uuids: &[Uuid],
    updates: &[ViewUpdate],
) -> Result<View> {
    let mut backoff = Backoff::new(&HashMap::new())?;
    loop {
        let base = catalog.load_view(ident).await?;
        let uuid = base.metadata.uuid();
        if uuids.iter().any(|wanted| *wanted != uuid) {
            return Err(CatalogError::CommitConflict {
                table: ident_name(ident),
                reason: format!("the view's uuid is {uuid}"),
            });
        }
        let metadata = checked(ident, || {
            let mut builder =
                ViewMetadataBuilder::new_from_metadata(base.metadata.as_ref().clone());
            for update in updates {
                builder = apply(update.clone(), builder, uuid)?;
            }
            builder.build().map(|built| built.metadata)
        })?;
        let commit = ViewCommit {
            ident: ident.clone(),
            base: Some(base),
            metadata,
        };
        match catalog.commit_view(commit).await {
            Err(error) if error.is_conflict() => {
                if !backoff.wait().await {
                    return Err(error);
                }
            }
            outcome => return outcome,
        }
    }
}

fn apply(
    update: ViewUpdate,
    builder: ViewMetadataBuilder,
    current_uuid: Uuid,
) -> iceberg::Result<ViewMetadataBuilder> {
    match update {
        ViewUpdate::AssignUuid { uuid } if uuid == current_uuid => Ok(builder),
        ViewUpdate::AssignUuid { uuid } => Err(iceberg::Error::new(
            iceberg::ErrorKind::DataInvalid,
            format!("its uuid is {current_uuid} and cannot become {uuid}"),
        )),
        ViewUpdate::UpgradeFormatVersion { format_version } => {
            builder.upgrade_format_version(format_version)
        }
        ViewUpdate::AddSchema { schema, .. } => Ok(builder.add_schema(schema)),
        ViewUpdate::SetLocation { location } => Ok(builder.set_location(location)),
        ViewUpdate::SetProperties { updates } => builder.set_properties(updates),
        ViewUpdate::RemoveProperties { removals } => Ok(builder.remove_properties(&removals)),
        ViewUpdate::AddViewVersion { view_version } => builder.add_version(view_version),
        ViewUpdate::SetCurrentViewVersion { view_version_id } => {
            builder.set_current_version_id(view_version_id)
        }
    }
}

/// Metadata that was made from a request, if it can be made and read again.
fn checked(
    ident: &TableIdent,
    make: impl FnOnce() -> iceberg::Result<ViewMetadata>,
) -> Result<ViewMetadata> {
    let invalid = |problem: &str| {
        let problem = problem.split_whitespace().collect::<Vec<_>>().join(" ");
        CatalogError::InvalidInput(format!("view {}: {problem}", ident_name(ident)))
    };
    // Numbers at the edge of their range make the library panic.
    let made = catch_unwind(AssertUnwindSafe(|| {
        let metadata = make()?;
        let json = serde_json::to_vec(&metadata)?;
        serde_json::from_slice::<ViewMetadata>(&json)?;
        Ok::<_, iceberg::Error>(metadata)
    }));
    match made {
        Ok(Ok(metadata)) => Ok(metadata),
        Ok(Err(error)) => Err(invalid(error.message())),
        Err(_) => Err(invalid("it has values that are out of range")),
    }
}
