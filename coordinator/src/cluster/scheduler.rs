//! The embedded Ballista scheduler.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ballista_core::JobId;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::RemoveJobDataParams;
use ballista_core::serde::protobuf::executor_grpc_client::ExecutorGrpcClient;
use ballista_core::serde::protobuf::executor_status::Status as ExecutorState;
use ballista_scheduler::cluster::memory::InMemoryJobState;
use ballista_scheduler::cluster::{BallistaCluster, ClusterState};
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use ballista_scheduler::scheduler_server::{SchedulerServer, SessionBuilder};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::runtime::{Handle, Runtime};
use tonic::transport::Endpoint;

use super::THREAD_STACK_BYTES;
use super::losses::{WatchedClusterState, slots_in_use};
use crate::error::{CoordinatorError, Result};

/// Largest gRPC message between coordinator and workers. Plans over many files are larger than
/// the 16 MiB that Ballista allows by itself.
pub(super) const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// How often lost workers are looked for.
const EXPIRY_CHECK_SECONDS: u64 = 1;

/// How long jobs wait for a worker after the last one was lost.
const NO_WORKERS_GRACE_SECONDS: u64 = 30;

/// How long a worker that said goodbye may stay in the list.
const TERMINATION_GRACE_SECONDS: u64 = 5;

/// Tries of a task or of a stage (after lost workers) before the job fails.
const MAX_ATTEMPTS: usize = 8;

pub(super) type Scheduler = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// What a [`Cluster`] is made of.
#[derive(Clone)]
pub struct ClusterOptions {
    /// Where workers connect. It has no authentication: loopback or an internal network. Port 0
    /// takes any free port.
    pub bind: SocketAddr,
    /// Encodes the plans that are sent to workers: that of the engine.
    pub codec: Arc<dyn PhysicalExtensionCodec>,
    /// The process-wide runtime (object stores, caches, memory pool).
    pub runtime: Arc<RuntimeEnv>,
    /// A worker from which nothing was heard for so long is lost. Workers call every second.
    pub worker_timeout: Duration,
}

impl ClusterOptions {
    /// A cluster whose workers are lost after 10 s of silence.
    pub fn new(
        bind: SocketAddr,
        codec: Arc<dyn PhysicalExtensionCodec>,
        runtime: Arc<RuntimeEnv>,
    ) -> Self {
        Self {
            bind,
            codec,
            runtime,
            worker_timeout: Duration::from_secs(10),
        }
    }
}

/// One worker as the coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Random id, new at each start of the worker.
    pub id: String,
    /// Host by which the worker is reached.
    pub host: String,
    /// Port of its data service.
    pub flight_port: u16,
    /// Port on which it takes tasks.
    pub grpc_port: u16,
    /// Tasks that it can run at the same time.
    pub slots: u32,
    /// Slots in use now.
    pub used_slots: u32,
    /// When it was last heard of, to the second.
    pub last_heartbeat: Option<SystemTime>,
    /// Whether it leaves: it finishes its tasks and takes no new ones.
    pub draining: bool,
    /// Memory of its process, in bytes, when it last told; 0 if it never did.
    pub memory_bytes: u64,
}

