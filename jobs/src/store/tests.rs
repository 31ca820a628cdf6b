use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::definition::{CheckLimit, Severity};
use crate::report::{
    CheckOutcome, CheckReport, JobReport, JobStatus, RunReport, RunStatus, Trigger,
};
use crate::test_support::{job, pipeline, store};

fn job_report(name: &str, status: JobStatus) -> JobReport {
    JobReport {
        job: name.to_string(),
        tables: vec!["s.a".to_string(), "s.b".to_string()],
        status,
        attempts: 2,
        started_at: Some(now()),
        ended_at: None,
        rows_read: None,
        rows_written: 3,
        files_written: 2,
        bytes_written: 1,
        snapshot_id: Some(-5),
        error: None,
        checks: vec![],
    }
}

fn run_report(pipeline: &str) -> RunReport {
    RunReport {
        run_id: Uuid::now_v7(),
        pipeline: pipeline.to_string(),
        pipeline_version: 1,
        trigger: Trigger::Manual {
            user: "ann".to_string(),
        },
        status: RunStatus::Running,
        started_at: now(),
        ended_at: None,
        error: None,
        jobs: vec![
            job_report("z", JobStatus::Running),
            job_report("a", JobStatus::Pending),
        ],
    }
}

#[tokio::test]
async fn pipelines_are_versioned_when_they_change() {
    let (_folder, store) = store().await;
    let mut shop = pipeline(vec![job("a", "CREATE TABLE s.a AS SELECT 1 AS x")]);
    assert_eq!(store.apply(&shop).await.unwrap(), 1);
    let applied_at = store.pipeline("shop").await.unwrap().applied_at;
    assert_eq!(store.apply(&shop).await.unwrap(), 1);
    assert_eq!(store.pipeline("shop").await.unwrap().applied_at, applied_at);
    store.set_paused("shop", true).await.unwrap();
    shop.description = "changed".to_string();
    assert_eq!(store.apply(&shop).await.unwrap(), 2);
    let stored = store.pipeline("shop").await.unwrap();
    assert_eq!(stored.pipeline, shop);
    assert!(stored.paused);
    assert_eq!(store.pipelines().await.unwrap(), [stored]);

    let error = store.pipeline("shopp").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pipeline shopp does not exist; did you mean shop?"
    );
    store.drop_pipeline("shop").await.unwrap();
    assert!(store.drop_pipeline("shop").await.is_err());
    assert!(store.set_paused("shop", false).await.is_err());
    assert_eq!(store.apply(&shop).await.unwrap(), 3);
}

#[tokio::test]
async fn runs_are_found_as_they_were_recorded() {
    let (_folder, store) = store().await;
    let mut report = run_report("shop");
    store.begin_run(&report).await.unwrap();
    assert_eq!(store.run(report.run_id).await.unwrap(), report);

    let error = store.begin_run(&run_report("shop")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "pipeline shop is running already (run {}): wait for it or cancel it",
            report.run_id
        )
    );
    let other = run_report("other");
    store.begin_run(&other).await.unwrap();

    let job = &mut report.jobs[0];
    job.status = JobStatus::Failed;
    job.ended_at = Some(now());
    job.rows_read = Some(u64::try_from(i64::MAX).unwrap());
    job.error = Some("it's \"wrong\"".to_string());
    job.checks = vec![CheckReport {
        check: "not_null(a)".to_string(),
        kind: "not_null".to_string(),
        table: "s.a".to_string(),
        severity: Severity::Error,
        outcome: CheckOutcome::Failed,
        failures: 3,
        rows: 10,
        limit: CheckLimit::Share(0.01),
        message: "3 of 10 rows fail".to_string(),
        sample: vec![json!({"a": null, "b": "ü"})],
        elapsed: Duration::from_micros(1234),
    }];
    for _ in 0..2 {
        store
            .save_job(report.run_id, 0, &report.jobs[0])
            .await
            .unwrap();
    }
    report.status = RunStatus::Failed;
    report.ended_at = Some(now());
    report.error = Some("failed".to_string());
    store.heartbeat(report.run_id).await.unwrap();
    store.end_run(&report).await.unwrap();
    assert_eq!(store.run(report.run_id).await.unwrap(), report);

    let next = run_report("shop");
    store.begin_run(&next).await.unwrap();
    let runs = store.runs(Some("shop"), 10).await.unwrap();
    assert_eq!(runs, [next.clone(), report]);
    assert_eq!(store.runs(None, 2).await.unwrap(), [next, other]);
    let error = store.run(Uuid::nil()).await.unwrap_err();
    assert!(matches!(error, JobsError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn interrupted_runs_fail_and_make_room() {
    let (_folder, store) = store().await;
    let mut report = run_report("shop");
    store.begin_run(&report).await.unwrap();
    let hour = Duration::from_secs(3600);
    assert!(store.fail_interrupted_runs(hour).await.unwrap().is_empty());
    let failed = store.fail_interrupted_runs(Duration::ZERO).await.unwrap();
    assert_eq!(failed, [report.run_id]);
    let stored = store.run(report.run_id).await.unwrap();
    assert_eq!(stored.status, RunStatus::Failed);
    assert!(stored.ended_at.is_some());
    let message = "interrupted: the server ended during the run";
    assert_eq!(stored.error.as_deref(), Some(message));
    let statuses: Vec<JobStatus> = stored.jobs.iter().map(|job| job.status).collect();
    assert_eq!(statuses, [JobStatus::Failed, JobStatus::Skipped]);

    // A run that was only slow does not change what was declared.
    report.status = RunStatus::Succeeded;
    store.end_run(&report).await.unwrap();
    let stored = store.run(report.run_id).await.unwrap();
    assert_eq!(stored.status, RunStatus::Failed);
    store.begin_run(&run_report("shop")).await.unwrap();
}

#[tokio::test]
async fn a_time_of_a_schedule_is_taken_once() {
    let (_folder, store) = store().await;
    let due: DateTime<Utc> = "2026-01-01T02:30:00Z".parse().unwrap();
    assert_eq!(store.last_fire("shop").await.unwrap(), None);
    let claims = futures::future::join_all((0..8).map(|_| store.claim_fire("shop", due))).await;
    let taken = claims
        .into_iter()
        .filter(|claim| *claim.as_ref().unwrap())
        .count();
    assert_eq!(taken, 1);
    assert!(store.claim_fire("other", due).await.unwrap());
    let later = due + chrono::TimeDelta::hours(1);
    assert!(store.claim_fire("shop", later).await.unwrap());
    assert_eq!(store.last_fire("shop").await.unwrap(), Some(later));
}
