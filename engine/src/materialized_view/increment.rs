//! Refreshing by the rows that were added to the source since the last refresh.
//!
//! Two kinds of queries can do that over one table. Filters and expressions of its rows: the new
//! rows' results are added. One aggregate over that, if its functions can be merged: the groups of
//! the new rows are merged with the stored ones. Floating-point numbers are neither added up nor
//! compared nor grouped by: what comes out could depend on the order of the rows.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::functions_aggregate::expr_fn::{max, min, sum};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, TableScan,
};
use ingot_catalog::materialized_view::SourceTable;
use ingot_catalog::scan::{Appends, FileTask, appended_files};
use ingot_catalog::{Table, TableVersion};

use super::freshness::still_has_columns;
use crate::error::{EngineError, Result};
use crate::table::{IcebergTable, TableServices};

/// Name of the stored and the new groups together, in the plan that merges them.
const MERGED: &str = "merged";

/// A query whose stored rows can be brought up to date by new rows of the one table that it reads.
#[derive(Debug, Clone)]
pub struct IncrementalQuery {
    plan: LogicalPlan,
    source: Table,
    kind: QueryKind,
}

#[derive(Debug, Clone)]
enum QueryKind {
    /// Each row of the source gives one row or none.
    Rows,
    /// Groups of such rows: what each column of the result is.
    Groups(Vec<Role>),
}

/// What a column of grouped rows is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Groups are told apart by it.
    Key,
    /// A sum, or a count: those of parts are added up.
    Sum,
    /// The smallest of the parts' values.
    Min,
    /// The largest.
    Max,
}

/// What a refresh by new rows writes.
#[derive(Debug, Clone)]
pub enum Increment {
    /// Rows to add to the stored ones.
    Append(LogicalPlan),
    /// Rows to take the place of the stored ones.
    Replace(LogicalPlan),
}

impl IncrementalQuery {
    /// The query of a plan that is not optimized yet, whose columns are those of the storage
    /// table.
    ///
    /// # Errors
    /// Why it has to be run as a whole, as the end of a sentence that begins with "its query".
    pub fn of(plan: &LogicalPlan, storage: &IcebergTable) -> Result<Self, String> {
        let (rows, kind) = match aggregate_of(plan) {
            Some(aggregate) => {
                check_types(plan, storage)?;
                let roles = roles_of(plan, aggregate)?;
                (aggregate.input.as_ref(), QueryKind::Groups(roles))
            }
            None => (plan, QueryKind::Rows),
        };
        Ok(Self {
            source: source_of(rows)?,
            plan: plan.clone(),
            kind,
        })
    }

    /// The table that it reads, in the state that it was planned with.
    pub fn source(&self) -> &Table {
        &self.source
    }

    /// The files that were added to the table since a refresh found it as `before`; otherwise why
    /// that is not all that has changed.
    ///
    /// # Errors
    /// Those of reading manifests.
    pub async fn files_since(
        &self,
        before: &SourceTable,
        services: &TableServices,
    ) -> Result<Result<Vec<FileTask>, String>> {
        let metadata = &self.source.metadata;
        let name = self.source.name();
        if before.uuid != metadata.uuid() || before.reference.is_some() {
            return Ok(Err(format!("table {name} is not the one that was read")));
        }
        let schema = metadata.current_schema();
        let read_schema = metadata.schema_by_id(before.schema_id);
        if !read_schema.is_some_and(|read| still_has_columns(read, schema)) {
            return Ok(Err(format!("table {name} has other columns")));
        }
        let Some(current) = metadata.current_snapshot_id() else {
            return Ok(Err(format!("table {name} has no rows any more")));
        };
        let appends = appended_files(
            services.scans.storage(),
            &services.manifests,
            &self.source,
            before.snapshot(),
            current,
            schema,
        );
        Ok(match appends.await? {
            Appends::Only(snapshots) => Ok(snapshots
                .into_iter()
                .flat_map(|append| append.files)
                .collect()),
            Appends::NotOnly { reason } => Err(format!("table {name} {reason}")),
        })
    }

