//! Runs logical plans: chooses the place, executes, and hands the rows on.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use ingot_engine::results::plain_text_schema;
use ingot_engine::text_views::with_text_views;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::progress::QueryProgress;
use super::results::{BatchSender, result_stream};
use super::scheduler::Cluster;
use super::{THREAD_STACK_BYTES, distributed, explain, local, placement};
use crate::error::{CoordinatorError, Result};

/// Where a query should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// In the coordinator if it reads little, else on the workers if there are any.
    #[default]
    Auto,
    /// In the coordinator.
    Local,
    /// On the workers. What only the coordinator knows (`information_schema`, system tables,
    /// rows written in the statement) is read in the coordinator nevertheless.
    Distributed,
}

/// Where a query runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedPlacement {
    /// In the coordinator.
    Local,
    /// On the workers.
    Distributed,
}

impl UsedPlacement {
    /// `local` or `distributed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Distributed => "distributed",
        }
    }
}

/// What belongs to one execution.
#[derive(Debug, Clone)]
pub struct ExecuteOptions {
    /// Where to run it.
    pub placement: Placement,
    /// The statement's id; the name of its job on the workers.
    pub query_id: Uuid,
    /// Ends the query, wherever it is.
    pub cancel: CancellationToken,
    /// Told how far the query is.
    pub progress: Arc<QueryProgress>,
}

impl ExecuteOptions {
    /// A query with a new id that may run anywhere and that nobody watches.
    pub fn new() -> Self {
        Self {
            placement: Placement::Auto,
            query_id: Uuid::now_v7(),
            cancel: CancellationToken::new(),
            progress: Arc::new(QueryProgress::default()),
        }
    }
}

impl Default for ExecuteOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A query that has begun.
pub struct ExecutedQuery {
    /// Schema of every batch, as it will be produced, nullability included.
    pub schema: SchemaRef,
    /// The rows, in order if the query has one. Dropping it ends the query. A query that fails
    /// yields a [`CoordinatorError`] in `DataFusionError::External`.
    pub stream: SendableRecordBatchStream,
    /// Where it began. [`QueryProgress::placement`] tells when it had to move to the workers.
    pub placement: UsedPlacement,
}

impl std::fmt::Debug for ExecutedQuery {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ExecutedQuery")
            .field("schema", &self.schema)
            .field("placement", &self.placement)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`QueryEngine`].
#[derive(Debug, Clone)]
pub struct QueryEngineOptions {
    /// Queries that read at most so many bytes (compressed, after pruning and projection) run in
    /// the coordinator.
    pub local_scan_bytes: u64,
    /// Queries that the coordinator runs at the same time; others wait.
    pub local_queries: usize,
    /// Threads of local queries; 0 is one for each core.
    pub local_threads: usize,
}

impl Default for QueryEngineOptions {
    fn default() -> Self {
        Self {
            local_scan_bytes: 64 << 20,
            local_queries: 16,
            local_threads: 0,
        }
    }
}

/// Runs queries here or on the workers. Clones share everything.
#[derive(Clone)]
pub struct QueryEngine {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) options: QueryEngineOptions,
    pub(super) local_slots: Semaphore,
    /// Queries run on threads of their own, so that network services never wait for them.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for QueryEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("QueryEngine")
            .field("cluster", &self.inner.cluster)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

/// What a query is made of once it is planned.
pub(super) struct PlannedQuery {
    pub(super) state: SessionState,
    pub(super) logical: LogicalPlan,
    /// The plan for this process.
    pub(super) physical: Arc<dyn ExecutionPlan>,
    pub(super) placement: UsedPlacement,
    /// Whether a local execution that runs out of memory may move to the workers.
    pub(super) may_move: bool,
}

