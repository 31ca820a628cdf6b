//! Running pipelines: jobs in the order of their DAG, statements with retries, checks.

mod job;
mod progress;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dag::Dag;
use crate::definition::Pipeline;
use crate::error::{JobsError, Result};
use crate::report::{JobReport, JobStatus, RunEvent, RunReport, RunStatus, Trigger};
use crate::statement_runner::StatementRunner;
use crate::store::{JobStore, now};
use crate::variables;
use job::{JobRun, RunScope};
use progress::Progress;

/// How often a run says in the store that it is alive.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long statements may take to end once they were cancelled.
const CANCEL_GRACE: Duration = Duration::from_secs(30);

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Its id; a new one unless the caller wants to know it beforehand.
    pub run_id: Uuid,
    /// Why it is started.
    pub trigger: Trigger,
    /// Values over those of the pipeline.
    pub variables: BTreeMap<String, String>,
    /// Only these jobs, without those they wait for; all when empty.
    pub only: Vec<String>,
    /// Gets what happens, as it happens.
    pub events: Option<UnboundedSender<RunEvent>>,
    /// Ends the run when it is cancelled.
    pub cancel: CancellationToken,
}

impl RunOptions {
    /// A run of all jobs, started by somebody.
    pub fn manual(user: impl Into<String>) -> Self {
        Self::new(Trigger::Manual { user: user.into() })
    }

    /// A run of all jobs.
    pub fn new(trigger: Trigger) -> Self {
        Self {
            run_id: Uuid::now_v7(),
            trigger,
            variables: BTreeMap::new(),
            only: Vec::new(),
            events: None,
            cancel: CancellationToken::new(),
        }
    }
}

/// Runs pipelines. Cheap to clone; clones know of each other's runs.
#[derive(Clone)]
pub struct JobRunner {
    store: JobStore,
    statements: Arc<dyn StatementRunner>,
    running: Arc<Mutex<HashMap<Uuid, CancellationToken>>>,
}

impl std::fmt::Debug for JobRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobRunner")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl JobRunner {
    /// Runs pipelines of a store by executing their statements.
    pub fn new(store: JobStore, statements: Arc<dyn StatementRunner>) -> Self {
        Self {
            store,
            statements,
            running: Arc::default(),
        }
    }

    /// The store of pipelines and runs.
    pub fn store(&self) -> &JobStore {
        &self.store
    }

    /// Cancels a run of this process; false when there is none.
    pub fn cancel(&self, run_id: Uuid) -> bool {
        match self.running.lock().get(&run_id) {
            Some(cancel) => {
                cancel.cancel();
                true
            }
            None => false,
        }
    }

    /// Runs a stored pipeline to its end. The run goes on when the caller stops waiting;
    /// `options.cancel` and `cancel` end it.
    ///
    /// The first job that fails stops the run: jobs under way come to their end, others
    /// are skipped. That is in the report, not an error.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyRunning`, unknown variables or jobs in the options, or a
    /// database that fails.
    pub async fn run(&self, pipeline: &str, options: RunOptions) -> Result<RunReport> {
        let stored = self.store.pipeline(pipeline).await?;
        let run_id = options.run_id;
        let cancel = options.cancel.clone();
        let run = Run::prepare(self, stored.pipeline, stored.version, options)?;
        self.running.lock().insert(run_id, cancel);
        let running = self.running.clone();
        let task = tokio::spawn(async move {
            let result = run.execute().await;
            running.lock().remove(&run_id);
            result
        });
        match task.await {
            Ok(result) => result,
            Err(error) => {
                self.running.lock().remove(&run_id);
                Err(JobsError::Damaged {
                    what: format!("run {run_id}"),
                    message: error.to_string(),
                })
            }
        }
    }
}

/// One run.
struct Run {
    store: JobStore,
    pipeline: Arc<Pipeline>,
    dag: Dag,
    scope: Arc<RunScope>,
    setup: Vec<String>,
    /// Jobs by their index in the pipeline; the rest is not part of the run.
    selected: BTreeSet<usize>,
    report: RunReport,
}

