//! Creating and replacing tables together with their first files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::{
    DataFile, FormatVersion, Operation, Schema, SortOrder, TableMetadata, TableMetadataBuilder,
    UnboundPartitionSpec,
};
use iceberg::{TableIdent, TableRequirement, TableUpdate};

use super::append::{one_table, validate_files};
use super::produce::SnapshotProducer;
use super::replace::FieldIds;
use super::retry::Backoff;
use super::summary::ParentFiles;
use super::turns::take_turn;
use crate::catalog::{Catalog, TableCommit, TableDraft};
use crate::error::{CatalogError, Result};
use crate::table::{Table, ident_name};
use crate::view::ViewDefinition;

/// Reserved property: where the table goes. Not stored.
const LOCATION: &str = "location";
/// Reserved property: 1, 2 or 3. Not stored.
const FORMAT_VERSION: &str = "format-version";

/// A table that is not visible yet: a new one, or the next state of one that it
/// replaces. [`StagedTable::table`] is what to plan writes against;
/// [`commit_staged`] publishes it with the files written.
///
/// Nothing is written or reserved until then: dropping it undoes everything but data
/// files, which are the caller's.
#[derive(Debug, Clone)]
pub struct StagedTable {
    table: Table,
    /// What to apply to the replaced table; empty for a creation.
    updates: Vec<TableUpdate>,
    /// What a replacement relies on besides the snapshot.
    requirements: Vec<TableRequirement>,
    is_replacement: bool,
    summary: BTreeMap<String, String>,
}

impl StagedTable {
    /// The table as it will be, without its files: location, schema with final field
    /// ids, default spec and sort order, properties. Has no `metadata_location`.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whether a table of this name exists and will be replaced.
    pub fn is_replacement(&self) -> bool {
        self.is_replacement
    }

    /// Adds entries to the summary of the snapshot that the commit makes.
    pub fn with_summary(mut self, summary: BTreeMap<String, String>) -> Self {
        self.summary.extend(summary);
        self
    }
}

