//! Notices jobs whose result cannot be trusted because a worker was lost under them.
//!
//! Ballista repairs a running job: it does the tasks of the lost worker again. Its bookkeeping of
//! what was done is not exact, though: a stage that was partly read can end up counted twice, and
//! then the result has wrong rows (`tests/cluster` shows it on an aggregate of three stages). So
//! Ingot trusts no repaired job. A job that had a task on a worker that was lost, or a stage of
//! which was executed again, is cancelled and the whole query is run again.
//!
//! This sits in the one place that every such event passes: the scheduler's view of its workers.
//!
//! It also keeps the workers' slots right. When Ballista rolls a stage back, the slots of its
//! cancelled tasks are never given back, and a worker without free slots gets no task ever again.
//! So slots that no running task uses are freed before tasks are handed out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::executor_status::Status as ExecutorState;
use ballista_core::serde::protobuf::{ExecutorHeartbeat, ExecutorStatus};
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_scheduler::cluster::memory::InMemoryClusterState;
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::task_manager::JobInfoCache;
use parking_lot::Mutex;

/// The scheduler's workers, and which jobs used them.
#[derive(Default)]
pub(super) struct WatchedClusterState {
    workers: InMemoryClusterState,
    jobs: Mutex<HashMap<JobId, WatchedJob>>,
    /// Slots that the scheduler believes to be in use, by worker.
    reserved: Mutex<HashMap<String, u32>>,
    /// Workers that said that they leave. They say it once; their other heartbeats do not know.
    leaving: Mutex<HashSet<String>>,
}

#[derive(Default)]
struct WatchedJob {
    /// Workers that were given tasks of the job.
    workers: HashSet<String>,
    /// Why its result cannot be trusted.
    lost: Option<String>,
}

impl WatchedClusterState {
    /// Why the result of a job cannot be trusted; `None` if it can.
    pub(super) fn loss(&self, job_id: &JobId) -> Option<String> {
        self.jobs
            .lock()
            .get(job_id)
            .and_then(|job| job.lost.clone())
    }

    /// Forgets a job that has ended; the workers that had tasks of it.
    pub(super) fn forget(&self, job_id: &JobId) -> HashSet<String> {
        let job = self.jobs.lock().remove(job_id);
        job.map(|job| job.workers).unwrap_or_default()
    }

    fn note_bound(&self, tasks: &[BoundTask]) {
        let mut jobs = self.jobs.lock();
        let mut reserved = self.reserved.lock();
        for (worker, task) in tasks {
            *reserved.entry(worker.clone()).or_default() += task.vcores_consumed;
            let job = jobs.entry(task.key.job_id.clone()).or_default();
            job.workers.insert(worker.clone());
            if task.stage_attempt_num > 0 && job.lost.is_none() {
                job.lost = Some(format!(
                    "stage {} had to be executed again",
                    task.key.stage_id
                ));
            }
        }
    }

    fn note_removed(&self, worker: &str, shown: &str) {
        for job in self.jobs.lock().values_mut() {
            if job.workers.contains(worker) && job.lost.is_none() {
                job.lost = Some(format!("worker {shown} was lost"));
            }
        }
    }

    /// Gives back the slots that no task of `active_jobs` uses. The scheduler calls this in
    /// between its events only, so what its jobs say and what is reserved belong together.
    async fn free_leaked_slots(&self, active_jobs: &HashMap<JobId, JobInfoCache>) -> Result<()> {
        let running = slots_in_use(active_jobs).await;
        let leaked: Vec<ExecutorSlot> = self
            .reserved
            .lock()
            .iter()
            .filter_map(|(worker, reserved)| {
                let used = running.get(worker).copied().unwrap_or_default();
                let leaked = reserved.saturating_sub(used);
                (leaked > 0).then(|| (worker.clone(), leaked))
            })
            .collect();
        if leaked.is_empty() {
            return Ok(());
        }
        tracing::debug!(
            ?leaked,
            "slots of tasks that were rolled back are free again"
        );
        self.unbind_tasks(leaked).await
    }
}

/// Slots that running tasks use, by worker.
pub(super) async fn slots_in_use(jobs: &HashMap<JobId, JobInfoCache>) -> HashMap<String, u32> {
    let mut used: HashMap<String, u32> = HashMap::new();
    for job in jobs.values() {
        let graph = job.execution_graph.read().await;
        for task in graph.running_tasks() {
            let slots = graph.task_vcores(task.stage_id, task.task_id).unwrap_or(1);
            *used.entry(task.executor_id).or_default() += slots;
        }
    }
    used
}

#[async_trait]
impl ClusterState for WatchedClusterState {
    async fn init(&self) -> Result<()> {
        self.workers.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        self.free_leaked_slots(&active_jobs).await?;
        let tasks = self
            .workers
            .bind_schedulable_tasks(distribution, active_jobs, executors)
            .await?;
        self.note_bound(&tasks);
        Ok(tasks)
    }

    async fn unbind_tasks(&self, executor_slots: Vec<ExecutorSlot>) -> Result<()> {
        let executor_slots = {
            let mut reserved = self.reserved.lock();
            executor_slots
                .into_iter()
                .map(|(worker, slots)| {
                    // Never more than was taken: some tasks are given back twice.
                    let taken = reserved.entry(worker.clone()).or_default();
                    let returned = slots.min(*taken);
                    *taken -= returned;
                    (worker, returned)
                })
                .collect()
        };
        self.workers.unbind_tasks(executor_slots).await
    }

    async fn register_executor(
        &self,
        metadata: ExecutorMetadata,
        spec: ExecutorData,
    ) -> Result<()> {
        self.workers.register_executor(metadata, spec).await
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.workers.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.workers.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.workers.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, mut heartbeat: ExecutorHeartbeat) -> Result<()> {
        let status = heartbeat.status.as_ref().and_then(|s| s.status.as_ref());
        if matches!(status, Some(ExecutorState::Terminating(_))) {
            self.leaving.lock().insert(heartbeat.executor_id.clone());
        } else if self.leaving.lock().contains(&heartbeat.executor_id) {
            heartbeat.status = Some(ExecutorStatus {
                status: Some(ExecutorState::Terminating(String::new())),
            });
        }
        self.workers.save_executor_heartbeat(heartbeat).await
    }

    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        // Noted first: only afterwards does the scheduler begin to repair.
        let shown = match self.workers.get_executor_metadata(executor_id).await {
            Ok(worker) => format!("{}:{}", worker.host, worker.port),
            Err(_) => executor_id.to_string(),
        };
        self.note_removed(executor_id, &shown);
        self.reserved.lock().remove(executor_id);
        self.leaving.lock().remove(executor_id);
        self.workers.remove_executor(executor_id).await
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.workers.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.workers.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.workers.cluster_state_events().await
    }
}
