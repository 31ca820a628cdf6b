//! Renaming tables and views.

use std::sync::Arc;

use iceberg::TableIdent;

use super::schema::kind;
use super::version::NewVersion;
use super::{Inner, names, schema_of};
use crate::error::{CatalogError, Result};
use crate::materialized_view::storage_table_of;
use crate::table::ident_name;
use crate::view::{View, moved_view_metadata, new_metadata_location, view_metadata_json};

/// A materialized view that gets another name, and its storage table with it.
struct MaterializedRename {
    /// The view as it is.
    view: View,
    /// Its storage table.
    storage_table: TableIdent,
    /// The view's new name.
    to: TableIdent,
    /// The storage table's new name.
    new_storage_table: TableIdent,
    /// The metadata file of the view that names it.
    location: String,
}

impl Inner {
    /// Renames a table or a view, as `kind` says. Its files stay where they are.
    pub(super) async fn rename(
        &self,
        kind: &str,
        from: &TableIdent,
        to: &TableIdent,
    ) -> Result<()> {
        names::validate_name(kind, to.name())?;
        let mut version = NewVersion::begin(self).await?;
        let from_name = (schema_of(from)?, from.name());
        let live = version.live(from_name.0, from_name.1).await?;
        let Some(object) = live.filter(|object| object.kind == kind) else {
            drop(version);
            return Err(match kind {
                kind::VIEW => self.view_not_found(from).await,
                _ => self.table_not_found(from).await,
            });
        };
        if kind == kind::VIEW {
            let view = self.read_view(from, object.content.clone()).await?;
            // Its storage table would keep its name.
            if view.materialization()?.is_some() {
                return Err(changed_meanwhile(from));
            }
        }
        if let Err(error) = check_free(&mut version, to).await {
            return Err(self.with_suggestion(version, error).await);
        }
        move_object(&mut version, kind, &object.content, (from, to), None).await?;
        let message = format!("rename {kind} {} to {}", ident_name(from), ident_name(to));
        version.finish(&self.options.author, &message).await
    }

    /// Renames a view; a materialized one on a task of its own, as every commit that writes files.
    pub(super) async fn rename_view(
        self: &Arc<Self>,
        from: &TableIdent,
        to: &TableIdent,
    ) -> Result<()> {
        let materialization = match self.find_view(from).await? {
            Some(view) => view.materialization()?.map(|found| (view, found)),
            None => None,
        };
        let Some((view, materialization)) = materialization else {
            return self.rename(kind::VIEW, from, to).await;
        };
        let new_storage_table = storage_table_of(to);
        names::validate_name("view", to.name())?;
        names::validate_name("table", new_storage_table.name())?;
        let metadata = moved_view_metadata(&view, to, new_storage_table.clone())?;
        let location = new_metadata_location(&metadata);
        let json = view_metadata_json(&metadata)
            .map_err(|error| CatalogError::metadata(&location, error.into()))?;
        let rename = MaterializedRename {
            view,
            storage_table: materialization.storage_table,
            to: to.clone(),
            new_storage_table,
            location,
        };
        let inner = Arc::clone(self);
        let task =
            tokio::spawn(async move { inner.rename_materialized(rename, json.into()).await });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(CatalogError::CommitStateUnknown {
                table: ident_name(from),
                reason: error.to_string(),
            }),
        }
    }

    async fn rename_materialized(
        &self,
        rename: MaterializedRename,
        metadata: bytes::Bytes,
    ) -> Result<()> {
        let published = async {
            self.storage.write(&rename.location, metadata).await?;
            self.publish_rename(&rename).await
        };
        match published.await {
            Err(error @ CatalogError::CommitStateUnknown { .. }) => Err(error),
            Err(error) => {
                self.delete_files(vec![rename.location]).await;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Publishes both new names in one version, if the view is still what it was.
    async fn publish_rename(&self, rename: &MaterializedRename) -> Result<()> {
        let (from, to) = (&rename.view.ident, &rename.to);
        let mut version = NewVersion::begin(self).await?;
        let live = version.live(schema_of(from)?, from.name()).await?;
        let is_same = live.is_some_and(|object| {
            object.kind == kind::VIEW && object.content == rename.view.metadata_location
        });
        let storage_table = &rename.storage_table;
        let storage = version.live(schema_of(storage_table)?, storage_table.name());
        let storage = storage.await?.filter(|object| object.kind == kind::TABLE);
        let Some(storage) = storage.filter(|_| is_same) else {
            return Err(match is_same {
                false => changed_meanwhile(from),
                // It is gone for good: another try finds the same.
                true => CatalogError::TableNotFound {
                    name: ident_name(storage_table),
                    suggestion: None,
                },
            });
        };
        for name in [to, &rename.new_storage_table] {
            if let Err(error) = check_free(&mut version, name).await {
                return Err(self.with_suggestion(version, error).await);
            }
        }
        let (old, new) = (&rename.view.metadata_location, &rename.location);
        let content = Some(new.as_str());
        move_object(&mut version, kind::VIEW, old, (from, to), content).await?;
        let names = (storage_table, &rename.new_storage_table);
        move_object(&mut version, kind::TABLE, &storage.content, names, None).await?;
        let message = format!("rename view {} to {}", ident_name(from), ident_name(to));
        let Err(error) = version.finish(&self.options.author, &message).await else {
            return Ok(());
        };
        let name = (schema_of(to)?, to.name());
        match NewVersion::was_published(self, name, kind::VIEW, new).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(error),
            Err(_) => Err(CatalogError::CommitStateUnknown {
                table: ident_name(from),
                reason: error.to_string(),
            }),
        }
    }

    /// The same error with the nearest name of a schema, which is looked for when the version in the
    /// making is given up: it has the lock of all commits.
    async fn with_suggestion(&self, version: NewVersion<'_>, error: CatalogError) -> CatalogError {
        drop(version);
        match error {
            CatalogError::SchemaNotFound { name, .. } => self.schema_not_found(&name).await,
            other => other,
        }
    }
}

/// Refuses a name that something has, and one in a schema that does not exist.
async fn check_free(version: &mut NewVersion<'_>, ident: &TableIdent) -> Result<()> {
    let schema = schema_of(ident)?;
    if !version.has_schema(schema).await? {
        return Err(CatalogError::SchemaNotFound {
            name: schema.to_string(),
            suggestion: None,
        });
    }
    let Some(taken) = version.live(schema, ident.name()).await? else {
        return Ok(());
    };
    let name = ident_name(ident);
    Err(match taken.kind.as_str() {
        kind::VIEW => CatalogError::ViewExists { name },
        _ => CatalogError::TableExists { name },
    })
}

/// Gives an object another name, and another content if there is one.
async fn move_object(
    version: &mut NewVersion<'_>,
    kind: &str,
    content: &str,
    (from, to): (&TableIdent, &TableIdent),
    new_content: Option<&str>,
) -> Result<()> {
    let from_name = (schema_of(from)?, from.name());
    version.set(kind, from_name, Some(content), None).await?;
    let to_name = (schema_of(to)?, to.name());
    let new_content = new_content.unwrap_or(content);
    version.set(kind, to_name, None, Some(new_content)).await
}

fn changed_meanwhile(view: &TableIdent) -> CatalogError {
    CatalogError::CommitConflict {
        table: ident_name(view),
        reason: "the view was changed or dropped meanwhile".to_string(),
    }
}
