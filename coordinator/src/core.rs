//! What all statements of a coordinator share.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use ingot_catalog::{Catalog, Table, TableVersion};
use ingot_engine::catalog_list::CatalogList;
use ingot_engine::materialized_view::StoredRows;
use ingot_engine::session::{SessionOptions, new_session_state};
use ingot_engine::table::IcebergTable;

use crate::cluster::QueryEngine;
use crate::error::{CoordinatorError, Result};
use crate::jobs::JobService;
use crate::queries::QueryLog;
use crate::session_properties;
use crate::sessions::{Session, Sessions};
use crate::statement_catalogs::StatementCatalogs;
use crate::units::format_duration;

/// What maintenance of tables may delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceOptions {
    /// The shortest retention that `expire_snapshots` takes.
    pub expire_snapshots_min_retention: Duration,
    /// The shortest retention that `remove_orphan_files` takes.
    pub remove_orphan_files_min_retention: Duration,
    /// How long states of tables that were current keep their files.
    pub catalog_version_retention: Duration,
}

impl Default for MaintenanceOptions {
    fn default() -> Self {
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        Self {
            expire_snapshots_min_retention: week,
            remove_orphan_files_min_retention: week,
            catalog_version_retention: Duration::ZERO,
        }
    }
}

/// The parts of a coordinator that a statement needs.
#[derive(Debug)]
pub struct Core {
    pub catalogs: Vec<Arc<dyn Catalog>>,
    pub catalog_list: Arc<CatalogList>,
    pub runtime: Arc<RuntimeEnv>,
    pub engine: QueryEngine,
    pub sessions: Sessions,
    pub queries: QueryLog,
    /// Time zone of sessions that set none.
    pub time_zone: String,
    /// What maintenance may delete when a session says nothing else.
    pub maintenance: MaintenanceOptions,
    pub started: Instant,
    /// Pipelines; they run statements of this coordinator, so they come after it.
    pub jobs: OnceLock<Arc<JobService>>,
}

impl Core {
    /// The planner's state for one statement of a session.
    pub fn session_state(&self, session: &Session, catalogs: &StatementCatalogs) -> SessionState {
        self.session_state_in_views(session, catalogs, Vec::new(), StoredRows::default())
    }

    /// The planner's state for the query of a view (`catalog.schema.view`), which must not read
    /// the view itself, not even where stored rows spare it that now.
    pub fn session_state_of_view(
        &self,
        session: &Session,
        catalogs: &StatementCatalogs,
        view: String,
    ) -> SessionState {
        self.session_state_in_views(session, catalogs, vec![view], StoredRows::Never)
    }

    fn session_state_in_views(
        &self,
        session: &Session,
        catalogs: &StatementCatalogs,
        views: Vec<String>,
        stored_rows: StoredRows,
    ) -> SessionState {
        let wanted = session
            .properties
            .get(session_properties::TARGET_PARTITIONS)
            .and_then(|value| value.parse::<usize>().ok())
            .filter(|count| *count > 0);
        let time_zone = session
            .properties
            .get(session_properties::TIME_ZONE)
            .unwrap_or(&self.time_zone);
        let options = SessionOptions {
            target_partitions: wanted.unwrap_or_else(available_cores),
            time_zone: time_zone.clone(),
            default_catalog: session.catalog.clone(),
            default_schema: session.schema.clone(),
            views_in_planning: views,
            stored_rows,
            ..SessionOptions::default()
        };
        let mut state = new_session_state(self.runtime.clone(), catalogs.list(), &options);
        // One clock for the whole statement: `now()` is a constant of it.
        state.mark_start_execution();
        state
    }

    /// The pipelines.
    pub fn jobs(&self) -> Result<&Arc<JobService>> {
        self.jobs.get().ok_or_else(|| {
            CoordinatorError::Unavailable("pipelines are not open yet: try again".to_owned())
        })
    }

    /// A provider of one table, committed or staged.
    pub fn table_provider(&self, catalog: Arc<dyn Catalog>, table: Table) -> Result<IcebergTable> {
        Ok(IcebergTable::new(
            catalog,
            table,
            TableVersion::Current,
            self.catalog_list.services().clone(),
        )?)
    }

    /// The value of a session property that a session has not set.
    pub fn default_property(&self, name: &str) -> String {
        match name {
            session_properties::PLACEMENT => "auto".to_owned(),
            session_properties::TIME_ZONE => self.time_zone.clone(),
            session_properties::TARGET_PARTITIONS => "0".to_owned(),
            session_properties::EXPIRE_SNAPSHOTS_MIN_RETENTION => {
                format_duration(self.maintenance.expire_snapshots_min_retention)
            }
            session_properties::REMOVE_ORPHAN_FILES_MIN_RETENTION => {
                format_duration(self.maintenance.remove_orphan_files_min_retention)
            }
            _ => String::new(),
        }
    }
}

/// Partitions of plans that run in this process; the engine takes the cluster's slots for others.
fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