    /// What to write, given the rows added to the source and the stored rows.
    ///
    /// # Errors
    /// `DataFusion` when the plan cannot be made.
    pub fn increment(
        self,
        new_rows: Arc<dyn TableProvider>,
        stored_rows: Arc<dyn TableProvider>,
    ) -> Result<Increment> {
        let new_source = provider_as_source(new_rows);
        let changed = self.plan.transform_down(|node| match node {
            LogicalPlan::TableScan(scan) => {
                Ok(Transformed::yes(LogicalPlan::TableScan(TableScan {
                    source: Arc::clone(&new_source),
                    ..scan
                })))
            }
            other => Ok(Transformed::no(other)),
        })?;
        match self.kind {
            QueryKind::Rows => Ok(Increment::Append(changed.data)),
            QueryKind::Groups(roles) => {
                merge_groups(changed.data, stored_rows, &roles).map(Increment::Replace)
            }
        }
    }
}

/// The aggregate that a query is, with nothing after it but a choice of its columns.
fn aggregate_of(plan: &LogicalPlan) -> Option<&Aggregate> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some(aggregate),
        LogicalPlan::Projection(projection) => aggregate_of(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => aggregate_of(&alias.input),
        _ => None,
    }
}

/// The one table of a query that filters and projects rows.
fn source_of(plan: &LogicalPlan) -> Result<Table, String> {
    match plan {
        LogicalPlan::Projection(projection) => {
            check_no_subquery(&projection.expr)?;
            source_of(&projection.input)
        }
        LogicalPlan::Filter(filter) => {
            check_no_subquery(std::slice::from_ref(&filter.predicate))?;
            source_of(&filter.input)
        }
        LogicalPlan::SubqueryAlias(alias) => source_of(&alias.input),
        LogicalPlan::TableScan(scan) => table_of(scan),
        LogicalPlan::Join(_) => Err("has a join".to_string()),
        LogicalPlan::Union(_) => Err("has a union".to_string()),
        LogicalPlan::Window(_) => Err("has a window function".to_string()),
        LogicalPlan::Distinct(_) => Err("has DISTINCT".to_string()),
        LogicalPlan::Sort(_) => Err("has ORDER BY".to_string()),
        LogicalPlan::Limit(_) => Err("has LIMIT".to_string()),
        LogicalPlan::Aggregate(_) => {
            Err("does more with its groups than choose among their columns".to_string())
        }
        _ => Err("is not one of filters, expressions and one aggregate of one table".to_string()),
    }
}

fn check_no_subquery(expressions: &[Expr]) -> Result<(), String> {
    let is_subquery = |expression: &Expr| {
        Ok(matches!(
            expression,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
        ))
    };
    for expression in expressions {
        if expression.exists(is_subquery).unwrap_or(true) {
            return Err("has a subquery".to_string());
        }
    }
    Ok(())
}

fn table_of(scan: &TableScan) -> Result<Table, String> {
    let provider = source_as_provider(&scan.source).map_err(|error| error.to_string())?;
    match provider.downcast_ref::<IcebergTable>() {
        Some(table) if *table.version() == TableVersion::Current && scan.fetch.is_none() => {
            Ok(table.table().clone())
        }
        _ => Err("does not read the current rows of an Iceberg table".to_string()),
    }
}

/// Stored values must be those that the query returned, not what they were cast to.
fn check_types(plan: &LogicalPlan, storage: &IcebergTable) -> Result<(), String> {
    let stored = TableProvider::schema(storage);
    let returned = plan.schema().fields();
    let same = returned.len() == stored.fields().len()
        && returned
            .iter()
            .zip(stored.fields())
            .all(|(returned, stored)| returned.data_type() == stored.data_type());
    match same {
        true => Ok(()),
        false => Err("returns types that are stored as others".to_string()),
    }
}

/// What the columns of a query are, all of them columns of its aggregate.
fn roles_of(plan: &LogicalPlan, aggregate: &Aggregate) -> Result<Vec<Role>, String> {
    if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
        return Err("has grouping sets".to_string());
    }
    let keys = aggregate.group_expr.len();
    let mut used_keys = vec![false; keys];
    let mut roles = Vec::new();
    for index in 0..plan.schema().fields().len() {
        let index = column_of_aggregate(plan, index)?;
        roles.push(match aggregate.aggr_expr.get(index.wrapping_sub(keys)) {
            Some(function) => role_of(function, aggregate, index)?,
            None => {
                if let Some(used) = used_keys.get_mut(index) {
                    *used = true;
                }
                Role::Key
            }
        });
    }
    if used_keys.contains(&false) {
        return Err("leaves out columns that it groups by".to_string());
    }
    for (index, key) in aggregate.group_expr.iter().enumerate() {
        if !is_exact(aggregate.schema.field(index).data_type()) {
            return Err(format!("groups by {key}, which is no exact value"));
        }
    }
    check_no_subquery(&aggregate.group_expr)?;
    check_no_subquery(&aggregate.aggr_expr)?;
    Ok(roles)
}

