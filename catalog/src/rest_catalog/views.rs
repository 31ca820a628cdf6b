//! Views: created and changed by requests; the server keeps their metadata.

use iceberg::TableIdent;
use iceberg::spec::{ViewMetadata, ViewVersion};
use serde_json::{Value, json};

use super::Inner;
use super::failure::Failure;
use super::http::Call;
use super::lookup;
use super::wire::{CommitView, CreateView, Rename, ViewResult};
use crate::error::{CatalogError, Result};
use crate::table::{ident_name, schema_of};
use crate::view::{
    DroppedView, View, ViewCommit, ViewDefinition, commented_view_metadata, next_view_metadata,
};

/// Stands for what was added last.
const LAST_ADDED: i32 = -1;

impl Inner {
    /// Refuses what a server without views cannot do.
    fn check_has_views(&self, what: &str, ident: &TableIdent) -> Result<()> {
        if self.endpoints.has_views() {
            return Ok(());
        }
        Err(CatalogError::Unsupported(format!(
            "{what} view {} in catalog {}, whose server offers no views,",
            ident_name(ident),
            self.name
        )))
    }

    /// Creates a view, or makes the next version of one that may be replaced.
    pub(super) async fn put_view(
        &self,
        ident: &TableIdent,
        definition: ViewDefinition,
        or_replace: bool,
    ) -> Result<View> {
        self.check_has_views("making", ident)?;
        if definition.materialization.is_some() {
            return Err(self.no_materialized_views(ident));
        }
        let base = self.find_view(ident).await?;
        if base.is_some() && !or_replace {
            return Err(CatalogError::ViewExists {
                name: ident_name(ident),
            });
        }
        if let Some(base) = &base
            && base.materialization()?.is_some()
        {
            return Err(CatalogError::InvalidInput(format!(
                "{} is a materialized view, not a view: drop it first",
                base.name()
            )));
        }
        // The server chooses the location of a new view.
        let metadata = next_view_metadata(ident, String::new(), base.as_ref(), definition)?;
        let committed = match &base {
            None => self.create_view(ident, &metadata, None).await,
            Some(base) => self.replace_view(base, &metadata).await,
        };
        match committed {
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

    fn no_materialized_views(&self, ident: &TableIdent) -> CatalogError {
        CatalogError::Unsupported(format!(
            "materialized view {} in catalog {}, which is a rest catalog,",
            ident_name(ident),
            self.name
        ))
    }

    /// Sets or removes the comment of a view. Only that is sent: the protocol cannot say which query
    /// the view is to have, and a query that was read before could undo a change.
    pub(super) async fn comment_view(
        &self,
        ident: &TableIdent,
        comment: Option<String>,
    ) -> Result<View> {
        self.check_has_views("changing", ident)?;
        let Some(base) = self.find_view(ident).await? else {
            return Err(self.view_not_found(ident).await);
        };
        if base.materialization()?.is_some() {
            return Err(self.no_materialized_views(ident));
        }
        let metadata = commented_view_metadata(&base, comment)?;
        self.replace_view(&base, &metadata).await
    }

    /// Publishes the metadata of a view.
    pub(super) async fn commit_view(&self, commit: ViewCommit) -> Result<View> {
        let ViewCommit {
            ident,
            base,
            metadata,
        } = commit;
        self.check_has_views("making", &ident)?;
        match &base {
            None => {
                let location = Some(metadata.location());
                self.create_view(&ident, &metadata, location).await
            }
            Some(base) => self.replace_view(base, &metadata).await,
        }
    }

    async fn create_view(
        &self,
        ident: &TableIdent,
        metadata: &ViewMetadata,
        location: Option<&str>,
    ) -> Result<View> {
        let schema = schema_of(ident)?;
        // Also validates the name.
        self.paths.view(ident)?;
        let version = metadata.current_version();
        let request = CreateView {
            name: ident.name(),
            location,
            schema: metadata.current_schema(),
            view_version: version_json(ident, version, version.schema_id())?,
            properties: metadata.properties(),
        };
        let call = Call::post(self.paths.below(schema, "views")?, &request)
            .map_err(|failure| self.error(failure))?;
        match self.client.fetch::<ViewResult>(&call).await {
            Ok(result) => Ok(lookup::view(ident, result)),
            Err(failure) if failure.is_missing() => Err(self.schema_not_found(schema).await),
            Err(failure) if failure.status() == Some(409) => Err(self.name_taken(ident).await),
            Err(failure) => self.resolve_view(ident, version, failure).await,
        }
    }

    async fn replace_view(&self, base: &View, metadata: &ViewMetadata) -> Result<View> {
        let ident = &base.ident;
        let updates = view_updates(base, metadata)?;
        if updates.is_empty() {
            return Ok(base.clone());
        }
        let request = CommitView {
            identifier: self.paths.identifier(ident)?,
            requirements: vec![json!({
                "type": "assert-view-uuid",
                "uuid": base.metadata.uuid(),
            })],
            updates,
        };
        let conflict = |reason: String| CatalogError::CommitConflict {
            table: ident_name(ident),
            reason,
        };
        let call =
            Call::post(self.paths.view(ident)?, &request).map_err(|failure| self.error(failure))?;
        match self.client.fetch::<ViewResult>(&call).await {
            Ok(result) => Ok(lookup::view(ident, result)),
            Err(failure) if failure.is_missing() => {
                Err(conflict("the view was dropped meanwhile".to_string()))
            }
            Err(failure) if failure.status() == Some(409) => Err(conflict(failure.reason())),
            Err(failure) => {
                let version = metadata.current_version();
                self.resolve_view(ident, version, failure).await
            }
        }
    }

    /// The view, if it has this version although the answer was lost.
    async fn resolve_view(
        &self,
        ident: &TableIdent,
        version: &ViewVersion,
        failure: Failure,
    ) -> Result<View> {
        if !failure.leaves_commit_open() {
            return Err(self.error(failure));
        }
        if let Ok(Some(view)) = self.find_view(ident).await {
            let current = view.metadata.current_version();
            if current.timestamp_ms() == version.timestamp_ms()
                && current.representations() == version.representations()
            {
                return Ok(view);
            }
        }
        Err(CatalogError::CommitStateUnknown {
            table: format!("view {}", ident_name(ident)),
            reason: format!("catalog {}: {}", self.name, failure.reason()),
        })
    }

    pub(super) async fn drop_view(&self, ident: &TableIdent) -> Result<DroppedView> {
        let Some(view) = self.find_view(ident).await? else {
            return Err(self.view_not_found(ident).await);
        };
        let call = Call::delete(self.paths.view(ident)?);
        match self.client.send(&call).await {
            // The server keeps its metadata, and the rows of its materialized views.
            Ok(_) => Ok(DroppedView {
                view,
                storage_table: None,
                unread_files: Vec::new(),
            }),
            Err(failure) if failure.is_missing() => Err(self.view_not_found(ident).await),
            Err(failure) => {
                let what = format!("view {}", ident_name(ident));
                Err(failure.into_change_error(&self.name, what))
            }
        }
    }

    pub(super) async fn rename_view(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.check_has_views("renaming", from)?;
        self.paths.view(to)?;
        match self.send_rename("views/rename", from, to).await? {
            Ok(()) => Ok(()),
            Err(failure) if failure.is_missing() => {
                // Either is what may be missing.
                if self.find_view(from).await?.is_none() {
                    return Err(self.view_not_found(from).await);
                }
                Err(self.schema_not_found(schema_of(to)?).await)
            }
            Err(failure) if failure.status() == Some(409) => Err(self.name_taken(to).await),
            Err(failure) => {
                let what = format!("view {}", ident_name(from));
                Err(failure.into_change_error(&self.name, what))
            }
        }
    }

    /// Asks for another name of a table or view.
    pub(super) async fn send_rename(
        &self,
        path: &str,
        from: &TableIdent,
        to: &TableIdent,
    ) -> Result<Result<(), Failure>> {
        let request = Rename {
            source: self.paths.identifier(from)?,
            destination: self.paths.identifier(to)?,
        };
        let call = Call::post(self.paths.of_catalog(path), &request)
            .map_err(|failure| self.error(failure))?;
        Ok(self.client.send(&call).await.map(drop))
    }
}

/// A version as the protocol has it, with this id for its schema.
fn version_json(ident: &TableIdent, version: &ViewVersion, schema_id: i32) -> Result<Value> {
    let mut json = serde_json::to_value(version).map_err(|error| invalid(ident, &error))?;
    json["schema-id"] = schema_id.into();
    Ok(json)
}

/// The updates that lead from a view to its next metadata.
fn view_updates(base: &View, next: &ViewMetadata) -> Result<Vec<Value>> {
    let ident = &base.ident;
    let current = base.metadata.as_ref();
    let mut updates = Vec::new();
    let version = next.current_version();
    match current.version_by_id(version.version_id()) {
        Some(known) if known == version => {
            if current.current_version_id() != version.version_id() {
                updates.push(json!({
                    "action": "set-current-view-version",
                    "view-version-id": version.version_id(),
                }));
            }
        }
        _ => {
            let mut schema_id = version.schema_id();
            let is_known = current
                .schema_by_id(schema_id)
                .is_some_and(|known| known == next.current_schema());
            if !is_known {
                let schema = serde_json::to_value(next.current_schema().as_ref())
                    .map_err(|error| invalid(ident, &error))?;
                updates.push(json!({"action": "add-schema", "schema": schema}));
                schema_id = LAST_ADDED;
            }
            updates.push(json!({
                "action": "add-view-version",
                "view-version": version_json(ident, version, schema_id)?,
            }));
            updates.push(json!({
                "action": "set-current-view-version",
                "view-version-id": LAST_ADDED,
            }));
        }
    }
    let (old, new) = (current.properties(), next.properties());
    let set: serde_json::Map<String, Value> = new
        .iter()
        .filter(|(name, value)| old.get(*name) != Some(*value))
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    if !set.is_empty() {
        updates.push(json!({"action": "set-properties", "updates": set}));
    }
    let removed: Vec<&String> = old.keys().filter(|name| !new.contains_key(*name)).collect();
    if !removed.is_empty() {
        updates.push(json!({"action": "remove-properties", "removals": removed}));
    }
    if current.location() != next.location() {
        updates.push(json!({"action": "set-location", "location": next.location()}));
    }
    Ok(updates)
}

fn invalid(ident: &TableIdent, error: &serde_json::Error) -> CatalogError {
    CatalogError::InvalidInput(format!("view {}: {error}", ident_name(ident)))
}
