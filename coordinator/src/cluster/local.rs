//! Executes a query in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;

use super::execution::{ExecuteOptions, Inner, PlannedQuery};
use super::progress::{ProgressCounts, QueryProgress};
use super::results::BatchSender;
use crate::error::{CoordinatorError, Result};

/// How often the progress is updated.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Executes the plan and sends its batches.
pub(super) async fn run(
    inner: &Inner,
    planned: &PlannedQuery,
    options: &ExecuteOptions,
    sender: &mut BatchSender,
) -> Result<()> {
    let _slot = inner
        .local_slots
        .acquire()
        .await
        .map_err(|_| CoordinatorError::Internal("the query engine has stopped".to_string()))?;
    let plan = &planned.physical;
    let mut batches = execute_stream(Arc::clone(plan), planned.state.task_ctx())?;
    let mut last_update = Instant::now();
    loop {
        match tokio::time::timeout(PROGRESS_INTERVAL, batches.next()).await {
            Ok(Some(batch)) => sender.send(batch?).await?,
            Ok(None) => break,
            Err(_) => {}
        }
        if last_update.elapsed() >= PROGRESS_INTERVAL {
            update(&options.progress, plan.as_ref());
            last_update = Instant::now();
        }
    }
    update(&options.progress, plan.as_ref());
    Ok(())
}

fn update(progress: &QueryProgress, plan: &dyn ExecutionPlan) {
    let mut counts = ProgressCounts::default();
    add_scans(plan, &mut counts);
    progress.set(counts);
}

fn add_scans(plan: &dyn ExecutionPlan, counts: &mut ProgressCounts) {
    if plan.downcast_ref::<DataSourceExec>().is_some()
        && let Some(metrics) = plan.metrics()
    {
        add_scan(&metrics, counts);
    }
    for child in plan.children() {
        add_scans(child.as_ref(), counts);
    }
}

/// Adds what one scan has read.
pub(super) fn add_scan(metrics: &MetricsSet, counts: &mut ProgressCounts) {
    counts.rows += metrics.output_rows().unwrap_or_default() as u64;
    counts.bytes += metrics
        .sum_by_name("bytes_scanned")
        .map(|bytes| bytes.as_usize() as u64)
        .unwrap_or_default();
}
