//! From a statement as a user wrote it to one as the planner takes it.
//!
//! [`prepare`] is called on the way to the planner, and its outcome is never stored or shown: a
//! view keeps the text that its maker wrote. It gives names to columns that have none or share
//! one ([`output_columns`] has those that the user is shown), and puts what the planner knows in
//! the place of Trino's spellings.

mod columns;
mod functions;
mod multisets;
mod spellings;

use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Query, TableFactor, VisitMut, VisitorMut};

pub use self::columns::{OutputColumn, OutputColumns, output_columns};
pub use self::functions::trino_functions;
pub use self::multisets::{COPY_COLUMN, NUMBERED_COPIES};
pub use self::spellings::function_call;

/// Rewrites a statement for the planner.
pub fn prepare(statement: &mut ast::Statement) {
    match statement {
        ast::Statement::Query(query) => columns::name_output(query),
        ast::Statement::Insert(insert) => {
            if let Some(query) = &mut insert.source {
                columns::name_output(query);
            }
        }
        _ => {}
    }
    let _ = VisitMut::visit(statement, &mut Preparation);
}

struct Preparation;

impl VisitorMut for Preparation {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                columns::name_columns(&mut cte.query);
            }
        }
        spellings::rewrite_values(query);
        multisets::rewrite(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { subquery, .. } = factor {
            columns::name_columns(subquery);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        spellings::rewrite(expression);
        functions::rewrite(expression);
        ControlFlow::Continue(())
    }
}
