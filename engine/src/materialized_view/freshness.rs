//! Whether the stored rows of a materialized view are still what its query returns.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use iceberg::TableIdent;
use iceberg::spec::{MAIN_BRANCH, NestedFieldRef, Operation, Schema, SnapshotRef};
use ingot_catalog::materialized_view::{
    Refresh, SourceState, SourceTable, SourceView, storage_table_of,
};
use ingot_catalog::{CatalogError, Table, View};

use crate::catalog_list::CatalogList;
use crate::error::Result;

/// Deeper nesting of materialized views is not looked into.
const DEEPEST_NESTING: usize = 32;

/// What is known of stored rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// They are what the query returns.
    Fresh,
    /// They may not be.
    Stale,
    /// The query depends on something whose changes cannot be seen.
    Unknown,
}

impl Freshness {
    /// As `system.metadata.materialized_views` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "FRESH",
            Self::Stale => "STALE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The state of a materialized view's stored rows.
#[derive(Debug, Clone)]
pub struct Assessment {
    /// Whether they are up to date.
    pub freshness: Freshness,
    /// The last moment at which they are known to have been up to date, in milliseconds since the
    /// epoch, when they are not now. `None` when they must not answer at all: there are none, or
    /// they were made by another query, or from a table that is not the same any more.
    pub last_fresh_ms: Option<i64>,
    /// The refresh that made them; `None` when no refresh of this version of the view did.
    pub refresh: Option<Refresh>,
    /// Why they are not known to be up to date, for people.
    pub reason: Option<String>,
}

impl Assessment {
    /// Whether the rows may answer queries at this time. A grace period begins when they ceased to
    /// be up to date; none is one without end.
    pub fn may_answer(&self, grace_period_ms: Option<i64>, now_ms: i64) -> bool {
        if self.freshness == Freshness::Fresh {
            return true;
        }
        let Some(last_fresh_ms) = self.last_fresh_ms else {
            return false;
        };
        match grace_period_ms {
            None => true,
            // Whatever the clocks say.
            Some(0) => false,
            Some(grace_period_ms) => now_ms.saturating_sub(last_fresh_ms) <= grace_period_ms,
        }
    }

    /// The session time zone that the rows depend on, if they do.
    pub fn time_zone(&self) -> Option<&str> {
        self.refresh.as_ref()?.time_zone.as_deref()
    }

    fn never_refreshed(reason: &str) -> Self {
        Self {
            freshness: Freshness::Stale,
            last_fresh_ms: None,
            refresh: None,
            reason: Some(reason.to_string()),
        }
    }
}

/// A source that is not what it was.
struct Change {
    /// When it changed, in milliseconds since the epoch, at the earliest; `None` when rows made
    /// from what it was must not answer any more.
    at_ms: Option<i64>,
    what: String,
}

/// Compares what the rows of `storage` were made from with what there is now.
///
/// # Errors
/// Errors of the catalogs when the state of a source cannot be read.
pub async fn assess(
    list: &Arc<CatalogList>,
    catalog: &str,
    view: &View,
    storage: &Table,
) -> Result<Assessment> {
    assess_nested(list, catalog, view, storage, 0).await
}

fn assess_nested<'a>(
    list: &'a Arc<CatalogList>,
    catalog: &'a str,
    view: &'a View,
    storage: &'a Table,
    depth: usize,
) -> BoxFuture<'a, Result<Assessment>> {
    async move {
        let Some(refresh) = Refresh::of_storage_table(storage)? else {
            return Ok(Assessment::never_refreshed("it was never refreshed"));
        };
        // A rename is no other query.
        if !view.has_query_of(refresh.state.view_version_id) {
            let reason = "it was replaced and not refreshed since";
            return Ok(Assessment::never_refreshed(reason));
        }
        let changes = changes_of(list, &refresh, depth).await?;
        tracing::trace!(
            catalog,
            view = view.name(),
            changes = changes.len(),
            "assessed"
        );
        let started_ms = refresh.state.refresh_start_timestamp_ms;
        let (freshness, last_fresh_ms, reason) = match changes.as_slice() {
            [] if refresh.untracked.is_empty() => (Freshness::Fresh, None, None),
            [] => {
                let untracked = refresh.untracked.join(", ");
                let reason = format!("changes of {untracked} cannot be seen");
                (Freshness::Unknown, Some(started_ms), Some(reason))
            }
            changes => {
                let earliest = changes
                    .iter()
                    .map(|change| change.at_ms)
                    .min()
                    .unwrap_or_default();
                // Others may have changed at any time since.
                let earliest = match refresh.untracked.is_empty() {
                    true => earliest,
                    false => earliest.map(|at_ms| at_ms.min(started_ms)),
                };
                let what: Vec<&str> = changes.iter().map(|change| change.what.as_str()).collect();
                (Freshness::Stale, earliest, Some(what.join(", ")))
            }
        };
        Ok(Assessment {
            freshness,
            last_fresh_ms,
            refresh: Some(refresh),
            reason,
        })
    }
    .boxed()
}

async fn changes_of(
    list: &Arc<CatalogList>,
    refresh: &Refresh,
    depth: usize,
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for source in &refresh.state.source_states {
        let change = match source {
            SourceState::Table(table) => change_of_table(list, refresh, table).await?,
            SourceState::View(view) => change_of_view(list, refresh, view, depth).await?,
        };
        changes.extend(change);
    }
    Ok(changes)
}

