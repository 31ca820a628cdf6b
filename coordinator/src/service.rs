//! The seam between protocols (Flight SQL, HTTP, the local shell) and statement execution.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use ingot_catalog::Catalog;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{CoordinatorError, Result};

/// Names one session: the current catalog and schema, session settings, prepared names.
///
/// It is random and never reused, but it is not a secret: protocols hand out tokens of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub Uuid);

impl SessionId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// What a statement takes and gives, found without executing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementDescription {
    /// Columns of the result as they will be produced, nullability included; no fields when
    /// `returns_rows` is false.
    pub result_schema: SchemaRef,
    /// One field per parameter in order (`$1` or the first `?` first), nullable, with type `Null`
    /// where the type cannot be inferred.
    pub parameter_schema: SchemaRef,
    /// Whether the statement yields rows (`SELECT`, `SHOW`, `EXPLAIN`, …). Statements that do not
    /// are executed as soon as a client asks for their result.
    pub returns_rows: bool,
}

/// What became of an executed statement.
pub enum StatementOutcome {
    /// A result, still to be read. Dropping the stream ends the query.
    Rows {
        /// Schema of every batch of the stream.
        schema: SchemaRef,
        /// The batches.
        stream: SendableRecordBatchStream,
    },
    /// DML: the number of rows written, changed or deleted.
    UpdateCount(i64),
    /// DDL and session statements: one lower-case line for people (`table gold.daily created`).
    Done {
        /// What was done.
        message: String,
    },
}

impl fmt::Debug for StatementOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows { schema, .. } => formatter
                .debug_struct("Rows")
                .field("schema", schema)
                .finish_non_exhaustive(),
            Self::UpdateCount(rows) => formatter.debug_tuple("UpdateCount").field(rows).finish(),
            Self::Done { message } => formatter
                .debug_struct("Done")
                .field("message", message)
                .finish(),
        }
    }
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
    /// The result was read to its end, or the change is committed.
    Finished,
    /// Ended by an error.
    Failed,
    /// Ended by a user.
    Cancelled,
}

/// How far a query is, as seen at one moment. Also the wire form (JSON) of the Flight action
/// `ingot.query_progress`: fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressSnapshot {
    /// Where it is.
    pub state: QueryState,
    /// Rows read from tables so far, summed over all scans.
    pub rows: u64,
    /// Bytes read from storage so far.
    pub bytes: u64,
    /// Stages of the distributed plan that are complete.
    pub stages_done: u32,
    /// Stages of the distributed plan known so far; 0 when it runs in the coordinator.
    pub stages_total: u32,
    /// Tasks that are complete.
    pub tasks_done: u32,
    /// Tasks known so far.
    pub tasks_total: u32,
    /// Milliseconds since the statement was received.
    pub elapsed_millis: u64,
}

/// Everything that a protocol needs to serve SQL.
#[async_trait]
pub trait SqlService: Send + Sync + 'static {
    /// Opens a session with the default catalog and schema on behalf of `user`.
    async fn open_session(&self, user: &str) -> Result<SessionId>;

    /// Forgets a session, cancels what it runs and rolls back its transaction. Not an error if it is
    /// gone already.
    async fn close_session(&self, session: &SessionId) -> Result<()>;

    /// The catalog and the schema of names that give none.
    async fn current_schema(&self, session: &SessionId) -> Result<(String, String)>;

    /// Plans one statement without executing it.
    async fn describe(&self, session: &SessionId, sql: &str) -> Result<StatementDescription>;

    /// Executes one statement. `parameters` holds one row with one column per parameter, in the
    /// types of [`StatementDescription::parameter_schema`] where that names them. `query_id` is
    /// chosen by the caller, so that it can ask for progress and cancel before this returns.
    /// Dropping the returned future ends the statement as [`SqlService::cancel`] does.
    async fn execute(
        &self,
        session: &SessionId,
        sql: &str,
        parameters: Option<RecordBatch>,
        query_id: Uuid,
    ) -> Result<StatementOutcome>;

    /// Cancels a query; false when it is unknown or has ended.
    async fn cancel(&self, query_id: Uuid) -> Result<bool>;

    /// How far a query is; `None` when it is unknown.
    async fn progress(&self, query_id: Uuid) -> Option<ProgressSnapshot>;

    /// Answers an action that is not about statements, such as `ingot.jobs.run`. Request and
    /// answer are JSON; their types are beside the names of the actions.
    async fn action(&self, user: &str, action: &str, body: &[u8]) -> Result<Vec<u8>> {
        let _ = (user, body);
        Err(CoordinatorError::Unsupported(format!("action {action}")))
    }

    /// The catalogs that SQL can name, on the session's branches or in its transaction.
    async fn catalogs(&self, session: &SessionId) -> Result<Vec<Arc<dyn Catalog>>>;

    /// The id of the session's transaction, if one is open.
    async fn transaction(&self, session: &SessionId) -> Result<Option<Uuid>>;

    /// Columns of a table of one of the session's catalogs as SQL sees them.
    async fn table_schema(
        &self,
        catalog: &Arc<dyn Catalog>,
        schema: &str,
        table: &str,
    ) -> Result<SchemaRef>;
}
