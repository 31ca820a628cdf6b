//! What happened in a run, as it goes on (events) and afterwards (reports).

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::definition::{CheckLimit, Severity};

/// Why a run was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// By a person or a program.
    Manual {
        /// Who.
        user: String,
    },
    /// By the pipeline's schedule.
    Schedule {
        /// The time that was due, which may be before the start.
        due: DateTime<Utc>,
    },
}

/// State of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Under way.
    Running,
    /// Every job succeeded; checks of severity `warn` may have failed.
    Succeeded,
    /// A job or one of its checks failed, or the server ended in the middle.
    Failed,
    /// Ended by a user.
    Cancelled,
}

/// State of one job in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Waits for jobs before it.
    Pending,
    /// Statements or checks are under way.
    Running,
    /// Statements and blocking checks succeeded.
    Succeeded,
    /// Its last attempt failed, or a blocking check did.
    Failed,
    /// Not started, since a job before it failed or the run stopped.
    Skipped,
    /// Ended by a user.
    Cancelled,
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// Within its limit.
    Passed,
    /// Beyond its limit.
    Failed,
    /// Could not be queried; counts as failed.
    Error,
}

macro_rules! names {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// The name that is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Reads a stored name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

names!(RunStatus {
    Running = "running",
    Succeeded = "succeeded",
    Failed = "failed",
    Cancelled = "cancelled",
});
names!(JobStatus {
    Pending = "pending",
    Running = "running",
    Succeeded = "succeeded",
    Failed = "failed",
    Skipped = "skipped",
    Cancelled = "cancelled",
});
names!(CheckOutcome {
    Passed = "passed",
    Failed = "failed",
    Error = "error",
});

/// One run of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run_id: Uuid,
    /// The pipeline.
    pub pipeline: String,
    /// Version of the pipeline's definition.
    pub pipeline_version: i64,
    /// Why it was started.
    pub trigger: Trigger,
    /// How it stands.
    pub status: RunStatus,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The first failure, in one line.
    pub error: Option<String>,
    /// In the order in which they may run: every job after those it waits for.
    pub jobs: Vec<JobReport>,
}

/// One job of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    /// The job.
    pub job: String,
    /// The tables that its statements write.
    pub tables: Vec<String>,
    /// How it stands.
    pub status: JobStatus,
    /// How often its statements were tried.
    pub attempts: u32,
    /// When the first attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When its last check ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Rows that the statements of the last attempt read, where that is known.
    pub rows_read: Option<u64>,
    /// Rows that they wrote.
    pub rows_written: u64,
    /// Data files that they wrote.
    pub files_written: u64,
    /// Bytes of those.
    pub bytes_written: u64,
    /// The snapshot that the last of them made.
    pub snapshot_id: Option<i64>,
    /// Why it failed or was skipped, in one line.
    pub error: Option<String>,
    /// Results of its checks.
    pub checks: Vec<CheckReport>,
}

impl JobReport {
    /// From the first attempt's start to the last check's end.
    pub fn elapsed(&self) -> Option<Duration> {
        (self.ended_at? - self.started_at?).to_std().ok()
    }
}

/// One check of a job in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The check.
    pub check: String,
    /// Its kind: `not_null`, …
    pub kind: String,
    /// The table that was checked.
    pub table: String,
    /// What a failure does.
    pub severity: Severity,
    /// Its result.
    pub outcome: CheckOutcome,
    /// Rows that failed.
    pub failures: u64,
    /// Rows that were looked at.
    pub rows: u64,
    /// How many failures are allowed.
    pub limit: CheckLimit,
    /// What was found, in one line: `3 of 1200 rows: customer_id is null`.
    pub message: String,
    /// A few failing rows, each a JSON object by column.
    pub sample: Vec<serde_json::Value>,
    /// How long its queries took.
    pub elapsed: Duration,
}

impl CheckReport {
    /// Whether it stops the run.
    pub fn is_blocking_failure(&self) -> bool {
        self.outcome != CheckOutcome::Passed && self.severity == Severity::Error
    }
}

/// Something that just happened in a run, for a progress display.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum RunEvent {
    /// The run began.
    RunStarted {
        /// The run.
        run_id: Uuid,
        /// The pipeline.
        pipeline: String,
        /// Its jobs, in the order in which they may run.
        jobs: Vec<String>,
    },
    /// An attempt of a job began.
    JobStarted {
        /// The job.
        job: String,
        /// From 1.
        attempt: u32,
    },
    /// A statement of a job began: its progress can be asked for by this id.
    StatementStarted {
        /// The job; `None` for the pipeline's set-up.
        job: Option<String>,
        /// Id of the query.
        query_id: Uuid,
    },
    /// An attempt failed and another one follows.
    JobRetrying {
        /// The job.
        job: String,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why, in one line.
        error: String,
        /// The pause before the next one.
        pause: Duration,
    },
    /// A check was made.
    CheckFinished {
        /// The job.
        job: String,
        /// Its result.
        report: CheckReport,
    },
    /// A job ended, or will not be started.
    JobFinished {
        /// How it went.
        report: JobReport,
    },
    /// The run ended.
    RunFinished {
        /// How it went.
        report: RunReport,
    },
}