/// Stages a new table. Field ids of `schema` only have to be unique: the table gets
/// fresh ones, and `spec` and `sort_order` follow. The properties `location` (must be
/// inside the warehouse) and `format-version` (default 2) are not stored.
///
/// # Errors
/// `TableExists`, `SchemaNotFound`, `InvalidInput`.
pub async fn stage_create(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    schema: Schema,
    spec: UnboundPartitionSpec,
    sort_order: SortOrder,
    properties: HashMap<String, String>,
) -> Result<StagedTable> {
    match catalog.load_table(ident).await {
        Ok(_) => {
            return Err(CatalogError::TableExists {
                name: ident_name(ident),
            });
        }
        Err(CatalogError::TableNotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let (reserved, properties) = Reserved::take(properties)?;
    let draft = TableDraft {
        schema,
        spec,
        sort_order,
        format_version: reserved.format_version.unwrap_or(FormatVersion::V2),
        location: reserved
            .location
            .map(|location| location.trim_end_matches('/').to_string()),
        properties,
    };
    let metadata = catalog.stage_table(ident, draft).await?;
    // Storage that cannot be reached is told now and not after the statement's query.
    let folder = metadata.location().trim_end_matches('/');
    catalog
        .storage()
        .exists(&format!("{folder}/metadata"))
        .await?;
    Ok(StagedTable {
        table: staged_table(ident, metadata),
        updates: Vec::new(),
        requirements: vec![TableRequirement::NotExist],
        is_replacement: false,
        summary: BTreeMap::new(),
    })
}

/// Properties with these names tell what the rows are, not how the table is kept (which
/// files were copied into it): they go when all rows are replaced.
pub const CONTENT_PROPERTY_PREFIX: &str = "ingot.content.";

/// Stages the next state of an existing table, as `CREATE OR REPLACE` makes it: new
/// schema, spec and sort order; `properties` are added to those it has. Columns with
/// the name and type of a current one keep its field id. History stays, and old
/// snapshots are read with their own schemas.
///
/// # Errors
/// `TableNotFound`; `InvalidInput` for what cannot be changed (`location`, a lower
/// `format-version`).
pub async fn stage_replace(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    schema: Schema,
    spec: UnboundPartitionSpec,
    sort_order: SortOrder,
    properties: HashMap<String, String>,
) -> Result<StagedTable> {
    let current = catalog.load_table(ident).await?;
    let base = current.metadata.as_ref();
    let (reserved, properties) = Reserved::take(properties)?;
    if let Some(location) = &reserved.location
        && location.trim_end_matches('/') != base.location().trim_end_matches('/')
    {
        return Err(CatalogError::InvalidInput(format!(
            "table {} stays at {} when it is replaced: leave the location out, or drop it first",
            current.name(),
            base.location()
        )));
    }

    let mut ids = FieldIds::new(base);
    let schema = ids.assign(&schema)?;
    let spec = ids.partition_spec(&spec)?;
    let sort_order = ids.sort_order(&sort_order)?;

    let mut updates = Vec::new();
    if let Some(format_version) = reserved.format_version {
        if format_version < base.format_version() {
            return Err(CatalogError::InvalidInput(format!(
                "table {} has format version {}, which cannot be lowered: drop it first",
                current.name(),
                base.format_version() as u8
            )));
        }
        updates.push(TableUpdate::UpgradeFormatVersion { format_version });
    }
    updates.extend([
        TableUpdate::AddSchema { schema },
        TableUpdate::SetCurrentSchema { schema_id: -1 },
        TableUpdate::AddSpec { spec },
        TableUpdate::SetDefaultSpec { spec_id: -1 },
        TableUpdate::AddSortOrder { sort_order },
        TableUpdate::SetDefaultSortOrder { sort_order_id: -1 },
    ]);
    let names = base.properties().keys();
    let of_old_content: Vec<String> = names
        .filter(|name| name.starts_with(CONTENT_PROPERTY_PREFIX))
        .cloned()
        .collect();
    if !of_old_content.is_empty() {
        updates.push(TableUpdate::RemoveProperties {
            removals: of_old_content,
        });
    }
    if !properties.is_empty() {
        updates.push(TableUpdate::SetProperties {
            updates: properties,
        });
    }
    let mut builder = TableMetadataBuilder::new_from_metadata(base.clone(), None);
    for update in &updates {
        builder = update
            .clone()
            .apply(builder)
            .map_err(|source| invalid(ident, &source))?;
    }
    let built = builder.build().map_err(|source| invalid(ident, &source))?;
    // Snapshots that others add meanwhile do not matter, new columns and specs do:
    // they could have the ids that this replacement gives to its own.
    let requirements = vec![
        TableRequirement::UuidMatch { uuid: base.uuid() },
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id: base.last_column_id(),
        },
        TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: base.current_schema_id(),
        },
        TableRequirement::LastAssignedPartitionIdMatch {
            last_assigned_partition_id: base.last_partition_id(),
        },
        TableRequirement::DefaultSpecIdMatch {
            default_spec_id: base.default_partition_spec_id(),
        },
        TableRequirement::DefaultSortOrderIdMatch {
            default_sort_order_id: base.default_sort_order_id(),
        },
    ];
    Ok(StagedTable {
        table: staged_table(ident, built.metadata),
        updates,
        requirements,
        is_replacement: true,
        summary: BTreeMap::new(),
    })
}

/// [`stage_replace`] when the table exists, else [`stage_create`].
pub async fn stage_create_or_replace(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    schema: Schema,
    spec: UnboundPartitionSpec,
    sort_order: SortOrder,
    properties: HashMap<String, String>,
) -> Result<StagedTable> {
    match catalog.load_table(ident).await {
        Ok(_) => stage_replace(catalog, ident, schema, spec, sort_order, properties).await,
        Err(CatalogError::TableNotFound { .. }) => {
            stage_create(catalog, ident, schema, spec, sort_order, properties).await
        }
        Err(error) => Err(error),
    }
}

