//! The statements of a job, one by one, and the tables that they touch.

use ingot_sql::{SqlError, TableReferences, parse_statements, split_statements, table_references};

/// One statement of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatement {
    /// Its text, without `;`.
    pub text: String,
    /// The tables that it reads and writes.
    pub references: TableReferences,
}

/// Cuts a job's SQL, variables replaced already, into its statements.
///
/// # Errors
/// With the place of the first mistake in the whole text; `Empty` when there is none.
pub fn job_statements(sql: &str) -> Result<Vec<JobStatement>, SqlError> {
    let statements = parse_statements(sql)?;
    let texts = split_statements(sql)?;
    if statements.is_empty() {
        return Err(SqlError::Empty);
    }
    Ok(texts
        .into_iter()
        .zip(statements)
        .map(|(text, statement)| JobStatement {
            text: text.to_string(),
            references: table_references(&statement),
        })
        .collect())
}
