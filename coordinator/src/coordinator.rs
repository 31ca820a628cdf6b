//! The coordinator: statements of sessions, behind the [`SqlService`] seam.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::datasource::TableProvider;
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::{Catalog, CatalogError};
use ingot_engine::schema::query_schema_of;
use ingot_sql::Statement;
use uuid::Uuid;

use crate::core::Core;
use crate::error::{CoordinatorError, Result};
use crate::queries::RunningQuery;
use crate::service::{
    ProgressSnapshot, QueryState, SessionId, SqlService, StatementDescription, StatementOutcome,
};
use crate::sessions::Session;
use crate::statement::{self, StatementContext, WatchedStream, ended_by};
use crate::statement_catalogs::StatementCatalogs;
use crate::transactions::{OpenTransaction, StatementInTransaction};

/// Executes SQL. Cheap to clone: clones share everything.
#[derive(Debug, Clone)]
pub struct Coordinator {
    core: Arc<Core>,
}

impl Coordinator {
    /// A coordinator over these parts.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// The parts.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// `entered` becomes the statement's place in the session's transaction, for the caller to
    /// leave once it knows the outcome.
    async fn describe_in(
        &self,
        session: &Session,
        sql: &str,
        entered: &mut Option<StatementInTransaction>,
    ) -> Result<StatementDescription> {
        let statement = ingot_sql::parse_statement(sql)?;
        // What ends a transaction that has failed, or leaves a branch that was dropped.
        if matches!(
            statement,
            Statement::Commit | Statement::Rollback | Statement::UseBranch { .. }
        ) {
            return Ok(statement::no_rows());
        }
        if let Some(open) = &session.transaction {
            *entered = Some(open.enter().await?);
        }
        let catalogs = StatementCatalogs::of(&self.core, session).await?;
        let state = self.core.session_state(session, &catalogs);
        statement::describe(&catalogs, &state, session, &statement).await
    }

    /// `entered` as in [`Coordinator::describe_in`].
    async fn execute_watched(
        &self,
        session_id: &SessionId,
        session: Arc<Session>,
        sql: &str,
        parameters: Option<RecordBatch>,
        query: Arc<RunningQuery>,
        entered: &mut Option<StatementInTransaction>,
    ) -> Result<StatementOutcome> {
        let statement = ingot_sql::parse_statement(sql)?;
        let ends_transaction = matches!(statement, Statement::Commit | Statement::Rollback);
        // The transaction does not end before its statements have ended, or return rows.
        if let Some(open) = &session.transaction
            && !ends_transaction
        {
            *entered = Some(open.enter().await?);
        }
        let catalogs = StatementCatalogs::of(&self.core, &session).await;
        let catalogs = match catalogs {
            // A session whose branch was dropped can still choose another one.
            Err(_) if matches!(statement, Statement::UseBranch { .. }) => {
                let mut on_main = session.as_ref().clone();
                on_main.branches.clear();
                StatementCatalogs::of(&self.core, &on_main).await?
            }
            bound => bound?,
        };
        let context = StatementContext {
            state: self.core.session_state(&session, &catalogs),
            catalogs,
            core: self.core.clone(),
            session_id: *session_id,
            session,
            query: query.clone(),
            parameters,
        };
        let cancelled = query.cancel.clone();
        tokio::select! {
            outcome = statement::execute(context, statement) => outcome,
            // Dropping the statement's future ends its work wherever it is.
            () = cancelled.cancelled() => Err(CoordinatorError::Cancelled { query_id: query.id() }),
        }
    }
}

/// Rolls back the transaction of a session that has ended, once its statements have.
fn end_transaction_of(session: &Session) {
    if let Some(open) = session.transaction.clone() {
        tokio::spawn(async move { open.roll_back().await });
    }
}

/// Ends a statement in the query log when its client stops waiting for it.
struct EndOnDrop {
    core: Arc<Core>,
    query: Arc<RunningQuery>,
    transaction: Option<Arc<OpenTransaction>>,
    /// Left after the transaction knows that the statement failed, as fields are dropped after
    /// their struct: a `COMMIT` that waits would otherwise publish what the others did.
    entered: Option<StatementInTransaction>,
    is_armed: bool,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if self.is_armed {
            self.query.cancel.cancel();
            if let Some(open) = &self.transaction {
                open.fail("a statement was cancelled");
            }
            self.core
                .queries
                .end(self.query.id(), QueryState::Cancelled, None);
        }
    }
}

#[async_trait]
impl SqlService for Coordinator {
    async fn open_session(&self, user: &str) -> Result<SessionId> {
        let (opened, expired) = self.core.sessions.open(user);
        for session in expired {
            end_transaction_of(&session);
        }
        Ok(opened)
    }

