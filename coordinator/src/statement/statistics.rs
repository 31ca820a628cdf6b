//! `ANALYZE`, `SHOW STATS` and `ALTER TABLE … EXECUTE drop_extended_stats`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, Statistics, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::scalar::ScalarValue;
use iceberg::spec::NestedFieldRef;
use ingot_catalog::commit::{commit_metadata, commit_statistics};
use ingot_catalog::statistics::{ColumnSketch, drop_statistics};
use ingot_catalog::table::ident_name;
use ingot_catalog::{Catalog, Table};
use ingot_engine::aggregates::{distinct_values, theta_sketch_udaf};
use ingot_sql::sqlparser::ast;
use ingot_sql::{ObjectName, Statement, StatsRelation, parse_statement};

use super::context::StatementContext;
use super::ddl::done;
use super::headings::with_headings;
use super::rows::batch_rows;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement_catalogs::ResolvedTable;

/// `ANALYZE table [WITH (columns = ARRAY['column', …])]`: about how many distinct values each of
/// the columns has, kept with the snapshot that was read.
pub(super) async fn analyze(
    context: &StatementContext,
    table: &ObjectName,
    columns: Option<&[String]>,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(table)?;
    let table = target.catalog.load_table(&target.ident).await?;
    let fields = analyzed_fields(&table, columns)?;
    let name = ident_name(&target.ident);
    let Some(snapshot_id) = table.metadata.current_snapshot_id() else {
        return done("table", &name, "has no rows yet: nothing to analyze");
    };
    if fields.is_empty() {
        return done(
            "table",
            &name,
            "has nested columns only: nothing to analyze",
        );
    }
    let plan = sketch_query(context, &target.catalog, &table, &fields)?;
    let batches = context.collect(plan).await?;
    let sketches = sketches_of(&batches, &fields)?;
    let catalog = target.catalog.as_ref();
    let statement_id = context.query.id();
    commit_statistics(catalog, &table, snapshot_id, statement_id, sketches).await?;
    match fields.len() {
        1 => done("table", &name, "analyzed: 1 column"),
        count => done("table", &name, format!("analyzed: {count} columns")),
    }
}

/// The columns to look at: all those that hold single values, unless some are named.
fn analyzed_fields(table: &Table, columns: Option<&[String]>) -> Result<Vec<NestedFieldRef>> {
    let fields = table.metadata.current_schema().as_struct().fields();
    let Some(columns) = columns else {
        let single = fields
            .iter()
            .filter(|field| field.field_type.is_primitive());
        return Ok(single.cloned().collect());
    };
    let field_of = |column: &String| {
        let Some(field) = fields.iter().find(|field| field.name == *column) else {
            let names = fields.iter().map(|field| field.name.as_str());
            let nearest = names.min_by_key(|known| strsim::damerau_levenshtein(known, column));
            return Err(CoordinatorError::InvalidInput(format!(
                "column {column} does not exist in table {}; did you mean {}?",
                table.name(),
                nearest.unwrap_or_default()
            )));
        };
        if !field.field_type.is_primitive() {
            return Err(CoordinatorError::Unsupported(format!(
                "ANALYZE of column {column} of table {}, which holds nested values,",
                table.name()
            )));
        }
        Ok(Arc::clone(field))
    };
    columns.iter().map(field_of).collect()
}

/// The query with one row that has a sketch of each column.
fn sketch_query(
    context: &StatementContext,
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    fields: &[NestedFieldRef],
) -> Result<LogicalPlan> {
    let provider = context
        .core
        .table_provider(Arc::clone(catalog), table.clone())?;
    let sketches = fields.iter().map(|field| {
        let column = Column::new_unqualified(&field.name);
        theta_sketch_udaf().call(vec![Expr::Column(column)])
    });
    let plan = LogicalPlanBuilder::scan(
        TableReference::bare(table.ident.name().to_owned()),
        provider_as_source(Arc::new(provider)),
        None,
    )?
    .aggregate(Vec::<Expr>::new(), sketches)?
    .build()?;
    Ok(plan)
}

fn sketches_of(batches: &[RecordBatch], fields: &[NestedFieldRef]) -> Result<Vec<ColumnSketch>> {
    let row = batches.iter().find(|batch| batch.num_rows() == 1);
    let row = row.filter(|row| row.num_columns() == fields.len());
    let Some(row) = row else {
        let message = "a query for sketches did not return one for each column";
        return Err(CoordinatorError::Internal(message.to_owned()));
    };
    let columns = fields.iter().zip(row.columns());
    let sketches = columns.map(|(field, array)| {
        let sketch = array
            .as_binary_opt::<i32>()
            .filter(|array| array.is_valid(0));
        let sketch = sketch.ok_or_else(|| {
            CoordinatorError::Internal(format!("column {} has no sketch", field.name))
        })?;
        let sketch = sketch.value(0);
        Ok(ColumnSketch {
            field_id: field.id,
            distinct_values: distinct_values(sketch)?,
            sketch: sketch.to_vec(),
        })
    });
    sketches.collect()
}

/// `ALTER TABLE … EXECUTE drop_extended_stats`
pub(super) async fn drop_extended_stats(target: &ResolvedTable) -> Result<StatementOutcome> {
    commit_metadata(target.catalog.as_ref(), &target.ident, |table| {
        Ok(drop_statistics(table))
    })
    .await?;
    done(
        "table",
        &ident_name(&target.ident),
        "has no statistics any more",
    )
}