impl Run {
    fn prepare(
        runner: &JobRunner,
        pipeline: Pipeline,
        version: i64,
        options: RunOptions,
    ) -> Result<Self> {
        let invalid = |message: String| JobsError::InvalidPipeline {
            pipeline: pipeline.name.clone(),
            message,
        };
        let mut values = pipeline.variables.clone();
        for (name, value) in options.variables {
            if !values.contains_key(&name) {
                let known: Vec<&str> = values.keys().map(String::as_str).collect();
                return Err(invalid(format!(
                    "there is no variable {name} (variables: {})",
                    known.join(", ")
                )));
            }
            values.insert(name, value);
        }
        let dag = Dag::with_variables(&pipeline, &values)?;
        let replaced = |sql: &String| {
            variables::replace(sql, &values).map_err(|error| invalid(format!("setup: {error}")))
        };
        let setup = pipeline
            .setup
            .iter()
            .map(replaced)
            .collect::<Result<Vec<_>>>()?;
        let mut checked = pipeline.clone();
        for job in &mut checked.jobs {
            for check in &mut job.checks {
                check
                    .replace_variables(&values)
                    .map_err(|error| invalid(format!("check {}: {error}", check.name)))?;
            }
        }
        let selected = select(&pipeline, &options.only)?;
        let jobs = dag
            .order()
            .iter()
            .filter(|index| selected.contains(index))
            .map(|index| {
                let node = &dag.nodes()[*index];
                pending(&node.job, node.writes.iter().cloned().collect())
            })
            .collect();
        let report = RunReport {
            run_id: options.run_id,
            pipeline: pipeline.name.clone(),
            pipeline_version: version,
            trigger: options.trigger,
            status: RunStatus::Running,
            started_at: now(),
            ended_at: None,
            error: None,
            jobs,
        };
        let scope = Arc::new(RunScope {
            run_id: options.run_id,
            pipeline: pipeline.name.clone(),
            catalog: pipeline.catalog.clone(),
            schema: pipeline.schema.clone(),
            statements: runner.statements.clone(),
            progress: Progress::new(options.events),
            cancel: options.cancel,
        });
        Ok(Self {
            store: runner.store.clone(),
            pipeline: Arc::new(checked),
            dag,
            scope,
            setup,
            selected,
            report,
        })
    }

    async fn execute(mut self) -> Result<RunReport> {
        self.store.begin_run(&self.report).await?;
        let run_id = self.report.run_id;
        self.scope.progress.send(RunEvent::RunStarted {
            run_id,
            pipeline: self.pipeline.name.clone(),
            jobs: self.report.jobs.iter().map(|job| job.job.clone()).collect(),
        });
        let executed = {
            let store = self.store.clone();
            let alive = keep_alive(&store, run_id);
            tokio::select! {
                executed = self.execute_jobs() => executed,
                () = alive => Ok(()),
            }
        };
        self.report.ended_at = Some(now());
        self.report.status = match (&executed, &self.report.error) {
            (Ok(()), None) => RunStatus::Succeeded,
            (Ok(()), Some(_)) if self.scope.cancel.is_cancelled() => RunStatus::Cancelled,
            _ => RunStatus::Failed,
        };
        if let Err(error) = &executed {
            self.report.error = Some(error.to_string());
        }
        self.store.end_run(&self.report).await?;
        executed?;
        self.scope.progress.send(RunEvent::RunFinished {
            report: self.report.clone(),
        });
        Ok(self.report)
    }