/// Which column of the aggregate below it the column `index` of a plan is.
fn column_of_aggregate(plan: &LogicalPlan, index: usize) -> Result<usize, String> {
    let computes = || "computes with the columns of its groups".to_string();
    match plan {
        LogicalPlan::Aggregate(_) => Ok(index),
        LogicalPlan::SubqueryAlias(alias) => column_of_aggregate(&alias.input, index),
        LogicalPlan::Projection(projection) => {
            let expression = projection.expr.get(index).ok_or_else(computes)?;
            let Expr::Column(column) = expression.clone().unalias_nested().data else {
                return Err(computes());
            };
            let input = &projection.input;
            let index = input.schema().maybe_index_of_column(&column);
            column_of_aggregate(input, index.ok_or_else(computes)?)
        }
        _ => Err(computes()),
    }
}

fn role_of(function: &Expr, aggregate: &Aggregate, index: usize) -> Result<Role, String> {
    let Expr::AggregateFunction(call) = function.clone().unalias_nested().data else {
        return Err(format!("has the aggregate {function}"));
    };
    let name = call.func.name();
    let params = &call.params;
    if params.distinct || !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Err(format!("has {function}, which cannot be merged"));
    }
    let data_type = aggregate.schema.field(index).data_type();
    match name {
        "count" => Ok(Role::Sum),
        "sum" if data_type.is_integer() || data_type.is_decimal() => Ok(Role::Sum),
        "min" if is_exact(data_type) => Ok(Role::Min),
        "max" if is_exact(data_type) => Ok(Role::Max),
        "sum" | "min" | "max" => Err(format!("has {name} of {data_type}, which is not exact")),
        _ => Err(format!("has {name}(), which cannot be merged")),
    }
}

/// Whether equal values of a type are the same and any two can be compared.
fn is_exact(data_type: &DataType) -> bool {
    !data_type.is_floating() && !data_type.is_nested() && *data_type != DataType::Null
}

/// Groups of new rows and stored groups as one.
fn merge_groups(
    new_groups: LogicalPlan,
    stored_rows: Arc<dyn TableProvider>,
    roles: &[Role],
) -> Result<LogicalPlan> {
    let stored = LogicalPlanBuilder::scan("stored", provider_as_source(stored_rows), None)?;
    let columns: Vec<(String, DataType)> = stored
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect();
    if columns.len() != roles.len() {
        return Err(EngineError::InvalidInput(
            "the columns of the view are not those of its storage table".to_string(),
        ));
    }
    let united = stored.union(new_groups)?.alias(MERGED)?;
    let mut keys = Vec::new();
    let mut functions = Vec::new();
    for ((name, _), role) in columns.iter().zip(roles) {
        let column = Expr::Column(Column::new(Some(MERGED), name));
        match role {
            Role::Key => keys.push(column),
            Role::Sum => functions.push(sum(column)),
            Role::Min => functions.push(min(column)),
            Role::Max => functions.push(max(column)),
        }
    }
    let key_count = keys.len();
    let merged = united.aggregate(keys, functions)?;
    let schema = Arc::clone(merged.schema());
    let merged_columns = schema.columns();
    let (mut next_key, mut next_function) = (0, key_count);
    let mut result = Vec::new();
    for ((name, data_type), role) in columns.iter().zip(roles) {
        let index = match role {
            Role::Key => &mut next_key,
            _ => &mut next_function,
        };
        let column = merged_columns.get(*index).cloned().ok_or_else(|| {
            EngineError::InvalidInput(format!("column {name} is in no merged group"))
        })?;
        *index += 1;
        let value = Expr::Column(column).cast_to(data_type, &schema)?;
        result.push(value.alias(name));
    }
    Ok(merged.project(result)?.build()?)
}
