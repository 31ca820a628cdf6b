//! Planning of statements, with what DataFusion's planner does not know: Trino's spellings
//! ([`ingot_sql::prepare`]), hidden columns, such as `"$path"`, and `table_changes`.
//!
//! The statement's tables get names under which they have these columns (see
//! [`ingot_sql::hidden_columns`]); here is looked up which tables have any, and the planner is told
//! that such a table still goes by its own name.

use std::collections::HashMap;

use datafusion::common::TableReference;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as PlannerStatement;
use datafusion::sql::planner::object_name_to_table_reference;
use ingot_sql::hidden_columns::{expose_hidden_columns, mentions_hidden_columns};
use ingot_sql::sqlparser::ast::{ObjectNamePart, Statement, TableFactor};
use ingot_sql::table_changes::rewrite_table_changes;
use ingot_sql::{RelationName, prepare};

use crate::error::Result;
use crate::row_change::ChangedTable;
use crate::scan::hidden_columns::hidden_columns_of;
use crate::table::IcebergTable;

/// Plans a statement in which tables have hidden columns and changes.
///
/// # Errors
/// Whatever is wrong with the statement.
pub async fn plan_statement(state: &SessionState, mut statement: Statement) -> Result<LogicalPlan> {
    // First: it names columns by their text, in which tables are as they were written.
    prepare(&mut statement);
    rewrite_table_changes(&mut statement)?;
    if mentions_hidden_columns(&statement) {
        let hidden_columns = hidden_columns_of_tables(state, &statement).await?;
        expose_hidden_columns(&mut statement, &|name| {
            let reference = object_name_to_table_reference(name.clone(), true);
            let columns = reference.ok().and_then(|name| hidden_columns.get(&name));
            columns.cloned().unwrap_or_default()
        })?;
    }
    let statement = PlannerStatement::Statement(Box::new(statement));
    Ok(state.statement_to_plan(statement).await?)
}

/// The hidden columns of the tables that a statement names. A table that cannot be looked up is
/// not there: planning will tell why.
async fn hidden_columns_of_tables(
    state: &SessionState,
    statement: &Statement,
) -> Result<HashMap<TableReference, Vec<&'static str>>> {
    let statement = PlannerStatement::Statement(Box::new(statement.clone()));
    let mut found = HashMap::new();
    for reference in state.resolve_table_references(&statement)? {
        let Ok(schema) = state.schema_for_ref(reference.clone()) else {
            continue;
        };
        let Ok(Some(table)) = schema.table(reference.table()).await else {
            continue;
        };
        if let Some(table) = table.downcast_ref::<IcebergTable>() {
            // The stored rows of a materialized view have another name than the view, and are
            // those of a view.
            let relation = RelationName::parse(reference.table());
            if relation.is_ok_and(|relation| relation.table != table.table().ident.name()) {
                continue;
            }
            let columns = datafusion::catalog::TableProvider::schema(table);
            found.insert(reference, hidden_columns_of(&columns));
        } else if let Some(table) = table.downcast_ref::<ChangedTable>() {
            let columns = datafusion::catalog::TableProvider::schema(table);
            found.insert(reference, hidden_columns_of(&columns));
        }
    }
    Ok(found)
}

/// Plans tables with hidden columns: their columns are qualified by the table's own name.
#[derive(Debug)]
pub struct HiddenColumnsPlanner;

impl RelationPlanner for HiddenColumnsPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DataFusionResult<RelationPlanning> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = &relation
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let mut own_name = name.clone();
        let Some(ObjectNamePart::Identifier(last)) = own_name.0.last_mut() else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let parsed = match RelationName::parse(&last.value) {
            Ok(parsed) if parsed.with_hidden_columns => parsed,
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let without_hidden_columns = RelationName {
            with_hidden_columns: false,
            ..parsed
        };
        last.value = without_hidden_columns.encode();
        let reference = context.object_name_to_table_reference(name.clone())?;
        let source = context.context_provider().get_table_source(reference)?;
        let own_reference = context.object_name_to_table_reference(own_name)?;
        let plan = LogicalPlanBuilder::scan(own_reference, source, None)?.build()?;
        let planned = PlannedRelation::new(plan, alias.clone());
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}
