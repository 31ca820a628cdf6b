//! Named arguments of table functions: `read_csv('…', header => false)`.

use datafusion::common::DFSchema;
use datafusion::common::TableReference;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{
    FunctionArg, FunctionArgExpr, Ident, ObjectNamePart, TableFactor,
};

use super::{CSV, files};
use crate::error::EngineError;

/// Hands the arguments of Ingot's table functions over as pairs of name and value (the name
/// is empty when none was written): DataFusion has no named arguments of table functions.
#[derive(Debug)]
pub struct NamedArguments;

impl RelationPlanner for NamedArguments {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DataFusionResult<RelationPlanning> {
        let TableFactor::Table {
            name,
            alias,
            args: Some(arguments),
            ..
        } = &relation
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let [ObjectNamePart::Identifier(identifier)] = name.0.as_slice() else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let function = context.normalize_ident(identifier.clone());
        if ![CSV, files::JSON, files::PARQUET].contains(&function.as_str()) {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        let mut pairs: Vec<Expr> = Vec::new();
        for argument in &arguments.args {
            let (name, value) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (String::new(), value),
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } => (context.normalize_ident(Ident::clone(name)), value),
                other => {
                    let reason = format!("{function} does not take the argument {other}");
                    return Err(EngineError::InvalidInput(reason).into());
                }
            };
            pairs.push(lit(name));
            pairs.push(context.sql_to_expr(value.clone(), &DFSchema::empty())?);
        }
        let alias = alias.clone();
        let source = context
            .context_provider()
            .get_table_function_source(&function, pairs)?;
        let plan =
            LogicalPlanBuilder::scan(TableReference::bare(function), source, None)?.build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, alias,
        ))))
    }
}
