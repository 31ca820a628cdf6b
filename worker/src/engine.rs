//! Executes tasks, with errors that the coordinator understands.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport,
};
use ballista_executor::execution_engine::{
    DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::prelude::SessionConfig;
use ingot_engine::task_error::encode_task_error;
use tokio::runtime::Handle;

use crate::connections::Connections;

/// Ballista's engine, on threads with enough stack and with errors made ready for the journey.
pub(crate) struct TaskEngine {
    ballista: DefaultExecutionEngine,
    threads: Handle,
}

impl TaskEngine {
    /// An engine that executes on `threads`.
    pub(crate) fn new(threads: Handle) -> Self {
        Self {
            ballista: DefaultExecutionEngine::with_client_pool(Arc::new(Connections::default())),
            threads,
        }
    }
}

impl ExecutionEngine for TaskEngine {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let stage = self
            .ballista
            .create_query_stage_exec(
                job_id,
                stage_id,
                task_id,
                global_output_partition_ids,
                plan,
                work_dir,
                config,
            )
            .map_err(encode_task_error)?;
        Ok(Arc::new(Task {
            stage,
            threads: self.threads.clone(),
        }))
    }
}

struct Task {
    stage: Arc<dyn QueryStageExecutor>,
    threads: Handle,
}

impl Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.stage, formatter)
    }
}

impl Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.stage, formatter)
    }
}

#[async_trait]
impl QueryStageExecutor for Task {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        let stage = Arc::clone(&self.stage);
        let task = self
            .threads
            .spawn(async move { stage.execute_query_stage(task_id, context).await });
        // A task that is cancelled is dropped here, and must stop there.
        let _abort_when_dropped = AbortOnDrop(task.abort_handle());
        match task.await {
            Ok(result) => result.map_err(encode_task_error),
            Err(error) => Err(encode_task_error(DataFusionError::Internal(format!(
                "a task ended abnormally: {error}"
            )))),
        }
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        self.stage.collect_plan_metrics()
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.stage.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.stage.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.stage.collect_column_stats()
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
