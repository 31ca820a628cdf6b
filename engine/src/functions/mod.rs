//! Functions beyond DataFusion's, and the registry that workers need.

mod arguments;
mod arrays;
mod dates;
pub(crate) mod file_listing;
pub(crate) mod files;
mod numbered_copies;
mod read_csv;
mod relation_planner;

use std::future::Future;
use std::sync::{Arc, LazyLock};

use ballista_core::registry::BallistaFunctionRegistry;
use datafusion::catalog::TableFunction;
use datafusion::execution::{SessionState, SessionStateBuilder};
use ingot_catalog::Storage;
use tokio::runtime::Runtime;

use self::files::{ReadJson, ReadParquet};
use self::read_csv::ReadCsv;
use crate::error::{EngineError, Result};

pub use self::numbered_copies::NumberedCopies;
pub use self::relation_planner::NamedArguments;

/// Name of the table function for CSV files.
const CSV: &str = "read_csv";

/// Names of table functions, DataFusion's own included. DataFusion looks each of them up
/// as a table first.
pub(crate) const TABLE_FUNCTION_NAMES: [&str; 5] =
    ["generate_series", "range", CSV, files::JSON, files::PARQUET];

/// The functions of a session, for a worker: Ballista's own default lacks nested functions
/// that the planner uses.
pub fn function_registry(state: &SessionState) -> Arc<BallistaFunctionRegistry> {
    Arc::new(BallistaFunctionRegistry {
        scalar_functions: state.scalar_functions().clone(),
        aggregate_functions: state.aggregate_functions().clone(),
        window_functions: state.window_functions().clone(),
        higher_order_functions: state.higher_order_functions().clone(),
    })
}

/// Adds the scalar functions, and takes DataFusion's of the same names out.
pub(crate) fn install_scalar_functions(builder: &mut SessionStateBuilder) {
    let ours = dates::functions().into_iter().chain(arrays::functions());
    let known = builder.scalar_functions().get_or_insert_with(Vec::new);
    for function in ours {
        known.retain(|other| other.name() != function.name());
        known.push(function);
    }
}

/// The table functions: `read_csv`, `read_json` and `read_parquet`. They take their
/// arguments as [`NamedArguments`] hands them over.
pub fn table_functions(storage: &Arc<Storage>) -> Vec<Arc<TableFunction>> {
    let csv = Arc::new(ReadCsv::new(Arc::clone(storage)));
    let json = Arc::new(ReadJson::new(Arc::clone(storage)));
    let parquet = Arc::new(ReadParquet::new(Arc::clone(storage)));
    vec![
        Arc::new(TableFunction::new(CSV.to_string(), csv)),
        Arc::new(TableFunction::new(files::JSON.to_string(), json)),
        Arc::new(TableFunction::new(files::PARQUET.to_string(), parquet)),
    ]
}

/// Where table functions list files and look into them: they are called synchronously, on
/// threads that may not block a runtime of their own. It lives as long as the process, as
/// its connections are kept by the object stores.
static PLANNING_RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("ingot-file-listing")
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
});

/// Runs a future to its end from synchronous code, whatever runtime the caller is in.
fn wait_for<T: Send>(future: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let runtime = PLANNING_RUNTIME
        .as_ref()
        .map_err(|error| EngineError::InvalidInput(format!("cannot start a thread: {error}")))?;
    let outcome = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join());
    outcome.unwrap_or_else(|_| {
        let reason = "listing files panicked".to_string();
        Err(EngineError::InvalidInput(reason))
    })
}
