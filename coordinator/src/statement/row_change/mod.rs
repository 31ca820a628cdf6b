//! Statements that change rows: `DELETE`, `UPDATE`, `MERGE`, `TRUNCATE TABLE`,
//! `INSERT OVERWRITE`.
//!
//! Each of the first three becomes a query that returns one row per change: where the old row
//! is and what the new row is ([`query`]). Running it writes the new rows and gathers the
//! positions of the old ones. What is left to do depends on the table's write mode
//! ([`settings`]): the files with old rows are written again without them, or position deletes
//! are ([`apply`]). One commit makes all of it visible.

mod apply;
mod delete;
mod merge;
mod overwrite;
mod partitions;
mod query;
mod settings;
mod update;

pub(super) use delete::{delete, truncate};
pub(super) use merge::merge;
pub(super) use overwrite::overwrite;
pub(super) use partitions::files_of_partitions;
pub(super) use update::update;

use std::ops::ControlFlow;

use datafusion::logical_expr::LogicalPlan;
use ingot_engine::scan::row_ids::INTERNAL_COLUMN_PREFIX;
use ingot_sql::Statement;
use ingot_sql::sqlparser::ast;

use super::context::StatementContext;
use crate::error::{CoordinatorError, Result};

/// The query that a statement runs to find out what it changes; `None` for other statements.
pub(super) async fn plan_changes(
    context: &StatementContext,
    statement: &Statement,
) -> Result<Option<LogicalPlan>> {
    let planned = match statement {
        Statement::Delete(change) => delete::plan_delete(context, change).await?,
        Statement::Update(change) => update::plan_update(context, change).await?,
        Statement::Merge(change) => merge::plan_merge(context, change).await?,
        _ => return Ok(None),
    };
    Ok(Some(planned.plan))
}

/// Refuses clauses that the parser knows and nothing here looks at.
fn refuse(statement: &str, clauses: &[(bool, &str)]) -> Result<()> {
    match clauses.iter().find(|(is_present, _)| *is_present) {
        Some((_, clause)) => Err(CoordinatorError::Unsupported(format!(
            "{clause} in {statement}"
        ))),
        None => Ok(()),
    }
}

/// Refuses names of the columns by which changes find their rows.
fn refuse_internal_columns(statement: &ast::Statement) -> Result<()> {
    let flow = ast::visit_expressions(statement, |expression| {
        let name = match expression {
            ast::Expr::Identifier(name) => Some(name),
            ast::Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        match name {
            Some(name) if name.value.starts_with(INTERNAL_COLUMN_PREFIX) => {
                ControlFlow::Break(name.value.clone())
            }
            _ => ControlFlow::Continue(()),
        }
    });
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(name) => Err(CoordinatorError::InvalidInput(format!(
            "column {name} does not exist"
        ))),
    }
}

/// A statement of another kind than its parser said: cannot be.
fn unexpected(statement: &ast::Statement) -> CoordinatorError {
    CoordinatorError::Internal(format!("a change of rows was parsed as {statement}"))
}