async fn change_of_table(
    list: &Arc<CatalogList>,
    refresh: &Refresh,
    source: &SourceTable,
) -> Result<Option<Change>> {
    let name = format!("{}.{}", source.namespace.join("."), source.name);
    let gone = |what: &str| {
        Some(Change {
            at_ms: None,
            what: format!("table {name} {what}"),
        })
    };
    let Some(catalog) = list.iceberg_catalog(&source.catalog) else {
        return Ok(gone("is in a catalog that is gone"));
    };
    let table = match catalog.load_table(&source.ident()?).await {
        Ok(table) => table,
        Err(error) if is_gone(&error) => return Ok(gone("is gone")),
        Err(error) => return Err(error.into()),
    };
    if table.metadata.uuid() != source.uuid {
        return Ok(gone("is another one now"));
    }
    let Some(read_schema) = table.metadata.schema_by_id(source.schema_id) else {
        return Ok(gone("has lost the schema that it was read with"));
    };
    if !still_has_columns(read_schema, table.metadata.current_schema()) {
        return Ok(gone("has other columns"));
    }
    let reference = source.reference.as_deref().unwrap_or(MAIN_BRANCH);
    let current = match reference {
        MAIN_BRANCH => table.metadata.current_snapshot(),
        name => table.metadata.snapshot_for_ref(name),
    };
    let Some(current) = current else {
        // An empty table stayed empty.
        return Ok(match source.snapshot() {
            None => None,
            Some(_) => gone("has lost its rows or the branch that was read"),
        });
    };
    let Some(first) = first_change(&table, source.snapshot(), current) else {
        return Ok(None);
    };
    let started_ms = refresh.state.refresh_start_timestamp_ms;
    Ok(Some(Change {
        at_ms: Some(first.unwrap_or(started_ms)),
        what: format!("table {name} has changed"),
    }))
}

/// When the rows of a table first changed after the snapshot `from`, on the way to `current`:
/// `None` when they did not, `Some(None)` when that cannot be told. Compaction is no change.
fn first_change(table: &Table, from: Option<i64>, current: &SnapshotRef) -> Option<Option<i64>> {
    let mut first = None;
    let mut snapshot = current;
    loop {
        if Some(snapshot.snapshot_id()) == from {
            return first.map(Some);
        }
        if snapshot.summary().operation != Operation::Replace {
            first = Some(snapshot.timestamp_ms());
        }
        let Some(parent_id) = snapshot.parent_snapshot_id() else {
            return match from {
                None => first.map(Some),
                // Rolled back, or the history does not go back so far.
                Some(_) => Some(None),
            };
        };
        match table.metadata.snapshot_by_id(parent_id) {
            Some(parent) => snapshot = parent,
            None => return Some(None),
        }
    }
}

/// Whether every column of one schema is in another one as it was. New ones are no difference to a
/// query that was made without them.
pub(super) fn still_has_columns(read: &Schema, current: &Schema) -> bool {
    let same = |field: &NestedFieldRef| {
        current
            .field_by_id(field.id)
            .is_some_and(|now| now.name == field.name && now.field_type == field.field_type)
    };
    read.schema_id() == current.schema_id() || read.as_struct().fields().iter().all(same)
}

async fn change_of_view(
    list: &Arc<CatalogList>,
    refresh: &Refresh,
    source: &SourceView,
    depth: usize,
) -> Result<Option<Change>> {
    let name = format!("{}.{}", source.namespace.join("."), source.name);
    let gone = |what: &str| {
        Some(Change {
            at_ms: None,
            what: format!("view {name} {what}"),
        })
    };
    let Some(catalog) = list.iceberg_catalog(&source.catalog) else {
        return Ok(gone("is in a catalog that is gone"));
    };
    let ident = source.ident()?;
    let view = match catalog.load_view(&ident).await {
        Ok(view) => view,
        Err(error) if is_gone(&error) => return Ok(gone("is gone")),
        Err(error) => return Err(error.into()),
    };
    let is_same = view.metadata.uuid() == source.uuid && view.has_query_of(source.version_id);
    if !is_same {
        return Ok(gone("was replaced"));
    }
    if !read_stored_rows(refresh, source, &ident) {
        return Ok(None);
    }
    if depth >= DEEPEST_NESTING {
        return Ok(gone("is nested too deep"));
    }
    let storage = catalog.load_table(&storage_table_of(&ident)).await?;
    let assessment = assess_nested(list, &source.catalog, &view, &storage, depth + 1).await?;
    Ok(match assessment.freshness {
        Freshness::Fresh => None,
        Freshness::Stale | Freshness::Unknown => Some(Change {
            at_ms: assessment.last_fresh_ms,
            what: format!("materialized view {name} is not up to date"),
        }),
    })
}

/// Whether a refresh read the stored rows of a materialized view in place of what the view reads.
fn read_stored_rows(refresh: &Refresh, view: &SourceView, ident: &TableIdent) -> bool {
    let storage = storage_table_of(ident);
    refresh.state.source_states.iter().any(|source| {
        matches!(source, SourceState::Table(table)
            if table.catalog == view.catalog
                && table.namespace == view.namespace
                && table.name == storage.name())
    })
}

fn is_gone(error: &CatalogError) -> bool {
    matches!(
        error,
        CatalogError::TableNotFound { .. }
            | CatalogError::ViewNotFound { .. }
            | CatalogError::SchemaNotFound { .. }
            | CatalogError::IsView { .. }
            | CatalogError::InvalidInput(_)
    )
}
