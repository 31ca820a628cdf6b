//! Session states: DataFusion configured the way Ingot's tables and clients want it.

use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::prelude::SessionConfig;
use uuid::Uuid;

use crate::aggregates::{count_udaf, theta_sketch_udaf};
use crate::catalog_list::{CatalogList, PlanningScope, SessionCatalogs};
use crate::float_coercion;
use crate::functions::{NamedArguments, NumberedCopies, install_scalar_functions, table_functions};
use crate::hidden_columns::HiddenColumnsPlanner;
use crate::materialized_view::{StoredRows, UsedViews};
use crate::subqueries;
use crate::time_zone;
use crate::types::IngotTypePlanner;
use crate::write::{partition_transform_function, z_order_function};

/// Name of the default catalog.
pub const DEFAULT_CATALOG: &str = "iceberg";
/// Name of the schema for names without one, until `USE` says otherwise.
pub const DEFAULT_SCHEMA: &str = "default";

/// A scan gets no more partitions than it has this many bytes: more cost more than they save.
const MIN_BYTES_PER_PARTITION: usize = 1 << 20;

/// What a session can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Partitions of a plan: the virtual cores of the whole cluster, or of this process
    /// for local execution.
    pub target_partitions: usize,
    /// Rows per batch.
    pub batch_size: usize,
    /// Time zone: an IANA name or an offset.
    pub time_zone: String,
    /// Catalog of names without one.
    pub default_catalog: String,
    /// Schema of names without one.
    pub default_schema: String,
    /// Whether Parquet scans filter rows while they decode (late materialisation) instead
    /// of after.
    pub filter_while_scanning: bool,
    /// The views (`catalog.schema.view`) whose queries are being planned with this session,
    /// outermost first: none of them may be read again.
    pub views_in_planning: Vec<String>,
    /// When materialized views answer from their stored rows.
    pub stored_rows: StoredRows,
    /// Notes the views that are planned with this session, when somebody wants to know.
    pub used_views: Option<UsedViews>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            target_partitions: cores,
            batch_size: 8192,
            time_zone: "UTC".to_string(),
            default_catalog: DEFAULT_CATALOG.to_string(),
            default_schema: DEFAULT_SCHEMA.to_string(),
            filter_while_scanning: false,
            views_in_planning: Vec::new(),
            stored_rows: StoredRows::default(),
            used_views: None,
        }
    }
}

/// DataFusion's configuration for a session.
pub fn session_config(options: &SessionOptions) -> SessionConfig {
    apply_options(SessionConfig::new(), options)
}

/// Puts Ingot's settings into a configuration that may have extensions of its own, such as
/// Ballista's.
pub fn apply_options(config: SessionConfig, options: &SessionOptions) -> SessionConfig {
    let mut config = config
        .with_target_partitions(options.target_partitions.max(1))
        .with_batch_size(options.batch_size.max(1))
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(&options.default_catalog, &options.default_schema)
        // Ours needs no listing of names ahead (see `catalog_list`).
        .with_information_schema(false);
    let settings = config.options_mut();
    settings.execution.time_zone = Some(options.time_zone.clone());
    settings.optimizer.repartition_file_min_size = MIN_BYTES_PER_PARTITION;
    settings.execution.parquet.pushdown_filters = options.filter_while_scanning;
    settings.execution.parquet.reorder_filters = options.filter_while_scanning;
    settings.execution.parquet.schema_force_view_types = false;
    settings.execution.parquet.bloom_filter_on_read = true;
    settings.sql_parser.enable_ident_normalization = true;
    settings.sql_parser.map_string_types_to_utf8view = false;
    settings.sql_parser.support_varchar_with_length = true;
    // As in Trino: 0.05 is exact.
    settings.sql_parser.parse_float_as_decimal = true;
    config
}

/// The configuration in which constants of time are evaluated.
pub(crate) fn session_config_for_time(time_zone: &str) -> SessionConfig {
    session_config(&SessionOptions {
        target_partitions: 1,
        time_zone: time_zone.to_string(),
        ..SessionOptions::default()
    })
}

/// A state over the process's runtime and catalogs. Making one is cheap: every statement
/// can have its own.
pub fn new_session_state(
    runtime: Arc<RuntimeEnv>,
    catalogs: &Arc<CatalogList>,
    options: &SessionOptions,
) -> SessionState {
    session_state_builder(runtime, catalogs, options, session_config(options)).build()
}

/// The builder of such a state, for those who add a query planner or rules of their own
/// and bring their own configuration (made with [`apply_options`]).
pub fn session_state_builder(
    runtime: Arc<RuntimeEnv>,
    catalogs: &Arc<CatalogList>,
    options: &SessionOptions,
    config: SessionConfig,
) -> SessionStateBuilder {
    let scope = PlanningScope {
        time_zone: options.time_zone.as_str().into(),
        runtime: Arc::clone(&runtime),
        views: options.views_in_planning.as_slice().into(),
        stored_rows: options.stored_rows,
        used_views: options.used_views.clone(),
    };
    let session_catalogs = SessionCatalogs::new(Arc::clone(catalogs), scope);
    let mut builder = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_session_id(Uuid::now_v7().to_string())
        .with_catalog_list(Arc::new(session_catalogs))
        .with_relation_planners(vec![
            Arc::new(NamedArguments),
            Arc::new(NumberedCopies),
            Arc::new(HiddenColumnsPlanner),
        ])
        .with_type_planner(Arc::new(IngotTypePlanner));
    float_coercion::install(&mut builder);
    time_zone::install(&mut builder);
    subqueries::install(&mut builder);
    install_scalar_functions(&mut builder);
    let aggregates = builder.aggregate_functions().get_or_insert_with(Vec::new);
    aggregates.retain(|function| function.name() != count_udaf().name());
    aggregates.push(count_udaf());
    // What `ANALYZE` runs.
    aggregates.push(theta_sketch_udaf());
    // Hash distribution of writes by partition value, and orders of rewritten files.
    let scalars = builder.scalar_functions().get_or_insert_with(Vec::new);
    scalars.push(partition_transform_function());
    scalars.push(z_order_function());
    let functions = builder.table_functions().get_or_insert_default();
    for function in table_functions(catalogs.services().scans.storage()) {
        functions.insert(function.name().to_string(), function);
    }
    builder
}

/// The task context of a state, for running its plans in this process.
pub fn task_context(state: &SessionState) -> Arc<TaskContext> {
    state.task_ctx()
}
