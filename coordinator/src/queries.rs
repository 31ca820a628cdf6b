//! Running and recent statements: what the status page, `system.runtime.queries`
//! and cancellation look at.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cluster::QueryProgress;
use crate::service::QueryState;

/// How many finished statements are remembered.
const RECENT_QUERIES: usize = 200;

/// A query state as shown to people and in system tables.
pub fn state_name(state: QueryState) -> &'static str {
    match state {
        QueryState::Queued => "queued",
        QueryState::Planning => "planning",
        QueryState::Running => "running",
        QueryState::Finished => "finished",
        QueryState::Failed => "failed",
        QueryState::Cancelled => "cancelled",
    }
}

/// One statement as the outside sees it.
#[derive(Debug, Clone)]
pub struct QueryRecord {
    pub id: Uuid,
    pub user: String,
    /// The statement's text, without literal secrets (see `redact`).
    pub sql: String,
    pub state: QueryState,
    pub started_at: DateTime<Utc>,
    pub elapsed: Duration,
    /// Rows delivered or written so far.
    pub rows: u64,
    /// What was written and committed.
    pub written: Option<WrittenSummary>,
    /// `local` or `distributed`, once known.
    pub placement: Option<&'static str>,
    pub error: Option<String>,
}

/// What a statement committed to a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrittenSummary {
    pub rows: u64,
    pub files: u64,
    pub bytes: u64,
    /// The snapshot that was made; none when nothing was to be committed.
    pub snapshot_id: Option<i64>,
}

/// A statement while it runs.
#[derive(Debug)]
pub struct RunningQuery {
    record: Mutex<QueryRecord>,
    started: Instant,
    pub cancel: CancellationToken,
    pub progress: Arc<QueryProgress>,
}

impl RunningQuery {
    /// Which statement this is.
    pub fn id(&self) -> Uuid {
        self.record.lock().id
    }

    /// Notes where the statement runs.
    pub fn set_placement(&self, placement: &'static str) {
        self.record.lock().placement = Some(placement);
    }

    /// Notes what was committed.
    pub fn set_written(&self, written: WrittenSummary) {
        let mut record = self.record.lock();
        record.rows = written.rows;
        record.written = Some(written);
    }

    /// Counts rows delivered.
    pub fn add_rows(&self, rows: u64) {
        self.record.lock().rows += rows;
    }

    /// The statement as it stands now.
    pub fn snapshot(&self) -> QueryRecord {
        let mut record = self.record.lock().clone();
        if record.state == QueryState::Running {
            record.elapsed = self.started.elapsed();
        }
        record
    }
}

/// All statements that run, and the last ones that ended.
#[derive(Debug, Default)]
pub struct QueryLog {
    running: Mutex<HashMap<Uuid, Arc<RunningQuery>>>,
    recent: Mutex<VecDeque<QueryRecord>>,
    totals: Mutex<QueryTotals>,
}

/// Counts since the start, for metrics.
#[derive(Debug, Default, Clone, Copy)]
pub struct QueryTotals {
    pub finished: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub rows: u64,
    pub seconds: f64,
}

impl QueryLog {
    /// Notes that a statement begins.
    pub fn begin(&self, id: Uuid, user: &str, sql: &str) -> Arc<RunningQuery> {
        let query = Arc::new(RunningQuery {
            record: Mutex::new(QueryRecord {
                id,
                user: user.to_owned(),
                sql: redact(sql),
                state: QueryState::Running,
                started_at: Utc::now(),
                elapsed: Duration::ZERO,
                rows: 0,
                written: None,
                placement: None,
                error: None,
            }),
            started: Instant::now(),
            cancel: CancellationToken::new(),
            progress: Arc::new(QueryProgress::default()),
        });
        self.running.lock().insert(id, query.clone());
        query
    }