impl QueryEngine {
    /// An engine over `cluster`, or one that runs everything here.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(cluster: Option<Arc<Cluster>>, options: QueryEngineOptions) -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .thread_name("ingot-query")
            .thread_stack_size(THREAD_STACK_BYTES)
            .enable_all();
        if options.local_threads > 0 {
            builder.worker_threads(options.local_threads);
        }
        let runtime = builder.build().map_err(|source| CoordinatorError::Io {
            action: "start the threads of local queries".to_string(),
            source,
        })?;
        let local_slots = Semaphore::new(options.local_queries.max(1));
        Ok(Self {
            inner: Arc::new(Inner {
                cluster,
                options,
                local_slots,
                runtime: Some(runtime),
            }),
        })
    }

    /// The cluster, if there is one.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.inner.cluster.as_ref()
    }

    /// Plans and begins a query. It goes on while its stream is read, and ends when the stream is
    /// dropped or its token fires.
    ///
    /// # Errors
    /// When it cannot be planned, or is to run on workers and there are none. What fails later
    /// comes out of the stream.
    pub async fn run(
        &self,
        state: &SessionState,
        plan: LogicalPlan,
        options: ExecuteOptions,
    ) -> Result<ExecutedQuery> {
        let planned = self.plan(state, plan, &options).await?;
        let schema = plain_text_schema(&planned.physical.schema());
        let placement = planned.placement;
        options.progress.set_placement(placement);
        let inner = Arc::clone(&self.inner);
        let cancel = options.cancel.clone();
        let query_id = options.query_id;
        let runtime = self.runtime()?;
        let stream = result_stream(
            runtime.handle(),
            Arc::clone(&schema),
            query_id,
            cancel,
            move |sender| produce(inner, planned, options, sender).boxed(),
        );
        Ok(ExecutedQuery {
            schema,
            stream,
            placement,
        })
    }

    /// How a query would be executed, as text: its stages on the workers or its plan here. With
    /// `analyze` it is executed, its rows are thrown away, and the text has the rows, bytes and
    /// times of every operator.
    ///
    /// # Errors
    /// As [`QueryEngine::run`], and with `analyze` when the execution fails.
    pub async fn explain(
        &self,
        state: &SessionState,
        plan: LogicalPlan,
        options: ExecuteOptions,
        analyze: bool,
    ) -> Result<String> {
        let planned = self.plan(state, plan, &options).await?;
        options.progress.set_placement(planned.placement);
        let inner = Arc::clone(&self.inner);
        let cancel = options.cancel.clone();
        let query_id = options.query_id;
        let work = async move {
            if analyze {
                explain::explain_analyze(&inner, planned, &options).await
            } else {
                explain::explain(&inner, &planned, &options).await
            }
        };
        self.on_query_threads(query_id, &cancel, work).await
    }

    async fn plan(
        &self,
        state: &SessionState,
        logical: LogicalPlan,
        options: &ExecuteOptions,
    ) -> Result<PlannedQuery> {
        let state = state.clone();
        let inner = Arc::clone(&self.inner);
        let wanted = options.placement;
        let work = async move {
            let physical = plan_for_this_process(&state, &logical).await?;
            let slots = match &inner.cluster {
                Some(cluster) => cluster.total_slots().await,
                None => 0,
            };
            let placement = placement::choose(
                &physical,
                wanted,
                slots,
                inner.options.local_scan_bytes,
                inner.cluster.as_deref(),
            )?;
            let may_move =
                wanted == Placement::Auto && slots > 0 && placement::can_be_distributed(&physical);
            Ok(PlannedQuery {
                state,
                logical,
                physical,
                placement,
                may_move,
            })
        };
        self.on_query_threads(options.query_id, &options.cancel, work)
            .await
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.inner
            .runtime
            .as_ref()
            .ok_or_else(|| CoordinatorError::Internal("the query engine has stopped".to_string()))
    }

    /// Runs `work` on the query threads until it is done, cancelled or no longer awaited.
    async fn on_query_threads<T: Send + 'static>(
        &self,
        query_id: Uuid,
        cancel: &CancellationToken,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.runtime()?.spawn(work);
        let _abort_when_dropped = AbortOnDrop(task.abort_handle());
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(CoordinatorError::Cancelled { query_id }),
            finished = task => match finished {
                Ok(result) => result,
                Err(error) => Err(CoordinatorError::Internal(format!(
                    "query {query_id} ended abnormally: {error}"
                ))),
            },
        }
    }
}

/// Plans a query with text as views, which never leave this process.
async fn plan_for_this_process(
    state: &SessionState,
    logical: &LogicalPlan,
) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let viewed = async {
        match with_text_views(logical)? {
            Some(viewed) => state.create_physical_plan(&viewed).await.map(Some),
            None => Ok(None),
        }
    };
    match viewed.await {
        Ok(Some(physical)) => Ok(physical),
        Ok(None) => state.create_physical_plan(logical).await,
        // Usually the query's own fault. Then the message is to be about the query as it was
        // written, and else the query runs with strings.
        Err(error) => {
            let physical = state.create_physical_plan(logical).await?;
            tracing::warn!(%error, "cannot plan a query with views of text, it reads strings");
            Ok(physical)
        }
    }
}

/// Aborts a task when it goes out of scope.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Executes a planned query and sends its batches.
async fn produce(
    inner: Arc<Inner>,
    planned: PlannedQuery,
    options: ExecuteOptions,
    mut sender: BatchSender,
) -> Result<()> {
    match planned.placement {
        UsedPlacement::Local => {
            let outcome = local::run(&inner, &planned, &options, &mut sender).await;
            match outcome {
                Err(error)
                    if planned.may_move
                        && sender.sent_rows() == 0
                        && error.code() == crate::error::ErrorCode::ResourceExhausted =>
                {
                    tracing::info!(
                        query_id = %options.query_id,
                        %error,
                        "the coordinator's memory ran out, the query moves to the workers"
                    );
                    options.progress.set_placement(UsedPlacement::Distributed);
                    distributed::run(&inner, &planned, &options, &mut sender).await
                }
                other => other,
            }
        }
        UsedPlacement::Distributed => {
            distributed::run(&inner, &planned, &options, &mut sender).await
        }
    }
}