    async fn close_session(&self, session: &SessionId) -> Result<()> {
        if let Some(closed) = self.core.sessions.close(session) {
            end_transaction_of(&closed);
        }
        Ok(())
    }

    async fn current_schema(&self, session: &SessionId) -> Result<(String, String)> {
        let session = self.core.sessions.get(session)?;
        Ok((session.catalog.clone(), session.schema.clone()))
    }

    async fn describe(&self, session: &SessionId, sql: &str) -> Result<StatementDescription> {
        let session = self.core.sessions.get(session)?;
        let mut entered = None;
        let described = self.describe_in(&session, sql, &mut entered).await;
        if let (Err(error), Some(open)) = (&described, &session.transaction) {
            open.fail(&error.to_string());
        }
        described
    }

    async fn execute(
        &self,
        session: &SessionId,
        sql: &str,
        parameters: Option<RecordBatch>,
        query_id: Uuid,
    ) -> Result<StatementOutcome> {
        let session_id = session;
        let session = self.core.sessions.get(session_id)?;
        let (user, transaction) = (session.user.clone(), session.transaction.clone());
        let query = self.core.queries.begin(query_id, &user, sql);
        let mut guard = EndOnDrop {
            core: self.core.clone(),
            query: query.clone(),
            transaction: transaction.clone(),
            entered: None,
            is_armed: true,
        };
        let entered = &mut guard.entered;
        let outcome = self
            .execute_watched(session_id, session, sql, parameters, query.clone(), entered)
            .await;
        guard.is_armed = false;
        match outcome {
            Ok(StatementOutcome::Rows { schema, stream }) => {
                let watched = WatchedStream::new(stream, self.core.clone(), query, transaction);
                Ok(StatementOutcome::Rows {
                    schema,
                    stream: Box::pin(watched),
                })
            }
            Ok(outcome) => {
                self.core.queries.end(query_id, QueryState::Finished, None);
                Ok(outcome)
            }
            Err(error) => {
                let (state, message) = ended_by(&query, error.to_string());
                tracing::debug!(%query_id, %user, error = %message, "statement failed");
                if let Some(open) = &transaction {
                    open.fail(&message);
                }
                self.core.queries.end(query_id, state, Some(message));
                Err(error)
            }
        }
    }

    async fn cancel(&self, query_id: Uuid) -> Result<bool> {
        match self.core.queries.running(query_id) {
            Some(query) => {
                query.cancel.cancel();
                Ok(true)
            }
            None => Ok(false),
        }
    }

    async fn progress(&self, query_id: Uuid) -> Option<ProgressSnapshot> {
        let query = self.core.queries.running(query_id);
        let record = match &query {
            Some(query) => query.snapshot(),
            None => self.core.queries.ended(query_id)?,
        };
        let counts = query
            .map(|query| query.progress.counts())
            .unwrap_or_default();
        Some(ProgressSnapshot {
            state: record.state,
            rows: counts.rows,
            bytes: counts.bytes,
            stages_done: counts.stages_done,
            stages_total: counts.stages_total,
            tasks_done: counts.tasks_done,
            tasks_total: counts.tasks_total,
            elapsed_millis: record.elapsed.as_millis() as u64,
        })
    }

    async fn action(&self, user: &str, action: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.core.jobs()?.act(user, action, body).await
    }

    async fn catalogs(&self, session: &SessionId) -> Result<Vec<Arc<dyn Catalog>>> {
        let session = self.core.sessions.get(session)?;
        let catalogs = StatementCatalogs::of(&self.core, &session).await?;
        Ok(catalogs.all().to_vec())
    }

    async fn transaction(&self, session: &SessionId) -> Result<Option<Uuid>> {
        let session = self.core.sessions.get(session)?;
        Ok(session.transaction.as_ref().map(|open| open.id()))
    }

    async fn table_schema(
        &self,
        catalog: &Arc<dyn Catalog>,
        schema: &str,
        table: &str,
    ) -> Result<SchemaRef> {
        let ident = TableIdent::new(NamespaceIdent::new(schema.to_owned()), table.to_owned());
        let table = match catalog.load_table(&ident).await {
            Err(CatalogError::IsView { .. }) => {
                let view = catalog.load_view(&ident).await?;
                return Ok(query_schema_of(&view.definition()?.schema)?);
            }
            loaded => loaded?,
        };
        let provider = self.core.table_provider(Arc::clone(catalog), table)?;
        Ok(provider.schema())
    }
}
