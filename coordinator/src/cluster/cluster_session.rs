//! The session with which queries are planned for the workers.

use std::net::IpAddr;
use std::sync::Arc;

use ballista_core::config::{
    BALLISTA_CLIENT_IO_RETRIES_TIMES, BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS,
    BALLISTA_SHUFFLE_COMPRESSION_CODEC,
};
use ballista_core::extension::SessionConfigExt;
use ballista_core::optimizer::with_ballista_optimizer_rules;
use datafusion::execution::{SessionState, SessionStateBuilder};

use super::collected_joins::{BroadcastPlanner, rules_with_broadcasts};
use super::scheduler::{MAX_MESSAGE_BYTES, WorkerInfo, total_slots};
use super::shuffle_order::SortAfterShuffle;

/// Tries to reach a worker for rows, and the pause between them in milliseconds.
pub(super) const FETCH_TRIES: u8 = 2;
pub(super) const FETCH_PAUSE_MILLIS: u64 = 200;

/// How a query is planned for the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planning {
    /// With what makes most queries faster: filters by the keys of joins, and the order of the result
    /// made in the coordinator.
    Fast,
    /// Without, for a query whose memory they have used up: the sizes that they are planned by are
    /// estimates, and the coordinator has less memory than the workers.
    Frugal,
}

/// A session for planning on these workers: `state` with the settings that Ballista needs.
pub(super) fn cluster_session(
    state: &SessionState,
    workers: &[WorkerInfo],
    planning: Planning,
) -> SessionState {
    let config = state
        .config()
        .clone()
        .upgrade_for_ballista()
        // The catalogs are those of `state`: building must not put an empty one in their place.
        .with_create_default_catalog_and_schema(false)
        .with_target_partitions(total_slots(workers).max(1))
        .with_ballista_adaptive_query_planner(false)
        .with_ballista_grpc_client_max_message_size(MAX_MESSAGE_BYTES)
        // A lost worker is known from its heartbeats; waiting for it long only delays the retry.
        .set_u64(BALLISTA_CLIENT_IO_RETRIES_TIMES, u64::from(FETCH_TRIES))
        .set_u64(BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS, FETCH_PAUSE_MILLIS)
        .set_str(BALLISTA_SHUFFLE_COMPRESSION_CODEC, shuffle_codec(workers))
        // Sort-merge joins cost several times a hash join; the memory pool still bounds the build
        // side.
        .set_bool("datafusion.optimizer.prefer_hash_join", true)
        // Which sides of joins are collected is chosen before the plan is cut into stages.
        .with_ballista_broadcast_join_threshold_bytes(0);
    let rules = with_ballista_optimizer_rules(state.optimizers());
    let physical_rules = rules_with_broadcasts(state);
    SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .with_optimizer_rules(rules)
        .with_physical_optimizer_rules(physical_rules)
        .with_physical_optimizer_rule(Arc::new(SortAfterShuffle))
        .with_query_planner(Arc::new(BroadcastPlanner { planning }))
        .build()
}

/// How the workers compress what they exchange. On one machine there is no network whose time that
/// would save.
fn shuffle_codec(workers: &[WorkerInfo]) -> &'static str {
    let is_local = |worker: &WorkerInfo| match worker.host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => worker.host == "localhost",
    };
    match workers.iter().all(is_local) {
        true => "none",
        false => "lz4",
    }
}
