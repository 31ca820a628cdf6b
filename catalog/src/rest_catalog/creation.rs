//! New tables: staged by the server, which chooses ids and a place, and created by the commit of
//! their first files.

use std::sync::Arc;

use iceberg::spec::TableMetadata;
use iceberg::{TableIdent, TableUpdate};

use super::Inner;
use super::http::Call;
use super::wire::{CreateTable, TableResult};
use crate::catalog::TableDraft;
use crate::error::{CatalogError, Result};
use crate::table::{ident_name, schema_of};

/// The property by which a client asks for a format version.
const FORMAT_VERSION: &str = "format-version";
/// Stands for what was added last.
const LAST_ADDED: i32 = -1;

impl Inner {
    /// Asks the server what a table will be, without creating it.
    pub(super) async fn stage(
        self: &Arc<Self>,
        ident: &TableIdent,
        draft: TableDraft,
    ) -> Result<TableMetadata> {
        let schema = schema_of(ident)?;
        let tables = self.paths.below(schema, "tables")?;
        // Also validates the name.
        self.paths.table(ident)?;
        let mut properties = draft.properties;
        let format_version = draft.format_version as u8;
        properties.insert(FORMAT_VERSION.to_string(), format_version.to_string());
        let request = CreateTable {
            name: ident.name().to_string(),
            location: draft.location.clone(),
            schema: draft.schema,
            partition_spec: draft.spec,
            write_order: draft.sort_order,
            stage_create: true,
            properties,
        };
        let call = Call::post(tables, &request).map_err(|failure| self.error(failure))?;
        let call = call.with_access(self.wants_access());
        let staged = match self.client.fetch::<TableResult>(&call).await {
            Ok(staged) => staged,
            Err(failure) if failure.is_missing() => {
                return Err(self.schema_not_found(schema).await);
            }
            Err(failure) if failure.status() == Some(409) => {
                return Err(self.name_taken(ident).await);
            }
            Err(failure) => return Err(self.error(failure)),
        };
        let metadata = staged.metadata;
        if metadata.format_version() != draft.format_version {
            return Err(CatalogError::Unsupported(format!(
                "format version {format_version} for table {} in catalog {}",
                ident_name(ident),
                self.name
            )));
        }
        let place = metadata.location().trim_end_matches('/');
        if let Some(wanted) = &draft.location
            && wanted != place
        {
            return Err(CatalogError::Unsupported(format!(
                "location {wanted} for table {} in catalog {}, which has chosen {place},",
                ident_name(ident),
                self.name
            )));
        }
        self.take_access(ident, &metadata, &staged.access)?;
        Ok(metadata)
    }

    /// That a table or a view of this name exists.
    pub(super) async fn name_taken(&self, ident: &TableIdent) -> CatalogError {
        let name = ident_name(ident);
        match self.find_view(ident).await {
            Ok(Some(_)) => CatalogError::ViewExists { name },
            Ok(None) => CatalogError::TableExists { name },
            Err(error) => error,
        }
    }
}

/// The updates that make a table like this one out of nothing: a commit that creates a table has
/// all of it.
pub(super) fn creating_updates(metadata: &TableMetadata) -> Vec<TableUpdate> {
    let mut updates = vec![
        TableUpdate::AssignUuid {
            uuid: metadata.uuid(),
        },
        TableUpdate::UpgradeFormatVersion {
            format_version: metadata.format_version(),
        },
        TableUpdate::AddSchema {
            schema: metadata.current_schema().as_ref().clone(),
        },
        TableUpdate::SetCurrentSchema {
            schema_id: LAST_ADDED,
        },
        TableUpdate::AddSpec {
            spec: metadata
                .default_partition_spec()
                .as_ref()
                .clone()
                .into_unbound(),
        },
        TableUpdate::SetDefaultSpec {
            spec_id: LAST_ADDED,
        },
        TableUpdate::AddSortOrder {
            sort_order: metadata.default_sort_order().as_ref().clone(),
        },
        TableUpdate::SetDefaultSortOrder {
            sort_order_id: i64::from(LAST_ADDED),
        },
        TableUpdate::SetLocation {
            location: metadata.location().to_string(),
        },
    ];
    let properties = metadata.properties();
    if !properties.is_empty() {
        updates.push(TableUpdate::SetProperties {
            updates: properties.clone(),
        });
    }
    updates
}