/// Publishes a staged table with the data files written for it, in one commit.
///
/// A new table without files has no snapshot. A replacement always makes one, with
/// only these files, on top of whatever the table has by then: it wins over appends,
/// which stay in the history.
///
/// # Errors
/// `TableExists` when another one created the table meanwhile; `CommitConflict` when
/// a replaced table was dropped or got other columns, partitioning or sort order
/// meanwhile; `CommitStateUnknown`, see the module; `InvalidInput` for files that are
/// no data files of the staged table.
pub async fn commit_staged(
    catalog: &dyn Catalog,
    staged: StagedTable,
    files: Vec<DataFile>,
) -> Result<Table> {
    publish_staged(catalog, staged, files, &Alone).await
}

/// Publishes an empty storage table together with its materialized view, in one commit. A view
/// that is replaced gets a storage table without rows, whose history stays.
///
/// # Errors
/// Those of [`commit_staged`] and of [`Catalog::put_materialized_view`].
pub async fn commit_materialized_view(
    catalog: &dyn Catalog,
    staged: StagedTable,
    view: &TableIdent,
    definition: ViewDefinition,
    or_replace: bool,
) -> Result<Table> {
    let publication = WithView {
        view,
        definition,
        or_replace,
    };
    publish_staged(catalog, staged, Vec::new(), &publication).await
}

/// How the commit of a staged table becomes visible.
#[async_trait]
trait Publication: Send + Sync {
    /// Publishes it; returns the new state of the table, alone.
    async fn publish(&self, catalog: &dyn Catalog, commit: TableCommit) -> Result<Vec<Table>>;
}

/// By itself.
struct Alone;

#[async_trait]
impl Publication for Alone {
    async fn publish(&self, catalog: &dyn Catalog, commit: TableCommit) -> Result<Vec<Table>> {
        catalog.commit(vec![commit]).await
    }
}

/// With the materialized view whose rows the table stores.
struct WithView<'a> {
    view: &'a TableIdent,
    definition: ViewDefinition,
    or_replace: bool,
}

#[async_trait]
impl Publication for WithView<'_> {
    async fn publish(&self, catalog: &dyn Catalog, commit: TableCommit) -> Result<Vec<Table>> {
        let definition = self.definition.clone();
        catalog
            .put_materialized_view(self.view, definition, self.or_replace, commit)
            .await
    }
}

async fn publish_staged(
    catalog: &dyn Catalog,
    staged: StagedTable,
    files: Vec<DataFile>,
    publication: &dyn Publication,
) -> Result<Table> {
    validate_files(&staged.table, &files)?;
    let metadata = Arc::clone(&staged.table.metadata);
    if !staged.is_replacement && files.is_empty() {
        let commit = staged.commit(None, Vec::new());
        let created = publication.publish(catalog, commit).await;
        return one_table(created?, &staged.table);
    }
    let (operation, parent_files) = if staged.is_replacement {
        (Operation::Overwrite, ParentFiles::Remove)
    } else {
        (Operation::Append, ParentFiles::Keep)
    };
    let mut producer = SnapshotProducer::new(
        catalog.storage(),
        operation,
        parent_files,
        files,
        (
            Arc::clone(metadata.current_schema()),
            Arc::clone(metadata.default_partition_spec()),
        ),
        staged.summary.clone(),
    );
    let mut backoff = Backoff::new(metadata.properties())?;
    let _turn = take_turn(catalog.storage(), metadata.uuid()).await;
    loop {
        let produced = match staged.base(catalog).await {
            Ok(base) => producer.produce(&base).await,
            Err(error) => Err(error),
        };
        let produced = match produced {
            Ok(produced) => produced,
            Err(error) => {
                producer.discard().await;
                return Err(error);
            }
        };
        let requirement = staged.is_replacement.then(|| produced.requirement.clone());
        let commit = staged.commit(requirement, produced.updates.clone());
        match publication.publish(catalog, commit).await {
            Ok(tables) => {
                producer.keep_only(&produced).await;
                return one_table(tables, &staged.table);
            }
            Err(error) if error.is_conflict() => {
                if backoff.wait().await {
                    producer.discard_attempt().await;
                } else {
                    producer.discard().await;
                    return Err(error);
                }
            }
            Err(error @ CatalogError::CommitStateUnknown { .. }) => return Err(error),
            Err(error) => {
                producer.discard().await;
                return Err(error);
            }
        }
    }
}

