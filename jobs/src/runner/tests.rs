use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::definition::{
    CheckDefinition, CheckKind, CheckLimit, JobDefinition, RetryPolicy, Severity,
};
use crate::report::CheckOutcome;
use crate::statement_runner::StatementReport;
use crate::test_support::{FakeStatements, counts, failure, job, pipeline, store};

/// bronze a and b → silver → gold, and a job that depends on nothing.
fn medallion() -> Vec<JobDefinition> {
    vec![
        job("a_bronze", "CREATE TABLE s.a AS SELECT 1 AS x"),
        job("b_bronze", "CREATE TABLE s.b AS SELECT 1 AS x"),
        job(
            "silver",
            "CREATE TABLE s.c AS SELECT * FROM s.a JOIN s.b ON true",
        ),
        job("gold", "CREATE TABLE s.d AS SELECT * FROM s.c"),
        job("z_alone", "CREATE TABLE s.z AS SELECT 1 AS x"),
    ]
}

fn not_null(severity: Severity) -> CheckDefinition {
    CheckDefinition {
        name: "not_null(x)".to_string(),
        table: "s.c".to_string(),
        kind: CheckKind::NotNull {
            columns: vec!["x".to_string()],
        },
        severity,
        limit: CheckLimit::Rows(0),
    }
}

struct Bench {
    _folder: tempfile::TempDir,
    runner: JobRunner,
    statements: Arc<FakeStatements>,
}

async fn bench(jobs: Vec<JobDefinition>) -> Bench {
    bench_of(pipeline(jobs)).await
}

async fn bench_of(pipeline: Pipeline) -> Bench {
    let (folder, store) = store().await;
    store.apply(&pipeline).await.unwrap();
    let statements = Arc::new(FakeStatements::default());
    let runner = JobRunner::new(store, statements.clone());
    Bench {
        _folder: folder,
        runner,
        statements,
    }
}

impl Bench {
    async fn run(&self) -> RunReport {
        let options = RunOptions::manual("ann");
        self.runner.run("shop", options).await.unwrap()
    }
}

fn statuses(report: &RunReport) -> Vec<(&str, JobStatus)> {
    report
        .jobs
        .iter()
        .map(|job| (job.job.as_str(), job.status))
        .collect()
}

#[tokio::test]
async fn jobs_run_in_order_and_are_recorded() {
    let mut pipeline = pipeline(medallion());
    pipeline.setup = vec!["CREATE SCHEMA IF NOT EXISTS {{ schema }}".to_string()];
    pipeline.variables = [("schema".to_string(), "s".to_string())].into();
    pipeline.jobs[2].checks = vec![not_null(Severity::Error)];
    pipeline.jobs[3]
        .sql
        .push_str("; INSERT INTO s.d SELECT * FROM s.d");
    let bench = bench_of(pipeline).await;
    let (sender, mut events) = mpsc::unbounded_channel();
    let options = RunOptions {
        events: Some(sender),
        variables: [("schema".to_string(), "t".to_string())].into(),
        ..RunOptions::manual("ann")
    };
    let report = bench.runner.run("shop", options).await.unwrap();
    assert_eq!(report.status, RunStatus::Succeeded);
    assert_eq!(report.error, None);
    assert!(
        report
            .jobs
            .iter()
            .all(|job| job.status == JobStatus::Succeeded)
    );
    let executed = bench.statements.executed.lock().clone();
    assert_eq!(executed[0], "CREATE SCHEMA IF NOT EXISTS t");
    let position = |text: &str| executed.iter().position(|sql| sql.contains(text)).unwrap();
    assert!(position("s.c AS") > position("s.a AS"));
    assert!(position("s.c AS") > position("s.b AS"));
    assert!(position("s.d AS") > position("s.c AS"));
    assert_eq!(position("INSERT"), position("s.d AS") + 1);
    let gold = report.jobs.iter().find(|job| job.job == "gold").unwrap();
    assert_eq!(gold.tables, ["iceberg.s.d"]);
    assert_eq!(gold.rows_written, 20);
    assert_eq!(gold.files_written, 2);
    assert_eq!(gold.rows_read, Some(4));
    assert_eq!(gold.snapshot_id, Some(7));
    assert!(gold.elapsed().is_some());
    let silver = report.jobs.iter().find(|job| job.job == "silver").unwrap();
    assert_eq!(silver.checks[0].outcome, CheckOutcome::Passed);
    assert!(bench.statements.concurrency.lock().1 <= 2);

    let stored = bench.runner.store().run(report.run_id).await.unwrap();
    assert_eq!(stored, report);
    let mut seen = vec![];
    while let Ok(event) = events.try_recv() {
        seen.push(event);
    }
    assert!(matches!(&seen[0], RunEvent::RunStarted { jobs, .. } if jobs.len() == 5));
    assert!(matches!(seen.last(), Some(RunEvent::RunFinished { .. })));
    let finished = seen
        .iter()
        .filter(|event| matches!(event, RunEvent::JobFinished { .. }))
        .count();
    assert_eq!(finished, 5);
    let statements = seen
        .iter()
        .filter(|event| matches!(event, RunEvent::StatementStarted { .. }))
        .count();
    assert_eq!(statements, 7);
}

