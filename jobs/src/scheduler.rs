//! Starting pipelines at the times of their schedules.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::definition::{MissedFires, Schedule};
use crate::error::{JobsError, Result};
use crate::report::{RunStatus, Trigger};
use crate::runner::{JobRunner, RunOptions};
use crate::schedule::CronSchedule;
use crate::store::{StoredPipeline, now};

/// How often the store is asked for pipelines that were applied, paused or dropped, and
/// the longest that a run is late.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// A time that is further back than this was missed: no server was there to see it.
const ON_TIME: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

/// A pipeline whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fire {
    /// The pipeline.
    pub pipeline: String,
    /// The time that was due.
    pub due: DateTime<Utc>,
}

/// Starts pipelines at the times of their schedules.
///
/// Every time of a schedule is taken once, whatever the number of servers that share the
/// catalog database and however often they start: taking it is an insert that only one
/// of them can make. A time at which the pipeline is still running is not made up for.
#[derive(Debug)]
pub struct Scheduler {
    runner: JobRunner,
}

impl Scheduler {
    /// Starts pipelines through this runner.
    pub fn new(runner: JobRunner) -> Self {
        Self { runner }
    }

    /// Starts runs until `shutdown` is cancelled; then cancels those under way and waits
    /// for their end.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut runs = JoinSet::new();
        while !shutdown.is_cancelled() {
            let sleep = match self.fires(now()).await {
                Ok((fires, next)) => {
                    for fire in fires {
                        runs.spawn(self.start(fire, shutdown.child_token()));
                    }
                    sleep_until(next, now())
                }
                Err(error) => {
                    tracing::error!(%error, "cannot read the schedules, trying again soon");
                    LONGEST_SLEEP
                }
            };
            while runs.try_join_next().is_some() {}
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = shutdown.cancelled() => {}
            }
        }
        runs.join_all().await;
    }

    /// Takes the times that are due: pipelines to start now, and when to look again.
    ///
    /// # Errors
    /// `Catalog` when the database fails. A pipeline whose schedule is not valid does not
    /// keep others from starting.
    pub async fn fires(&self, now: DateTime<Utc>) -> Result<(Vec<Fire>, Option<DateTime<Utc>>)> {
        let store = self.runner.store();
        let mut fires = Vec::new();
        let mut next: Option<DateTime<Utc>> = None;
        for stored in store.pipelines().await? {
            let Some(schedule) = stored.pipeline.schedule.clone() else {
                continue;
            };
            if stored.paused {
                continue;
            }
            let cron = match CronSchedule::parse(&schedule) {
                Ok(cron) => cron,
                Err(error) => {
                    tracing::error!(pipeline = stored.pipeline.name, error, "no schedule");
                    continue;
                }
            };
            if let Some(fire) = self.take(&stored, &schedule, &cron, now).await? {
                fires.push(fire);
            }
            let coming = cron.next_after(now);
            next = next.into_iter().chain(coming).min();
        }
        Ok((fires, next))
    }

    async fn take(
        &self,
        stored: &StoredPipeline,
        schedule: &Schedule,
        cron: &CronSchedule,
        now: DateTime<Utc>,
    ) -> Result<Option<Fire>> {
        let store = self.runner.store();
        let pipeline = &stored.pipeline.name;
        // What was due before this version was applied is not its business.
        let since = match store.last_fire(pipeline).await? {
            Some(last) => last.max(stored.applied_at),
            None => stored.applied_at,
        };
        // Of several times that passed, only the latest counts.
        let Some(due) = cron.latest_between(since, now) else {
            return Ok(None);
        };
        if !store.claim_fire(pipeline, due).await? {
            return Ok(None);
        }
        let is_missed = now - due > ON_TIME;
        if is_missed && schedule.missed == MissedFires::Skip {
            tracing::warn!(pipeline, %due, "missed, and skipped as its schedule says");
            return Ok(None);
        }
        Ok(Some(Fire {
            pipeline: pipeline.clone(),
            due,
        }))
    }

    /// Runs a pipeline to its end. How it went is in the store; here it is only logged.
    fn start(&self, fire: Fire, cancel: CancellationToken) -> impl Future<Output = ()> + use<> {
        let runner = self.runner.clone();
        async move {
            let Fire { pipeline, due } = fire;
            let options = RunOptions {
                cancel,
                ..RunOptions::new(Trigger::Schedule { due })
            };
            let run_id = options.run_id;
            tracing::info!(pipeline, %run_id, %due, "starting a scheduled run");
            match runner.run(&pipeline, options).await {
                Ok(report) if report.status == RunStatus::Succeeded => {
                    tracing::info!(pipeline, %run_id, "scheduled run succeeded");
                }
                Ok(report) => {
                    let error = report.error.unwrap_or_default();
                    tracing::error!(pipeline, %run_id, status = %report.status, error, "scheduled run ended");
                }
                Err(error @ JobsError::AlreadyRunning { .. }) => {
                    tracing::warn!(pipeline, %due, %error, "scheduled run left out");
                }
                Err(error) => {
                    tracing::error!(pipeline, %run_id, %error, "scheduled run did not start");
                }
            }
        }
    }
}