    /// Fails only when the database does; failures of jobs are in the report.
    async fn execute_jobs(&mut self) -> Result<()> {
        if let Err(error) = self.scope.execute_setup(&self.setup).await {
            self.report.error = Some(format!("setup: {error}"));
        }
        let mut waiting: Vec<usize> = self
            .dag
            .order()
            .iter()
            .copied()
            .filter(|index| self.selected.contains(index))
            .collect();
        let mut finished: BTreeSet<usize> = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        loop {
            let may_start = self.report.error.is_none() && !self.scope.cancel.is_cancelled();
            while may_start && running.len() < self.pipeline.max_concurrent_jobs {
                let ready = waiting.iter().position(|index| {
                    let mut waits_for = self.dag.nodes()[*index].waits_for.iter();
                    waits_for
                        .all(|other| finished.contains(other) || !self.selected.contains(other))
                });
                let Some(ready) = ready else { break };
                let index = waiting.remove(ready);
                let job_run = self.job_run(index);
                self.save(&job_run.report).await?;
                running.push(async move { (index, job_run.run().await) });
            }
            let Some((index, report)) = running.next().await else {
                break;
            };
            self.save(&report).await?;
            if report.status == JobStatus::Succeeded {
                finished.insert(index);
            } else if self.report.error.is_none() {
                let reason = report.error.clone().unwrap_or_default();
                self.report.error = Some(format!("{}: {reason}", report.job));
            }
            self.scope.progress.send(RunEvent::JobFinished { report });
        }
        self.skip(waiting).await
    }

    fn job_run(&self, index: usize) -> JobRun {
        let node = &self.dag.nodes()[index];
        let mut report = pending(&node.job, node.writes.iter().cloned().collect());
        report.status = JobStatus::Running;
        report.attempts = 1;
        report.started_at = Some(now());
        JobRun {
            scope: self.scope.clone(),
            definition: self.pipeline.jobs[index].clone(),
            statements: node.statements.clone(),
            report,
        }
    }

    /// Records the jobs that were not started.
    async fn skip(&mut self, waiting: Vec<usize>) -> Result<()> {
        if waiting.is_empty() {
            return Ok(());
        }
        if self.scope.cancel.is_cancelled() && self.report.error.is_none() {
            self.report.error = Some("the run was cancelled".to_string());
        }
        let reason = self.report.error.clone().unwrap_or_default();
        for index in waiting {
            let node = &self.dag.nodes()[index];
            let mut report = pending(&node.job, node.writes.iter().cloned().collect());
            report.status = JobStatus::Skipped;
            report.error = Some(format!("skipped, since the run stopped: {reason}"));
            self.save(&report).await?;
            self.scope.progress.send(RunEvent::JobFinished { report });
        }
        Ok(())
    }

    /// Records how a job stands, in the report and in the store.
    async fn save(&mut self, job: &JobReport) -> Result<()> {
        let position = self
            .report
            .jobs
            .iter()
            .position(|other| other.job == job.job);
        if let Some(position) = position {
            self.report.jobs[position] = job.clone();
            let run_id = self.report.run_id;
            self.store.save_job(run_id, position, job).await?;
        }
        Ok(())
    }
}

/// Says in the store that the run is alive, for ever.
async fn keep_alive(store: &JobStore, run_id: Uuid) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if let Err(error) = store.heartbeat(run_id).await {
            tracing::warn!(%run_id, %error, "cannot record that the run is alive");
        }
    }
}

fn pending(job: &str, tables: Vec<String>) -> JobReport {
    JobReport {
        job: job.to_string(),
        tables,
        status: JobStatus::Pending,
        attempts: 0,
        started_at: None,
        ended_at: None,
        rows_read: None,
        rows_written: 0,
        files_written: 0,
        bytes_written: 0,
        snapshot_id: None,
        error: None,
        checks: Vec::new(),
    }
}

/// The jobs of a run: all, or those that were named.
fn select(pipeline: &Pipeline, only: &[String]) -> Result<BTreeSet<usize>> {
    if only.is_empty() {
        return Ok((0..pipeline.jobs.len()).collect());
    }
    only.iter()
        .map(|name| {
            let found = pipeline.jobs.iter().position(|job| job.name == *name);
            found.ok_or_else(|| JobsError::NotFound {
                kind: "job",
                name: name.clone(),
                suggestion: {
                    let names = pipeline.jobs.iter().map(|job| job.name.as_str());
                    crate::folder::nearest(name, names).map(str::to_string)
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
