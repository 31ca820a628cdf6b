//! The seam between the shell and whatever executes its statements.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Result;

/// What became of a statement.
pub enum StatementResult {
    /// A result, still to be read. Dropping the stream ends the query.
    Rows {
        /// Schema of every batch.
        schema: SchemaRef,
        /// The batches.
        stream: BoxStream<'static, Result<RecordBatch>>,
    },
    /// Rows written, changed or deleted.
    UpdateCount(i64),
    /// What DDL or a session statement did, as one line.
    Done {
        /// The line.
        message: String,
    },
}

/// Where a query is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryState {
    /// Waits for a free execution slot.
    Queued,
    /// Being parsed, planned and placed.
    Planning,
    /// Being executed, or its result being read.
    Running,
    /// Ended well.
    Finished,
    /// Ended by an error.
    Failed,
    /// Ended by a user.
    Cancelled,
    /// A state of a newer server.
    #[serde(other)]
    Unknown,
}

/// How far a query is. The wire form is JSON; fields that a server does not send are zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where it is.
    pub state: QueryState,
    /// Rows read from tables so far.
    #[serde(default)]
    pub rows: u64,
    /// Bytes read from storage so far.
    #[serde(default)]
    pub bytes: u64,
    /// Stages that are complete.
    #[serde(default)]
    pub stages_done: u32,
    /// Stages known so far; 0 when the query is not distributed.
    #[serde(default)]
    pub stages_total: u32,
    /// Tasks that are complete.
    #[serde(default)]
    pub tasks_done: u32,
    /// Tasks known so far.
    #[serde(default)]
    pub tasks_total: u32,
    /// Milliseconds since the statement was received.
    #[serde(default)]
    pub elapsed_millis: u64,
}

/// Executes statements within one session.
#[async_trait]
pub trait StatementExecutor: Send + Sync {
    /// Where statements go, for people (`http://127.0.0.1:8815`).
    fn target(&self) -> String;

    /// Executes one statement (without its semicolon). The caller chooses the query id.
    async fn execute(&self, sql: &str, query_id: Uuid) -> Result<StatementResult>;

    /// Cancels a query; false when it is unknown or has ended.
    async fn cancel(&self, query_id: Uuid) -> Result<bool>;

    /// How far a query is; `None` when it is unknown or the server does not tell.
    async fn progress(&self, query_id: Uuid) -> Result<Option<Progress>>;

    /// Ends the session; a transaction that is open is rolled back.
    async fn end_session(&self) -> Result<()> {
        Ok(())
    }
}
