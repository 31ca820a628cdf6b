//! Why a worker cannot start or go on.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Result of the worker's operations.
pub type Result<T, E = WorkerError> = std::result::Result<T, E>;

/// Errors of a worker: one lower-case line that names the address, folder or setting.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A port is taken, or the address is not one of this machine.
    #[error("cannot listen on {address} (setting {setting}): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The setting that it comes from.
        setting: &'static str,
        /// Why.
        source: std::io::Error,
    },

    /// The coordinator did not answer.
    #[error(
        "cannot reach coordinator {coordinator} after {seconds} s: {reason}; \
         start it first or set worker.coordinator"
    )]
    Unreachable {
        /// Its address.
        coordinator: String,
        /// How long it was tried.
        seconds: u64,
        /// What the last try said.
        reason: String,
    },

    /// The coordinator's address is no `HOST:PORT`.
    #[error("coordinator address {address} is not HOST:PORT: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Something answered, and it did not take this worker.
    #[error("coordinator {coordinator} does not accept this worker: {reason}")]
    Rejected {
        /// Its address.
        coordinator: String,
        /// Its answer.
        reason: String,
    },

    /// The folder for shuffle files cannot be made or used.
    #[error("cannot use folder {} for shuffle files (setting worker.work_dir): {source}", path.display())]
    WorkFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// The system gives no threads.
    #[error("cannot start the threads of the worker: {0}")]
    Threads(std::io::Error),

    /// It was told to stop before a coordinator answered.
    #[error("stopped before the worker joined its coordinator")]
    NeverJoined,

    /// The worker's thread panicked.
    #[error("the worker ended abnormally")]
    Died,
}