impl StagedTable {
    fn commit(&self, snapshot: Option<TableRequirement>, added: Vec<TableUpdate>) -> TableCommit {
        let mut requirements = self.requirements.clone();
        requirements.extend(snapshot);
        let mut updates = self.updates.clone();
        updates.extend(added);
        let created_from = (!self.is_replacement).then(|| self.table.metadata.as_ref().clone());
        TableCommit {
            ident: self.table.ident.clone(),
            requirements,
            based_on: None,
            created_from,
            updates,
        }
    }

    /// What the snapshot goes on top of: the staged state, applied to the newest one.
    async fn base(&self, catalog: &dyn Catalog) -> Result<TableMetadata> {
        if !self.is_replacement {
            return Ok(self.table.metadata.as_ref().clone());
        }
        let newest = match catalog.load_table(&self.table.ident).await {
            Err(CatalogError::TableNotFound { .. }) => {
                return Err(self.conflict("it was dropped meanwhile".to_string()));
            }
            loaded => loaded?,
        };
        for requirement in &self.requirements {
            requirement.check(Some(&newest.metadata)).map_err(|error| {
                let reason = error.message().trim_start_matches("Requirement failed: ");
                self.conflict(format!(
                    "its definition was changed meanwhile ({})",
                    reason.to_lowercase()
                ))
            })?;
        }
        let mut builder = TableMetadataBuilder::new_from_metadata(
            newest.metadata.as_ref().clone(),
            newest.metadata_location.clone(),
        );
        for update in &self.updates {
            builder = update
                .clone()
                .apply(builder)
                .map_err(|source| invalid(&self.table.ident, &source))?;
        }
        let built = builder.build();
        let built = built.map_err(|source| invalid(&self.table.ident, &source))?;
        Ok(built.metadata)
    }

    fn conflict(&self, reason: String) -> CatalogError {
        CatalogError::CommitConflict {
            table: self.table.name(),
            reason,
        }
    }
}

fn staged_table(ident: &TableIdent, metadata: TableMetadata) -> Table {
    Table {
        ident: ident.clone(),
        metadata: Arc::new(metadata),
        metadata_location: None,
    }
}

fn invalid(ident: &TableIdent, source: &iceberg::Error) -> CatalogError {
    CatalogError::InvalidInput(format!("table {}: {}", ident_name(ident), source.message()))
}

/// Properties that say how to make the table and are not stored in it.
struct Reserved {
    location: Option<String>,
    format_version: Option<FormatVersion>,
}

impl Reserved {
    fn take(mut properties: HashMap<String, String>) -> Result<(Self, HashMap<String, String>)> {
        let format_version = match properties.remove(FORMAT_VERSION).as_deref() {
            None => None,
            Some("1") => Some(FormatVersion::V1),
            Some("2") => Some(FormatVersion::V2),
            Some("3") => Some(FormatVersion::V3),
            Some(other) => {
                return Err(CatalogError::InvalidInput(format!(
                    "format version {other:?} is not valid: use 1, 2 or 3"
                )));
            }
        };
        let location = properties.remove(LOCATION);
        Ok((
            Self {
                location,
                format_version,
            },
            properties,
        ))
    }
}
