//! Materialized views: when their stored rows may answer, and what a refresh has to do.

mod freshness;
mod increment;
mod sources;
mod system_table;

use std::sync::Arc;

use ingot_catalog::materialized_view::SourceView;
use ingot_catalog::{Catalog, Table, TableVersion, View};
use parking_lot::Mutex;

use crate::catalog_list::{CatalogList, PlanningScope};
use crate::error::Result;
use crate::table::IcebergTable;

pub use self::freshness::{Assessment, Freshness, assess};
pub use self::increment::{Increment, IncrementalQuery};
pub use self::sources::{QuerySources, sources_of};
pub use self::system_table::SystemCatalog;

/// When materialized views answer from their stored rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoredRows {
    /// While they are up to date, and within the view's grace period after that.
    #[default]
    WithinGracePeriod,
    /// Only while they are up to date: what a refresh reads.
    OnlyFresh,
    /// Never: what the query of a new view is planned with, so that every view that it reads is
    /// looked into.
    Never,
}

/// The views that were planned in a session, for somebody who wants to know. Clones share one
/// list.
#[derive(Debug, Clone, Default)]
pub struct UsedViews(Arc<Mutex<Vec<SourceView>>>);

impl UsedViews {
    /// The views so far, each once.
    pub fn all(&self) -> Vec<SourceView> {
        self.0.lock().clone()
    }

    /// Notes a view of a catalog.
    pub(crate) fn note(&self, catalog: &str, view: &View) {
        let source = SourceView {
            catalog: catalog.to_string(),
            namespace: view.ident.namespace().as_ref().clone(),
            name: view.ident.name().to_string(),
            uuid: view.metadata.uuid(),
            version_id: view.metadata.current_version_id(),
        };
        let mut views = self.0.lock();
        if !views.contains(&source) {
            views.push(source);
        }
    }
}

impl PartialEq for UsedViews {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for UsedViews {}

/// The stored rows of a view, if it is a materialized one and they may answer now.
///
/// # Errors
/// Errors of the catalogs when the state of a source cannot be read.
pub(crate) async fn stored_rows_of(
    list: &Arc<CatalogList>,
    scope: &PlanningScope,
    catalog: &Arc<dyn Catalog>,
    view: &View,
) -> Result<Option<IcebergTable>> {
    let Some(materialization) = view.materialization()? else {
        return Ok(None);
    };
    if scope.stored_rows == StoredRows::Never {
        return Ok(None);
    }
    let table = catalog.load_table(&materialization.storage_table).await?;
    let assessment = assess(list, catalog.name(), view, &table).await?;
    let is_usable = match scope.stored_rows {
        StoredRows::WithinGracePeriod => {
            let now = chrono::Utc::now().timestamp_millis();
            assessment.may_answer(materialization.grace_period_ms, now)
        }
        StoredRows::OnlyFresh => assessment.freshness == Freshness::Fresh,
        StoredRows::Never => false,
    };
    let fits_session = match assessment.time_zone() {
        Some(time_zone) => time_zone == scope.time_zone.as_ref(),
        None => true,
    };
    tracing::debug!(
        view = view.name(),
        freshness = ?assessment.freshness,
        is_usable,
        fits_session,
        "materialized view"
    );
    if !is_usable || !fits_session {
        return Ok(None);
    }
    if let Some(used_views) = &scope.used_views {
        used_views.note(catalog.name(), view);
    }
    storage_provider(list, catalog, table).map(Some)
}

/// The current rows of a storage table.
fn storage_provider(
    list: &Arc<CatalogList>,
    catalog: &Arc<dyn Catalog>,
    table: Table,
) -> Result<IcebergTable> {
    let services = list.services().clone();
    IcebergTable::new(Arc::clone(catalog), table, TableVersion::Current, services)
}
