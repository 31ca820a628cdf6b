//! Names of the columns of queries: those that a reader sees, and those of new tables and views.
//!
//! The planner takes no two columns of one name and calls `count(*)` `count(Int64(1))`, so it is
//! given names of its own (`ingot_sql::prepare`), which the result does not show.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use ingot_sql::sqlparser::ast;
use ingot_sql::{OutputColumns, output_columns};

use crate::error::{CoordinatorError, Result};

/// The schema of a query's result with the names that its reader expects.
pub(super) fn with_headings(schema: &SchemaRef, query: &ast::Query) -> SchemaRef {
    let planned: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let columns = output_columns(query).all(&planned);
    let fields = schema.fields().iter().zip(columns);
    let fields: Vec<Arc<Field>> = fields
        .map(|(field, column)| match *field.name() == column.name {
            true => Arc::clone(field),
            false => Arc::new(field.as_ref().clone().with_name(column.name)),
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The same batches under a schema that differs in names only.
pub(super) fn rename_batches(
    stream: SendableRecordBatchStream,
    schema: &SchemaRef,
) -> SendableRecordBatchStream {
    let target = Arc::clone(schema);
    let renamed = stream.and_then(move |batch| {
        let target = Arc::clone(&target);
        async move {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.columns().to_vec();
            let renamed = RecordBatch::try_new_with_options(target, columns, &options)?;
            Ok::<_, DataFusionError>(renamed)
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), renamed))
}

/// The query of a `CREATE TABLE t (names) AS` or `CREATE VIEW v (names) AS` with the names of the
/// columns: those given, or those of the query.
///
/// # Errors
/// `InvalidInput` for a column without a name, and for two columns of the same.
pub(super) fn name_columns(
    query: &ast::Query,
    plan: LogicalPlan,
    given: &[String],
) -> Result<LogicalPlan> {
    let planned = plan.schema().columns();
    let planned: Vec<&str> = planned.iter().map(|column| column.name.as_str()).collect();
    let names = match given {
        [] => names_of(&output_columns(query), &planned)?,
        given if given.len() == planned.len() => given.to_vec(),
        given => {
            return Err(CoordinatorError::InvalidInput(format!(
                "{} column names for a query of {} columns",
                given.len(),
                planned.len()
            )));
        }
    };
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(CoordinatorError::InvalidInput(format!(
            "column name {name} is there twice: give one of them another with AS"
        )));
    }
    match names == planned {
        true => Ok(plan),
        false => rename_columns(plan, &names),
    }
}

fn names_of(columns: &OutputColumns, planned: &[&str]) -> Result<Vec<String>> {
    let columns = columns.all(planned).into_iter().enumerate();
    columns
        .map(|(index, column)| match column.is_named {
            true => Ok(column.name),
            false => Err(CoordinatorError::InvalidInput(format!(
                "column {} of the query, {}, has no name: give it one with AS",
                index + 1,
                column.name
            ))),
        })
        .collect()
}

fn rename_columns(query: LogicalPlan, names: &[String]) -> Result<LogicalPlan> {
    let columns = query.schema().columns();
    let renamed = columns
        .into_iter()
        .zip(names)
        .map(|(column, name)| Expr::Column(column).alias(name));
    let renamed: Vec<Expr> = renamed.collect();
    Ok(LogicalPlanBuilder::from(query).project(renamed)?.build()?)
}
