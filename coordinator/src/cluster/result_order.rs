//! The order of a distributed result, which the coordinator makes while it reads the result.
//!
//! Workers sort the partitions of an ordered result; merging them would be a stage of its own, with
//! one task that reads all rows and writes them once more. The coordinator reads them in any case.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::sorts::streaming_merge::StreamingMergeBuilder;

/// How the sorted partitions of a result become one.
#[derive(Debug)]
pub(super) struct ResultOrder {
    order: LexOrdering,
    /// Rows that are wanted, if not all.
    limit: Option<usize>,
    schema: SchemaRef,
}

impl ResultOrder {
    /// The part of a plan that is for the workers, and what is left to do with its partitions.
    pub(super) fn split(plan: Arc<dyn ExecutionPlan>) -> (Arc<dyn ExecutionPlan>, Option<Self>) {
        let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() else {
            return (plan, None);
        };
        let order = Self {
            order: merge.expr().clone(),
            limit: merge.fetch(),
            schema: merge.schema(),
        };
        (Arc::clone(merge.input()), Some(order))
    }

    /// One stream of the rows of several sorted ones, of which there is at least one.
    ///
    /// # Errors
    /// When the order cannot be made.
    pub(super) fn merge(
        &self,
        partitions: Vec<SendableRecordBatchStream>,
        state: &SessionState,
    ) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("order of a distributed result")
            .register(&state.runtime_env().memory_pool);
        StreamingMergeBuilder::new()
            .with_streams(partitions)
            .with_schema(Arc::clone(&self.schema))
            .with_expressions(&self.order)
            .with_metrics(BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), 0))
            .with_batch_size(state.config().batch_size())
            .with_fetch(self.limit)
            .with_reservation(memory)
            .build()
    }
}

impl std::fmt::Display for ResultOrder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "merge of sorted partitions: {}", self.order)?;
        match self.limit {
            Some(limit) => write!(formatter, ", fetch={limit}"),
            None => Ok(()),
        }
    }
}