/// The scheduler of distributed queries and its workers. Dropping it stops the scheduler.
pub struct Cluster {
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) state: BallistaCluster,
    /// The same workers as in `state`, and which jobs were hurt by losing one.
    pub(super) losses: Arc<WatchedClusterState>,
    address: SocketAddr,
    worker_timeout: Duration,
    /// Its own runtime: planning wants big stacks, and jobs must not wait for other work.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts the scheduler and listens for workers.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(options: ClusterOptions) -> Result<Arc<Self>> {
        let listener = listen(options.bind)?;
        let address = listener
            .local_addr()
            .map_err(|source| bind_error(options.bind, source))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("ingot-scheduler")
            .thread_stack_size(THREAD_STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|source| CoordinatorError::Io {
                action: "start the threads of the scheduler".to_string(),
                source,
            })?;
        let worker_timeout = options.worker_timeout;
        let losses = Arc::new(WatchedClusterState::default());
        let watched = Arc::clone(&losses);
        let started = runtime
            .spawn(async move {
                let config = Arc::new(scheduler_config(&options, address));
                let jobs = InMemoryJobState::new(
                    config.scheduler_id.clone(),
                    session_builder(options.runtime),
                    Arc::new(base_session_config),
                );
                let state = BallistaCluster::new(watched, Arc::new(jobs));
                let scheduler = create_scheduler(state.clone(), config).await?;
                let service = start_grpc_service_with_listener(
                    tokio::net::TcpListener::from_std(listener)?,
                    scheduler.clone(),
                );
                tokio::spawn(async move {
                    if let Err(error) = service.await {
                        tracing::error!(%error, "the scheduler's service stopped");
                    }
                });
                Ok::<_, ballista_core::error::BallistaError>((scheduler, state))
            })
            .await;
        let (scheduler, state) = match started {
            Ok(Ok(started)) => started,
            Ok(Err(error)) => {
                runtime.shutdown_background();
                return Err(CoordinatorError::Internal(format!(
                    "the scheduler does not start: {error}"
                )));
            }
            Err(error) => {
                runtime.shutdown_background();
                return Err(CoordinatorError::Internal(format!(
                    "the scheduler does not start: {error}"
                )));
            }
        };
        Ok(Arc::new(Self {
            scheduler: Arc::new(scheduler),
            state,
            losses,
            address,
            worker_timeout,
            runtime: Some(runtime),
        }))
    }

    /// Where workers connect, with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The workers that are connected, by id; those that were lost are gone from it.
    pub async fn workers(&self) -> Vec<WorkerInfo> {
        let cluster_state = self.state.cluster_state();
        let used_slots = self.used_slots().await;
        let heartbeats = cluster_state.executor_heartbeats();
        let now = SystemTime::now();
        let mut workers: Vec<WorkerInfo> = cluster_state
            .registered_executor_metadata()
            .await
            .into_iter()
            .filter_map(|executor| {
                let heartbeat = heartbeats.get(&executor.id)?;
                let last_heartbeat =
                    SystemTime::UNIX_EPOCH + Duration::from_secs(heartbeat.timestamp);
                let silence = now.duration_since(last_heartbeat).unwrap_or_default();
                if silence > self.worker_timeout + Duration::from_secs(1) {
                    return None;
                }
                let state = heartbeat.status.as_ref().and_then(|s| s.status.as_ref());
                let draining = match state {
                    Some(ExecutorState::Active(_)) => false,
                    Some(ExecutorState::Terminating(_)) => true,
                    // Dead, or registered and not yet heard of.
                    _ => return None,
                };
                Some(WorkerInfo {
                    used_slots: used_slots.get(&executor.id).copied().unwrap_or_default(),
                    id: executor.id,
                    host: executor.host,
                    flight_port: executor.port,
                    grpc_port: executor.grpc_port,
                    slots: executor.specification.vcores,
                    last_heartbeat: Some(last_heartbeat),
                    draining,
                    memory_bytes: heartbeat.peak_proc_physical_memory,
                })
            })
            .collect();
        workers.sort_by(|left, right| left.id.cmp(&right.id));
        workers
    }

    /// Tasks that all workers together can run at the same time; leaving workers do not count.
    pub async fn total_slots(&self) -> usize {
        total_slots(&self.workers().await)
    }

    /// The runtime on which the scheduler runs.
    pub(super) fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }

    async fn used_slots(&self) -> HashMap<String, u32> {
        slots_in_use(&self.scheduler.state.task_manager.get_running_job_cache()).await
    }

    /// Removes what a job left behind: its files on the workers and its plan here. A job that
    /// still runs is cancelled first. Returns at once.
    pub(super) fn forget_job(&self, job_id: JobId) {
        let Some(handle) = self.handle() else {
            return;
        };
        let scheduler = Arc::clone(&self.scheduler);
        let job_state = self.state.job_state();
        let losses = Arc::clone(&self.losses);
        handle.spawn(async move {
            let was_successful = cancel_if_running(&scheduler, &job_id).await;
            let workers = losses.forget(&job_id);
            remove_job_files(&losses, &workers, &job_id).await;
            if let Ok(Some(_)) = job_state.get_job_status(&job_id).await
                && let Err(error) = job_state.remove_job(&job_id).await
            {
                tracing::warn!(%job_id, %error, "the state of a job is not removed");
            }
            if was_successful {
                return;
            }
            // Tasks that were cancelled may write a last file after the first removal.
            for pause in CLEAN_UP_AGAIN {
                tokio::time::sleep(pause).await;
                remove_job_files(&losses, &workers, &job_id).await;
            }
        });
    }
}

/// Tasks that these workers together can run at the same time; leaving workers do not count.
pub(super) fn total_slots(workers: &[WorkerInfo]) -> usize {
    workers
        .iter()
        .filter(|worker| !worker.draining)
        .map(|worker| worker.slots as usize)
        .sum()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its tasks is not allowed on the threads that may drop this.
            runtime.shutdown_background();
        }
    }
}

/// How long a job that was cancelled may take to show it.
const CANCEL_ROUNDS: usize = 600;

