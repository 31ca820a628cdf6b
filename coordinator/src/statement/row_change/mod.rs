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
mod query;
mod settings;
mod update;

pub(super) use delete::{delete, truncate};
pub(super) use merge::merge;
pub(super) use overwrite::overwrite;
pub(super) use update::update;

use ingot_sql::sqlparser::ast;

use crate::error::{CoordinatorError, Result};

/// Refuses clauses that the parser knows and nothing here looks at.
fn refuse(statement: &str, clauses: &[(bool, &str)]) -> Result<()> {
    match clauses.iter().find(|(is_present, _)| *is_present) {
        Some((_, clause)) => Err(CoordinatorError::Unsupported(format!(
            "{clause} in {statement}"
        ))),
        None => Ok(()),
    }
}

/// A statement of another kind than its parser said: cannot be.
fn unexpected(statement: &ast::Statement) -> CoordinatorError {
    CoordinatorError::Internal(format!("a change of rows was parsed as {statement}"))
}
