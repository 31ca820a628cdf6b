//! Executes a query on the workers, as a job of the scheduler.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::JobId;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::protobuf::{JobStatus, PartitionLocation};
use ballista_scheduler::state::execution_graph::{ExecutionGraph, ExecutionGraphBox};
use ballista_scheduler::state::execution_stage::ExecutionStage;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::cluster_session::{Planning, cluster_session};
use super::execution::{ExecuteOptions, Inner, PlannedQuery};
use super::failure::{ballista_failure, is_broken_connection, job_failure};
use super::local::add_scan;
use super::placement::no_workers;
use super::progress::{ProgressCounts, QueryProgress};
use super::result_fetch::Clients;
use super::result_order::ResultOrder;
use super::results::BatchSender;
use super::scheduler::{Cluster, total_slots};
use crate::error::{CoordinatorError, ErrorCode, Result};

/// How often a job's progress is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A job with nothing running for so long, while slots are free, is stuck.
const STALL_LIMIT: Duration = Duration::from_secs(8);

/// How often a whole job may be run again, after its result was lost or it was stuck.
const MAX_RUNS: usize = 4;

/// Results up to this size, as they lie on the workers, are held here before the first row goes out, so that losing
/// a worker in between costs another run and not the query.
const HELD_RESULT_BYTES: i64 = 16 << 20;

/// Results that are fetched at the same time.
const CONCURRENT_FETCHES: usize = 4;

/// Tries to see a job that has ended, and the pause between them.
const GRAPH_TRIES: usize = 100;
const GRAPH_PAUSE: Duration = Duration::from_millis(2);

/// Status messages that may wait; the job's state is also polled.
const STATUS_BUFFER: usize = 256;

/// Why a run of a job gave no result.
pub(super) enum RunError {
    /// Running it again may help.
    Again(String),
    /// It will not.
    Final(CoordinatorError),
}

impl From<CoordinatorError> for RunError {
    fn from(error: CoordinatorError) -> Self {
        Self::Final(error)
    }
}

/// Runs the query on the workers and sends its batches.
pub(super) async fn run(
    inner: &Inner,
    planned: &PlannedQuery,
    options: &ExecuteOptions,
    sender: &mut BatchSender,
) -> Result<()> {
    let Some(cluster) = &inner.cluster else {
        return Err(no_workers(None));
    };
    let mut runs = 0;
    let mut planning = Planning::Fast;
    loop {
        runs += 1;
        let outcome = run_once(cluster, planned, planning, options, sender).await;
        let reason = match outcome {
            Ok(()) => return Ok(()),
            Err(RunError::Final(error))
                if error.code() == ErrorCode::ResourceExhausted
                    && planning == Planning::Fast
                    && sender.sent_rows() == 0 =>
            {
                planning = Planning::Frugal;
                crate::error::one_line(&error.to_string())
            }
            Err(RunError::Final(error)) => return Err(error),
            Err(RunError::Again(reason)) => reason,
        };
        if sender.sent_rows() > 0 {
            return Err(CoordinatorError::Unavailable(format!(
                "a worker was lost while the result was read: {reason}; run the query again"
            )));
        }
        if runs >= MAX_RUNS {
            return Err(CoordinatorError::Unavailable(format!(
                "the query was run {runs} times and lost its workers each time: {reason}"
            )));
        }
        tracing::warn!(query_id = %options.query_id, %reason, "a query is run again");
    }
}

async fn run_once(
    cluster: &Arc<Cluster>,
    planned: &PlannedQuery,
    planning: Planning,
    options: &ExecuteOptions,
    sender: &mut BatchSender,
) -> Result<(), RunError> {
    let mut job = Job::submit(cluster, planned, planning, options).await?;
    let locations = job.wait(&options.progress).await?;
    let held: i64 = locations
        .iter()
        .map(|location| match &location.partition_stats {
            Some(stats) if stats.num_bytes >= 0 => stats.num_bytes,
            _ => HELD_RESULT_BYTES,
        })
        .fold(0, i64::saturating_add);
    let mut clients = Clients::default();
    let mut fetches = Vec::with_capacity(locations.len());
    for location in locations {
        fetches.push(clients.fetch(location).await?);
    }
    let partitions = futures::stream::iter(fetches).buffered(CONCURRENT_FETCHES);
    let mut batches = match &job.order {
        None => partitions.try_flatten().map_err(lost).boxed(),
        Some(order) => {
            let partitions: Vec<_> = partitions.try_collect().await.map_err(lost)?;
            match partitions.is_empty() {
                true => futures::stream::empty().boxed(),
                false => order
                    .merge(partitions, &planned.state)
                    .map_err(CoordinatorError::from)?
                    .map_err(not_merged)
                    .boxed(),
            }
        }
    };
    if held < HELD_RESULT_BYTES {
        let held_batches: Vec<_> = batches.try_collect().await?;
        job.report(&options.progress).await;
        for batch in held_batches {
            sender.send(batch).await?;
        }
    } else {
        job.report(&options.progress).await;
        while let Some(batch) = batches.try_next().await? {
            sender.send(batch).await?;
        }
    }
    Ok(())
}