#[tokio::test]
async fn independent_jobs_run_together_within_the_limit() {
    for limit in [1, 3] {
        let jobs = (0..8)
            .map(|index| {
                job(
                    &format!("j{index}"),
                    &format!("CREATE TABLE s.t{index} AS SELECT 1"),
                )
            })
            .collect();
        let mut pipeline = pipeline(jobs);
        pipeline.max_concurrent_jobs = limit;
        let bench = bench_of(pipeline).await;
        assert_eq!(bench.run().await.status, RunStatus::Succeeded);
        assert_eq!(bench.statements.concurrency.lock().1, limit);
    }
}

#[tokio::test]
async fn a_failed_check_stops_the_run() {
    let mut jobs = medallion();
    jobs[2].checks = vec![not_null(Severity::Error)];
    let bench = bench(jobs).await;
    bench
        .statements
        .on_query("failures_0", |_| Ok(counts(&[10, 4])));
    let report = bench.run().await;
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(
        report.error.as_deref(),
        Some("silver: check not_null(x) of s.c failed: 4 of 10 rows fail, at most 0 allowed")
    );
    let statuses = statuses(&report);
    assert!(statuses.contains(&("silver", JobStatus::Failed)));
    assert!(statuses.contains(&("gold", JobStatus::Skipped)));
    assert!(statuses.contains(&("a_bronze", JobStatus::Succeeded)));
    let executed = bench.statements.executed.lock().clone();
    assert!(!executed.iter().any(|sql| sql.contains("s.d")));
    let silver = report.jobs.iter().find(|job| job.job == "silver").unwrap();
    assert_eq!(silver.rows_written, 10);
    assert_eq!(silver.checks[0].failures, 4);
    assert_eq!(
        bench.runner.store().run(report.run_id).await.unwrap(),
        report
    );
}

#[tokio::test]
async fn a_warning_does_not_stop_the_run() {
    let mut jobs = medallion();
    jobs[2].checks = vec![not_null(Severity::Warn)];
    let bench = bench(jobs).await;
    bench
        .statements
        .on_query("failures_0", |_| Ok(counts(&[10, 4])));
    let report = bench.run().await;
    assert_eq!(report.status, RunStatus::Succeeded);
    let silver = report.jobs.iter().find(|job| job.job == "silver").unwrap();
    assert_eq!(silver.checks[0].outcome, CheckOutcome::Failed);
}

#[tokio::test]
async fn retries_go_on_at_the_statement_that_failed() {
    let mut flaky = job("a", "INSERT INTO s.a SELECT 1; INSERT INTO s.b SELECT 2");
    flaky.retry.attempts = 3;
    let bench = bench(vec![flaky]).await;
    let mut calls = 0;
    bench.statements.on("s.b", move |context| {
        calls += 1;
        assert_eq!(context.attempt, calls);
        match calls {
            3 => Ok(StatementReport::default()),
            _ => Err(failure("worker lost", true)),
        }
    });
    let report = bench.run().await;
    assert_eq!(report.status, RunStatus::Succeeded);
    assert_eq!(report.jobs[0].attempts, 3);
    let executed = bench.statements.executed.lock().clone();
    let of = |table: &str| executed.iter().filter(|sql| sql.contains(table)).count();
    assert_eq!((of("s.a"), of("s.b")), (1, 3));
}

#[tokio::test]
async fn retries_end_and_wrong_statements_are_not_retried() {
    for (retryable, attempts) in [(true, 2), (false, 1)] {
        let mut flaky = job("a", "INSERT INTO s.a SELECT 1");
        flaky.retry = RetryPolicy {
            attempts: 2,
            ..flaky.retry
        };
        let bench = bench(vec![flaky]).await;
        bench
            .statements
            .on("s.a", move |_| Err(failure("no", retryable)));
        let report = bench.run().await;
        assert_eq!(report.status, RunStatus::Failed);
        assert_eq!(report.error.as_deref(), Some("a: no"));
        assert_eq!(report.jobs[0].attempts, attempts);
        assert_eq!(bench.statements.executed.lock().len() as u32, attempts);
    }
}