fn sleep_until(next: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Duration {
    let until_next = next.and_then(|next| (next - now).to_std().ok());
    until_next
        .unwrap_or(LONGEST_SLEEP)
        .clamp(Duration::from_millis(10), LONGEST_SLEEP)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;

    use super::*;
    use crate::definition::Pipeline;
    use crate::test_support::{FakeStatements, job, pipeline, store};

    fn hourly(missed: MissedFires) -> Pipeline {
        let mut shop = pipeline(vec![job("a", "CREATE TABLE s.a AS SELECT 1 AS x")]);
        shop.schedule = Some(Schedule {
            cron: "@hourly".to_string(),
            time_zone: "UTC".to_string(),
            missed,
        });
        shop
    }

    async fn scheduler(shop: &Pipeline) -> (tempfile::TempDir, Scheduler, DateTime<Utc>) {
        let (folder, store) = store().await;
        store.apply(shop).await.unwrap();
        let schedule = shop.schedule.clone().unwrap();
        let first = CronSchedule::parse(&schedule).unwrap();
        let applied_at = store.pipeline("shop").await.unwrap().applied_at;
        let due = first.next_after(applied_at).unwrap();
        let runner = JobRunner::new(store, Arc::new(FakeStatements::default()));
        (folder, Scheduler::new(runner), due)
    }

    async fn due_at(scheduler: &Scheduler, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let (fires, _) = scheduler.fires(now).await.unwrap();
        fires.into_iter().map(|fire| fire.due).collect()
    }

    #[tokio::test]
    async fn every_time_fires_once() {
        let (_folder, scheduler, due) = scheduler(&hourly(MissedFires::RunOnce)).await;
        let second = TimeDelta::seconds(1);
        let hour = TimeDelta::hours(1);
        assert!(due_at(&scheduler, due - second).await.is_empty());
        assert_eq!(due_at(&scheduler, due).await, [due]);
        assert!(due_at(&scheduler, due).await.is_empty());
        assert!(due_at(&scheduler, due + second).await.is_empty());
        let (_, next) = scheduler.fires(due + second).await.unwrap();
        assert_eq!(next, Some(due + hour));
        assert_eq!(due_at(&scheduler, due + hour + second).await, [due + hour]);
        // Another server with the same database.
        let other = Scheduler::new(scheduler.runner.clone());
        let later = due + hour * 2;
        let both = futures::future::join(due_at(&scheduler, later), due_at(&other, later)).await;
        assert_eq!(both.0.len() + both.1.len(), 1);
    }

    #[tokio::test]
    async fn missed_times_are_made_up_for_once_or_skipped() {
        for (missed, expected) in [(MissedFires::RunOnce, 1), (MissedFires::Skip, 0)] {
            let (_folder, scheduler, due) = scheduler(&hourly(missed)).await;
            let back = due + TimeDelta::hours(30) + TimeDelta::minutes(20);
            let fires = due_at(&scheduler, back).await;
            assert_eq!(fires.len(), expected);
            if let Some(latest) = fires.first() {
                assert_eq!(*latest, due + TimeDelta::hours(30));
            }
            assert!(due_at(&scheduler, back).await.is_empty());
            let next = due + TimeDelta::hours(31);
            assert_eq!(due_at(&scheduler, next).await, [next]);
        }
    }

    #[tokio::test]
    async fn paused_pipelines_and_those_without_schedule_do_not_fire() {
        let (_folder, scheduler, due) = scheduler(&hourly(MissedFires::RunOnce)).await;
        let store = scheduler.runner.store();
        store.set_paused("shop", true).await.unwrap();
        assert!(due_at(&scheduler, due).await.is_empty());
        store.set_paused("shop", false).await.unwrap();
        let mut unscheduled = hourly(MissedFires::RunOnce);
        unscheduled.schedule = None;
        store.apply(&unscheduled).await.unwrap();
        assert!(
            due_at(&scheduler, due + TimeDelta::hours(5))
                .await
                .is_empty()
        );
    }

    #[tokio::test]
    async fn runs_are_started_and_ended_with_the_server() {
        let mut shop = hourly(MissedFires::RunOnce);
        if let Some(schedule) = &mut shop.schedule {
            schedule.cron = "* * * * * *".to_string();
        }
        let (_folder, scheduler, _) = scheduler(&shop).await;
        let store = scheduler.runner.store().clone();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(scheduler.run(shutdown.clone()));
        let report = loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let runs = store.runs(Some("shop"), 1).await.unwrap();
            if let Some(report) = runs
                .into_iter()
                .find(|run| run.status != RunStatus::Running)
            {
                break report;
            }
        };
        assert_eq!(report.status, RunStatus::Succeeded);
        assert!(matches!(report.trigger, Trigger::Schedule { due } if due <= report.started_at));
        shutdown.cancel();
        running.await.unwrap();
        let runs = store.runs(Some("shop"), 100).await.unwrap();
        assert!(runs.iter().all(|run| run.status != RunStatus::Running));
    }
}
