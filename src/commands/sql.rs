//! `ingot sql`: the shell, on a server or on a folder.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use ingot_client::shell::default_history_file;
use ingot_client::{
    Client, ClientError, ClientOptions, Progress, QueryState, ShellInput, ShellOptions,
    StatementExecutor, StatementResult, run_shell,
};
use ingot_coordinator::flight::{client_schema, conform};
use ingot_coordinator::server::Lakehouse;
use ingot_coordinator::service::{SessionId, SqlService, StatementOutcome};
use ingot_coordinator::{Coordinator, CoordinatorError, service};
use uuid::Uuid;

use super::serve::lakehouse_options;
use crate::cli::{ConnectArgs, OutputFormat, SqlArgs};
use crate::config::Config;
use crate::error::Result;

/// How long to wait for the server at the end.
const END_SESSION_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the shell; the exit code is 0 only if every statement succeeded.
pub async fn run(config: &Config, arguments: SqlArgs) -> Result<ExitCode> {
    let executor = connect(config, &arguments.connect).await?;
    let input = match (arguments.execute, arguments.file) {
        (Some(text), _) => ShellInput::Text(text),
        (None, Some(file)) => ShellInput::File(file),
        (None, None) => ShellInput::Interactive,
    };
    let options = ShellOptions {
        input,
        output: match arguments.output {
            OutputFormat::Table => ingot_client::OutputFormat::Table,
            OutputFormat::Csv => ingot_client::OutputFormat::Csv,
            OutputFormat::Json => ingot_client::OutputFormat::Json,
            OutputFormat::Vertical => ingot_client::OutputFormat::Vertical,
        },
        is_quiet: arguments.quiet,
        history_file: default_history_file(),
    };
    let exit_code = run_shell(options, Arc::clone(&executor)).await;
    // A server that does not answer any more ends the session by itself.
    let _ = tokio::time::timeout(END_SESSION_PATIENCE, executor.end_session()).await;
    Ok(exit_code)
}

async fn connect(config: &Config, connect: &ConnectArgs) -> Result<Arc<dyn StatementExecutor>> {
    if let Some(folder) = &connect.local {
        return Ok(Arc::new(LocalExecutor::open(config, folder).await?));
    }
    Ok(Arc::new(connect_to_server(connect).await?))
}

/// Connects to the server that the command line names.
pub async fn connect_to_server(connect: &ConnectArgs) -> Result<Client> {
    let options = ClientOptions {
        user: connect.user.clone(),
        password: connect.password.clone(),
        ..ClientOptions::default()
    };
    Ok(Client::connect(&connect.server, options).await?)
}

/// Executes statements in this process, on a data folder.
pub struct LocalExecutor {
    target: String,
    coordinator: Coordinator,
    session: SessionId,
    /// Kept open, where nobody else does.
    _lakehouse: Option<Lakehouse>,
}

impl LocalExecutor {
    async fn open(config: &Config, folder: &Path) -> Result<Self> {
        let options = lakehouse_options(config, folder, "ingot sql --local");
        let lakehouse = Lakehouse::open(options, None).await?;
        let mut executor = Self::over(&lakehouse.coordinator, folder).await?;
        executor._lakehouse = Some(lakehouse);
        Ok(executor)
    }

    /// Executes statements of a coordinator that somebody else keeps open.
    pub async fn over(coordinator: &Coordinator, folder: &Path) -> Result<Self> {
        Ok(Self {
            target: folder.display().to_string(),
            coordinator: coordinator.clone(),
            session: coordinator.open_session("local").await?,
            _lakehouse: None,
        })
    }
}

#[async_trait]
impl StatementExecutor for LocalExecutor {
    fn target(&self) -> String {
        self.target.clone()
    }

    async fn execute(&self, sql: &str, query_id: Uuid) -> ingot_client::Result<StatementResult> {
        let coordinator = &self.coordinator;
        let outcome = SqlService::execute(coordinator, &self.session, sql, None, query_id)
            .await
            .map_err(client_error)?;
        Ok(match outcome {
            StatementOutcome::UpdateCount(rows) => StatementResult::UpdateCount(rows),
            StatementOutcome::Done { message } => StatementResult::Done { message },
            StatementOutcome::Rows { schema, stream } => {
                // The same types as over the network.
                let schema = client_schema(&schema);
                let shown = schema.clone();
                let stream = stream
                    .map_err(CoordinatorError::from)
                    .and_then(move |batch| {
                        let conformed = conform(&batch, &shown);
                        async move { conformed }
                    })
                    .map_err(client_error)
                    .boxed();
                StatementResult::Rows { schema, stream }
            }
        })
    }

    async fn end_session(&self) -> ingot_client::Result<()> {
        let coordinator = &self.coordinator;
        let open = coordinator.transaction(&self.session).await;
        if open.map_err(client_error)?.is_some() {
            // The process ends next: it does not wait for what closing a session begins.
            self.execute("ROLLBACK", Uuid::new_v4()).await?;
        }
        let closed = coordinator.close_session(&self.session).await;
        closed.map_err(client_error)
    }

    async fn cancel(&self, query_id: Uuid) -> ingot_client::Result<bool> {
        let coordinator = &self.coordinator;
        coordinator.cancel(query_id).await.map_err(client_error)
    }

    async fn progress(&self, query_id: Uuid) -> ingot_client::Result<Option<Progress>> {
        let progress = self.coordinator.progress(query_id).await;
        Ok(progress.map(|progress| Progress {
            state: match progress.state {
                service::QueryState::Queued => QueryState::Queued,
                service::QueryState::Planning => QueryState::Planning,
                service::QueryState::Running => QueryState::Running,
                service::QueryState::Finished => QueryState::Finished,
                service::QueryState::Failed => QueryState::Failed,
                service::QueryState::Cancelled => QueryState::Cancelled,
            },
            rows: progress.rows,
            bytes: progress.bytes,
            stages_done: progress.stages_done,
            stages_total: progress.stages_total,
            tasks_done: progress.tasks_done,
            tasks_total: progress.tasks_total,
            elapsed_millis: progress.elapsed_millis,
        }))
    }
}

fn client_error(error: CoordinatorError) -> ClientError {
    ClientError::Statement {
        code: error.code().to_tonic(),
        message: error.to_string(),
    }
}
