//! A [`SqlService`] over DataFusion and tables in memory, with switches that tests need.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, stream};
use iceberg::TableIdent;
use ingot_catalog::{Catalog, CatalogError, Storage, StorageConfig, Table, TableCommit};
use uuid::Uuid;

use crate::error::{CoordinatorError, Result};
use crate::service::{
    ProgressSnapshot, QueryState, SessionId, SqlService, StatementDescription, StatementOutcome,
};

/// `SELECT` of this text yields batches of [`FOREVER_ROWS`] rows until it is cancelled.
pub(super) const FOREVER: &str = "select forever";
const FOREVER_ROWS: usize = 1 << 16;

/// A statement without rows that waits until it is cancelled.
pub(super) const WAIT: &str = "wait";

#[derive(Default)]
pub(super) struct Observed {
    /// Statements executed, in order.
    pub(super) executed: Mutex<Vec<String>>,
    /// Queries cancelled, in order.
    pub(super) cancelled: Mutex<Vec<Uuid>>,
    /// Sessions closed.
    pub(super) closed: Mutex<Vec<SessionId>>,
    /// Batches that the endless query has produced.
    pub(super) batches: AtomicUsize,
}

pub(super) struct FakeService {
    base: SessionContext,
    sessions: Mutex<HashMap<SessionId, SessionContext>>,
    running: Mutex<HashMap<Uuid, tokio::sync::watch::Sender<bool>>>,
    transactions: Mutex<HashMap<SessionId, Uuid>>,
    pub(super) observed: Arc<Observed>,
}

impl FakeService {
    pub(super) async fn new() -> Arc<Self> {
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_target_partitions(2);
        let base = SessionContext::new_with_config(config);
        base.sql("create table people (id bigint not null, name varchar, big bigint unsigned)")
            .await
            .unwrap();
        base.sql("insert into people values (1, 'Ada', 9223372036854775807), (2, null, 0)")
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        base.sql("create schema other").await.unwrap();
        base.sql("create table other.t as select 42 as answer")
            .await
            .unwrap();
        Arc::new(Self {
            base,
            sessions: Mutex::default(),
            running: Mutex::default(),
            transactions: Mutex::default(),
            observed: Arc::default(),
        })
    }

    pub(super) fn open_sessions(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }

    fn context(&self, session: &SessionId) -> Result<SessionContext> {
        let sessions = self.sessions.lock().unwrap();
        sessions
            .get(session)
            .cloned()
            .ok_or_else(|| CoordinatorError::NotFound(format!("session {session} is unknown")))
    }

    async fn plan(&self, session: &SessionId, sql: &str) -> Result<LogicalPlan> {
        let context = self.context(session)?;
        Ok(context.state().create_logical_plan(sql).await?)
    }

    fn begin(&self, query_id: Uuid) -> tokio::sync::watch::Receiver<bool> {
        let (sender, receiver) = tokio::sync::watch::channel(false);
        self.running.lock().unwrap().insert(query_id, sender);
        receiver
    }

