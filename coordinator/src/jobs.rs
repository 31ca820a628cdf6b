//! Pipelines of this coordinator: applied, run and watched by clients.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ingot_catalog::database::Database;
use ingot_jobs::{JobRunner, JobStore, Pipeline, RunEvent, RunOptions, RunReport};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::unbounded_channel;
use uuid::Uuid;

use crate::coordinator::Coordinator;
use crate::error::{CoordinatorError, Result};
use crate::http::RunView;

/// Action: stores a pipeline. Request [`ApplyRequest`], answer [`ApplyAnswer`].
pub const APPLY_ACTION: &str = "ingot.jobs.apply";
/// Action: begins a run. Request [`RunRequest`], answer [`RunAnswer`].
pub const RUN_ACTION: &str = "ingot.jobs.run";
/// Action: what happened in a run. Request [`EventsRequest`], answer [`EventsAnswer`].
pub const EVENTS_ACTION: &str = "ingot.jobs.events";
/// Action: pipelines and runs. Request [`StatusRequest`], answer [`StatusAnswer`].
pub const STATUS_ACTION: &str = "ingot.jobs.status";

/// How many runs keep their events for clients that watch.
const WATCHED_RUNS: usize = 50;
/// How many runs a status shows.
const SHOWN_RUNS: usize = 20;

