//! Pipelines for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use ingot_catalog::database::Database;
use parking_lot::Mutex;

use crate::definition::{JobDefinition, Pipeline, RetryPolicy};
use crate::error::StatementError;
use crate::statement_runner::{RunContext, StatementReport, StatementRunner};
use crate::store::JobStore;

pub(crate) fn job(name: &str, sql: &str) -> JobDefinition {
    JobDefinition {
        name: name.to_string(),
        description: String::new(),
        file: format!("{name}.sql"),
        first_line: 1,
        sql: sql.to_string(),
        depends_on: vec![],
        checks: vec![],
        retry: RetryPolicy {
            attempts: 1,
            delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(2),
        },
        timeout: None,
        tags: vec![],
    }
}

pub(crate) fn pipeline(jobs: Vec<JobDefinition>) -> Pipeline {
    Pipeline {
        name: "shop".to_string(),
        description: String::new(),
        schedule: None,
        catalog: "iceberg".to_string(),
        schema: None,
        variables: BTreeMap::new(),
        setup: vec![],
        max_concurrent_jobs: 2,
        retry: RetryPolicy::default(),
        jobs,
    }
}

/// A store in a database of its own, and the folder that keeps it.
pub(crate) async fn store() -> (tempfile::TempDir, JobStore) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let database = Database::connect_sqlite(&path).await.unwrap();
    let store = JobStore::open(database).await.unwrap();
    (folder, store)
}

/// One count in one row, as the queries of checks return them.
pub(crate) fn counts(values: &[i64]) -> Vec<RecordBatch> {
    let columns = values.iter().enumerate().map(|(index, value)| {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![*value]));
        (format!("c{index}"), column)
    });
    vec![RecordBatch::try_from_iter(columns).unwrap()]
}

/// What a fake statement or query does.
pub(crate) type Answer<T> = Box<dyn FnMut(&RunContext) -> Result<T, StatementError> + Send>;

/// Executes nothing, answers by the first text that a statement contains, and remembers
/// what it was asked. Statements without answer succeed, queries without answer count 0.
#[derive(Default)]
pub(crate) struct FakeStatements {
    pub executed: Mutex<Vec<String>>,
    pub queried: Mutex<Vec<String>>,
    pub statements: Mutex<Vec<(String, Answer<StatementReport>)>>,
    pub queries: Mutex<Vec<(String, Answer<Vec<RecordBatch>>)>>,
    /// Statements that contain one of these wait for their end to be cancelled.
    pub hanging: Mutex<Vec<String>>,
    /// How many statements run at this moment, and the most there were.
    pub concurrency: Mutex<(usize, usize)>,
}

impl FakeStatements {
    pub(crate) fn on(
        &self,
        text: &str,
        answer: impl FnMut(&RunContext) -> Result<StatementReport, StatementError> + Send + 'static,
    ) {
        let mut statements = self.statements.lock();
        statements.push((text.to_string(), Box::new(answer)));
    }

    pub(crate) fn on_query(
        &self,
        text: &str,
        answer: impl FnMut(&RunContext) -> Result<Vec<RecordBatch>, StatementError> + Send + 'static,
    ) {
        let mut queries = self.queries.lock();
        queries.push((text.to_string(), Box::new(answer)));
    }
}

pub(crate) fn failure(message: &str, retryable: bool) -> StatementError {
    StatementError {
        message: message.to_string(),
        retryable,
        cancelled: false,
    }
}

#[async_trait]
impl StatementRunner for FakeStatements {
    async fn execute(
        &self,
        sql: &str,
        context: &RunContext,
    ) -> Result<StatementReport, StatementError> {
        self.executed.lock().push(sql.to_string());
        let hangs = self.hanging.lock().iter().any(|text| sql.contains(text));
        if hangs {
            context.cancel.cancelled().await;
            return Err(StatementError {
                message: "stopped".to_string(),
                retryable: false,
                cancelled: true,
            });
        }
        {
            let mut concurrency = self.concurrency.lock();
            concurrency.0 += 1;
            concurrency.1 = concurrency.1.max(concurrency.0);
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.concurrency.lock().0 -= 1;
        let mut statements = self.statements.lock();
        match statements
            .iter_mut()
            .find(|(text, _)| sql.contains(text.as_str()))
        {
            Some((_, answer)) => answer(context),
            None => Ok(StatementReport {
                rows_read: Some(2),
                rows_written: 10,
                files_written: 1,
                bytes_written: 100,
                snapshot_id: Some(7),
            }),
        }
    }

    async fn query(
        &self,
        sql: &str,
        context: &RunContext,
    ) -> Result<Vec<RecordBatch>, StatementError> {
        self.queried.lock().push(sql.to_string());
        let mut queries = self.queries.lock();
        match queries
            .iter_mut()
            .find(|(text, _)| sql.contains(text.as_str()))
        {
            Some((_, answer)) => answer(context),
            None => Ok(counts(&[0; 10])),
        }
    }
}
