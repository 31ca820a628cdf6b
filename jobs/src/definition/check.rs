//! Checks: what must hold of a table after its job.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::variables::{self, VariableError};

/// One check of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckDefinition {
    /// Unique in its job; made from the kind and the columns unless the header names it.
    pub name: String,
    /// The table that is checked, as its header writes it; the table that the job writes
    /// unless the header says otherwise.
    pub table: String,
    /// What is checked.
    pub kind: CheckKind,
    /// What a failure does to the run.
    pub severity: Severity,
    /// How much may fail before the check does.
    pub limit: CheckLimit,
}

/// What a check asks of its table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// None of the columns is NULL. A row fails once, however many of them are.
    NotNull {
        /// The columns.
        columns: Vec<String>,
    },
    /// No two rows agree in all of the columns. Each row beyond the first of its key
    /// fails; keys with a NULL in them are not compared, as in SQL.
    Unique {
        /// The key.
        columns: Vec<String>,
    },
    /// The number of rows is within limits, both inclusive.
    RowCount {
        /// At least so many.
        min: Option<u64>,
        /// At most so many.
        max: Option<u64>,
    },
    /// Every value of the column is one of these. NULLs pass: that is `not_null`'s job.
    AcceptedValues {
        /// The column.
        column: String,
        /// The values, compared as text.
        values: Vec<String>,
    },
    /// A condition that every row must fulfil; a row for which it is NULL fails.
    Expression {
        /// SQL over the table's columns.
        condition: String,
    },
    /// Every key exists in another table (referential integrity). Keys with a NULL in
    /// them pass.
    Relationship {
        /// The key here.
        columns: Vec<String>,
        /// The other table.
        references: String,
        /// The key there, in the same order.
        referenced_columns: Vec<String>,
    },
    /// The newest value of a timestamp column is at most so old when the check runs. An
    /// empty table fails.
    Freshness {
        /// A timestamp column in UTC.
        column: String,
        /// The greatest age.
        max_age: Duration,
    },
    /// The table has exactly these columns, of these types, in any order.
    Schema {
        /// Types by column, spelled as in SQL: `varchar`, `decimal(12,2)`, `timestamp`.
        columns: BTreeMap<String, String>,
    },
    /// Any query: every row that it returns is a failure.
    Query {
        /// One SELECT.
        sql: String,
    },
}

impl CheckKind {
    /// The key of the kind in a header: `not_null`, …
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotNull { .. } => "not_null",
            Self::Unique { .. } => "unique",
            Self::RowCount { .. } => "row_count",
            Self::AcceptedValues { .. } => "accepted_values",
            Self::Expression { .. } => "expression",
            Self::Relationship { .. } => "relationship",
            Self::Freshness { .. } => "freshness",
            Self::Schema { .. } => "schema",
            Self::Query { .. } => "query",
        }
    }
}

/// What a failed check does to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is recorded and shown; the run goes on.
    Warn,
    /// It stops the run: jobs downstream are skipped.
    Error,
}

impl Severity {
    /// `warn` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// Reads a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "warn" => Some(Self::Warn),
            "error" => Some(Self::Error),
            _ => None,
        }
    }
}

/// How many rows may fail before the check does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckLimit {
    /// At most so many rows.
    Rows(u64),
    /// At most this share of all rows, from 0 to 1.
    Share(f64),
}

impl Default for CheckLimit {
    fn default() -> Self {
        Self::Rows(0)
    }
}

impl CheckLimit {
    /// Whether so many failures of so many rows are within the limit.
    pub fn allows(self, failures: u64, rows: u64) -> bool {
        match self {
            Self::Rows(most) => failures <= most,
            Self::Share(share) => failures as f64 <= share * rows as f64,
        }
    }
}

impl CheckDefinition {
    /// Replaces `{{ name }}` in the SQL of the check.
    ///
    /// # Errors
    /// An unknown variable.
    pub fn replace_variables(
        &mut self,
        values: &BTreeMap<String, String>,
    ) -> Result<(), VariableError> {
        let replace = |sql: &mut String| -> Result<(), VariableError> {
            *sql = variables::replace(sql, values)?;
            Ok(())
        };
        replace(&mut self.table)?;
        match &mut self.kind {
            CheckKind::Expression { condition } => replace(condition),
            CheckKind::Relationship { references, .. } => replace(references),
            CheckKind::Query { sql } => replace(sql),
            CheckKind::NotNull { .. }
            | CheckKind::Unique { .. }
            | CheckKind::RowCount { .. }
            | CheckKind::AcceptedValues { .. }
            | CheckKind::Freshness { .. }
            | CheckKind::Schema { .. } => Ok(()),
        }
    }
}