    fn endless(&self, query_id: Uuid) -> SendableRecordBatchStream {
        let stop = self.begin(query_id);
        let observed = Arc::clone(&self.observed);
        let schema = forever_schema();
        let batch_schema = Arc::clone(&schema);
        let batches = stream::unfold(stop, move |mut stop| {
            let observed = Arc::clone(&observed);
            let schema = Arc::clone(&batch_schema);
            async move {
                if *stop.borrow_and_update() {
                    return None;
                }
                // Wide enough that a few batches fill every buffer between server and client.
                tokio::time::sleep(Duration::from_millis(1)).await;
                let number = observed.batches.fetch_add(1, Ordering::SeqCst);
                let column = Int64Array::from(vec![number as i64; FOREVER_ROWS]);
                let batch = RecordBatch::try_new(schema, vec![Arc::new(column)]).unwrap();
                Some((Ok(batch), stop))
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

fn forever_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn returns_rows(plan: &LogicalPlan) -> bool {
    !matches!(
        plan,
        LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Statement(_)
    )
}

#[async_trait]
impl SqlService for FakeService {
    async fn open_session(&self, user: &str) -> Result<SessionId> {
        let id = SessionId::random();
        // Sessions share tables and nothing else.
        let context = SessionContext::new_with_state(
            datafusion::execution::SessionStateBuilder::new_from_existing(self.base.state())
                .with_session_id(id.to_string())
                .build(),
        );
        let users = RecordBatch::try_from_iter([(
            "user_name",
            Arc::new(StringArray::from(vec![user])) as arrow::array::ArrayRef,
        )])?;
        let _ = context.deregister_table(format!("who_{user}"));
        context.register_batch(format!("who_{user}"), users)?;
        self.sessions.lock().unwrap().insert(id, context);
        Ok(id)
    }

    async fn close_session(&self, session: &SessionId) -> Result<()> {
        self.sessions.lock().unwrap().remove(session);
        self.observed.closed.lock().unwrap().push(*session);
        Ok(())
    }

    async fn current_schema(&self, session: &SessionId) -> Result<(String, String)> {
        let state = self.context(session)?.state();
        let catalog = &state.config_options().catalog;
        Ok((
            catalog.default_catalog.clone(),
            catalog.default_schema.clone(),
        ))
    }

    async fn describe(&self, session: &SessionId, sql: &str) -> Result<StatementDescription> {
        if sql == FOREVER || sql == WAIT {
            return Ok(StatementDescription {
                result_schema: forever_schema(),
                parameter_schema: Arc::new(Schema::empty()),
                returns_rows: sql == FOREVER,
            });
        }
        let plan = self.plan(session, sql).await?;
        let types: BTreeMap<String, Option<DataType>> =
            plan.get_parameter_types()?.into_iter().collect();
        let parameters: Vec<Field> = types
            .into_iter()
            .map(|(name, data_type)| Field::new(name, data_type.unwrap_or(DataType::Null), true))
            .collect();
        Ok(StatementDescription {
            result_schema: Arc::clone(plan.schema().inner()),
            parameter_schema: Arc::new(Schema::new(parameters)),
            returns_rows: returns_rows(&plan),
        })
    }

    async fn execute(
        &self,
        session: &SessionId,
        sql: &str,
        parameters: Option<RecordBatch>,
        query_id: Uuid,
    ) -> Result<StatementOutcome> {
        self.observed.executed.lock().unwrap().push(sql.to_string());
        if sql == FOREVER {
            return Ok(StatementOutcome::Rows {
                schema: forever_schema(),
                stream: self.endless(query_id),
            });
        }
        if sql == WAIT {
            let mut stop = self.begin(query_id);
            let _ = stop.wait_for(|stopped| *stopped).await;
            return Err(CoordinatorError::Cancelled { query_id });
        }
        let context = self.context(session)?;
        if ["START TRANSACTION", "COMMIT", "ROLLBACK"].contains(&sql) {
            let mut transactions = self.transactions.lock().unwrap();
            match sql {
                "START TRANSACTION" => drop(transactions.insert(*session, Uuid::new_v4())),
                _ => drop(transactions.remove(session)),
            }
            return Ok(StatementOutcome::Done {
                message: "it is done".to_string(),
            });
        }
        if let Some(name) = sql.strip_prefix("USE ") {
            let (catalog, schema) = name.split_once('.').unwrap();
            for (option, value) in [("catalog", catalog), ("schema", schema)] {
                let value = value.trim_matches('"');
                let set = format!("set datafusion.catalog.default_{option} = '{value}'");
                context.sql(&set).await?.collect().await?;
            }
            return Ok(StatementOutcome::Done {
                message: "used".to_string(),
            });
        }
        let mut plan = self.plan(session, sql).await?;
        if let Some(row) = parameters {
            assert_eq!(row.num_rows(), 1, "one row per execution");
            let values = row
                .columns()
                .iter()
                .map(|column| ScalarValue::try_from_array(column, 0))
                .collect::<Result<Vec<_>, _>>()?;
            plan = plan.with_param_values(ParamValues::from(values))?;
        }
        let rows = returns_rows(&plan);
        let is_dml = matches!(plan, LogicalPlan::Dml(_));
        let frame = context.execute_logical_plan(plan).await?;
        if rows {
            let stream = frame.execute_stream().await?;
            return Ok(StatementOutcome::Rows {
                schema: stream.schema(),
                stream,
            });
        }
        let batches = frame.collect().await?;
        if is_dml {
            let count = batches[0].column(0).as_primitive::<UInt64Type>().value(0);
            return Ok(StatementOutcome::UpdateCount(count as i64));
        }
        Ok(StatementOutcome::Done {
            message: "it is done".to_string(),
        })
    }

    async fn cancel(&self, query_id: Uuid) -> Result<bool> {
        self.observed.cancelled.lock().unwrap().push(query_id);
        match self.running.lock().unwrap().remove(&query_id) {
            Some(sender) => Ok(sender.send(true).is_ok()),
            None => Ok(false),
        }
    }

    async fn progress(&self, query_id: Uuid) -> Option<ProgressSnapshot> {
        self.running.lock().unwrap().get(&query_id)?;
        Some(ProgressSnapshot {
            state: QueryState::Running,
            rows: 7,
            bytes: 8,
            stages_done: 0,
            stages_total: 1,
            tasks_done: 0,
            tasks_total: 2,
            elapsed_millis: 3,
        })
    }

    async fn catalogs(&self, _: &SessionId) -> Result<Vec<Arc<dyn Catalog>>> {
        Ok(vec![Arc::new(FakeCatalog {
            storage: Storage::new(StorageConfig::default()),
        })])
    }

    async fn transaction(&self, session: &SessionId) -> Result<Option<Uuid>> {
        Ok(self.transactions.lock().unwrap().get(session).copied())
    }

    async fn table_schema(&self, _: &Arc<dyn Catalog>, _: &str, table: &str) -> Result<SchemaRef> {
        if table == "dropped" {
            return Err(CoordinatorError::NotFound("it was dropped".to_string()));
        }
        Ok(Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8View, true),
        ])))
    }
}

/// Lists names and can do nothing else.
#[derive(Debug)]
struct FakeCatalog {
    storage: Arc<Storage>,
}

fn refused<T>() -> ingot_catalog::Result<T> {
    Err(CatalogError::Unsupported(
        "changing this catalog".to_string(),
    ))
}

#[async_trait]
impl Catalog for FakeCatalog {
    fn name(&self) -> &str {
        "iceberg"
    }

    fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    async fn list_schemas(&self) -> ingot_catalog::Result<Vec<String>> {
        Ok(vec!["bronze".to_string(), "gold".to_string()])
    }

    async fn load_schema(&self, _: &str) -> ingot_catalog::Result<HashMap<String, String>> {
        Ok(HashMap::new())
    }

    async fn create_schema(
        &self,
        _: &str,
        _: HashMap<String, String>,
    ) -> ingot_catalog::Result<()> {
        refused()
    }

    async fn drop_schema(&self, _: &str) -> ingot_catalog::Result<()> {
        refused()
    }

    async fn list_tables(&self, schema: &str) -> ingot_catalog::Result<Vec<String>> {
        Ok(match schema {
            "gold" => vec!["daily".to_string(), "dropped".to_string()],
            _ => vec!["raw_a".to_string(), "raw_b".to_string()],
        })
    }

    async fn load_table(&self, _: &TableIdent) -> ingot_catalog::Result<Table> {
        refused()
    }

    async fn new_table_location(&self, _: &TableIdent) -> ingot_catalog::Result<String> {
        refused()
    }

    async fn commit(&self, _: Vec<TableCommit>) -> ingot_catalog::Result<Vec<Table>> {
        refused()
    }

    async fn drop_table(&self, _: &TableIdent) -> ingot_catalog::Result<Table> {
        refused()
    }

    async fn rename_table(&self, _: &TableIdent, _: &TableIdent) -> ingot_catalog::Result<()> {
        refused()
    }
}

/// Waits until a condition holds; the failure of a test is its timeout.
pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

/// All batches of a stream.
pub(super) async fn collect<S, E>(mut stream: S) -> Vec<RecordBatch>
where
    S: futures::Stream<Item = Result<RecordBatch, E>> + Unpin,
    E: std::fmt::Display,
{
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        match batch {
            Ok(batch) => batches.push(batch),
            Err(error) => panic!("{error}"),
        }
    }
    batches
}