#[tokio::test]
async fn statements_that_take_too_long_are_ended() {
    let mut slow = job("a", "INSERT INTO s.a SELECT 1");
    slow.timeout = Some(Duration::from_millis(20));
    let bench = bench(vec![slow]).await;
    bench.statements.hanging.lock().push("s.a".to_string());
    let report = bench.run().await;
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(
        report.error.as_deref(),
        Some("a: timed out after 0.02 s: raise timeout in the job's header")
    );
}

#[tokio::test]
async fn runs_can_be_cancelled() {
    let bench = bench(medallion()).await;
    bench.statements.hanging.lock().push("s.a AS".to_string());
    let (sender, mut events) = mpsc::unbounded_channel();
    let options = RunOptions {
        events: Some(sender),
        ..RunOptions::manual("ann")
    };
    let run_id = options.run_id;
    let runner = bench.runner.clone();
    let run = tokio::spawn(async move { runner.run("shop", options).await });
    while !matches!(events.recv().await, Some(RunEvent::StatementStarted { .. })) {}
    let second = bench.runner.run("shop", RunOptions::manual("bob")).await;
    assert!(
        matches!(second, Err(JobsError::AlreadyRunning { .. })),
        "{second:?}"
    );
    assert!(bench.runner.cancel(run_id));
    let report = run.await.unwrap().unwrap();
    assert_eq!(report.status, RunStatus::Cancelled);
    let statuses = statuses(&report);
    assert!(
        statuses.contains(&("a_bronze", JobStatus::Cancelled)),
        "{statuses:?}"
    );
    assert!(
        statuses.contains(&("gold", JobStatus::Skipped)),
        "{statuses:?}"
    );
    assert!(!bench.runner.cancel(run_id));
    let stored = bench.runner.store().run(run_id).await.unwrap();
    assert_eq!(stored.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_failed_setup_runs_no_job() {
    let mut pipeline = pipeline(medallion());
    pipeline.setup = vec!["CREATE SCHEMA s".to_string()];
    let bench = bench_of(pipeline).await;
    bench
        .statements
        .on("CREATE SCHEMA", |_| Err(failure("denied", false)));
    let report = bench.run().await;
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(report.error.as_deref(), Some("setup: denied"));
    assert!(
        report
            .jobs
            .iter()
            .all(|job| job.status == JobStatus::Skipped)
    );
}

#[tokio::test]
async fn some_jobs_can_be_run_alone() {
    let bench = bench(medallion()).await;
    let options = RunOptions {
        only: vec!["gold".to_string()],
        ..RunOptions::manual("ann")
    };
    let report = bench.runner.run("shop", options).await.unwrap();
    assert_eq!(statuses(&report), [("gold", JobStatus::Succeeded)]);
    let options = RunOptions {
        only: vec!["golf".to_string()],
        ..RunOptions::manual("ann")
    };
    let error = bench.runner.run("shop", options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "job golf does not exist; did you mean gold?"
    );
    let options = RunOptions {
        variables: [("x".to_string(), "1".to_string())].into(),
        ..RunOptions::manual("ann")
    };
    let error = bench.runner.run("shop", options).await.unwrap_err();
    assert!(
        error.to_string().contains("there is no variable x"),
        "{error}"
    );
}

#[tokio::test]
async fn a_run_left_by_a_crash_does_not_block_the_next() {
    let bench = bench(medallion()).await;
    bench.statements.hanging.lock().push("s.a AS".to_string());
    let (sender, mut events) = mpsc::unbounded_channel();
    let options = RunOptions {
        events: Some(sender),
        ..RunOptions::manual("ann")
    };
    let run_id = options.run_id;
    let runner = bench.runner.clone();
    let run = tokio::spawn(async move { runner.run("shop", options).await });
    while !matches!(events.recv().await, Some(RunEvent::StatementStarted { .. })) {}
    // As the next start of the server does.
    let store = bench.runner.store();
    let failed = store.fail_interrupted_runs(Duration::ZERO).await.unwrap();
    assert_eq!(failed, [run_id]);
    bench.statements.hanging.lock().clear();
    assert_eq!(bench.run().await.status, RunStatus::Succeeded);
    bench.runner.cancel(run_id);
    run.await.unwrap().unwrap();
    let stored = store.run(run_id).await.unwrap();
    assert_eq!(stored.status, RunStatus::Failed);
}
