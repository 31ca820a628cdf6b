//! The queries of checks. Tables, columns and conditions are SQL of the pipeline's
//! author and stand as they were written.

use crate::definition::CheckKind;

/// What each row must fulfil, for checks that look at one row at a time.
pub(super) fn row_condition(kind: &CheckKind) -> Option<String> {
    match kind {
        CheckKind::NotNull { columns } => Some(all_not_null("", columns)),
        CheckKind::AcceptedValues { column, values } => {
            let values: Vec<String> = values.iter().map(|value| text(value)).collect();
            Some(format!(
                "{column} IS NULL OR CAST({column} AS VARCHAR) IN ({})",
                values.join(", ")
            ))
        }
        CheckKind::Expression { condition } => Some(condition.clone()),
        CheckKind::Unique { .. }
        | CheckKind::RowCount { .. }
        | CheckKind::Relationship { .. }
        | CheckKind::Freshness { .. }
        | CheckKind::Schema { .. }
        | CheckKind::Query { .. } => None,
    }
}

/// Counts the rows of a table, and those that do not fulfil each condition. A condition
/// that is NULL is not fulfilled.
pub(super) fn scan(table: &str, conditions: &[String]) -> String {
    let mut columns = vec!["COUNT(*) AS row_count".to_string()];
    for (index, condition) in conditions.iter().enumerate() {
        columns.push(format!(
            "COUNT(CASE WHEN {} THEN NULL ELSE 1 END) AS failures_{index}",
            enclosed(condition)
        ));
    }
    format!("SELECT {} FROM {table}", columns.join(", "))
}

/// Counts the failures of a check that compares rows, or asks its own query.
pub(super) fn failure_count(table: &str, kind: &CheckKind) -> String {
    match kind {
        CheckKind::Unique { columns } => format!(
            "SELECT COALESCE(SUM(copies - 1), 0) AS failures FROM ({}) AS duplicate_keys",
            duplicate_keys(table, columns)
        ),
        CheckKind::Relationship {
            columns,
            references,
            referenced_columns,
        } => format!(
            "SELECT COUNT(*) AS failures {}",
            orphans(table, columns, references, referenced_columns)
        ),
        CheckKind::Query { sql } => {
            format!(
                "SELECT COUNT(*) AS failures FROM ({}) AS failing_rows",
                lines(sql)
            )
        }
        // Counted by the scan.
        CheckKind::NotNull { .. }
        | CheckKind::AcceptedValues { .. }
        | CheckKind::Expression { .. }
        | CheckKind::RowCount { .. }
        | CheckKind::Freshness { .. }
        | CheckKind::Schema { .. } => scan(table, &[]),
    }
}

/// Some of the rows that fail, where there are any to show.
pub(super) fn failing_rows(table: &str, kind: &CheckKind, limit: usize) -> Option<String> {
    if let Some(condition) = row_condition(kind) {
        return Some(format!(
            "SELECT * FROM {table} WHERE CASE WHEN {} THEN FALSE ELSE TRUE END LIMIT {limit}",
            enclosed(&condition)
        ));
    }
    match kind {
        CheckKind::Unique { columns } => {
            Some(format!("{} LIMIT {limit}", duplicate_keys(table, columns)))
        }
        CheckKind::Relationship {
            columns,
            references,
            referenced_columns,
        } => Some(format!(
            "SELECT child.* {} LIMIT {limit}",
            orphans(table, columns, references, referenced_columns)
        )),
        CheckKind::Query { sql } => Some(format!(
            "SELECT * FROM ({}) AS failing_rows LIMIT {limit}",
            lines(sql)
        )),
        _ => None,
    }
}

/// The newest value of a column.
pub(super) fn newest(table: &str, column: &str) -> String {
    format!("SELECT MAX({column}) AS newest FROM {table}")
}

/// The columns of a table without its rows.
pub(super) fn no_rows(table: &str) -> String {
    format!("SELECT * FROM {table} LIMIT 0")
}

fn duplicate_keys(table: &str, columns: &[String]) -> String {
    let key = columns.join(", ");
    format!(
        "SELECT {key}, COUNT(*) AS copies FROM {table} WHERE {} GROUP BY {key} \
         HAVING COUNT(*) > 1",
        all_not_null("", columns)
    )
}

fn orphans(
    table: &str,
    columns: &[String],
    references: &str,
    referenced_columns: &[String],
) -> String {
    let keys: Vec<String> = referenced_columns
        .iter()
        .enumerate()
        .map(|(index, column)| format!("{column} AS parent_key_{index}"))
        .collect();
    let matches: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| format!("child.{column} = parent.parent_key_{index}"))
        .collect();
    format!(
        "FROM {table} AS child LEFT JOIN (SELECT DISTINCT {} FROM {references}) AS parent \
         ON {} WHERE parent.parent_key_0 IS NULL AND {}",
        keys.join(", "),
        matches.join(" AND "),
        all_not_null("child.", columns)
    )
}

fn all_not_null(prefix: &str, columns: &[String]) -> String {
    columns
        .iter()
        .map(|column| format!("{prefix}{column} IS NOT NULL"))
        .collect::<Vec<_>>()
        .join(" AND ")
}

/// A condition in parentheses, which a comment at its end cannot swallow.
fn enclosed(condition: &str) -> String {
    format!("({})", lines(condition))
}

/// SQL of the author inside of ours: a line comment at its end must end there.
fn lines(sql: &str) -> String {
    match sql.contains("--") {
        true => format!("{sql}\n"),
        false => sql.to_string(),
    }
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
