//! `ingot jobs`: pipelines on a server, or in a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ingot_client::Client;
use ingot_coordinator::Coordinator;
use ingot_coordinator::jobs::{
    APPLY_ACTION, ApplyAnswer, ApplyRequest, EVENTS_ACTION, EventsAnswer, EventsRequest,
    RUN_ACTION, RunAnswer, RunRequest, STATUS_ACTION, StatusAnswer, StatusRequest,
};
use ingot_coordinator::server::Lakehouse;
use ingot_coordinator::service::SqlService;
use ingot_jobs::{Pipeline, PipelineFolder, RunReport, RunStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::report::print_table;
use super::run_display::{RunDisplay, print_run};
use super::serve::lakehouse_options;
use super::sql::connect_to_server;
use crate::cli::{ConnectArgs, JobsArgs, JobsCommand};
use crate::config::Config;
use crate::error::{CommandError, Result};

/// How often a waiting client asks what happened.
const POLL_INTERVAL: Duration = Duration::from_millis(150);

/// Applies, runs or shows pipelines; the exit code is 0 only if all went well.
pub async fn run(config: &Config, arguments: JobsArgs) -> Result<ExitCode> {
    match arguments.command {
        JobsCommand::Apply { folder, variables } => {
            let pipeline = load(&folder, variables)?;
            let service = JobsConnection::open(config, &arguments.connect).await?;
            let jobs = pipeline.jobs.len();
            let name = pipeline.name.clone();
            let answer: ApplyAnswer = service
                .call(APPLY_ACTION, &ApplyRequest { pipeline })
                .await?;
            println!("pipeline {name}: {jobs} jobs, version {}", answer.version);
            Ok(ExitCode::SUCCESS)
        }
        JobsCommand::Run { pipeline } => {
            let service = JobsConnection::open(config, &arguments.connect).await?;
            let report = service.run_pipeline(&pipeline).await?;
            print_run(&report);
            Ok(match report.status {
                RunStatus::Succeeded => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            })
        }
        JobsCommand::Status { pipeline, run } => {
            let service = JobsConnection::open(config, &arguments.connect).await?;
            let run_id = run.map(|text| parse_run_id(&text)).transpose()?;
            let status: StatusAnswer = service
                .call(STATUS_ACTION, &StatusRequest { pipeline, run_id })
                .await?;
            match (run_id, status.runs.first()) {
                (Some(_), Some(report)) => print_run(report),
                _ => print_status(&status),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads a pipeline folder and sets its variables.
pub fn load(folder: &Path, variables: Vec<(String, String)>) -> Result<Pipeline> {
    let mut pipeline = PipelineFolder::load(folder)?;
    for (name, value) in variables {
        match pipeline.variables.get_mut(&name) {
            Some(variable) => *variable = value,
            None => {
                let known: Vec<&str> = pipeline.variables.keys().map(String::as_str).collect();
                return Err(CommandError::Usage(format!(
                    "pipeline {} has no variable {name}; it has {}",
                    pipeline.name,
                    known.join(", ")
                )));
            }
        }
    }
    Ok(pipeline)
}

fn parse_run_id(text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| {
        CommandError::Usage(format!(
            "run {text} is not an id; `ingot jobs status` lists them"
        ))
    })
}

fn print_status(status: &StatusAnswer) {
    let pipelines = status.pipelines.iter().map(|pipeline| {
        let schedule = pipeline.schedule.as_ref();
        vec![
            pipeline.name.clone(),
            pipeline.jobs.len().to_string(),
            schedule.map_or(String::new(), |schedule| {
                format!("{} ({})", schedule.cron, schedule.time_zone)
            }),
            pipeline.description.clone(),
        ]
    });
    print_table(
        &["pipeline", "jobs", "schedule", "description"],
        &[1],
        pipelines,
    );
    println!();
    let runs = status.runs.iter().map(|run| {
        let ended = run.ended_at.map_or(String::new(), |ended| {
            format!("{:.1} s", (ended - run.started_at).as_seconds_f64())
        });
        vec![
            run.run_id.to_string(),
            run.pipeline.clone(),
            run.status.to_string(),
            run.started_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            ended,
            run.error.clone().unwrap_or_default(),
        ]
    });
    print_table(
        &["run", "pipeline", "status", "started", "time", "error"],
        &[4],
        runs,
    );
}

/// Where pipelines are: behind a server, or in a folder opened here.
pub enum JobsConnection {
    Server(Box<Client>),
    Local {
        coordinator: Coordinator,
        /// Kept open, where nobody else does.
        _lakehouse: Option<Box<Lakehouse>>,
    },
}

impl JobsConnection {
    async fn open(config: &Config, connect: &ConnectArgs) -> Result<Self> {
        Ok(match &connect.local {
            Some(folder) => {
                let options = lakehouse_options(config, folder, "ingot jobs --local");
                let lakehouse = Box::new(Lakehouse::open(options, None).await?);
                Self::Local {
                    coordinator: lakehouse.coordinator.clone(),
                    _lakehouse: Some(lakehouse),
                }
            }
            None => Self::Server(Box::new(connect_to_server(connect).await?)),
        })
    }

    pub async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        action: &str,
        request: &Q,
    ) -> Result<A> {
        let invalid = |error: serde_json::Error| CommandError::Usage(format!("{action}: {error}"));
        let body = serde_json::to_vec(request).map_err(invalid)?;
        let answer = match self {
            Self::Server(client) => client.action(action, body).await?,
            Self::Local { coordinator, .. } => coordinator.action("local", action, &body).await?,
        };
        serde_json::from_slice(&answer).map_err(invalid)
    }

    /// Runs a pipeline to its end and shows what happens meanwhile.
    pub async fn run_pipeline(&self, pipeline: &str) -> Result<RunReport> {
        let request = RunRequest {
            pipeline: pipeline.to_owned(),
            variables: BTreeMap::new(),
        };
        let RunAnswer { run_id } = self.call(RUN_ACTION, &request).await?;
        let mut display = RunDisplay::new();
        let mut seen = 0;
        loop {
            let request = EventsRequest { run_id, from: seen };
            let answer: EventsAnswer = self.call(EVENTS_ACTION, &request).await?;
            seen += answer.events.len();
            for event in &answer.events {
                display.show(event);
            }
            if let Some(report) = answer.report {
                display.finish();
                return Ok(report);
            }
            if let Some(error) = answer.error {
                display.finish();
                return Err(CommandError::Usage(error));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
