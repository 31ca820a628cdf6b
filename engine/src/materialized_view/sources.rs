//! What a query reads, as far as a later change of it can be seen.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::WindowFunctionDefinition;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Volatility};
use ingot_catalog::materialized_view::SourceTable;
use ingot_catalog::{Table, TableVersion};

use crate::catalog_list::CatalogList;
use crate::error::Result;
use crate::table::IcebergTable;

/// What a query reads.
#[derive(Debug, Clone, Default)]
pub struct QuerySources {
    /// The tables, each once, in the state that the query was planned with.
    pub tables: Vec<SourceTable>,
    /// What else it depends on, each once: functions that return another value each time, tables
    /// that are not Iceberg's.
    pub untracked: Vec<String>,
    /// Whether rows may depend on the session's time zone.
    pub depends_on_time_zone: bool,
}

/// What a query that is not optimized yet reads, its subqueries included. `list` are the catalogs
/// that it was planned with: a table in another state of one of them (`AT BRANCH`) is not one whose
/// changes are seen.
///
/// # Errors
/// When the plan cannot be walked through.
pub fn sources_of(plan: &LogicalPlan, list: &CatalogList) -> Result<QuerySources> {
    let mut sources = QuerySources::default();
    let mut untracked = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            match provider
                .downcast_ref::<IcebergTable>()
                .map(|table| (table, source_table(table, list)))
            {
                Some((_, Some(source))) if !sources.tables.contains(&source) => {
                    sources.tables.push(source);
                }
                Some((_, Some(_))) => {}
                Some((table, None)) if is_fixed(table.version()) => {}
                _ => {
                    untracked.insert(scan.table_name.table().to_string());
                }
            }
        }
        sources.depends_on_time_zone |= depends_on_time_zone(node)?;
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Some(function) = changing_function(part) {
                    untracked.insert(function);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    sources.untracked = untracked.into_iter().collect();
    Ok(sources)
}

/// Whether a version has the same rows for ever.
fn is_fixed(version: &TableVersion) -> bool {
    matches!(version, TableVersion::SnapshotId(_))
}

/// The state of a table whose changes can be seen later. That of a time may be relative to now,
/// and files, which hidden columns tell of, change where rows do not.
fn source_table(provider: &IcebergTable, list: &CatalogList) -> Option<SourceTable> {
    let catalog = list.iceberg_catalog(provider.catalog().name())?;
    if !Arc::ptr_eq(&catalog, provider.catalog()) || provider.has_hidden_columns() {
        return None;
    }
    let table = provider.table();
    let metadata = &table.metadata;
    let (reference, snapshot_id) = match provider.version() {
        TableVersion::Current => (None, metadata.current_snapshot_id()),
        TableVersion::Reference(name) => {
            let snapshot = metadata.snapshot_for_ref(name)?;
            (Some(name.clone()), Some(snapshot.snapshot_id()))
        }
        TableVersion::SnapshotId(_) | TableVersion::TimestampMillis(_) => return None,
    };
    Some(SourceTable {
        catalog: provider.catalog().name().to_string(),
        namespace: table.ident.namespace().as_ref().clone(),
        name: table.ident.name().to_string(),
        uuid: metadata.uuid(),
        snapshot_id: SourceTable::snapshot_id_of(snapshot_id),
        reference,
        schema_id: schema_id_of(table, provider.version()),
    })
}

fn schema_id_of(table: &Table, version: &TableVersion) -> i32 {
    match table.schema_at(version) {
        Ok(schema) => schema.schema_id(),
        Err(_) => table.metadata.current_schema_id(),
    }
}

/// The name of a function that may return something else the next time.
fn changing_function(expression: &Expr) -> Option<String> {
    let (name, volatility) = match expression {
        Expr::ScalarFunction(call) => (call.func.name(), call.func.signature().volatility),
        Expr::AggregateFunction(call) => (call.func.name(), call.func.signature().volatility),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => {
                (function.name(), function.signature().volatility)
            }
            WindowFunctionDefinition::WindowUDF(function) => {
                (function.name(), function.signature().volatility)
            }
        },
        _ => return None,
    };
    (volatility != Volatility::Immutable).then(|| format!("{name}()"))
}

/// Whether an instant is anywhere in a node: what it becomes as text, as a date or as a time without
/// a zone depends on the session's time zone.
fn depends_on_time_zone(node: &LogicalPlan) -> DataFusionResult<bool> {
    let in_schema = node
        .schema()
        .fields()
        .iter()
        .any(|field| has_time_zone(field.data_type()));
    if in_schema {
        return Ok(true);
    }
    let inputs = merge_schema(&node.inputs());
    let mut found = false;
    node.apply_expressions(|expression| {
        expression.apply(|part| {
            // What has no type here refers to a query around this one; its own node tells.
            if let Ok(data_type) = part.get_type(&inputs)
                && has_time_zone(&data_type)
            {
                found = true;
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

fn has_time_zone(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, Some(_)) => true,
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
            has_time_zone(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_time_zone(field.data_type())),
        _ => false,
    }
}
