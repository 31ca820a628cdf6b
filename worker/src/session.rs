//! A worker's time with one coordinator, and joining it again after a restart.

use std::net::{SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::error::BallistaError;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::executor_status::Status as ExecutorState;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{ExecutorStatus, ExecutorStoppedParams, HeartBeatParams};
use ballista_core::serde::{BallistaCodec, BallistaLogicalExtensionCodec};
use ballista_core::utils::{GrpcClientConfig, create_grpc_client_endpoint, create_grpc_server};
use ballista_executor::executor::Executor;
use ballista_executor::executor_process::{ExecutorProcessConfig, structure_executor_metadata};
use ballista_executor::executor_server;
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::metrics::LoggingMetricsCollector;
use ballista_executor::shutdown::ShutdownNotifier;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::WorkerOptions;
use crate::engine::TaskEngine;
use crate::error::{Result, WorkerError};
use crate::folder::WorkFolder;

/// Largest gRPC message; the coordinator allows as much.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// How often the coordinator hears of this worker.
const HEARTBEAT_SECONDS: u64 = 1;

/// Limit of one call to the coordinator.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause between tries to reach the coordinator.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How often a stopping worker looks whether it is still needed.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// A stopping worker waits at least so long: tasks that were handed out before the coordinator
/// heard of it are on their way.
const DRAIN_MINIMUM: Duration = Duration::from_millis(500);

/// How often files that no job needs are looked for.
const ORPHAN_CHECK: Duration = Duration::from_secs(600);

/// Free ports are found by trying: another process may be faster.
const PORT_TRIES: usize = 8;

/// Serves until `shutdown`; `joined` is told when the coordinator has accepted the worker.
pub(crate) async fn serve(
    options: &WorkerOptions,
    slots: usize,
    flight_listener: TcpListener,
    folder: &WorkFolder,
    task_threads: Handle,
    shutdown: CancellationToken,
    joined: oneshot::Sender<()>,
) -> Result<()> {
    let mut joined = Some(joined);
    loop {
        let patience = joined.is_some().then_some(options.connect_timeout);
        let connection = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            connection = connect(&options.coordinator, patience) => connection?,
        };
        // The coordinator that knew the jobs of old files is gone.
        folder.clear();
        let listener = flight_listener.try_clone().map_err(WorkerError::Threads)?;
        let session = Session::start(options, slots, listener, folder, &task_threads, connection);
        let session = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            session = session => session,
        };
        let session = match session {
            Ok(session) => session,
            Err(error) if joined.is_some() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the worker cannot join its coordinator again yet");
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        tracing::info!(
            worker = session.executor.metadata.id,
            coordinator = options.coordinator,
            slots,
            "the worker has joined its coordinator"
        );
        if let Some(joined) = joined.take() {
            // Whoever started the worker may have gone.
            let _ = joined.send(());
        }
        match session.run(&shutdown, folder, options.drain_timeout).await {
            ControlFlow::Break(()) => return Ok(()),
            ControlFlow::Continue(reason) => {
                tracing::warn!(
                    coordinator = options.coordinator,
                    reason,
                    "the worker lost its coordinator and joins again"
                );
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Settings of the connection to the coordinator.
fn client_config() -> GrpcClientConfig {
    GrpcClientConfig {
        connect_timeout_seconds: 5,
        timeout_seconds: CALL_TIMEOUT.as_secs(),
        http2_keepalive_interval_seconds: 10,
        max_message_size: MAX_MESSAGE_BYTES,
        ..GrpcClientConfig::default()
    }
}

fn endpoint(coordinator: &str) -> Result<Endpoint> {
    let address_error = |reason: String| WorkerError::Address {
        address: coordinator.to_string(),
        reason,
    };
    let has_port = coordinator
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !has_port {
        return Err(address_error("the port is missing".to_string()));
    }
    create_grpc_client_endpoint(format!("http://{coordinator}"), Some(&client_config()))
        .map_err(|error| address_error(error.to_string()))
}

/// Connects to the coordinator, trying for `patience` or for ever.
async fn connect(coordinator: &str, patience: Option<Duration>) -> Result<Channel> {
    let endpoint = endpoint(coordinator)?;
    let started = Instant::now();
    loop {
        let error = match endpoint.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        if let Some(patience) = patience
            && started.elapsed() + RETRY_PAUSE > patience
        {
            return Err(WorkerError::Unreachable {
                coordinator: coordinator.to_string(),
                seconds: patience.as_secs(),
                reason: innermost(&error),
            });
        }
        tracing::debug!(coordinator, %error, "the coordinator does not answer yet");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// The innermost cause of an error, on one line: "transport error" helps nobody.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The time between joining a coordinator and losing or leaving it.
struct Session {
    executor: Arc<Executor>,
    coordinator: SchedulerGrpcClient<Channel>,
    notifier: ShutdownNotifier,
    task_service: tokio::task::JoinHandle<Result<(), BallistaError>>,
    flight_service: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    /// The coordinator tells a worker to stop that it believes dead.
    stop_requests: mpsc::Receiver<bool>,
}

impl Session {
    async fn start(
        options: &WorkerOptions,
        slots: usize,
        flight_listener: TcpListener,
        folder: &WorkFolder,
        task_threads: &Handle,
        connection: Channel,
    ) -> Result<Self> {
        let flight_port = flight_listener
            .local_addr()
            .map_err(WorkerError::Threads)?
            .port();
        let coordinator = SchedulerGrpcClient::new(connection)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let notifier = ShutdownNotifier::new();

        let incoming = tokio::net::TcpListener::from_std(flight_listener)
            .map(TcpIncoming::from)
            .map_err(WorkerError::Threads)?
            .with_nodelay(Some(true));
        let mut flight_shutdown = notifier.subscribe_for_shutdown();
        let flight = BallistaFlightService::new(folder.path().display().to_string());
        let flight_service = tokio::spawn(async move {
            create_grpc_server(&Default::default())
                .add_service(
                    FlightServiceServer::new(flight)
                        .max_decoding_message_size(MAX_MESSAGE_BYTES)
                        .max_encoding_message_size(MAX_MESSAGE_BYTES),
                )
                .serve_with_incoming_shutdown(incoming, async move { flight_shutdown.recv().await })
                .await
        });

        let mut tries = 0;
        loop {
            tries += 1;
            let (stop_sender, stop_requests) = mpsc::channel(10);
            let config = Arc::new(process_config(options, slots, flight_port)?);
            let executor = Arc::new(make_executor(options, slots, folder, task_threads, &config));
            let codec: BallistaCodec<LogicalPlanNode, PhysicalPlanNode> = BallistaCodec::new(
                Arc::new(BallistaLogicalExtensionCodec::default()),
                Arc::clone(&options.codec),
            );
            let started = executor_server::startup(
                coordinator.clone(),
                Arc::clone(&config),
                Arc::clone(&executor),
                codec,
                stop_sender,
                &notifier,
                config.health.clone(),
            )
            .await;
            let error = match started {
                Ok(task_service) => {
                    return Ok(Self {
                        executor,
                        coordinator,
                        notifier,
                        task_service,
                        flight_service,
                        stop_requests,
                    });
                }
                Err(error) => error,
            };
            if options.grpc_port == 0 && is_taken_port(&error) && tries < PORT_TRIES {
                continue;
            }
            flight_service.abort();
            return Err(start_error(options, &config, error));
        }
    }

    /// Serves until the worker is to stop (`Break`) or lost its coordinator (`Continue`).
    async fn run(
        mut self,
        shutdown: &CancellationToken,
        folder: &WorkFolder,
        drain_timeout: Duration,
    ) -> ControlFlow<(), String> {
        let mut orphan_check = tokio::time::interval(ORPHAN_CHECK);
        let outcome = loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    self.drain(folder, drain_timeout).await;
                    break ControlFlow::Break(());
                }
                ended = &mut self.task_service => {
                    break ControlFlow::Continue(match ended {
                        Ok(Ok(())) => "it does not answer heartbeats".to_string(),
                        Ok(Err(error)) => error.to_string(),
                        Err(error) => error.to_string(),
                    });
                }
                ended = &mut self.flight_service => {
                    break ControlFlow::Continue(match ended {
                        Ok(Ok(())) => "it does not answer heartbeats".to_string(),
                        Ok(Err(error)) => error.to_string(),
                        Err(error) => error.to_string(),
                    });
                }
                _ = self.stop_requests.recv() => {
                    break ControlFlow::Continue("it believed this worker dead".to_string());
                }
                _ = orphan_check.tick() => folder.remove_orphans(),
            }
        };
        // Tasks that still run work for nobody.
        let _ = self.notifier.notify_shutdown.send(());
        let services = async {
            if !self.task_service.is_finished() {
                let _ = (&mut self.task_service).await;
            }
            if !self.flight_service.is_finished() {
                let _ = (&mut self.flight_service).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(2), services)
            .await
            .is_err()
        {
            self.task_service.abort();
            self.flight_service.abort();
        }
        outcome
    }

    /// Leaves in good order: no new tasks, the running ones to their end, and results served
    /// until the coordinator has them removed.
    async fn drain(&mut self, folder: &WorkFolder, drain_timeout: Duration) {
        let worker = self.executor.metadata.id.clone();
        // Said once: the coordinator keeps it in mind. Ballista's own mark for it is one for the
        // whole process, in which other workers may stay.
        let goodbye = HeartBeatParams {
            executor_id: worker.clone(),
            metrics: vec![],
            status: Some(ExecutorStatus {
                status: Some(ExecutorState::Terminating(String::new())),
            }),
            metadata: Some(self.executor.metadata.clone()),
        };
        if let Err(error) = self.coordinator.heart_beat_from_executor(goodbye).await {
            tracing::warn!(worker, %error, "the coordinator does not hear that the worker leaves");
            return;
        }
        let started = Instant::now();
        loop {
            tokio::time::sleep(DRAIN_POLL).await;
            let is_needed = self.executor.active_task_count() > 0 || folder.holds_job_data();
            if !is_needed && started.elapsed() >= DRAIN_MINIMUM {
                break;
            }
            if started.elapsed() >= drain_timeout {
                tracing::warn!(
                    worker,
                    tasks = self.executor.active_task_count(),
                    "the worker stops before its jobs have ended: others do its work again"
                );
                break;
            }
        }
        let stopped = ExecutorStoppedParams {
            executor_id: worker.clone(),
            reason: "the worker was told to stop".to_string(),
        };
        if let Err(error) = self.coordinator.executor_stopped(stopped).await {
            tracing::warn!(worker, %error, "the coordinator does not hear that the worker left");
        }
    }
}

fn process_config(
    options: &WorkerOptions,
    slots: usize,
    flight_port: u16,
) -> Result<ExecutorProcessConfig> {
    let grpc_port = match options.grpc_port {
        0 => free_port(options)?,
        port => port,
    };
    let endpoint = endpoint(&options.coordinator)?;
    Ok(ExecutorProcessConfig {
        executor_id: Uuid::new_v4().to_string(),
        bind_host: bracketed(options),
        external_host: options.advertise.clone(),
        port: flight_port,
        grpc_port,
        vcores: slots,
        task_scheduling_policy: TaskSchedulingPolicy::PushStaged,
        grpc_max_decoding_message_size: MAX_MESSAGE_BYTES as u32,
        grpc_max_encoding_message_size: MAX_MESSAGE_BYTES as u32,
        executor_heartbeat_interval_seconds: HEARTBEAT_SECONDS,
        // The coordinator cannot know the address by which this worker reaches it; the worker
        // was told.
        override_create_grpc_client_endpoint: Some(Arc::new(move |_| Ok(endpoint.clone()))),
        ..ExecutorProcessConfig::default()
    })
}

/// The address as Ballista puts it before a port.
fn bracketed(options: &WorkerOptions) -> String {
    match options.bind {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn free_port(options: &WorkerOptions) -> Result<u16> {
    let address = SocketAddr::new(options.bind, 0);
    TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| WorkerError::Bind {
            address,
            setting: "worker.grpc_port",
            source,
        })
}

fn is_taken_port(error: &BallistaError) -> bool {
    matches!(error, BallistaError::IoError(source)
        if source.kind() == std::io::ErrorKind::AddrInUse)
}

fn start_error(
    options: &WorkerOptions,
    config: &ExecutorProcessConfig,
    error: BallistaError,
) -> WorkerError {
    match error {
        BallistaError::IoError(source) => WorkerError::Bind {
            address: SocketAddr::new(options.bind, config.grpc_port),
            setting: "worker.grpc_port",
            source,
        },
        BallistaError::GrpcError(status) => WorkerError::Rejected {
            coordinator: options.coordinator.clone(),
            reason: match status.code() {
                tonic::Code::Unimplemented => {
                    "it is no scheduler (its port is coordinator.scheduler_bind)".to_string()
                }
                _ => status.message().to_string(),
            },
        },
        other => WorkerError::Rejected {
            coordinator: options.coordinator.clone(),
            reason: other.to_string(),
        },
    }
}

fn make_executor(
    options: &WorkerOptions,
    slots: usize,
    folder: &WorkFolder,
    task_threads: &Handle,
    config: &Arc<ExecutorProcessConfig>,
) -> Executor {
    let runtime = Arc::clone(&options.runtime);
    Executor::new(
        structure_executor_metadata(config, u32::try_from(slots).unwrap_or(u32::MAX)),
        &folder.path().display().to_string(),
        // One runtime for all tasks: one memory pool, one cache of connections and footers.
        Arc::new(move |_| Ok(Arc::clone(&runtime))),
        Arc::new(|| {
            SessionConfig::new_with_ballista()
                .with_ballista_grpc_client_max_message_size(MAX_MESSAGE_BYTES)
        }),
        Arc::clone(&options.functions),
        Arc::new(LoggingMetricsCollector::default()),
        slots,
        Arc::new(TaskEngine::new(task_threads.clone())),
    )
}
