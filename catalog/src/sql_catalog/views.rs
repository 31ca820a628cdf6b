//! Views of the versioned catalog: metadata files, and objects of their own kind.

use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::ViewMetadata;

use super::publish::Prepared;
use super::schema::kind;
use super::version::NewVersion;
use super::{Inner, names, nearest_name, schema_of};
use crate::catalog::TableCommit;
use crate::error::{CatalogError, Result};
use crate::table::{Table, ident_name};
use crate::view::{
    DroppedView, View, ViewCommit, ViewDefinition, commented_view_metadata, names_storage_table,
    new_metadata_location, next_view_metadata, view_metadata_json,
};

impl Inner {
    pub(super) async fn find_view(&self, ident: &TableIdent) -> Result<Option<View>> {
        let content = self
            .content(schema_of(ident)?, ident.name(), kind::VIEW)
            .await?;
        match content {
            Some(location) => self.read_view(ident, location).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn read_view(&self, ident: &TableIdent, location: String) -> Result<View> {
        let content = self.storage.read(&location).await?;
        let metadata: ViewMetadata = serde_json::from_slice(&content)
            .map_err(|error| CatalogError::metadata(&location, error.into()))?;
        Ok(View {
            ident: ident.clone(),
            metadata: Arc::new(metadata),
            metadata_location: location,
        })
    }

    pub(super) async fn view_not_found(&self, ident: &TableIdent) -> CatalogError {
        let find = async {
            let schema = schema_of(ident)?;
            if self
                .content(schema, ident.name(), kind::TABLE)
                .await?
                .is_some()
            {
                return Ok(CatalogError::IsTable {
                    name: ident_name(ident),
                });
            }
            // Also finds out whether there is such a schema.
            self.schema_properties(schema).await?;
            let views = self.names_of_kind(schema, kind::VIEW).await?;
            Ok(CatalogError::ViewNotFound {
                name: ident_name(ident),
                suggestion: nearest_name(ident.name(), &views)
                    .map(|nearest| format!("{schema}.{nearest}")),
            })
        };
        find.await.unwrap_or_else(|error| error)
    }

    /// Creates a view, or makes the next version of one that may be replaced, together with the
    /// table of its rows if it is materialized.
    pub(super) async fn put_view(
        self: &Arc<Self>,
        ident: &TableIdent,
        definition: ViewDefinition,
        or_replace: bool,
        storage_table: Option<TableCommit>,
    ) -> Result<(View, Option<Table>)> {
        let schema = schema_of(ident)?;
        names::validate_name("view", ident.name())?;
        let properties = self.schema_properties(schema).await?;
        let base = self.find_view(ident).await?;
        if base.is_some() && !or_replace {
            return Err(CatalogError::ViewExists {
                name: ident_name(ident),
            });
        }
        if let Some(base) = &base {
            check_same_kind(base, &definition)?;
        }
        let fresh_location = self.fresh_location(schema, &properties, ident.name());
        let metadata = next_view_metadata(ident, fresh_location, base.as_ref(), definition)?;
        let commit = ViewCommit {
            ident: ident.clone(),
            base,
            metadata,
        };
        match self.commit_view_in_background(commit, storage_table).await {
            // Somebody else created it meanwhile, and it may be replaced.
            Err(CatalogError::ViewExists { name }) if or_replace => {
                Err(CatalogError::CommitConflict {
                    table: name,
                    reason: "the view was created meanwhile".to_string(),
                })
            }
            outcome => outcome,
        }
    }

    /// Sets or removes the comment of a view, if it is still what it was when this began.
    pub(super) async fn comment_view(
        self: &Arc<Self>,
        ident: &TableIdent,
        comment: Option<String>,
    ) -> Result<View> {
        let Some(base) = self.find_view(ident).await? else {
            return Err(self.view_not_found(ident).await);
        };
        let metadata = commented_view_metadata(&base, comment)?;
        let commit = ViewCommit {
            ident: ident.clone(),
            base: Some(base),
            metadata,
        };
        let committed = self.commit_view_in_background(commit, None);
        committed.await.map(|(view, _)| view)
    }

    /// Commits a view, together with the table of its rows if it is materialized, on a task of its
    /// own: a caller that stops waiting does not leave it half done.
    pub(super) async fn commit_view_in_background(
        self: &Arc<Self>,
        commit: ViewCommit,
        storage_table: Option<TableCommit>,
    ) -> Result<(View, Option<Table>)> {
        let inner = Arc::clone(self);
        let name = ident_name(&commit.ident);
        let task = tokio::spawn(async move { inner.commit_view(commit, storage_table).await });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(CatalogError::CommitStateUnknown {
                table: name,
                reason: error.to_string(),
            }),
        }
    }

    async fn commit_view(
        &self,
        commit: ViewCommit,
        storage_table: Option<TableCommit>,
    ) -> Result<(View, Option<Table>)> {
        let ViewCommit {
            ident,
            base,
            metadata,
        } = commit;
        let has_moved = base
            .as_ref()
            .is_none_or(|view| view.metadata.location() != metadata.location());
        if has_moved {
            names::validate_name("view", ident.name())?;
            self.check_location_of("view", schema_of(&ident)?, metadata.location())
                .await?;
        }
        let mut tables = Vec::new();
        if let Some(commit) = storage_table {
            tables.push(self.prepare(commit).await?);
        }
        let location = new_metadata_location(&metadata);
        let json = view_metadata_json(&metadata)
            .map_err(|error| CatalogError::metadata(&location, error.into()))?;
        let published = async {
            self.write_metadata(&tables).await?;
            self.storage.write(&location, json.into()).await?;
            self.publish_view(&ident, base.as_ref(), &location, &tables)
                .await
        };
        match published.await {
            Ok(()) => {
                let view = View {
                    ident,
                    metadata: Arc::new(metadata),
                    metadata_location: location,
                };
                Ok((view, self.published(tables).await.pop()))
            }
            Err(error @ CatalogError::CommitStateUnknown { .. }) => Err(error),
            Err(error) => {
                self.delete_files(vec![location]).await;
                self.delete_metadata(&tables).await;
                Err(error)
            }
        }
    }

    async fn publish_view(
        &self,
        ident: &TableIdent,
        base: Option<&View>,
        location: &str,
        tables: &[Prepared],
    ) -> Result<()> {
        let name = (schema_of(ident)?, ident.name());
        let mut version = NewVersion::begin(self).await?;
        if !version.has_schema(name.0).await? {
            drop(version);
            return Err(self.schema_not_found(name.0).await);
        }
        let live = version.live(name.0, name.1).await?;
        if live
            .as_ref()
            .is_some_and(|object| object.kind != kind::VIEW)
        {
            return Err(CatalogError::TableExists {
                name: ident_name(ident),
            });
        }
        if live.is_some() && base.is_none() {
            return Err(CatalogError::ViewExists {
                name: ident_name(ident),
            });
        }
        let live_location = live.as_ref().map(|object| object.content.as_str());
        if live_location != base.map(|view| view.metadata_location.as_str()) {
            return Err(CatalogError::CommitConflict {
                table: ident_name(ident),
                reason: "the view was changed or dropped meanwhile".to_string(),
            });
        }
        version
            .set(kind::VIEW, name, live_location, Some(location))
            .await?;
        for table in tables {
            self.publish_one(&mut version, table).await?;
        }
        let verb = if base.is_some() { "replace" } else { "create" };
        let message = format!("{verb} view {}", ident_name(ident));
        let Err(error) = version.finish(&self.options.author, &message).await else {
            return Ok(());
        };
        match NewVersion::was_published(self, name, kind::VIEW, location).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(error),
            Err(_) => Err(CatalogError::CommitStateUnknown {
                table: ident_name(ident),
                reason: error.to_string(),
            }),
        }
    }