/// Why sorted partitions did not become one: one of them could not be read, or the merge failed.
fn not_merged(error: DataFusionError) -> RunError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_)
        | DataFusionError::Internal(_)
        | DataFusionError::Plan(_) => RunError::Final(error.into()),
        _ => lost(error),
    }
}

pub(super) fn lost(error: impl std::fmt::Display) -> RunError {
    RunError::Again(crate::error::one_line(&error.to_string()))
}

/// A job at the scheduler. Dropping it cancels it if it runs, and removes what it left.
pub(super) struct Job {
    pub(super) id: JobId,
    /// What is left to do with the partitions of its result.
    pub(super) order: Option<ResultOrder>,
    cluster: Arc<Cluster>,
    status: mpsc::Receiver<JobStatus>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cluster.forget_job(self.id.clone());
    }
}

impl Job {
    /// Hands the query to the scheduler.
    pub(super) async fn submit(
        cluster: &Arc<Cluster>,
        planned: &PlannedQuery,
        planning: Planning,
        options: &ExecuteOptions,
    ) -> Result<Self> {
        let workers = cluster.workers().await;
        if total_slots(&workers) == 0 {
            return Err(no_workers(Some(cluster.as_ref())));
        }
        let session = cluster_session(&planned.state, &workers, planning);
        let (sender, status) = mpsc::channel(STATUS_BUFFER);
        let plan = session.create_physical_plan(&planned.logical).await?;
        let (plan, order) = match planning {
            Planning::Fast => ResultOrder::split(plan),
            Planning::Frugal => (plan, None),
        };
        let id = cluster
            .scheduler
            .submit_physical_plan(
                &options.query_id.to_string(),
                Arc::new(SessionContext::new_with_state(session)),
                plan,
                Some(sender),
            )
            .await
            .map_err(ballista_failure)?;
        Ok(Self {
            id,
            order,
            cluster: Arc::clone(cluster),
            status,
        })
    }

    /// Waits for the end of the job: where its result lies, one place for each partition, in the
    /// order of the partitions. The last progress is for [`Job::report`] to set: at this moment the
    /// scheduler is about to store the job, and waiting for that would delay every result.
    pub(super) async fn wait(
        &mut self,
        progress: &QueryProgress,
    ) -> Result<Vec<PartitionLocation>, RunError> {
        let mut stall = StallDetector::default();
        let mut subscribed = true;
        loop {
            let status = if subscribed {
                match tokio::time::timeout(POLL_INTERVAL, self.status.recv()).await {
                    Ok(Some(status)) => Some(status),
                    Ok(None) => {
                        subscribed = false;
                        None
                    }
                    Err(_) => None,
                }
            } else {
                tokio::time::sleep(POLL_INTERVAL).await;
                None
            };
            let status = match status {
                Some(status) => Some(status),
                None => self.polled_status().await?,
            };
            // Looked at after the status, so that a success that came after a loss is not taken.
            if let Some(reason) = self.cluster.losses.loss(&self.id) {
                return Err(RunError::Again(reason));
            }
            match status.and_then(|status| status.status) {
                Some(Status::Successful(job)) => {
                    return one_location_per_partition(job.partition_location);
                }
                Some(Status::Failed(job)) if is_broken_connection(&job.error) => {
                    return Err(RunError::Again(
                        "a worker stopped answering another one".to_string(),
                    ));
                }
                Some(Status::Failed(job)) => return Err(job_failure(&job.error).into()),
                Some(Status::Running(_)) => {
                    let busy = self.report(progress).await;
                    let has_free_slot = self.cluster.has_free_slot().await;
                    if stall.is_stalled(busy || !has_free_slot) {
                        return Err(RunError::Again("its tasks stopped".to_string()));
                    }
                }
                Some(Status::Queued(_)) => {}
                None => {
                    return Err(RunError::Again(
                        "the scheduler forgot the query's job".to_string(),
                    ));
                }
            }
        }
    }

