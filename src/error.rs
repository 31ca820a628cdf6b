//! Errors of the command line: one line each.

/// Result of every command.
pub type Result<T, E = CommandError> = std::result::Result<T, E>;

/// What a command can end with.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Coordinator(#[from] ingot_coordinator::CoordinatorError),
    #[error(transparent)]
    Catalog(#[from] ingot_catalog::CatalogError),
    #[error(transparent)]
    Engine(#[from] ingot_engine::EngineError),
    #[error(transparent)]
    Worker(#[from] ingot_worker::WorkerError),
    #[error(transparent)]
    Jobs(#[from] ingot_jobs::JobsError),
    #[error(transparent)]
    Pipelines(#[from] ingot_pipelines::PipelinesError),
    #[error(transparent)]
    Client(#[from] ingot_client::ClientError),
    #[error("{0}")]
    Usage(String),
    #[error("cannot {action}: {source}")]
    Io {
        action: String,
        source: std::io::Error,
    },
}
