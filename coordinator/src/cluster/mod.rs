//! Where queries run: in this process, or on the workers through the embedded Ballista scheduler.
//!
//! [`Cluster`] is the scheduler and what it knows of the workers. [`QueryEngine`] takes a logical
//! plan, chooses a place for it and hands back its rows.

mod cluster_session;
mod collected_joins;
mod column_origins;
mod distributed;
mod execution;
mod explain;
mod failure;
mod key_filters;
mod local;
mod losses;
mod placement;
mod progress;
mod result_fetch;
mod result_order;
mod results;
mod scheduler;
mod shuffle_order;
mod stage_numbers;

pub use execution::{
    ExecuteOptions, ExecutedQuery, Placement, QueryEngine, QueryEngineOptions, UsedPlacement,
};
pub use progress::{ProgressCounts, QueryProgress};
pub use scheduler::{Cluster, ClusterOptions, WorkerInfo};

/// Stack of the threads that plan and execute: DataFusion recurses over plans and expressions,
/// deeply so in builds without optimisation.
const THREAD_STACK_BYTES: usize = 16 << 20;
