//! Runs: begun, kept alive, recorded job by job, ended, found again.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{
    JobStore, damaged, from_json, from_micros, from_stored, now, to_json, to_micros, to_stored,
};
use crate::definition::Severity;
use crate::error::{JobsError, Result};
use crate::report::{CheckOutcome, CheckReport, JobReport, JobStatus, RunReport, RunStatus};

const RUN_COLUMNS: &str =
    "run_id, pipeline, pipeline_version, started_by, status, started_at, ended_at, error";

impl JobStore {
    /// Records that a run begins, with all of its jobs.
    ///
    /// # Errors
    /// `AlreadyRunning` when a run of the same pipeline is under way.
    pub async fn begin_run(&self, report: &RunReport) -> Result<()> {
        let mut transaction = self.database.begin_immediate().await?;
        let inserted = sqlx::query(
            "INSERT INTO jobs_runs (run_id, pipeline, pipeline_version, started_by, status,
                 started_at, heartbeat_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(report.run_id.to_string())
        .bind(&report.pipeline)
        .bind(report.pipeline_version)
        .bind(to_json("trigger", &report.trigger)?)
        .bind(RunStatus::Running.as_str())
        .bind(to_micros(report.started_at))
        .bind(to_micros(now()))
        .execute(&mut *transaction)
        .await
        .map_err(|error| self.error(error))?;
        if inserted.rows_affected() == 0 {
            let other: Option<String> = sqlx::query_scalar(
                "SELECT run_id FROM jobs_runs WHERE pipeline = $1 AND status = 'running'",
            )
            .bind(&report.pipeline)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(|error| self.error(error))?;
            return Err(JobsError::AlreadyRunning {
                pipeline: report.pipeline.clone(),
                run_id: other.unwrap_or_else(|| report.run_id.to_string()),
            });
        }
        transaction
            .commit()
            .await
            .map_err(|error| self.error(error))?;
        for (position, job) in report.jobs.iter().enumerate() {
            self.save_job(report.run_id, position, job).await?;
        }
        Ok(())
    }

    /// Records how a job stands, with its checks.
    ///
    /// # Errors
    /// `Catalog` when the database fails.
    pub async fn save_job(&self, run_id: Uuid, position: usize, job: &JobReport) -> Result<()> {
        let run_id = run_id.to_string();
        let mut transaction = self.database.begin_immediate().await?;
        for table in ["jobs_job_runs", "jobs_check_results"] {
            sqlx::query(sqlx::AssertSqlSafe(format!(
                "DELETE FROM {table} WHERE run_id = $1 AND job = $2"
            )))
            .bind(&run_id)
            .bind(&job.job)
            .execute(&mut *transaction)
            .await
            .map_err(|error| self.error(error))?;
        }
        sqlx::query(
            "INSERT INTO jobs_job_runs (run_id, job, position, tables, status, attempts,
                 started_at, ended_at, rows_read, rows_written, files_written, bytes_written,
                 snapshot_id, error)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        )
        .bind(&run_id)
        .bind(&job.job)
        .bind(to_stored(position as u64))
        .bind(to_json("tables", &job.tables)?)
        .bind(job.status.as_str())
        .bind(i64::from(job.attempts))
        .bind(job.started_at.map(to_micros))
        .bind(job.ended_at.map(to_micros))
        .bind(job.rows_read.map(to_stored))
        .bind(to_stored(job.rows_written))
        .bind(to_stored(job.files_written))
        .bind(to_stored(job.bytes_written))
        .bind(job.snapshot_id)
        .bind(job.error.clone())
        .execute(&mut *transaction)
        .await
        .map_err(|error| self.error(error))?;
        for (check_position, check) in job.checks.iter().enumerate() {
            sqlx::query(
                "INSERT INTO jobs_check_results (run_id, job, position, check_name, kind,
                     table_name, severity, outcome, failures, row_count, allowed, message,
                     failing_rows, elapsed)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
            )
            .bind(&run_id)
            .bind(&job.job)
            .bind(to_stored(check_position as u64))
            .bind(&check.check)
            .bind(&check.kind)
            .bind(&check.table)
            .bind(check.severity.as_str())
            .bind(check.outcome.as_str())
            .bind(to_stored(check.failures))
            .bind(to_stored(check.rows))
            .bind(to_json("check limit", &check.limit)?)
            .bind(&check.message)
            .bind(to_json("failing rows", &check.sample)?)
            .bind(to_stored(
                u64::try_from(check.elapsed.as_micros()).unwrap_or(u64::MAX),
            ))
            .execute(&mut *transaction)
            .await
            .map_err(|error| self.error(error))?;
        }
        transaction
            .commit()
            .await
            .map_err(|error| self.error(error))
    }

    /// Says that a run is still under way.
    ///
    /// # Errors
    /// `Catalog` when the database fails.
    pub async fn heartbeat(&self, run_id: Uuid) -> Result<()> {
        sqlx::query("UPDATE jobs_runs SET heartbeat_at = $1 WHERE run_id = $2")
            .bind(to_micros(now()))
            .bind(run_id.to_string())
            .execute(self.database.pool())
            .await
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Records how a run ended. One that was declared interrupted meanwhile stays so.
    ///
    /// # Errors
    /// `Catalog` when the database fails.
    pub async fn end_run(&self, report: &RunReport) -> Result<()> {
        sqlx::query(
            "UPDATE jobs_runs SET status = $1, ended_at = $2, error = $3
             WHERE run_id = $4 AND status = 'running'",
        )
        .bind(report.status.as_str())
        .bind(report.ended_at.map(to_micros))
        .bind(report.error.clone())
        .bind(report.run_id.to_string())
        .execute(self.database.pool())
        .await
        .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Declares runs failed whose server is gone: those that gave no sign of life for so
    /// long. At the start of the only server of a database that is zero; where servers
    /// share a database, longer than `JobRunner`'s heartbeat. Returns their ids.
    ///
    /// # Errors
    /// `Catalog` when the database fails.
    pub async fn fail_interrupted_runs(&self, silent_for: Duration) -> Result<Vec<Uuid>> {
        let silent_for = i64::try_from(silent_for.as_micros()).unwrap_or(i64::MAX);
        let last_sign = to_micros(now()).saturating_sub(silent_for);
        let mut transaction = self.database.begin_immediate().await?;
        let interrupted: Vec<String> = sqlx::query_scalar(
            "SELECT run_id FROM jobs_runs WHERE status = 'running' AND heartbeat_at <= $1",
        )
        .bind(last_sign)
        .fetch_all(&mut *transaction)
        .await
        .map_err(|error| self.error(error))?;
        const ERROR: &str = "interrupted: the server ended during the run";
        for run_id in &interrupted {
            sqlx::query(
                "UPDATE jobs_runs SET status = 'failed', ended_at = $1, error = $2
                 WHERE run_id = $3",
            )
            .bind(to_micros(now()))
            .bind(ERROR)
            .bind(run_id)
            .execute(&mut *transaction)
            .await
            .map_err(|error| self.error(error))?;
            for (before, after) in [
                (JobStatus::Running, JobStatus::Failed),
                (JobStatus::Pending, JobStatus::Skipped),
            ] {
                sqlx::query(
                    "UPDATE jobs_job_runs SET status = $1, error = $2
                     WHERE run_id = $3 AND status = $4",
                )
                .bind(after.as_str())
                .bind(ERROR)
                .bind(run_id)
                .bind(before.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(|error| self.error(error))?;
            }
        }
        transaction
            .commit()
            .await
            .map_err(|error| self.error(error))?;
        interrupted
            .iter()
            .map(|run_id| parse_run_id(run_id))
            .collect()
    }

    /// One run with its jobs and checks.
    ///
    /// # Errors
    /// `NotFound`; `Catalog` when the database fails; `Damaged` when what it has makes no
    /// sense.
    pub async fn run(&self, run_id: Uuid) -> Result<RunReport> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {RUN_COLUMNS} FROM jobs_runs WHERE run_id = $1"
        )))
        .bind(run_id.to_string())
        .fetch_optional(self.database.pool())
        .await
        .map_err(|error| self.error(error))?
        .ok_or_else(|| JobsError::NotFound {
            kind: "run",
            name: run_id.to_string(),
            suggestion: None,
        })?;
        let mut report = self.run_of(&row)?;
        report.jobs = self.jobs_of(run_id).await?;
        Ok(report)
    }

    /// The latest runs, of one pipeline or of all, newest first, with their jobs and
    /// checks.
    ///
    /// # Errors
    /// As for `run`, without `NotFound`.
    pub async fn runs(&self, pipeline: Option<&str>, limit: usize) -> Result<Vec<RunReport>> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {RUN_COLUMNS} FROM jobs_runs WHERE pipeline = $1 OR $2 = 1
             ORDER BY started_at DESC, run_id DESC LIMIT $3"
        )))
        .bind(pipeline.unwrap_or_default())
        .bind(i64::from(pipeline.is_none()))
        .bind(to_stored(limit as u64))
        .fetch_all(self.database.pool())
        .await
        .map_err(|error| self.error(error))?;
        let mut reports = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut report = self.run_of(row)?;
            report.jobs = self.jobs_of(report.run_id).await?;
            reports.push(report);
        }
        Ok(reports)
    }

    fn run_of(&self, row: &AnyRow) -> Result<RunReport> {
        let error = |error| self.error(error);
        let run_id: String = row.try_get(0).map_err(error)?;
        let trigger: String = row.try_get(3).map_err(error)?;
        let status: String = row.try_get(4).map_err(error)?;
        let ended_at: Option<i64> = row.try_get(6).map_err(error)?;
        Ok(RunReport {
            run_id: parse_run_id(&run_id)?,
            pipeline: row.try_get(1).map_err(error)?,
            pipeline_version: row.try_get(2).map_err(error)?,
            trigger: from_json("run", &trigger)?,
            status: RunStatus::from_name(&status).ok_or_else(|| unknown("run", &status))?,
            started_at: from_micros("run", row.try_get(5).map_err(error)?)?,
            ended_at: ended_at
                .map(|micros| from_micros("run", micros))
                .transpose()?,
            error: row.try_get(7).map_err(error)?,
            jobs: Vec::new(),
        })
    }

    async fn jobs_of(&self, run_id: Uuid) -> Result<Vec<JobReport>> {
        let error = |error| self.error(error);
        let mut checks = self.checks_of(run_id).await?;
        let rows = sqlx::query(
            "SELECT job, tables, status, attempts, started_at, ended_at, rows_read, rows_written,
                 files_written, bytes_written, snapshot_id, error
             FROM jobs_job_runs WHERE run_id = $1 ORDER BY position",
        )
        .bind(run_id.to_string())
        .fetch_all(self.database.pool())
        .await
        .map_err(error)?;
        rows.iter()
            .map(|row| {
                let job: String = row.try_get(0).map_err(error)?;
                let tables: String = row.try_get(1).map_err(error)?;
                let status: String = row.try_get(2).map_err(error)?;
                let attempts: i64 = row.try_get(3).map_err(error)?;
                let time = |column: usize| -> Result<Option<DateTime<Utc>>> {
                    let micros: Option<i64> = row.try_get(column).map_err(error)?;
                    micros.map(|micros| from_micros("job", micros)).transpose()
                };
                let count = |column: usize| -> Result<u64> {
                    from_stored("job", row.try_get(column).map_err(error)?)
                };
                let rows_read: Option<i64> = row.try_get(6).map_err(error)?;
                Ok(JobReport {
                    checks: checks.remove(&job).unwrap_or_default(),
                    job,
                    tables: from_json("job", &tables)?,
                    status: JobStatus::from_name(&status).ok_or_else(|| unknown("job", &status))?,
                    attempts: u32::try_from(attempts)
                        .map_err(|_| damaged("job", format!("{attempts} attempts")))?,
                    started_at: time(4)?,
                    ended_at: time(5)?,
                    rows_read: rows_read
                        .map(|count| from_stored("job", count))
                        .transpose()?,
                    rows_written: count(7)?,
                    files_written: count(8)?,
                    bytes_written: count(9)?,
                    snapshot_id: row.try_get(10).map_err(error)?,
                    error: row.try_get(11).map_err(error)?,
                })
            })
            .collect()
    }

    async fn checks_of(&self, run_id: Uuid) -> Result<BTreeMap<String, Vec<CheckReport>>> {
        let error = |error| self.error(error);
        let rows = sqlx::query(
            "SELECT job, check_name, kind, table_name, severity, outcome, failures, row_count,
                 allowed, message, failing_rows, elapsed
             FROM jobs_check_results WHERE run_id = $1 ORDER BY job, position",
        )
        .bind(run_id.to_string())
        .fetch_all(self.database.pool())
        .await
        .map_err(error)?;
        let mut checks: BTreeMap<String, Vec<CheckReport>> = BTreeMap::new();
        for row in &rows {
            let job: String = row.try_get(0).map_err(error)?;
            let severity: String = row.try_get(4).map_err(error)?;
            let outcome: String = row.try_get(5).map_err(error)?;
            let limit: String = row.try_get(8).map_err(error)?;
            let sample: String = row.try_get(10).map_err(error)?;
            let count = |column: usize| -> Result<u64> {
                from_stored("check", row.try_get(column).map_err(error)?)
            };
            let report = CheckReport {
                check: row.try_get(1).map_err(error)?,
                kind: row.try_get(2).map_err(error)?,
                table: row.try_get(3).map_err(error)?,
                severity: Severity::from_name(&severity)
                    .ok_or_else(|| unknown("check", &severity))?,
                outcome: CheckOutcome::from_name(&outcome)
                    .ok_or_else(|| unknown("check", &outcome))?,
                failures: count(6)?,
                rows: count(7)?,
                limit: from_json("check", &limit)?,
                message: row.try_get(9).map_err(error)?,
                sample: from_json("check", &sample)?,
                elapsed: Duration::from_micros(count(11)?),
            };
            checks.entry(job).or_default().push(report);
        }
        Ok(checks)
    }
}

fn parse_run_id(text: &str) -> Result<Uuid> {
    text.parse()
        .map_err(|_| damaged("run", format!("{text:?} is no id")))
}

fn unknown(what: &str, name: &str) -> JobsError {
    damaged(what, format!("{name:?} is no status"))
}
