//! The seam between Ingot and any Iceberg catalog.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::{
    FormatVersion, MAIN_BRANCH, Schema, SortOrder, TableMetadata, TableMetadataBuildResult,
    TableMetadataBuilder, UnboundPartitionSpec,
};
use iceberg::{TableIdent, TableRequirement, TableUpdate};

use crate::error::{CatalogError, Result};
use crate::storage::Storage;
use crate::table::{Table, ident_name};
use crate::versioned::VersionedCatalog;
use crate::view::{DroppedView, View, ViewCommit, ViewDefinition};

/// One change to one table: applied only if every requirement still holds.
#[derive(Debug, Clone)]
pub struct TableCommit {
    /// The table to change or create.
    pub ident: TableIdent,
    /// What must be true of the table at the moment of the commit
    /// (`TableRequirement::NotExist` for a creation).
    pub requirements: Vec<TableRequirement>,
    /// The metadata location of the only state that the commit fits; `None` when any state will
    /// do that fulfils the requirements.
    pub based_on: Option<String>,
    /// For a creation, the metadata to begin with (no snapshot yet); `updates` are applied to it.
    /// `None` when the table exists.
    pub created_from: Option<TableMetadata>,
    /// Changes in order.
    pub updates: Vec<TableUpdate>,
}

impl TableCommit {
    /// Checks the requirements against the table's state; `None` when there is no table.
    ///
    /// # Errors
    /// `TableExists` when the table must not exist, `CommitConflict` for any other that fails.
    pub fn check_requirements(&self, current: Option<&Table>) -> Result<()> {
        let location = current.and_then(|table| table.metadata_location.as_ref());
        if self.based_on.is_some() && self.based_on.as_ref() != location {
            return Err(CatalogError::CommitConflict {
                table: ident_name(&self.ident),
                reason: "it was changed meanwhile".to_string(),
            });
        }
        let metadata = current.map(|table| table.metadata.as_ref());
        for requirement in &self.requirements {
            let Err(error) = requirement.check(metadata) else {
                continue;
            };
            let name = ident_name(&self.ident);
            if *requirement == TableRequirement::NotExist {
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
        Ok(())
    }

    /// Adds requirements that hold only as long as the table stays as it is here, as far as
    /// requirements can say it: a branch or tag that somebody adds fails none of them.
    ///
    /// # Errors
    /// `Metadata` when the table's references cannot be read.
    pub(crate) fn require_state(&mut self, current: &Table) -> Result<()> {
        let metadata = current.metadata.as_ref();
        let mut state = vec![
            TableRequirement::UuidMatch {
                uuid: metadata.uuid(),
            },
            TableRequirement::CurrentSchemaIdMatch {
                current_schema_id: metadata.current_schema_id(),
            },
            TableRequirement::LastAssignedFieldIdMatch {
                last_assigned_field_id: metadata.last_column_id(),
            },
            TableRequirement::LastAssignedPartitionIdMatch {
                last_assigned_partition_id: metadata.last_partition_id(),
            },
            TableRequirement::DefaultSpecIdMatch {
                default_spec_id: metadata.default_partition_spec_id(),
            },
            TableRequirement::DefaultSortOrderIdMatch {
                default_sort_order_id: metadata.default_sort_order_id(),
            },
        ];
        let references = current.references()?;
        if !references.contains_key(MAIN_BRANCH) {
            state.push(TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_string(),
                snapshot_id: None,
            });
        }
        state.extend(references.into_iter().map(|(name, reference)| {
            TableRequirement::RefSnapshotIdMatch {
                r#ref: name,
                snapshot_id: Some(reference.snapshot_id),
            }
        }));
        for requirement in state {
            if !self.requirements.contains(&requirement) {
                self.requirements.push(requirement);
            }
        }
        Ok(())
    }

    /// The state after the updates, which are applied to the table or, when there is none, to
    /// `created_from`.
    ///
    /// # Errors
    /// `TableExists`, `TableNotFound`; `Metadata` when the updates do not fit.
    pub fn apply(&self, current: Option<&Table>) -> Result<TableMetadataBuildResult> {
        let name = ident_name(&self.ident);
        let mut builder = match (current, &self.created_from) {
            (Some(table), None) => TableMetadataBuilder::new_from_metadata(
                table.metadata.as_ref().clone(),
                table.metadata_location.clone(),
            ),
            (None, Some(metadata)) => {
                TableMetadataBuilder::new_from_metadata(metadata.clone(), None)
            }
            (Some(_), Some(_)) => return Err(CatalogError::TableExists { name }),
            (None, None) => {
                return Err(CatalogError::TableNotFound {
                    name,
                    suggestion: None,
                });
            }
        };
        for update in &self.updates {
            builder = update
                .clone()
                .apply(builder)
                .map_err(|source| CatalogError::metadata(&name, source))?;
        }
        builder
            .build()
            .map_err(|source| CatalogError::metadata(&name, source))
    }
}

/// What a new table is to be. Field ids of `schema` only have to be unique, and `spec` and
/// `sort_order` name columns by them: the table gets fresh ones.
#[derive(Debug, Clone)]
pub struct TableDraft {
    /// Its columns.
    pub schema: Schema,
    /// Its partitioning.
    pub spec: UnboundPartitionSpec,
    /// Its sort order.
    pub sort_order: SortOrder,
    /// Its format version.
    pub format_version: FormatVersion,
    /// Where it goes, without a slash at the end; `None` leaves it to the catalog.
    pub location: Option<String>,
    /// Its properties.
    pub properties: HashMap<String, String>,
}

impl TableDraft {
    /// The metadata of such a table at a location.
    ///
    /// # Errors
    /// `InvalidInput` for a table that cannot be.
    pub fn build(self, ident: &TableIdent, location: &str) -> Result<TableMetadata> {
        TableMetadataBuilder::new(
            self.schema,
            self.spec,
            self.sort_order,
            location.trim_end_matches('/').to_string(),
            self.format_version,
            self.properties,
        )
        .and_then(TableMetadataBuilder::build)
        .map(|built| built.metadata)
        .map_err(|source| {
            let name = ident_name(ident);
            CatalogError::InvalidInput(format!("table {name}: {}", source.message()))
        })
    }
}

/// An Iceberg catalog: names to table metadata, changed by compare-and-swap.
///
/// Namespaces have one level and are called schemas, as in SQL.
#[async_trait]
pub trait Catalog: Debug + Send + Sync {
    /// The catalog's name in SQL (`iceberg` by default).
    fn name(&self) -> &str;