#[derive(Debug, Serialize, Deserialize)]
pub struct ApplyRequest {
    pub pipeline: Pipeline,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ApplyAnswer {
    /// Grows by one with each change.
    pub version: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RunRequest {
    pub pipeline: String,
    /// Values over those of the pipeline.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RunAnswer {
    pub run_id: Uuid,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct EventsRequest {
    pub run_id: Uuid,
    /// How many events the client has already.
    pub from: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct EventsAnswer {
    pub events: Vec<RunEvent>,
    /// The whole run, once it has ended.
    pub report: Option<RunReport>,
    /// Why the run could not be recorded to its end.
    pub error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct StatusRequest {
    pub pipeline: Option<String>,
    pub run_id: Option<Uuid>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct StatusAnswer {
    pub pipelines: Vec<Pipeline>,
    /// Newest first; with a run id, that run with its jobs.
    pub runs: Vec<RunReport>,
}

/// The pipelines and runs of one coordinator.
pub struct JobService {
    store: JobStore,
    runner: JobRunner,
    feeds: Mutex<HashMap<Uuid, Feed>>,
}

impl std::fmt::Debug for JobService {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JobService").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Feed {
    events: Vec<RunEvent>,
    ended: Option<std::result::Result<RunReport, String>>,
}

impl JobService {
    /// Opens the store in the catalog database. Statements run through the coordinator.
    pub async fn open(database: Database, coordinator: Coordinator) -> Result<Arc<Self>> {
        let store = JobStore::open(database).await?;
        let runner = JobRunner::new(store.clone(), Arc::new(coordinator));
        Ok(Arc::new(Self {
            store,
            runner,
            feeds: Mutex::new(HashMap::new()),
        }))
    }

    /// Runs pipelines.
    pub fn runner(&self) -> &JobRunner {
        &self.runner
    }

    /// Where pipelines and runs are kept.
    pub fn store(&self) -> &JobStore {
        &self.store
    }

    /// Begins a run in the background.
    pub async fn start_run(
        self: &Arc<Self>,
        pipeline: &str,
        user: &str,
        variables: BTreeMap<String, String>,
    ) -> Result<Uuid> {
        // An unknown pipeline is the caller's error, not the run's.
        self.store.pipeline(pipeline).await?;
        let (sender, mut receiver) = unbounded_channel();
        let mut options = RunOptions::manual(user);
        options.variables = variables;
        options.events = Some(sender);
        let run_id = options.run_id;
        self.open_feed(run_id);
        let service = self.clone();
        let pipeline = pipeline.to_owned();
        tokio::spawn(async move {
            let collector = service.clone();
            let collected = tokio::spawn(async move {
                while let Some(event) = receiver.recv().await {
                    collector.with_feed(run_id, |feed| feed.events.push(event));
                }
            });
            let ended = service.runner.run(&pipeline, options).await;
            if let Err(error) = collected.await {
                tracing::warn!(%run_id, %error, "events of a run were lost");
            }
            let ended = ended.map_err(|error| error.to_string());
            service.with_feed(run_id, |feed| feed.ended = Some(ended));
        });
        Ok(run_id)
    }

    fn open_feed(&self, run_id: Uuid) {
        let mut feeds = self.feeds.lock();
        if feeds.len() >= WATCHED_RUNS {
            // Run ids are version 7: the smallest is the oldest.
            let oldest = feeds
                .iter()
                .filter(|(_, feed)| feed.ended.is_some())
                .map(|(run_id, _)| *run_id)
                .min();
            if let Some(oldest) = oldest {
                feeds.remove(&oldest);
            }
        }
        feeds.insert(run_id, Feed::default());
    }

    fn with_feed(&self, run_id: Uuid, change: impl FnOnce(&mut Feed)) {
        if let Some(feed) = self.feeds.lock().get_mut(&run_id) {
            change(feed);
        }
    }

    fn events(&self, request: &EventsRequest) -> Result<EventsAnswer> {
        let feeds = self.feeds.lock();
        let feed = feeds.get(&request.run_id).ok_or_else(|| {
            CoordinatorError::NotFound(format!("run {} is not being watched", request.run_id))
        })?;
        let (report, error) = match &feed.ended {
            None => (None, None),
            Some(Ok(report)) => (Some(report.clone()), None),
            Some(Err(error)) => (None, Some(error.clone())),
        };
        Ok(EventsAnswer {
            events: feed.events.iter().skip(request.from).cloned().collect(),
            report,
            error,
        })
    }

    async fn status(&self, request: &StatusRequest) -> Result<StatusAnswer> {
        let stored = match &request.pipeline {
            Some(name) => vec![self.store.pipeline(name).await?],
            None => self.store.pipelines().await?,
        };
        let runs = match request.run_id {
            Some(run_id) => vec![self.store.run(run_id).await?],
            None => {
                self.store
                    .runs(request.pipeline.as_deref(), SHOWN_RUNS)
                    .await?
            }
        };
        Ok(StatusAnswer {
            pipelines: stored.into_iter().map(|stored| stored.pipeline).collect(),
            runs,
        })
    }

    /// Answers one of the actions above; bodies are JSON.
    pub async fn act(self: &Arc<Self>, user: &str, action: &str, body: &[u8]) -> Result<Vec<u8>> {
        match action {
            APPLY_ACTION => {
                let request: ApplyRequest = decode(action, body)?;
                let version = self.store.apply(&request.pipeline).await?;
                encode(&ApplyAnswer { version })
            }
            RUN_ACTION => {
                let request: RunRequest = decode(action, body)?;
                let run_id = self
                    .start_run(&request.pipeline, user, request.variables)
                    .await?;
                encode(&RunAnswer { run_id })
            }
            EVENTS_ACTION => encode(&self.events(&decode(action, body)?)?),
            STATUS_ACTION => encode(&self.status(&decode(action, body)?).await?),
            other => Err(CoordinatorError::Unsupported(format!("action {other}"))),
        }
    }

    /// The newest runs for the status page.
    pub async fn recent_runs(&self) -> Result<Vec<RunView>> {
        let runs = self.store.runs(None, SHOWN_RUNS).await?;
        Ok(runs.iter().map(run_view).collect())
    }
}

fn run_view(run: &RunReport) -> RunView {
    let seconds = run
        .ended_at
        .and_then(|ended| (ended - run.started_at).to_std().ok())
        .map(|elapsed| elapsed.as_secs_f64());
    RunView {
        started_at: run.started_at.format("%Y-%m-%d %H:%M:%S").to_string(),
        pipeline: run.pipeline.clone(),
        state: run.status.to_string(),
        trigger: match &run.trigger {
            ingot_jobs::Trigger::Manual { user } => user.clone(),
            ingot_jobs::Trigger::Schedule { .. } => "schedule".to_owned(),
        },
        seconds,
        error: run.error.clone(),
    }
}

fn decode<'a, T: Deserialize<'a>>(action: &str, body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| CoordinatorError::InvalidInput(format!("action {action}: {error}")))
}

fn encode<T: Serialize>(answer: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(answer).map_err(|error| CoordinatorError::Internal(error.to_string()))
}
