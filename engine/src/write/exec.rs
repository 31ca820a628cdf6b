//! The physical operator that writes data files, and how a write is planned.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result as DataFusionResult, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{
    EquivalenceProperties, LexRequirement, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
    ScalarFunctionExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties,
};
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{NullOrder, SortDirection, Transform};
use ingot_catalog::Table;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::align::{Aligner, path_of_field};
use super::properties::{DistributionMode, WriteProperties};
use super::row_delta::{DeltaCollector, ROW_DELTA_COLUMNS, ROW_DELTA_SCHEMA, RowDeltaInput};
use super::target::WriteTarget;
use super::transform_function::partition_transform_function;
use super::writer::TaskWriter;
use super::written::{WRITTEN_FILES_SCHEMA, encode_written_files};
use super::z_order::z_order_function;
use crate::error::{EngineError, Result};

const DEFAULT_MAX_OPEN_FILES: usize = 1_000;
const DEFAULT_MEMORY_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// How one statement writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOptions {
    /// The names of the statement's files begin with it.
    pub statement_id: Uuid,
    /// Most files that one task keeps open at one time; beyond it the largest is closed.
    pub max_open_files: usize,
    /// Memory that one task's open files may hold, in bytes; beyond it the largest is
    /// closed.
    pub memory_limit_bytes: usize,
    /// Set when the input has changes of rows and not just new rows. Then the plan returns
    /// rows of [`super::ROW_DELTA_SCHEMA`].
    pub row_delta: Option<RowDeltaInput>,
}

impl WriteOptions {
    /// The options of a statement, with the default limits.
    pub fn new(statement_id: Uuid) -> Self {
        Self {
            statement_id,
            max_open_files: DEFAULT_MAX_OPEN_FILES,
            memory_limit_bytes: DEFAULT_MEMORY_LIMIT_BYTES,
            row_delta: None,
        }
    }

    /// The same for an input of changes.
    pub fn with_row_delta(mut self, input: RowDeltaInput) -> Self {
        self.row_delta = Some(input);
        self
    }

    /// The part of an input's columns that are the table's; `None` if they are not written.
    fn written_columns(&self, input: &ArrowSchemaRef) -> Option<ArrowSchemaRef> {
        match self.row_delta {
            None => Some(Arc::clone(input)),
            Some(RowDeltaInput::Deletes) => None,
            Some(RowDeltaInput::Changes) => {
                let count = input.fields().len().saturating_sub(ROW_DELTA_COLUMNS.len());
                let fields: Vec<_> = input.fields().iter().take(count).cloned().collect();
                Some(Arc::new(ArrowSchema::new(fields)))
            }
        }
    }
}

/// Plans the writing of a query's rows into new data files of a table, committed or staged.
///
/// The query's columns are the table's, in order. The plan returns rows of
/// [`WRITTEN_FILES_SCHEMA`]; the physical optimizer gives it the exchange and the sort that
/// the table's `write.distribution-mode` and sort order ask for.
///
/// # Errors
/// `InvalidInput` when the query does not fit the table or a `write.*` property is wrong.
pub fn plan_write(
    table: &Table,
    input: Arc<dyn ExecutionPlan>,
    options: &WriteOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let node = IcebergWriteExec::try_new(WriteTarget::of(table), options.clone(), input)?;
    Ok(Arc::new(node))
}