    /// Drops a view, and the table with its rows if it is materialized. The files of that table may
    /// be deleted unless another table, branch, tag or kept version reads them, or the drop may be
    /// rolled back.
    pub(super) async fn drop_view(&self, ident: &TableIdent) -> Result<DroppedView> {
        let name = (schema_of(ident)?, ident.name());
        let mut version = NewVersion::begin(self).await?;
        let live = version.live(name.0, name.1).await?;
        let Some(object) = live.filter(|object| object.kind == kind::VIEW) else {
            drop(version);
            return Err(self.view_not_found(ident).await);
        };
        version
            .set(kind::VIEW, name, Some(&object.content), None)
            .await?;
        // Before the drop is published, as for tables.
        let view = self.read_view(ident, object.content).await?;
        let storage_table = match view.materialization()? {
            Some(materialization) => {
                self.drop_storage_table(&mut version, &materialization.storage_table)
                    .await?
            }
            None => None,
        };
        let unread_files = self.unread_files(&mut version, &view).await?;
        let message = format!("drop view {}", ident_name(ident));
        version.finish(&self.options.author, &message).await?;
        Ok(DroppedView {
            view,
            storage_table,
            unread_files,
        })
    }

    /// The metadata files of all states of a view that is being dropped, if nothing else reads
    /// one of them.
    async fn unread_files(&self, version: &mut NewVersion<'_>, view: &View) -> Result<Vec<String>> {
        if self.may_read_dropped() {
            return Ok(Vec::new());
        }
        let (folder, own_file) = (view.metadata.location(), &view.metadata_location);
        let readers = self.other_readers_of(version, folder, Some(own_file));
        if !readers.await?.is_empty() {
            return Ok(Vec::new());
        }
        let folder = format!("{}/", folder.trim_end_matches('/'));
        let length = i64::try_from(folder.chars().count()).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT DISTINCT content FROM catalog_objects
             WHERE catalog_id = $1 AND kind = $2 AND substr(content, 1, {length}) = $3"
        );
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(self.catalog_id)
            .bind(kind::VIEW)
            .bind(folder)
            .fetch_all(version.connection())
            .await
            .map_err(|source| self.error(source))
    }

    async fn drop_storage_table(
        &self,
        version: &mut NewVersion<'_>,
        ident: &TableIdent,
    ) -> Result<Option<Table>> {
        let name = (schema_of(ident)?, ident.name());
        let live = version.live(name.0, name.1).await?;
        let Some(object) = live.filter(|object| object.kind == kind::TABLE) else {
            return Ok(None);
        };
        version
            .set(kind::TABLE, name, Some(&object.content), None)
            .await?;
        let table = Table {
            ident: ident.clone(),
            metadata: self.read_metadata(&object.content).await?,
            metadata_location: Some(object.content),
        };
        let is_read =
            self.may_read_dropped() || !self.other_readers(version, &table).await?.is_empty();
        Ok((!is_read).then_some(table))
    }

    /// Whether what is dropped can still be read: a drop in a transaction may be rolled back, and a
    /// retention keeps the version before it.
    fn may_read_dropped(&self) -> bool {
        self.position.is_transaction() || !self.options.version_retention.is_zero()
    }
}

/// Refuses to commit a materialized view without its storage table.
pub(super) fn refuse_materialized(commit: &ViewCommit) -> Result<()> {
    if let Some(base) = &commit.base
        && base.materialization()?.is_some()
    {
        return Err(CatalogError::Unsupported(format!(
            "changing materialized view {} but by SQL of Ingot",
            base.name()
        )));
    }
    // A storage table that it names would be dropped with it.
    if names_storage_table(&commit.metadata) {
        return Err(CatalogError::Unsupported(format!(
            "making {} a materialized view but by SQL of Ingot",
            ident_name(&commit.ident)
        )));
    }
    Ok(())
}

/// A view stays materialized, or not, when it is replaced.
fn check_same_kind(previous: &View, definition: &ViewDefinition) -> Result<()> {
    let was_materialized = previous.materialization()?.is_some();
    let name = previous.name();
    match (was_materialized, definition.materialization.is_some()) {
        (true, false) => Err(CatalogError::InvalidInput(format!(
            "{name} is a materialized view, not a view: drop it first"
        ))),
        (false, true) => Err(CatalogError::InvalidInput(format!(
            "{name} is a view, not a materialized view: drop it first"
        ))),
        _ => Ok(()),
    }
}
