//! What a pipeline is: its jobs, their checks, their schedule. Plain data, stored as
//! JSON in the catalog database; see `docs/pipelines.md` for the files it is read from.

mod check;
mod schedule;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use check::{CheckDefinition, CheckKind, CheckLimit, Severity};
pub use schedule::{MissedFires, Schedule};

/// Jobs that are applied and run together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Unique in a catalog database; letters, digits, `_` and `-`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// When to run by itself.
    pub schedule: Option<Schedule>,
    /// Catalog of table names that have fewer than three parts.
    pub catalog: String,
    /// Schema of table names that have one part, where there is one.
    pub schema: Option<String>,
    /// Values of `{{ name }}` in statements; a run may override them.
    pub variables: BTreeMap<String, String>,
    /// Statements that every run begins with, in order (`CREATE SCHEMA IF NOT EXISTS …`).
    pub setup: Vec<String>,
    /// How many of its jobs may run at the same time; at least 1.
    pub max_concurrent_jobs: usize,
    /// What its jobs do about failures unless their headers say otherwise.
    pub retry: RetryPolicy,
    /// In the order of their files' names.
    pub jobs: Vec<JobDefinition>,
}

/// One SQL file: what it does, and what must hold afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobDefinition {
    /// Unique in the pipeline: the file's path without its ending, `/` as `.`, unless
    /// its header says otherwise.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Path of the file in the pipeline's folder.
    pub file: String,
    /// Line of the file, from 1, where `sql` begins: for errors in statements.
    pub first_line: u64,
    /// One or more statements, variables not yet replaced.
    pub sql: String,
    /// Jobs to wait for that the statements' tables do not show.
    pub depends_on: Vec<String>,
    /// Its checks, in the order of the header.
    pub checks: Vec<CheckDefinition>,
    /// What to do when a statement fails.
    pub retry: RetryPolicy,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// Free words to choose jobs by.
    pub tags: Vec<String>,
}

/// How often, and how patiently, failed work is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all; 1 means no retry.
    pub attempts: u32,
    /// Pause before the second attempt; it doubles before every further one.
    pub delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            delay: Duration::from_secs(5),
            max_delay: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// The pause after a failed attempt (from 1), or `None` when it was the last one.
    pub fn pause_after(&self, attempt: u32) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(31);
        let pause = self.delay.saturating_mul(1_u32 << doublings);
        Some(pause.min(self.max_delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit_and_end_with_the_attempts() {
        let policy = RetryPolicy {
            attempts: 5,
            delay: Duration::from_secs(2),
            max_delay: Duration::from_secs(7),
        };
        let pauses: Vec<_> = (1..=6).map(|attempt| policy.pause_after(attempt)).collect();
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(
            pauses,
            [seconds(2), seconds(4), seconds(7), seconds(7), None, None]
        );
        let endless = RetryPolicy {
            attempts: u32::MAX,
            ..policy
        };
        assert_eq!(endless.pause_after(1_000_000), seconds(7));
    }
}