/// Writes each input partition into data files of an Iceberg table and returns one row per
/// file ([`WRITTEN_FILES_SCHEMA`]). It commits nothing. When a partition fails or is
/// dropped, its files are removed.
#[derive(Debug, Clone)]
pub struct IcebergWriteExec {
    target: Arc<WriteTarget>,
    options: WriteOptions,
    input: Arc<dyn ExecutionPlan>,
    distribution: Distribution,
    ordering: Option<OrderingRequirements>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl IcebergWriteExec {
    /// # Errors
    /// As [`plan_write`].
    pub fn try_new(
        target: WriteTarget,
        options: WriteOptions,
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let write_properties = WriteProperties::of(&target)?;
        let written_columns = options.written_columns(&input.schema());
        if let Some(columns) = &written_columns {
            Aligner::new(&target.table_name, &target.schema, columns)?;
        }
        let writes_rows = written_columns.is_some();
        let partition_expressions = match writes_rows {
            true => partition_expressions(&target, &input)?,
            false => Vec::new(),
        };
        let distribution = match write_properties.distribution {
            _ if !writes_rows => Distribution::UnspecifiedDistribution,
            DistributionMode::Hash if is_worth_exchanging(&target, &input) => {
                Distribution::KeyPartitioned(partition_expressions.clone())
            }
            DistributionMode::Hash | DistributionMode::None => {
                Distribution::UnspecifiedDistribution
            }
        };
        let ordering = match writes_rows {
            true => sort_requirement(&target, &input, &partition_expressions)?,
            false => None,
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(emitted_schema(&options)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self {
            target: Arc::new(target),
            options,
            input,
            distribution,
            ordering,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The table that is written to.
    pub fn target(&self) -> &WriteTarget {
        &self.target
    }

    /// How it is written.
    pub fn options(&self) -> &WriteOptions {
        &self.options
    }

    /// The plan whose rows are written.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

/// Whether bringing the rows of each partition together saves files. With a known number of
/// partitions below the number of tasks it costs more than it saves: an exchange, and tasks
/// that get nothing.
fn is_worth_exchanging(target: &WriteTarget, input: &Arc<dyn ExecutionPlan>) -> bool {
    if target.partition_spec.is_unpartitioned() {
        return false;
    }
    let tasks = input.output_partitioning().partition_count();
    let mut partitions: Option<usize> = Some(1);
    for field in target.partition_spec.fields() {
        partitions = match field.transform {
            Transform::Bucket(count) => partitions.and_then(|all| all.checked_mul(count as usize)),
            Transform::Void => partitions,
            _ => None,
        };
    }
    partitions.is_none_or(|partitions| partitions >= tasks)
}

/// The partition values as expressions over the input. Casting to the table's types happens
/// in the writer, so these are over a cast of the column where the types differ.
fn partition_expressions(
    target: &WriteTarget,
    input: &Arc<dyn ExecutionPlan>,
) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    let mut expressions = Vec::new();
    for field in target.partition_spec.fields() {
        if field.transform != Transform::Void {
            expressions.push(field_expression(
                target,
                input,
                field.source_id,
                field.transform,
            )?);
        }
    }
    Ok(expressions)
}

fn field_expression(
    target: &WriteTarget,
    input: &Arc<dyn ExecutionPlan>,
    source_id: i32,
    transform: Transform,
) -> Result<Arc<dyn PhysicalExpr>> {
    let table_schema = crate::schema::query_schema_of(&target.schema)?;
    let path = path_of_field(&target.schema, source_id);
    let Some([column_index]) = path.as_deref() else {
        return Err(EngineError::Unsupported(format!(
            "writing table {} which is partitioned or sorted by field {source_id} inside a struct",
            target.table_name
        )));
    };
    let input_schema = input.schema();
    let input_field = input_schema.field(*column_index);
    let table_type = table_schema.field(*column_index).data_type();
    let column = Column::new(input_field.name(), *column_index);
    let mut expression: Arc<dyn PhysicalExpr> = Arc::new(column);
    if input_field.data_type() != table_type {
        expression = datafusion::physical_expr::expressions::cast(
            expression,
            &input_schema,
            table_type.clone(),
        )?;
    }
    if transform == Transform::Identity {
        return Ok(expression);
    }
    let name: Arc<dyn PhysicalExpr> =
        Arc::new(Literal::new(ScalarValue::Utf8(Some(transform.to_string()))));
    let function = partition_transform_function();
    let arguments = vec![name, expression];
    let call = ScalarFunctionExpr::try_new(
        function,
        arguments,
        &input_schema,
        Arc::new(datafusion::config::ConfigOptions::default()),
    )?;
    Ok(Arc::new(call))
}

/// By partition and then by the table's sort order, so that one file at a time is open;
/// `None` for a table without sort order.
fn sort_requirement(
    target: &WriteTarget,
    input: &Arc<dyn ExecutionPlan>,
    partition_expressions: &[Arc<dyn PhysicalExpr>],
) -> Result<Option<OrderingRequirements>> {
    if target.sort_order.is_unsorted() && target.z_order.is_empty() {
        return Ok(None);
    }
    let mut keys = Vec::new();
    for expression in partition_expressions {
        let options = SortOptions {
            descending: false,
            nulls_first: true,
        };
        keys.push(PhysicalSortExpr::new(Arc::clone(expression), options));
    }
    for field in &target.sort_order.fields {
        let expression = field_expression(target, input, field.source_id, field.transform)?;
        let options = SortOptions {
            descending: field.direction == SortDirection::Descending,
            nulls_first: field.null_order == NullOrder::First,
        };
        keys.push(PhysicalSortExpr::new(expression, options));
    }
    if !target.z_order.is_empty() {
        let expression = z_order_expression(target, input)?;
        keys.push(PhysicalSortExpr::new(expression, SortOptions::default()));
    }
    let requirement = LexRequirement::new(keys.into_iter().map(Into::into));
    Ok(requirement.map(OrderingRequirements::from))
}

/// Where a row is on the Z-order curve over the target's columns.
fn z_order_expression(
    target: &WriteTarget,
    input: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let columns = target.z_order.iter();
    let columns = columns.map(|id| field_expression(target, input, *id, Transform::Identity));
    let call = ScalarFunctionExpr::try_new(
        z_order_function(),
        columns.collect::<Result<_>>()?,
        &input.schema(),
        Arc::new(datafusion::config::ConfigOptions::default()),
    )?;
    Ok(Arc::new(call))
}

impl DisplayAs for IcebergWriteExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "IcebergWriteExec: table={}", self.target.table_name)?;
        if !self.target.partition_spec.is_unpartitioned() {
            let fields = self.target.partition_spec.fields().iter();
            let names: Vec<&str> = fields.map(|field| field.name.as_str()).collect();
            write!(out, ", partitioned_by=[{}]", names.join(", "))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for IcebergWriteExec {
    fn name(&self) -> &str {
        "IcebergWriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![self.distribution.clone()]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.ordering.clone()]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Spreading rows over more tasks than the query has only makes more and smaller files.
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        // The expressions here are requirements of the input; nothing evaluates them.
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let [input] = children.as_slice() else {
            return internal_err!("IcebergWriteExec has one child");
        };
        let target = self.target.as_ref().clone();
        let node = Self::try_new(target, self.options.clone(), Arc::clone(input))?;
        Ok(Arc::new(node))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let writer = match self.options.written_columns(&self.input.schema()) {
            Some(columns) => Some(TaskWriter::new(
                &self.target,
                &self.options,
                &columns,
                partition,
                context,
            )?),
            None => None,
        };
        let task = WriteTask {
            table_name: self.target.table_name.clone(),
            writer,
            delta: self.options.row_delta.map(|_| DeltaCollector::default()),
            counters: Counters::new(&self.metrics, partition),
        };
        let stream = futures::stream::once(task.run(input));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            emitted_schema(&self.options),
            stream.map_err(Into::into).boxed(),
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

struct Counters {
    rows: datafusion::physical_plan::metrics::Count,
    files: datafusion::physical_plan::metrics::Count,
    bytes: datafusion::physical_plan::metrics::Count,
    time: datafusion::physical_plan::metrics::Time,
}

impl Counters {
    fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        Self {
            rows: MetricBuilder::new(metrics).counter("rows_written", partition),
            files: MetricBuilder::new(metrics).counter("files_written", partition),
            bytes: MetricBuilder::new(metrics).counter("bytes_written", partition),
            time: MetricBuilder::new(metrics).elapsed_compute(partition),
        }
    }
}

/// The schema of the rows that a write returns.
fn emitted_schema(options: &WriteOptions) -> ArrowSchemaRef {
    match options.row_delta {
        None => Arc::clone(&WRITTEN_FILES_SCHEMA),
        Some(_) => Arc::clone(&ROW_DELTA_SCHEMA),
    }
}

/// The writing of one input partition.
struct WriteTask {
    table_name: String,
    writer: Option<TaskWriter>,
    delta: Option<DeltaCollector>,
    counters: Counters,
}

impl WriteTask {
    async fn run(mut self, mut input: SendableRecordBatchStream) -> Result<RecordBatch> {
        let result = self.write_rows(&mut input).await;
        if result.is_err()
            && let Some(writer) = &mut self.writer
        {
            writer.discard().await;
        }
        result
    }

    async fn write_rows(&mut self, input: &mut SendableRecordBatchStream) -> Result<RecordBatch> {
        while let Some(batch) = input.next().await.transpose()? {
            let timer = self.counters.time.timer();
            let new_rows = match &mut self.delta {
                Some(delta) => delta.add(&self.table_name, &batch)?,
                None => batch,
            };
            if let Some(writer) = &mut self.writer {
                writer.write(&new_rows).await?;
                self.counters.rows.add(new_rows.num_rows());
            }
            timer.done();
        }
        let timer = self.counters.time.timer();
        let files = match &mut self.writer {
            Some(writer) => writer.finish().await?,
            None => Vec::new(),
        };
        timer.done();
        self.counters.files.add(files.len());
        let bytes: u64 = files.iter().map(|file| file.file_size_in_bytes).sum();
        self.counters.bytes.add(bytes as usize);
        match &self.delta {
            Some(delta) => delta.encode(&files),
            None => encode_written_files(&files),
        }
    }
}
