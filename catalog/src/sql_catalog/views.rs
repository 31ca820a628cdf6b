//! Views of the versioned catalog: metadata files, and objects of their own kind.

use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::ViewMetadata;
use uuid::Uuid;

use super::schema::kind;
use super::version::NewVersion;
use super::{Inner, names, nearest_name, schema_of};
use crate::error::{CatalogError, Result};
use crate::table::ident_name;
use crate::view::{View, ViewDefinition, next_view_metadata};

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

    async fn read_view(&self, ident: &TableIdent, location: String) -> Result<View> {
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
                return Ok(CatalogError::InvalidInput(format!(
                    "{} is a table, not a view",
                    ident_name(ident)
                )));
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

    /// Creates or replaces a view on a task of its own: a caller that stops waiting does not
    /// leave it half done.
    pub(super) async fn put_view_in_background(
        self: &Arc<Self>,
        ident: &TableIdent,
        definition: ViewDefinition,
        or_replace: bool,
    ) -> Result<View> {
        let (inner, ident) = (Arc::clone(self), ident.clone());
        let name = ident_name(&ident);
        let task =
            tokio::spawn(async move { inner.put_view(&ident, definition, or_replace).await });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(CatalogError::CommitStateUnknown {
                table: name,
                reason: error.to_string(),
            }),
        }
    }

    async fn put_view(
        &self,
        ident: &TableIdent,
        definition: ViewDefinition,
        or_replace: bool,
    ) -> Result<View> {
        let schema = schema_of(ident)?;
        names::validate_name("view", ident.name())?;
        let properties = self.schema_properties(schema).await?;
        let previous = self.find_view(ident).await?;
        if previous.is_some() && !or_replace {
            return Err(CatalogError::ViewExists {
                name: ident_name(ident),
            });
        }
        let fresh_location = format!(
            "{}/{}-{}",
            self.schema_location(schema, &properties),
            names::folder_name(ident.name()),
            Uuid::new_v4().simple()
        );
        let metadata = next_view_metadata(ident, fresh_location, previous.as_ref(), definition)?;
        let location = format!(
            "{}/metadata/{:0>5}-{}.metadata.json",
            metadata.location().trim_end_matches('/'),
            metadata.current_version_id(),
            Uuid::new_v4()
        );
        let json = serde_json::to_vec(&metadata)
            .map_err(|error| CatalogError::metadata(&location, error.into()))?;
        let published = async {
            self.storage.write(&location, json.into()).await?;
            self.publish_view(ident, previous.as_ref(), or_replace, &location)
                .await
        };
        match published.await {
            Ok(()) => Ok(View {
                ident: ident.clone(),
                metadata: Arc::new(metadata),
                metadata_location: location,
            }),
            Err(error @ CatalogError::CommitStateUnknown { .. }) => Err(error),
            Err(error) => {
                self.delete_files(vec![location]).await;
                Err(error)
            }
        }
    }

    async fn publish_view(
        &self,
        ident: &TableIdent,
        previous: Option<&View>,
        or_replace: bool,
        location: &str,
    ) -> Result<()> {
        let name = (schema_of(ident)?, ident.name());
        let mut version = NewVersion::begin(&self.database, self.catalog_id).await?;
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
        if live.is_some() && !or_replace {
            return Err(CatalogError::ViewExists {
                name: ident_name(ident),
            });
        }
        let live_location = live.as_ref().map(|object| object.content.as_str());
        if live_location != previous.map(|view| view.metadata_location.as_str()) {
            return Err(CatalogError::CommitConflict {
                table: ident_name(ident),
                reason: "the view was changed meanwhile".to_string(),
            });
        }
        version
            .set(kind::VIEW, name, live_location, Some(location))
            .await?;
        let verb = if previous.is_some() {
            "replace"
        } else {
            "create"
        };
        let message = format!("{verb} view {}", ident_name(ident));
        let Err(error) = version.finish(&self.options.author, &message).await else {
            return Ok(());
        };
        let catalog_id = self.catalog_id;
        match NewVersion::was_published(&self.database, catalog_id, name, kind::VIEW, location)
            .await
        {
            Ok(true) => Ok(()),
            Ok(false) => Err(error),
            Err(_) => Err(CatalogError::CommitStateUnknown {
                table: ident_name(ident),
                reason: error.to_string(),
            }),
        }
    }

    pub(super) async fn drop_view(&self, ident: &TableIdent) -> Result<View> {
        let name = (schema_of(ident)?, ident.name());
        let mut version = NewVersion::begin(&self.database, self.catalog_id).await?;
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
        let message = format!("drop view {}", ident_name(ident));
        version.finish(&self.options.author, &message).await?;
        Ok(view)
    }
}
