//! Tables of the jobs in the catalog database. Times are microseconds since 1970.

use ingot_catalog::database::Migration;

pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "pipelines, runs, checks, schedules",
    statements: &[
        "CREATE TABLE jobs_pipelines (
            name TEXT NOT NULL PRIMARY KEY,
            version BIGINT NOT NULL,
            definition TEXT NOT NULL,
            applied_at BIGINT NOT NULL,
            paused BIGINT NOT NULL
        )",
        "CREATE TABLE jobs_pipeline_versions (
            name TEXT NOT NULL,
            version BIGINT NOT NULL,
            definition TEXT NOT NULL,
            applied_at BIGINT NOT NULL,
            PRIMARY KEY (name, version)
        )",
        "CREATE TABLE jobs_runs (
            run_id TEXT NOT NULL PRIMARY KEY,
            pipeline TEXT NOT NULL,
            pipeline_version BIGINT NOT NULL,
            started_by TEXT NOT NULL,
            status TEXT NOT NULL,
            started_at BIGINT NOT NULL,
            ended_at BIGINT,
            error TEXT,
            heartbeat_at BIGINT NOT NULL
        )",
        // A pipeline runs at most once at a time, whoever starts it.
        "CREATE UNIQUE INDEX jobs_runs_running ON jobs_runs (pipeline) WHERE status = 'running'",
        "CREATE INDEX jobs_runs_by_time ON jobs_runs (started_at)",
        "CREATE TABLE jobs_job_runs (
            run_id TEXT NOT NULL,
            job TEXT NOT NULL,
            position BIGINT NOT NULL,
            tables TEXT NOT NULL,
            status TEXT NOT NULL,
            attempts BIGINT NOT NULL,
            started_at BIGINT,
            ended_at BIGINT,
            rows_read BIGINT,
            rows_written BIGINT NOT NULL,
            files_written BIGINT NOT NULL,
            bytes_written BIGINT NOT NULL,
            snapshot_id BIGINT,
            error TEXT,
            PRIMARY KEY (run_id, job)
        )",
        "CREATE TABLE jobs_check_results (
            run_id TEXT NOT NULL,
            job TEXT NOT NULL,
            position BIGINT NOT NULL,
            check_name TEXT NOT NULL,
            kind TEXT NOT NULL,
            table_name TEXT NOT NULL,
            severity TEXT NOT NULL,
            outcome TEXT NOT NULL,
            failures BIGINT NOT NULL,
            row_count BIGINT NOT NULL,
            allowed TEXT NOT NULL,
            message TEXT NOT NULL,
            failing_rows TEXT NOT NULL,
            elapsed BIGINT NOT NULL,
            PRIMARY KEY (run_id, job, position)
        )",
        "CREATE TABLE jobs_schedule_fires (
            pipeline TEXT NOT NULL,
            due BIGINT NOT NULL,
            claimed_at BIGINT NOT NULL,
            PRIMARY KEY (pipeline, due)
        )",
    ],
}];