    /// Whether it is a server's, which serves its tables to others itself.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether it knows every state that may read a table's files ([`Catalog::reachable_metadata`]);
    /// none of them is deleted otherwise.
    fn knows_all_states(&self) -> bool {
        true
    }

    /// Where its metadata and data files live.
    fn storage(&self) -> &Arc<Storage>;

    /// Schema names, sorted.
    async fn list_schemas(&self) -> Result<Vec<String>>;

    /// Properties of a schema (`location`, `comment`), or `SchemaNotFound`.
    async fn load_schema(&self, schema: &str) -> Result<HashMap<String, String>>;

    /// Creates a schema, or fails with `SchemaExists`.
    async fn create_schema(&self, schema: &str, properties: HashMap<String, String>) -> Result<()>;

    /// Sets and removes properties of a schema in one step. Those to remove that it does not have
    /// are ignored.
    ///
    /// # Errors
    /// `SchemaNotFound`; `InvalidInput` for a `location` that is not allowed; `Unsupported` for
    /// catalogs without this.
    async fn change_schema_properties(
        &self,
        schema: &str,
        set: HashMap<String, String>,
        removed: &[String],
    ) -> Result<()> {
        let _ = (set, removed);
        Err(CatalogError::Unsupported(format!(
            "changing properties of schema {schema} in catalog {}",
            self.name()
        )))
    }

    /// Drops an empty schema, or fails with `SchemaNotEmpty`.
    async fn drop_schema(&self, schema: &str) -> Result<()>;

    /// Table names of a schema, sorted, or `SchemaNotFound`. Storage tables of materialized views
    /// are not listed; they can be loaded.
    async fn list_tables(&self, schema: &str) -> Result<Vec<String>>;

    /// The table's newest committed state, or `TableNotFound` with the nearest name.
    async fn load_table(&self, ident: &TableIdent) -> Result<Table>;

    /// A fresh, unused location for a new table, under the schema's or the warehouse's location.
    /// Refuses names that would escape it.
    async fn new_table_location(&self, ident: &TableIdent) -> Result<String>;

