//! The worker: a Ballista executor with Ingot's codec, functions and runtime.
//!
//! `ingot worker` runs one in its own process; `ingot server` runs several in its own.
//!
//! A worker keeps the results of its tasks in a folder of its own until the coordinator has them
//! removed, joins the coordinator again when that restarts, and leaves without losing a query
//! when it is told to stop.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod connections;
mod engine;
mod error;
mod folder;
mod session;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::registry::BallistaFunctionRegistry;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use error::{Result, WorkerError};
use folder::WorkFolder;

/// Stack of the worker's threads: decoding and executing plans recurses deeply, above all in
/// builds without optimisation.
const THREAD_STACK_BYTES: usize = 16 << 20;

/// What a worker is made of.
#[derive(Clone)]
pub struct WorkerOptions {
    /// The coordinator's scheduler, as `HOST:PORT`.
    pub coordinator: String,
    /// Address to listen on. Its ports have no authentication: loopback or an internal network.
    pub bind: IpAddr,
    /// Host by which the coordinator and other workers reach this one; `None` is the address from
    /// which it connects to the coordinator.
    pub advertise: Option<String>,
    /// Port on which shuffle data and results are fetched; 0 takes any free one.
    pub flight_port: u16,
    /// Port on which tasks arrive; 0 takes any free one.
    pub grpc_port: u16,
    /// Partitions that are worked on at the same time; 0 is one for each core.
    pub slots: usize,
    /// Folder in which the worker makes its own folder for shuffle files; `None` is the system's
    /// temporary folder. Folders of workers that were killed are removed from it.
    pub work_dir: Option<PathBuf>,
    /// The process-wide runtime: object stores, memory pool, spill folder, caches.
    pub runtime: Arc<RuntimeEnv>,
    /// Decodes plans: that of the engine.
    pub codec: Arc<dyn PhysicalExtensionCodec>,
    /// Every function that the coordinator's sessions know.
    pub functions: Arc<BallistaFunctionRegistry>,
    /// How long to wait for the coordinator at the start.
    pub connect_timeout: Duration,
    /// How long a stopping worker may finish its tasks and serve its results.
    pub drain_timeout: Duration,
}

impl WorkerOptions {
    /// A worker on loopback with free ports and one slot for each core.
    pub fn new(
        coordinator: impl Into<String>,
        runtime: Arc<RuntimeEnv>,
        codec: Arc<dyn PhysicalExtensionCodec>,
        functions: Arc<BallistaFunctionRegistry>,
    ) -> Self {
        Self {
            coordinator: coordinator.into(),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise: None,
            flight_port: 0,
            grpc_port: 0,
            slots: 0,
            work_dir: None,
            runtime,
            codec,
            functions,
            connect_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(60),
        }
    }
}

/// A worker that has joined its coordinator.
#[derive(Debug)]
pub struct Worker {
    /// Port on which shuffle data and results are fetched.
    pub flight_port: u16,
    /// Tasks that it runs at the same time.
    pub slots: usize,
    ended: oneshot::Receiver<Result<()>>,
}

impl Worker {
    /// Waits until the worker has stopped.
    ///
    /// # Errors
    /// When it stopped by itself, with the reason.
    pub async fn wait(self) -> Result<()> {
        self.ended.await.unwrap_or(Err(WorkerError::Died))
    }
}

/// Starts a worker on threads of its own and waits until it has joined the coordinator. It stops
/// when `shutdown` fires: it takes no more tasks, finishes those that it has, serves its results
/// as long as jobs need them (at most [`WorkerOptions::drain_timeout`]), and removes its files.
///
/// # Errors
/// When a port cannot be bound, the folder cannot be made, or the coordinator does not answer.
pub async fn start(options: WorkerOptions, shutdown: CancellationToken) -> Result<Worker> {
    let slots = match options.slots {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        slots => slots,
    };
    let flight_address = SocketAddr::new(options.bind, options.flight_port);
    let flight_listener = bind(flight_address, "worker.flight_port")?;
    let flight_port = flight_listener
        .local_addr()
        .map_err(|source| WorkerError::Bind {
            address: flight_address,
            setting: "worker.flight_port",
            source,
        })?
        .port();
    let folder = WorkFolder::create(options.work_dir.as_deref())?;
    let (joined_sender, joined) = oneshot::channel();
    let (ended_sender, ended) = oneshot::channel();
    let life = move || {
        let outcome = live(
            options,
            slots,
            flight_listener,
            &folder,
            shutdown,
            joined_sender,
        );
        drop(folder);
        // Nobody has to wait for the end of a worker.
        let _ = ended_sender.send(outcome);
    };
    std::thread::Builder::new()
        .name("ingot-worker".to_string())
        .stack_size(THREAD_STACK_BYTES)
        .spawn(life)
        .map_err(WorkerError::Threads)?;
    match joined.await {
        Ok(()) => Ok(Worker {
            flight_port,
            slots,
            ended,
        }),
        // The sender went away: the worker ended before it joined.
        Err(_) => match ended.await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) => Err(WorkerError::NeverJoined),
            Err(_) => Err(WorkerError::Died),
        },
    }
}

fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| WorkerError::Bind {
        address,
        setting,
        source,
    })
}

/// The whole life of a worker, on its own threads.
fn live(
    options: WorkerOptions,
    slots: usize,
    flight_listener: TcpListener,
    folder: &WorkFolder,
    shutdown: CancellationToken,
    joined: oneshot::Sender<()>,
) -> Result<()> {
    let services = runtime("ingot-worker-io", 2)?;
    let tasks = runtime("ingot-worker-task", slots)?;
    let outcome = services.block_on(session::serve(
        &options,
        slots,
        flight_listener,
        folder,
        tasks.handle().clone(),
        shutdown,
        joined,
    ));
    // Tasks that did not finish in time are not waited for.
    tasks.shutdown_background();
    services.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn runtime(name: &'static str, threads: usize) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name(name)
        .thread_stack_size(THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .map_err(WorkerError::Threads)
}