/// The columns of `SHOW STATS`, those of Trino.
pub(super) fn schema() -> SchemaRef {
    let fields = [
        ("column_name", DataType::Utf8),
        ("data_size", DataType::Float64),
        ("distinct_values_count", DataType::Float64),
        ("nulls_fraction", DataType::Float64),
        ("row_count", DataType::Float64),
        ("low_value", DataType::Utf8),
        ("high_value", DataType::Utf8),
    ];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
    Arc::new(Schema::new(fields.to_vec()))
}

/// `SHOW STATS FOR`: what planning knows of a table or the result of a query. Nothing is read but
/// metadata.
pub(super) async fn show(
    context: &StatementContext,
    relation: &StatsRelation,
) -> Result<StatementOutcome> {
    match relation {
        StatsRelation::Query(query) => show_query(context, query).await,
        StatsRelation::Table(name) => {
            let query = query_of(name)?;
            show_query(context, &query).await
        }
    }
}

/// The query for all of a table or view.
fn query_of(name: &ObjectName) -> Result<Box<ast::Query>> {
    match parse_statement(&format!("SELECT * FROM {name}"))? {
        Statement::Query(query) => Ok(query),
        _ => Err(CoordinatorError::Internal(format!(
            "table {name} cannot be named in a query"
        ))),
    }
}

async fn show_query(context: &StatementContext, query: &ast::Query) -> Result<StatementOutcome> {
    let plan = context.plan_query(query).await?;
    let plan = context.state.create_physical_plan(&plan).await?;
    let columns = with_headings(&plan.schema(), query);
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    batch_rows(statistics_rows(&columns, &statistics)?)
}

/// One row for each column, and one for the table.
fn statistics_rows(columns: &SchemaRef, statistics: &Statistics) -> Result<RecordBatch> {
    let rows = statistics.num_rows.get_value().map(|rows| *rows as f64);
    let mut names = Vec::new();
    let mut sizes = Vec::new();
    let mut distinct_counts = Vec::new();
    let mut null_fractions = Vec::new();
    let mut row_counts = Vec::new();
    let mut low_values = Vec::new();
    let mut high_values = Vec::new();
    for (field, column) in columns.fields().iter().zip(&statistics.column_statistics) {
        names.push(Some(field.name().clone()));
        sizes.push(data_size(field.data_type(), column));
        distinct_counts.push(number(&column.distinct_count));
        null_fractions.push(null_fraction(column, rows));
        row_counts.push(None);
        low_values.push(bound(&column.min_value)?);
        high_values.push(bound(&column.max_value)?);
    }
    for of_columns in [&mut sizes, &mut distinct_counts, &mut null_fractions] {
        of_columns.push(None);
    }
    names.push(None);
    row_counts.push(rows);
    low_values.push(None);
    high_values.push(None);
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(names)),
        Arc::new(Float64Array::from(sizes)),
        Arc::new(Float64Array::from(distinct_counts)),
        Arc::new(Float64Array::from(null_fractions)),
        Arc::new(Float64Array::from(row_counts)),
        Arc::new(StringArray::from(low_values)),
        Arc::new(StringArray::from(high_values)),
    ];
    Ok(RecordBatch::try_new(schema(), arrays)?)
}

fn number(count: &Precision<usize>) -> Option<f64> {
    count.get_value().map(|count| *count as f64)
}

/// Bytes of the values, about, where they are not all of one size.
fn data_size(data_type: &DataType, column: &ColumnStatistics) -> Option<f64> {
    let is_fixed = data_type.primitive_width().is_some()
        || matches!(data_type, DataType::Boolean | DataType::FixedSizeBinary(_));
    match is_fixed {
        true => None,
        false => number(&column.byte_size),
    }
}

fn null_fraction(column: &ColumnStatistics, rows: Option<f64>) -> Option<f64> {
    let nulls = number(&column.null_count)?;
    let rows = rows?;
    match rows > 0.0 {
        true => Some((nulls / rows).min(1.0)),
        false => Some(0.0),
    }
}

/// A bound of numbers or times. Those of texts are cut off, and no values of the column.
fn bound(value: &Precision<ScalarValue>) -> Result<Option<String>> {
    let Some(value) = value.get_value().filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let data_type = value.data_type();
    if !data_type.is_numeric() && !data_type.is_temporal() {
        return Ok(None);
    }
    match value.cast_to(&DataType::Utf8)? {
        ScalarValue::Utf8(text) => Ok(text),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_numbers_and_times() {
        let bound_of = |value: ScalarValue| bound(&Precision::Inexact(value)).unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(bound_of(ScalarValue::Int64(Some(-5))), text("-5"));
        let price = ScalarValue::Decimal128(Some(150), 9, 2);
        assert_eq!(bound_of(price), text("1.50"));
        let day = ScalarValue::Date32(Some(20_000));
        assert_eq!(bound_of(day), text("2024-10-04"));
        assert_eq!(bound_of(ScalarValue::from("cut")), None);
        assert_eq!(bound_of(ScalarValue::Int64(None)), None);
        assert_eq!(bound(&Precision::Absent).unwrap(), None);
    }

    #[test]
    fn fractions_need_both_counts() {
        let mut column = ColumnStatistics::new_unknown();
        assert_eq!(null_fraction(&column, Some(10.0)), None);
        column.null_count = Precision::Inexact(5);
        assert_eq!(null_fraction(&column, Some(10.0)), Some(0.5));
        assert_eq!(null_fraction(&column, Some(0.0)), Some(0.0));
        assert_eq!(null_fraction(&column, None), None);
    }
}