    /// Refuses a location that was chosen for a new table and is not allowed, such as one
    /// outside of the warehouse, or the warehouse itself. Asked before any file of the table is
    /// written.
    async fn check_table_location(&self, ident: &TableIdent, location: &str) -> Result<()> {
        let _ = (ident, location);
        Ok(())
    }

    /// What a new table will be, with its final ids and location. Nothing is created: that is a
    /// commit with this as [`TableCommit::created_from`].
    ///
    /// # Errors
    /// `SchemaNotFound`; `InvalidInput` for a bad name, a location that is not allowed, and a
    /// table that cannot be.
    async fn stage_table(&self, ident: &TableIdent, draft: TableDraft) -> Result<TableMetadata> {
        // Also validates the name and finds the schema.
        let fresh_location = self.new_table_location(ident).await?;
        let location = match &draft.location {
            Some(location) => {
                self.check_table_location(ident, location).await?;
                location.clone()
            }
            None => fresh_location,
        };
        draft.build(ident, &location)
    }

    /// Publishes changes of one or several tables in one step: all of them or none.
    /// Returns the new states in the order given, `CommitConflict` if a requirement failed.
    async fn commit(&self, commits: Vec<TableCommit>) -> Result<Vec<Table>>;

    /// The metadata locations of every state of a table that can still be read: the newest one
    /// and those of other catalog branches, of tags, and of catalog versions that are kept; and
    /// those of other tables whose files may be in the same folder. Files that one of them refers
    /// to must not be deleted.
    ///
    /// # Errors
    /// When they are not all known.
    async fn reachable_metadata(&self, table: &Table) -> Result<Vec<String>> {
        let newest = self.load_table(&table.ident).await?;
        Ok(newest.metadata_location.into_iter().collect())
    }

    /// The metadata locations of all tables and views whose metadata is in a folder, in every state
    /// that can still be read. None in catalogs that choose the places of tables themselves: they
    /// put none into the folder of another.
    ///
    /// # Errors
    /// When they are not all known.
    async fn reachable_within(&self, folder: &str) -> Result<Vec<String>> {
        let _ = folder;
        Ok(Vec::new())
    }

    /// The metadata files in a folder of states of views that nobody can read any more: of views
    /// that were dropped or replaced. None in catalogs that keep the metadata of views themselves.
    ///
    /// # Errors
    /// When they are not all known.
    async fn unread_view_files(&self, folder: &str) -> Result<Vec<String>> {
        let _ = folder;
        Ok(Vec::new())
    }

    /// The folder that the folders of a schema's new tables and views are made in.
    ///
    /// # Errors
    /// `SchemaNotFound`; `Unsupported` for catalogs that do not tell.
    async fn table_folder(&self, schema: &str) -> Result<String> {
        self.load_schema(schema).await?;
        Err(CatalogError::Unsupported(format!(
            "looking for abandoned folders of schema {schema} in catalog {}",
            self.name()
        )))
    }

    /// Whether a table or view, in whatever state and on whatever branch, has or ever had its
    /// metadata in a folder of this name.
    ///
    /// # Errors
    /// `Unsupported` for catalogs that do not remember.
    async fn is_known_folder(&self, name: &str) -> Result<bool> {
        Err(CatalogError::Unsupported(format!(
            "telling whether folder {name} was ever used in catalog {}",
            self.name()
        )))
    }

    /// Removes a table from the catalog; its files stay. Returns the state dropped.
    async fn drop_table(&self, ident: &TableIdent) -> Result<Table>;

    /// Removes a table whose files are to be deleted. Returns the state dropped.
    ///
    /// # Errors
    /// As [`Catalog::drop_table`], and `FilesInUse` when another table, a branch or a tag of the
    /// catalog still reads them.
    async fn drop_table_for_purge(&self, ident: &TableIdent) -> Result<Table> {
        self.drop_table(ident).await
    }

    /// Whether [`Catalog::drop_table_for_purge`] has the catalog delete the files itself; else
    /// they are left to the caller.
    fn deletes_files_of_dropped_tables(&self) -> bool {
        false
    }

    /// Renames a table within the catalog; its location does not change.
    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()>;

    /// View names of a schema, sorted, or `SchemaNotFound`.
    async fn list_views(&self, schema: &str) -> Result<Vec<String>> {
        let _ = schema;
        Ok(Vec::new())
    }