    async fn polled_status(&self) -> Result<Option<JobStatus>> {
        // A job is not known until the scheduler has taken it from its queue of events.
        for _ in 0..50 {
            let status = self
                .cluster
                .scheduler
                .state
                .task_manager
                .get_job_status(&self.id)
                .await
                .map_err(ballista_failure)?;
            if status.is_some() {
                return Ok(status);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(None)
    }

    /// Updates the progress; whether tasks are running.
    pub(super) async fn report(&self, progress: &QueryProgress) -> bool {
        let jobs = self
            .cluster
            .scheduler
            .state
            .task_manager
            .get_running_job_cache();
        if let Some(job) = jobs.get(&self.id) {
            let graph = job.execution_graph.read().await;
            progress.set(count_progress(graph.as_ref()));
            return !graph.running_tasks().is_empty();
        }
        if let Some(graph) = self.finished_graph().await {
            progress.set(count_progress(graph.as_ref()));
        }
        false
    }

    /// The stages of the job with their metrics, once it has ended.
    pub(super) async fn finished_graph(&self) -> Option<ExecutionGraphBox> {
        let job_state = self.cluster.state.job_state();
        // The news of the end comes a moment before the graph is stored.
        for _ in 0..GRAPH_TRIES {
            if let Ok(Some(graph)) = job_state.get_execution_graph(&self.id).await {
                return Some(graph);
            }
            tokio::time::sleep(GRAPH_PAUSE).await;
        }
        None
    }
}

/// Notices jobs that have nothing to do and are not done.
#[derive(Default)]
struct StallDetector {
    idle_since: Option<Instant>,
}

impl StallDetector {
    fn is_stalled(&mut self, busy: bool) -> bool {
        if busy {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        since.elapsed() > STALL_LIMIT
    }
}

impl Cluster {
    async fn has_free_slot(&self) -> bool {
        self.workers()
            .await
            .iter()
            .any(|worker| !worker.draining && worker.used_slots < worker.slots)
    }
}

/// The places of the result, by partition. Ballista lists a partition twice when it repaired the
/// last stage; such a job is not trusted.
fn one_location_per_partition(
    locations: Vec<PartitionLocation>,
) -> Result<Vec<PartitionLocation>, RunError> {
    let mut by_partition = BTreeMap::new();
    for location in locations {
        let Some(partition) = location.partition_id.as_ref().map(|id| id.partition_id) else {
            return Err(RunError::Final(CoordinatorError::Internal(
                "a result partition has no number".to_string(),
            )));
        };
        if by_partition.insert(partition, location).is_some() {
            return Err(RunError::Again(format!(
                "partition {partition} of the result was made twice"
            )));
        }
    }
    Ok(by_partition.into_values().collect())
}

/// How far the stages of a job are. A "task" is one input partition of a stage.
fn count_progress(graph: &dyn ExecutionGraph) -> ProgressCounts {
    let mut counts = ProgressCounts::default();
    for stage in graph.stages().values() {
        counts.stages_total += 1;
        let (partitions, metrics) = match stage {
            ExecutionStage::UnResolved(_) => continue,
            ExecutionStage::Resolved(stage) => (stage.partitions, None),
            ExecutionStage::Running(stage) => (stage.partitions, stage.stage_metrics.as_deref()),
            ExecutionStage::Successful(stage) => {
                counts.stages_done += 1;
                (stage.partitions, Some(stage.stage_metrics.as_slice()))
            }
            ExecutionStage::Failed(stage) => (stage.partitions, None),
        };
        counts.tasks_total += u32::try_from(partitions).unwrap_or(u32::MAX);
        let done = match stage {
            ExecutionStage::Successful(_) => partitions,
            other => finished_partitions(other),
        };
        counts.tasks_done += u32::try_from(done).unwrap_or(u32::MAX);
        if let Some(metrics) = metrics {
            let mut remaining = metrics.iter();
            add_stage_scans(stage.plan(), &mut remaining, &mut counts);
        }
    }
    counts
}

fn finished_partitions(stage: &ExecutionStage) -> usize {
    use ballista_core::serde::protobuf::task_status::Status as TaskState;
    stage
        .task_infos()
        .unwrap_or_default()
        .iter()
        .filter(|task| matches!(task.task_status, TaskState::Successful(_)))
        .map(|task| task.global_input_partition_ids.len())
        .sum()
}

/// The metrics of a stage lie in the order in which its plan is walked, operators without
/// metrics left out.
fn add_stage_scans<'a>(
    plan: &dyn ExecutionPlan,
    metrics: &mut impl Iterator<Item = &'a datafusion::physical_plan::metrics::MetricsSet>,
    counts: &mut ProgressCounts,
) {
    if plan.metrics().is_some()
        && let Some(own) = metrics.next()
        && plan
            .downcast_ref::<datafusion::datasource::source::DataSourceExec>()
            .is_some()
    {
        add_scan(own, counts);
    }
    for child in plan.children() {
        add_stage_scans(child.as_ref(), metrics, counts);
    }
}