    /// Notes that a statement ended; the second call for one statement does nothing.
    pub fn end(&self, id: Uuid, state: QueryState, error: Option<String>) {
        let Some(query) = self.running.lock().remove(&id) else {
            return;
        };
        let record = {
            let mut record = query.record.lock();
            record.state = state;
            record.elapsed = query.started.elapsed();
            record.error = error;
            record.clone()
        };
        {
            let mut totals = self.totals.lock();
            match state {
                QueryState::Failed => totals.failed += 1,
                QueryState::Cancelled => totals.cancelled += 1,
                _ => totals.finished += 1,
            }
            totals.rows += record.rows;
            totals.seconds += record.elapsed.as_secs_f64();
        }
        let mut recent = self.recent.lock();
        recent.push_front(record);
        recent.truncate(RECENT_QUERIES);
    }

    /// A running statement by its id.
    pub fn running(&self, id: Uuid) -> Option<Arc<RunningQuery>> {
        self.running.lock().get(&id).cloned()
    }

    /// An ended statement by its id, as long as it is remembered.
    pub fn ended(&self, id: Uuid) -> Option<QueryRecord> {
        let recent = self.recent.lock();
        recent.iter().find(|record| record.id == id).cloned()
    }

    /// Running statements, newest first, then ended ones, newest first.
    pub fn list(&self) -> Vec<QueryRecord> {
        let mut records: Vec<QueryRecord> = self
            .running
            .lock()
            .values()
            .map(|query| query.snapshot())
            .collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.started_at));
        records.extend(self.recent.lock().iter().cloned());
        records
    }

    /// The ids of the statements that run now.
    pub fn running_ids(&self) -> Vec<Uuid> {
        self.running.lock().keys().copied().collect()
    }

    /// How many statements run now.
    pub fn running_count(&self) -> usize {
        self.running.lock().len()
    }

    /// Counts since the start.
    pub fn totals(&self) -> QueryTotals {
        *self.totals.lock()
    }
}

/// Hides the values of options whose names say that they are secret, such as
/// `secret_access_key = '…'`, before a statement's text is kept or shown.
fn redact(sql: &str) -> String {
    const SECRET_WORDS: [&str; 4] = ["secret", "password", "token", "access_key"];
    let lower = sql.to_lowercase();
    if !SECRET_WORDS.iter().any(|word| lower.contains(word)) {
        return sql.to_owned();
    }
    let mut shown = String::with_capacity(sql.len());
    let mut previous_is_secret = false;
    for (index, piece) in sql.split('\'').enumerate() {
        let is_literal = index % 2 == 1;
        if index > 0 {
            shown.push('\'');
        }
        if is_literal && previous_is_secret {
            shown.push_str("***");
        } else {
            shown.push_str(piece);
        }
        if !is_literal {
            let piece = piece
                .trim_end()
                .trim_end_matches(['=', '>', ' '])
                .to_lowercase();
            let last_word = piece
                .rsplit(|character: char| !character.is_alphanumeric() && character != '_')
                .next()
                .unwrap_or_default();
            previous_is_secret = SECRET_WORDS.iter().any(|word| last_word.contains(word));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_moves_from_running_to_recent_once() {
        let log = QueryLog::default();
        let id = Uuid::new_v4();
        let query = log.begin(id, "ann", "SELECT 1");
        query.add_rows(3);
        assert_eq!(log.running_count(), 1);
        assert_eq!(log.list()[0].state, QueryState::Running);
        log.end(id, QueryState::Failed, Some("boom".to_owned()));
        log.end(id, QueryState::Finished, None);
        let records = log.list();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].state, QueryState::Failed);
        assert_eq!(records[0].rows, 3);
        assert_eq!(log.totals().failed, 1);
        assert_eq!(log.totals().finished, 0);
    }

    #[test]
    fn secrets_in_statements_are_hidden() {
        let sql = "COPY INTO t FROM 's3://b/x' WITH (secret_access_key = 'hush', mode='strict')";
        let shown = redact(sql);
        assert_eq!(
            shown,
            "COPY INTO t FROM 's3://b/x' WITH (secret_access_key = '***', mode='strict')"
        );
        assert_eq!(redact("SELECT 'it''s'"), "SELECT 'it''s'");
    }
}
