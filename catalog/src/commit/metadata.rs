//! Committing changes of a table's metadata that write no data.

use std::collections::HashMap;

use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::{TableIdent, TableRequirement, TableUpdate};

use super::append::one_table;
use super::retry::Backoff;
use super::turns::take_turn;
use crate::catalog::{Catalog, TableCommit};
use crate::error::{CatalogError, Result};
use crate::table::{Table, ident_name};

/// Changes a table's metadata (schema, partition spec, sort order, properties, references), in
/// one commit.
///
/// `change` works the updates out from the state that it is given, and is asked again with the
/// newest state when another writer was first. No updates means that nothing has to change; the
/// newest state comes back then.
///
/// # Errors
/// Errors of `change` as they are while nobody else interferes; `CommitConflict`, saying what no
/// longer fits, when the change fitted before another writer's change and does not fit after it,
/// when the table was dropped or replaced by another one meanwhile, and when all retries were
/// used up; `InvalidInput` for updates that the table's metadata does not allow;
/// `CommitStateUnknown`, see the module.
pub async fn commit_metadata<F>(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    change: F,
) -> Result<Table>
where
    F: Fn(&Table) -> Result<Vec<TableUpdate>> + Send + Sync,
{
    let first = catalog.load_table(ident).await?;
    // A property that is no number must not keep the table from being repaired.
    let mut backoff = match Backoff::new(first.metadata.properties()) {
        Ok(backoff) => backoff,
        Err(_) => Backoff::new(&HashMap::new())?,
    };
    let _turn = take_turn(catalog.storage(), first.metadata.uuid()).await;
    let conflict = |reason: String| CatalogError::CommitConflict {
        table: ident_name(ident),
        reason,
    };
    loop {
        let newest = match catalog.load_table(ident).await {
            Err(CatalogError::TableNotFound { .. }) => {
                return Err(conflict("it was dropped meanwhile".to_string()));
            }
            loaded => loaded?,
        };
        if newest.metadata.uuid() != first.metadata.uuid() {
            return Err(conflict(
                "it was dropped and created again meanwhile".to_string(),
            ));
        }
        let is_changed = newest.metadata_location != first.metadata_location;
        let fitting = change(&newest).and_then(|updates| {
            check_fits(&newest, &updates)?;
            Ok(updates)
        });
        let updates = match fitting {
            Ok(updates) => updates,
            // It did fit the state that the statement began with.
            Err(error) if is_changed && change(&first).is_ok() => {
                return Err(conflict(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        if updates.is_empty() {
            return Ok(newest);
        }
        let commit = TableCommit {
            ident: ident.clone(),
            requirements: requirements_of(&newest.metadata, &updates),
            based_on: None,
            created_from: None,
            updates,
        };
        match catalog.commit(vec![commit]).await {
            Ok(tables) => return one_table(tables, &newest),
            Err(error) if error.is_conflict() => {
                if !backoff.wait().await {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Refuses updates that the metadata does not allow, before anything is written.
fn check_fits(table: &Table, updates: &[TableUpdate]) -> Result<()> {
    let invalid = |source: iceberg::Error| {
        CatalogError::InvalidInput(format!("table {}: {}", table.name(), source.message()))
    };
    let mut builder = TableMetadataBuilder::new_from_metadata(
        table.metadata.as_ref().clone(),
        table.metadata_location.clone(),
    );
    for update in updates {
        builder = update.clone().apply(builder).map_err(invalid)?;
    }
    builder.build().map(|_| ()).map_err(invalid)
}

/// What the updates rely on. The catalog checks it at the moment of the commit.
fn requirements_of(base: &TableMetadata, updates: &[TableUpdate]) -> Vec<TableRequirement> {
    let mut requirements = vec![TableRequirement::UuidMatch { uuid: base.uuid() }];
    for update in updates {
        let needed = match update {
            TableUpdate::AddSchema { .. } => vec![
                TableRequirement::LastAssignedFieldIdMatch {
                    last_assigned_field_id: base.last_column_id(),
                },
                TableRequirement::CurrentSchemaIdMatch {
                    current_schema_id: base.current_schema_id(),
                },
                // A new schema must have the source columns of these.
                TableRequirement::DefaultSpecIdMatch {
                    default_spec_id: base.default_partition_spec_id(),
                },
                TableRequirement::DefaultSortOrderIdMatch {
                    default_sort_order_id: base.default_sort_order_id(),
                },
            ],
            TableUpdate::AddSpec { .. } => vec![
                TableRequirement::LastAssignedPartitionIdMatch {
                    last_assigned_partition_id: base.last_partition_id(),
                },
                TableRequirement::DefaultSpecIdMatch {
                    default_spec_id: base.default_partition_spec_id(),
                },
                TableRequirement::CurrentSchemaIdMatch {
                    current_schema_id: base.current_schema_id(),
                },
            ],
            TableUpdate::AddSortOrder { .. } => vec![
                TableRequirement::DefaultSortOrderIdMatch {
                    default_sort_order_id: base.default_sort_order_id(),
                },
                TableRequirement::CurrentSchemaIdMatch {
                    current_schema_id: base.current_schema_id(),
                },
            ],
            TableUpdate::SetSnapshotRef { ref_name, .. }
            | TableUpdate::RemoveSnapshotRef { ref_name } => {
                let current = base.snapshot_for_ref(ref_name);
                vec![TableRequirement::RefSnapshotIdMatch {
                    r#ref: ref_name.clone(),
                    snapshot_id: current.map(|snapshot| snapshot.snapshot_id()),
                }]
            }
            _ => Vec::new(),
        };
        for requirement in needed {
            if !requirements.contains(&requirement) {
                requirements.push(requirement);
            }
        }
    }
    requirements
}