/// Has the files of a job removed on the workers that had tasks of it. Ballista's own removal
/// leaves out workers that are leaving, and those wait for it.
async fn remove_job_files(
    cluster_state: &WatchedClusterState,
    workers: &HashSet<String>,
    job_id: &JobId,
) {
    for worker in workers {
        let Ok(executor) = cluster_state.get_executor_metadata(worker).await else {
            // It is gone, and its files with it.
            continue;
        };
        let request = RemoveJobDataParams {
            job_id: job_id.to_string(),
            remove_stage_ids: vec![],
        };
        let address = format!("http://{}:{}", executor.host, executor.grpc_port);
        let removed = async {
            let endpoint = Endpoint::from_shared(address)?.connect_timeout(CLEAN_UP_TIMEOUT);
            let mut client = ExecutorGrpcClient::new(endpoint.connect().await?);
            client.remove_job_data(request).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        let outcome = tokio::time::timeout(CLEAN_UP_TIMEOUT, removed).await;
        if let Ok(Err(error)) = outcome {
            tracing::debug!(%job_id, worker, %error, "the files of a job are not removed");
        }
    }
}

/// How long a worker may take to answer.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// When the files of a job that did not succeed are removed again.
const CLEAN_UP_AGAIN: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(3),
    Duration::from_secs(15),
];

/// Cancels a job and waits until it has ended; whether it was successful. A job that is being planned does not hear of a
/// cancellation, so it is told again once it runs.
async fn cancel_if_running(scheduler: &Scheduler, job_id: &JobId) -> bool {
    use ballista_core::serde::protobuf::job_status::Status;
    for _ in 0..CANCEL_ROUNDS {
        let status = scheduler.state.task_manager.get_job_status(job_id).await;
        match status.ok().flatten().and_then(|status| status.status) {
            Some(Status::Queued(_)) => {}
            Some(Status::Running(_)) => {
                if let Err(error) = scheduler.cancel_job(job_id.clone()).await {
                    tracing::warn!(%job_id, %error, "a job cannot be cancelled");
                    return false;
                }
            }
            Some(Status::Successful(_)) => return true,
            Some(Status::Failed(_)) | None => return false,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

fn bind_error(address: SocketAddr, source: std::io::Error) -> CoordinatorError {
    CoordinatorError::Io {
        action: format!("listen for workers on {address} (setting coordinator.scheduler_bind)"),
        source,
    }
}

/// A listener whose connections send small messages at once: Ballista's own waits 40 ms.
fn listen(address: SocketAddr) -> Result<std::net::TcpListener> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        // Accepted connections inherit it.
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        socket.listen(1024)?.into_std()
    };
    listen().map_err(|source| bind_error(address, source))
}

/// The configuration of sessions at the scheduler; each job brings its own settings.
fn base_session_config() -> SessionConfig {
    SessionConfig::new_with_ballista().with_ballista_grpc_client_max_message_size(MAX_MESSAGE_BYTES)
}

fn session_builder(runtime: Arc<RuntimeEnv>) -> SessionBuilder {
    Arc::new(move |config| {
        Ok(SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(Arc::clone(&runtime))
            .build())
    })
}

fn scheduler_config(options: &ClusterOptions, address: SocketAddr) -> SchedulerConfig {
    SchedulerConfig {
        // Workers answer to the address that they were given, whatever is advertised here.
        external_host: address.ip().to_string(),
        bind_host: address.ip().to_string(),
        bind_port: address.port(),
        scheduling_policy: TaskSchedulingPolicy::PushStaged,
        // Shuffle files and plans go as soon as a result was read: see `forget_job`.
        finished_job_data_clean_up_interval_seconds: 0,
        finished_job_state_clean_up_interval_seconds: 0,
        executor_timeout_seconds: options.worker_timeout.as_secs().max(2),
        expire_dead_executor_interval_seconds: EXPIRY_CHECK_SECONDS,
        executor_termination_grace_period: TERMINATION_GRACE_SECONDS,
        no_executors_grace_period_seconds: NO_WORKERS_GRACE_SECONDS,
        task_max_failures: MAX_ATTEMPTS,
        stage_max_failures: MAX_ATTEMPTS,
        grpc_server_max_decoding_message_size: MAX_MESSAGE_BYTES as u32,
        grpc_server_max_encoding_message_size: MAX_MESSAGE_BYTES as u32,
        grpc_client_max_message_size: MAX_MESSAGE_BYTES as u32,
        override_physical_codec: Some(Arc::clone(&options.codec)),
        override_config_producer: Some(Arc::new(base_session_config)),
        override_session_builder: Some(session_builder(Arc::clone(&options.runtime))),
        ..SchedulerConfig::default()
    }
}
