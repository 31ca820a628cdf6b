//! Plans as text, with what their execution cost.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use ballista_core::JobId;
use ballista_scheduler::display::format_stage_metrics;
use ballista_scheduler::planner::{DefaultDistributedPlanner, DistributedPlanner};
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::ExecutionStage;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, displayable, execute_stream,
};
use futures::StreamExt;

use super::cluster_session::{Planning, cluster_session};
use super::distributed::{Job, RunError};
use super::execution::{ExecuteOptions, Inner, PlannedQuery, UsedPlacement};
use super::failure::ballista_failure;
use super::placement::{no_workers, scan_bytes};
use super::result_order::ResultOrder;
use crate::error::{CoordinatorError, Result};

/// The plan that would be executed.
pub(super) async fn explain(
    inner: &Inner,
    planned: &PlannedQuery,
    options: &ExecuteOptions,
) -> Result<String> {
    let mut text = header(planned);
    if planned.placement == UsedPlacement::Local {
        let _ = write!(
            text,
            "{}",
            displayable(planned.physical.as_ref()).indent(false)
        );
        return Ok(text);
    }
    let Some(cluster) = &inner.cluster else {
        return Err(no_workers(None));
    };
    let workers = cluster.workers().await;
    let session = cluster_session(&planned.state, &workers, Planning::Fast);
    let plan = session.create_physical_plan(&planned.logical).await?;
    let (plan, order) = ResultOrder::split(plan);
    let job_id = JobId::from(options.query_id.to_string());
    let stages = DefaultDistributedPlanner::new()
        .plan_query_stages(&job_id, plan, session.config_options())
        .map_err(ballista_failure)?;
    if let Some(order) = order {
        let _ = writeln!(text, "{order}");
    }
    for stage in stages {
        let partitions = input_partitions(stage.as_ref());
        let _ = write!(
            text,
            "\nstage {}: {partitions} partition{}\n{}",
            stage.stage_id(),
            if partitions == 1 { "" } else { "s" },
            displayable(stage.as_ref()).indent(false)
        );
    }
    Ok(text)
}

/// Executes the plan and shows what each operator did.
pub(super) async fn explain_analyze(
    inner: &Inner,
    planned: PlannedQuery,
    options: &ExecuteOptions,
) -> Result<String> {
    let started = Instant::now();
    let mut text = header(&planned);
    match planned.placement {
        UsedPlacement::Local => {
            let _slot = inner.local_slots.acquire().await.map_err(|_| {
                CoordinatorError::Internal("the query engine has stopped".to_string())
            })?;
            let plan = Arc::clone(&planned.physical);
            let mut batches = execute_stream(plan, planned.state.task_ctx())?;
            let mut rows: u64 = 0;
            while let Some(batch) = batches.next().await {
                rows += batch?.num_rows() as u64;
            }
            let _ = writeln!(text, "rows: {rows}, time: {:?}", started.elapsed());
            let shown = DisplayableExecutionPlan::with_metrics(planned.physical.as_ref());
            let _ = write!(text, "{}", shown.indent(false));
        }
        UsedPlacement::Distributed => {
            let Some(cluster) = &inner.cluster else {
                return Err(no_workers(None));
            };
            let mut job = Job::submit(cluster, &planned, Planning::Fast, options).await?;
            job.wait(&options.progress)
                .await
                .map_err(|error| match error {
                    RunError::Final(error) => error,
                    RunError::Again(reason) => CoordinatorError::Unavailable(format!(
                        "the workers of the query were lost: {reason}; run it again"
                    )),
                })?;
            job.report(&options.progress).await;
            let graph = job.finished_graph().await.ok_or_else(|| {
                CoordinatorError::Internal("the metrics of the query are gone".to_string())
            })?;
            let _ = writeln!(text, "time: {:?}", started.elapsed());
            write_stages(&mut text, graph.as_ref());
        }
    }
    Ok(text)
}

fn header(planned: &PlannedQuery) -> String {
    format!(
        "placement: {}, reads about {} bytes\n",
        planned.placement.as_str(),
        scan_bytes(&planned.physical)
    )
}

/// Partitions that the tasks of a stage share out.
fn input_partitions(stage: &dyn ExecutionPlan) -> usize {
    stage
        .children()
        .first()
        .map_or(1, |child| child.output_partitioning().partition_count())
}

fn write_stages(text: &mut String, graph: &dyn ExecutionGraph) {
    let mut stages: Vec<(&usize, &ExecutionStage)> = graph.stages().iter().collect();
    stages.sort_by_key(|(stage_id, _)| **stage_id);
    for (stage_id, stage) in stages {
        let ExecutionStage::Successful(stage) = stage else {
            let _ = writeln!(text, "\nstage {stage_id}: not executed");
            continue;
        };
        let begin = stage.task_infos.iter().map(|task| task.start_exec_time);
        let end = stage.task_infos.iter().map(|task| task.end_exec_time);
        let millis = match (begin.min(), end.max()) {
            (Some(begin), Some(end)) => end.saturating_sub(begin),
            _ => 0,
        };
        let _ = write!(
            text,
            "\nstage {stage_id}: {} task{} over {} partition{}, {millis} ms{}\n{}",
            stage.task_infos.len(),
            if stage.task_infos.len() == 1 { "" } else { "s" },
            stage.partitions,
            if stage.partitions == 1 { "" } else { "s" },
            if stage.stage_attempt_num > 0 {
                format!(", attempt {}", stage.stage_attempt_num + 1)
            } else {
                String::new()
            },
            format_stage_metrics(stage.plan.as_ref(), &stage.stage_metrics)
        );
    }
}
