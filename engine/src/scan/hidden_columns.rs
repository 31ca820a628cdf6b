//! Hidden columns: constants of each data file that a scan can read beside the table's columns.
//!
//! They are known when the scan is planned, and travel with the files as partition values do in
//! DataFusion. Conditions on them leave files out.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use futures::{StreamExt, TryStreamExt};
use ingot_catalog::scan::FileTask;
use ingot_sql::hidden_columns::{
    FILE_MODIFIED_TIME_COLUMN, HIDDEN_COLUMNS, PARTITION_COLUMN, PATH_COLUMN,
};

use super::services::ScanServices;
use crate::error::Result;
use crate::schema::UTC;
use crate::write::partition_text;

/// Files whose modification times are asked for at the same time.
const CONCURRENT_REQUESTS: usize = 64;

/// The hidden columns of a table with these columns, in their order. A column of the table's own
/// takes the place of the hidden one of the same name.
pub fn hidden_columns_of(columns: &SchemaRef) -> Vec<&'static str> {
    let is_free = |name: &&str| columns.field_with_name(name).is_err();
    HIDDEN_COLUMNS.into_iter().filter(is_free).collect()
}

/// A table's columns, then its hidden ones.
pub(crate) fn with_hidden_columns(columns: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<FieldRef> = columns.fields().iter().cloned().collect();
    fields.extend(hidden_columns_of(columns).into_iter().map(field_of));
    Arc::new(Schema::new(fields))
}

fn field_of(name: &'static str) -> FieldRef {
    let data_type = match name {
        FILE_MODIFIED_TIME_COLUMN => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        _ => DataType::Utf8,
    };
    Arc::new(Field::new(
        name,
        data_type,
        name == FILE_MODIFIED_TIME_COLUMN,
    ))
}

/// A data file and the values of the hidden columns in all of its rows.
pub(super) type FileWithValues = (FileTask, Vec<ScalarValue>);

/// The hidden columns that one scan reads.
#[derive(Debug, Clone, Default)]
pub(super) struct HiddenColumns {
    pub(super) fields: Vec<FieldRef>,
    /// Whether anybody looks at the modification times, which cost a request per file.
    needs_modified_times: bool,
}

impl HiddenColumns {
    /// Those of a table with `columns`, which come first in `projection`.
    pub(super) fn of(
        columns: &SchemaRef,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Self {
        let names = hidden_columns_of(columns);
        let first = columns.fields().len();
        let time_index = names
            .iter()
            .position(|name| *name == FILE_MODIFIED_TIME_COLUMN)
            .map(|index| first + index);
        let is_read = time_index
            .is_some_and(|index| projection.is_none_or(|projection| projection.contains(&index)));
        let is_filtered = filters.iter().any(|filter| {
            let columns = filter.column_refs();
            columns
                .iter()
                .any(|column| column.name == FILE_MODIFIED_TIME_COLUMN)
        });
        Self {
            fields: names.into_iter().map(field_of).collect(),
            needs_modified_times: time_index.is_some() && (is_read || is_filtered),
        }
    }

    /// The files with the values that they have for these columns, in order, without those that
    /// have no row for which all `filters` hold.
    ///
    /// # Errors
    /// `Storage` when a file's modification time cannot be had.
    pub(super) async fn read(
        &self,
        tasks: Vec<FileTask>,
        services: &ScanServices,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<Vec<FileWithValues>> {
        if self.fields.is_empty() {
            return Ok(tasks.into_iter().map(|task| (task, Vec::new())).collect());
        }
        // Paths and partitions are at hand: what they rule out is not asked for its time.
        let mut files = Vec::with_capacity(tasks.len());
        for task in tasks {
            let values = self.fields.iter().map(|field| value_of(field, &task, None));
            let values = values.collect::<Vec<_>>();
            files.push((task, values));
        }
        let known = [PATH_COLUMN, PARTITION_COLUMN];
        let files = self.keep_matching(files, state, filters, &known)?;
        if !self.needs_modified_times {
            return Ok(files);
        }
        let reads = files.into_iter().map(|(task, _)| async move {
            let modified = services.modified_time(&task.path).await?;
            let fields = self.fields.iter();
            let values = fields.map(|field| value_of(field, &task, Some(modified)));
            let values = values.collect::<Vec<_>>();
            Ok::<_, crate::error::EngineError>((task, values))
        });
        let files: Vec<_> = futures::stream::iter(reads.collect::<Vec<_>>())
            .buffered(CONCURRENT_REQUESTS)
            .try_collect()
            .await?;
        self.keep_matching(files, state, filters, &HIDDEN_COLUMNS)
    }

    /// Leaves out the files for which a filter on nothing but `known` columns does not hold.
    fn keep_matching(
        &self,
        files: Vec<FileWithValues>,
        state: &dyn Session,
        filters: &[Expr],
        known: &[&str],
    ) -> Result<Vec<FileWithValues>> {
        let has_name = |name: &str| self.fields.iter().any(|field| field.name() == name);
        let is_decided = |filter: &&Expr| {
            let columns = filter.column_refs();
            !columns.is_empty()
                && !filter.is_volatile()
                && columns
                    .iter()
                    .all(|column| known.contains(&column.name.as_str()) && has_name(&column.name))
        };
        let filters: Vec<&Expr> = filters.iter().filter(is_decided).collect();
        if filters.is_empty() || files.is_empty() {
            return Ok(files);
        }
        let schema = Arc::new(Schema::new(self.fields.clone()));
        let columns = (0..self.fields.len()).map(|index| {
            ScalarValue::iter_to_array(files.iter().map(|(_, values)| values[index].clone()))
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, DataFusionError>>()?;
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), columns).map_err(DataFusionError::from)?;
        let schema = DFSchema::try_from(schema)?;
        let mut is_kept = vec![true; files.len()];
        for filter in filters {
            // What cannot be evaluated here is evaluated on the rows, and fails there.
            let Some(matches) = evaluate(filter, state, &schema, &batch) else {
                continue;
            };
            let Some(matches) = matches.as_boolean_opt() else {
                continue;
            };
            for (index, kept) in is_kept.iter_mut().enumerate() {
                *kept &= matches.is_valid(index) && matches.value(index);
            }
        }
        let files = files.into_iter().zip(is_kept);
        Ok(files
            .filter_map(|(file, kept)| kept.then_some(file))
            .collect())
    }
}

fn evaluate(
    filter: &Expr,
    state: &dyn Session,
    schema: &DFSchema,
    batch: &RecordBatch,
) -> Option<ArrayRef> {
    let filter = state.create_physical_expr(filter.clone(), schema).ok()?;
    let value = filter.evaluate(batch).ok()?;
    value.into_array(batch.num_rows()).ok()
}

/// The value of a hidden column in every row of a file; the time, in microseconds since the
/// epoch, is null where it is not wanted.
fn value_of(field: &FieldRef, task: &FileTask, modified: Option<i64>) -> ScalarValue {
    match field.name().as_str() {
        PATH_COLUMN => ScalarValue::Utf8(Some(task.path.clone())),
        PARTITION_COLUMN => ScalarValue::Utf8(Some(partition_text(&task.partition))),
        _ => ScalarValue::TimestampMicrosecond(modified, Some(UTC.into())),
    }
}
