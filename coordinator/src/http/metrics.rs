//! Metrics in the OpenMetrics text format.

use std::fmt::Error;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode as encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::StatusView;

/// Writes the metrics of one moment. They are derived from the status at each scrape,
/// so nothing has to be counted twice.
pub fn encode(view: &StatusView) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("ingot");
    gauge(
        &mut registry,
        "workers",
        "Workers that have joined",
        view.workers.len() as i64,
    );
    gauge(
        &mut registry,
        "worker_slots",
        "Tasks that all workers can run at the same time",
        view.workers.iter().map(|worker| worker.slots as i64).sum(),
    );
    gauge(
        &mut registry,
        "worker_free_slots",
        "Tasks that could start now",
        view.workers
            .iter()
            .map(|worker| worker.free_slots as i64)
            .sum(),
    );
    gauge(
        &mut registry,
        "queries_running",
        "Statements that run now",
        view.running_queries as i64,
    );
    counter(
        &mut registry,
        "queries_finished",
        "Statements that ended well",
        view.totals.finished,
    );
    counter(
        &mut registry,
        "queries_failed",
        "Statements that ended with an error",
        view.totals.failed,
    );
    counter(
        &mut registry,
        "queries_cancelled",
        "Statements that were cancelled",
        view.totals.cancelled,
    );
    counter(
        &mut registry,
        "rows",
        "Rows delivered or written",
        view.totals.rows,
    );
    let seconds = Counter::<f64, AtomicU64>::default();
    seconds.inc_by(view.totals.seconds);
    registry.register_with_unit(
        "queries",
        "Time of ended statements",
        Unit::Seconds,
        seconds,
    );
    gauge(
        &mut registry,
        "uptime_seconds",
        "Time since the start",
        view.uptime_seconds as i64,
    );
    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    Ok(text)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}