    /// The view's newest state, or `ViewNotFound` with the nearest name. Loading a table of
    /// this name fails with `IsView`.
    async fn load_view(&self, ident: &TableIdent) -> Result<View> {
        Err(CatalogError::ViewNotFound {
            name: ident_name(ident),
            suggestion: None,
        })
    }

    /// Creates a view, or makes a new version of one that exists if it may be replaced.
    ///
    /// # Errors
    /// `ViewExists`, `TableExists`; `InvalidInput` for a materialized view, which is made by
    /// [`Catalog::put_materialized_view`]; `Unsupported` for catalogs without views.
    async fn put_view(
        &self,
        ident: &TableIdent,
        definition: ViewDefinition,
        or_replace: bool,
    ) -> Result<View> {
        let _ = (definition, or_replace);
        Err(CatalogError::Unsupported(format!(
            "view {} in catalog {}",
            ident_name(ident),
            self.name()
        )))
    }

    /// Creates or replaces a materialized view together with its storage table, which the
    /// definition names, in one step. Returns the new state of that table, alone.
    ///
    /// # Errors
    /// Those of [`Catalog::put_view`], and of [`Catalog::commit`] for the table; `InvalidInput`
    /// when it would replace a view that is not materialized.
    async fn put_materialized_view(
        &self,
        ident: &TableIdent,
        definition: ViewDefinition,
        or_replace: bool,
        storage_table: TableCommit,
    ) -> Result<Vec<Table>> {
        let _ = (definition, or_replace, storage_table);
        Err(CatalogError::Unsupported(format!(
            "materialized view {} in catalog {}",
            ident_name(ident),
            self.name()
        )))
    }

    /// Sets or removes the comment of a view, of a materialized one too. Nothing else of it changes.
    ///
    /// # Errors
    /// `ViewNotFound`; `CommitConflict` when the view was changed or dropped meanwhile;
    /// `CommitStateUnknown`; `Unsupported` for catalogs without this.
    async fn comment_view(&self, ident: &TableIdent, comment: Option<String>) -> Result<View> {
        let _ = comment;
        self.load_view(ident).await?;
        Err(CatalogError::Unsupported(format!(
            "changing the comment of view {} in catalog {}",
            ident_name(ident),
            self.name()
        )))
    }

    /// Publishes a view's metadata, which may be in any engine's dialect.
    ///
    /// # Errors
    /// `ViewExists` or `TableExists` for a creation; `CommitConflict` when the view was changed or
    /// dropped meanwhile; `InvalidInput` for a location that is not allowed; `CommitStateUnknown`;
    /// `Unsupported` for catalogs without views.
    async fn commit_view(&self, commit: ViewCommit) -> Result<View> {
        Err(CatalogError::Unsupported(format!(
            "view {} in catalog {}",
            ident_name(&commit.ident),
            self.name()
        )))
    }

    /// Renames a view within the catalog, a materialized one together with its storage table;
    /// their locations do not change.
    async fn rename_view(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.load_view(from).await?;
        Err(CatalogError::Unsupported(format!(
            "renaming view {} to {} in catalog {}",
            ident_name(from),
            ident_name(to),
            self.name()
        )))
    }

    /// Removes a view from the catalog, and its storage table if it is a materialized one; the
    /// files stay. Returns the states dropped.
    async fn drop_view(&self, ident: &TableIdent) -> Result<DroppedView> {
        self.load_view(ident).await?;
        Err(CatalogError::Unsupported(format!(
            "dropping views of catalog {}",
            self.name()
        )))
    }

    /// Adds a table that another engine wrote, by its newest metadata file. From then on
    /// this catalog commits to it; the other engine must not.
    ///
    /// # Errors
    /// `TableExists`; `InvalidInput` when the file or the table's location is where the catalog
    /// allows no tables; `Metadata` when the file cannot be read; `Unsupported` for catalogs
    /// without this.
    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        Err(CatalogError::Unsupported(format!(
            "registering {metadata_location} as {ident} in catalog {}",
            self.name()
        )))
    }

    /// Its branches, tags, versions and transactions.
    ///
    /// # Errors
    /// `Unsupported` for catalogs without these.
    fn versioned(&self) -> Result<&dyn VersionedCatalog> {
        Err(CatalogError::Unsupported(format!(
            "this in catalog {}, which has no branches, versions and transactions,",
            self.name()
        )))
    }
}
