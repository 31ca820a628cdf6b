//! What all statements of a coordinator share.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::{Catalog, Table, TableVersion};
use ingot_engine::catalog_list::CatalogList;
use ingot_engine::session::{SessionOptions, new_session_state};
use ingot_engine::table::IcebergTable;
use ingot_sql::ObjectName;

use crate::cluster::QueryEngine;
use crate::error::{CoordinatorError, Result};
use crate::jobs::JobService;
use crate::queries::QueryLog;
use crate::session_properties;
use crate::sessions::{Session, Sessions};

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
    pub started: Instant,
    /// Pipelines; they run statements of this coordinator, so they come after it.
    pub jobs: OnceLock<Arc<JobService>>,
}

/// A table named in a statement, with the catalog it belongs to.
#[derive(Debug, Clone)]
pub struct ResolvedTable {
    pub catalog: Arc<dyn Catalog>,
    pub ident: TableIdent,
}

impl Core {
    /// The planner's state for one statement of a session.
    pub fn session_state(&self, session: &Session) -> SessionState {
        self.session_state_in_views(session, Vec::new())
    }

    /// The planner's state for the query of a view (`catalog.schema.view`), which must not read
    /// the view itself.
    pub fn session_state_of_view(&self, session: &Session, view: String) -> SessionState {
        self.session_state_in_views(session, vec![view])
    }

    fn session_state_in_views(&self, session: &Session, views: Vec<String>) -> SessionState {
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
            ..SessionOptions::default()
        };
        let mut state = new_session_state(self.runtime.clone(), &self.catalog_list, &options);
        // One clock for the whole statement: `now()` is a constant of it.
        state.mark_start_execution();
        state
    }

    /// The catalog of this name.
    pub fn catalog(&self, name: &str) -> Result<Arc<dyn Catalog>> {
        let found = self.catalogs.iter().find(|catalog| catalog.name() == name);
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> = self.catalogs.iter().map(|catalog| catalog.name()).collect();
            CoordinatorError::NotFound(format!(
                "catalog {name} does not exist; there is {}",
                known.join(", ")
            ))
        })
    }

    /// The catalog and table that a name means in a session.
    pub fn resolve_table(&self, session: &Session, name: &ObjectName) -> Result<ResolvedTable> {
        if name.parts.len() > 3 {
            return Err(too_many_parts(name, "catalog.schema.table"));
        }
        let (catalog, schema, table) = name.resolve(&session.catalog, &session.schema);
        Ok(ResolvedTable {
            catalog: self.catalog(&catalog)?,
            ident: TableIdent::new(NamespaceIdent::new(schema), table),
        })
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
            _ => String::new(),
        }
    }

    /// The catalog and schema that a name of one or two parts means in a session.
    pub fn resolve_schema(
        &self,
        session: &Session,
        name: &ObjectName,
    ) -> Result<(Arc<dyn Catalog>, String)> {
        match &name.parts[..] {
            [schema] => Ok((self.catalog(&session.catalog)?, schema.clone())),
            [catalog, schema] => Ok((self.catalog(catalog)?, schema.clone())),
            _ => Err(too_many_parts(name, "catalog.schema")),
        }
    }
}

/// Partitions of plans that run in this process; the engine takes the cluster's slots for others.
fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn too_many_parts(name: &ObjectName, form: &str) -> CoordinatorError {
    CoordinatorError::InvalidInput(format!(
        "name {} has too many parts: give {form}",
        name.parts.join(".")
    ))
}
