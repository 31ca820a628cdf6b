//! Many rows of parameters for one `INSERT … VALUES (?, ?)`, as few statements.
//!
//! Each execution of an insert is a commit and a data file, so a driver's `executemany` of a
//! thousand rows must not be a thousand executions. The one row of `VALUES` is repeated, with
//! parameters numbered on: `VALUES ($1, $2), ($3, $4), …`. Any other statement is executed once
//! for each row of parameters.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::sql::sqlparser::ast::{Expr, Parens, SetExpr, Value};
use ingot_sql::{Insert, Statement, parse_statements};

use crate::error::Result;

/// How many parameters one statement is given, so that its text and its plan stay small.
const MAX_PARAMETERS: usize = 4096;

/// A statement to execute, with one row of parameters.
pub(super) type Execution = (Arc<str>, Option<RecordBatch>);

/// What to execute for a statement and its rows of parameters.
pub(super) fn executions(
    sql: &Arc<str>,
    parameters: Option<&RecordBatch>,
) -> Result<Vec<Execution>> {
    let Some(rows) = parameters else {
        return Ok(vec![(Arc::clone(sql), None)]);
    };
    let per_statement = MAX_PARAMETERS / rows.num_columns().max(1);
    let template = if rows.num_rows() > 1 && per_statement > 1 {
        InsertTemplate::parse(sql, rows.num_columns())
    } else {
        None
    };
    let Some(template) = template else {
        return Ok((0..rows.num_rows())
            .map(|row| (Arc::clone(sql), Some(rows.slice(row, 1))))
            .collect());
    };
    let mut executions = Vec::new();
    for start in (0..rows.num_rows()).step_by(per_statement) {
        let count = per_statement.min(rows.num_rows() - start);
        let text = Arc::from(template.repeat(count));
        executions.push((text, Some(flatten(&rows.slice(start, count))?)));
    }
    Ok(executions)
}

/// An insert of one row of parameters and literals.
struct InsertTemplate {
    insert: Insert,
    row: Vec<Expr>,
    parameters: usize,
}

impl InsertTemplate {
    /// `None` when the statement is anything else: it is executed row by row then.
    fn parse(sql: &str, parameters: usize) -> Option<Self> {
        let mut statements = parse_statements(sql).ok()?;
        let (Some(Statement::Insert(insert)), 0) = (statements.pop(), statements.len()) else {
            return None;
        };
        let query = insert.query.as_ref();
        let is_plain = !insert.overwrite
            && query.with.is_none()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none();
        let SetExpr::Values(values) = query.body.as_ref() else {
            return None;
        };
        let [row] = values.rows.as_slice() else {
            return None;
        };
        let row = row.content.clone();
        let are_simple = row.iter().all(|value| match value {
            Expr::Value(literal) => match &literal.value {
                Value::Placeholder(name) => {
                    parameter_number(name).is_some_and(|number| number <= parameters)
                }
                _ => true,
            },
            _ => false,
        });
        (is_plain && are_simple).then_some(Self {
            insert,
            row,
            parameters,
        })
    }

    /// The statement for so many rows.
    fn repeat(&self, count: usize) -> String {
        let rows = (0..count).map(|index| Parens::with_empty_span(self.numbered_row(index)));
        let mut insert = self.insert.clone();
        if let SetExpr::Values(values) = insert.query.body.as_mut() {
            values.rows = rows.collect();
        }
        Statement::Insert(insert).to_string()
    }

    fn numbered_row(&self, index: usize) -> Vec<Expr> {
        let mut row = self.row.clone();
        for value in &mut row {
            if let Expr::Value(literal) = value
                && let Value::Placeholder(name) = &mut literal.value
                && let Some(number) = parameter_number(name)
            {
                *name = format!("${}", number + index * self.parameters);
            }
        }
        row
    }
}

fn parameter_number(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok()
}

/// All rows side by side in one.
fn flatten(rows: &RecordBatch) -> Result<RecordBatch> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut columns = Vec::new();
    for row in 0..rows.num_rows() {
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            let name = format!("${}", columns.len() + 1);
            fields.push(Arc::new(Field::new(name, field.data_type().clone(), true)));
            columns.push(column.slice(row, 1));
        }
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn rows(count: i64) -> RecordBatch {
        let first: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
        let second: ArrayRef = Arc::new(Int64Array::from_iter_values(100..100 + count));
        RecordBatch::try_from_iter([("a", first), ("b", second)]).unwrap()
    }

    fn texts(sql: &str, count: i64) -> Vec<String> {
        executions(&Arc::from(sql), Some(&rows(count)))
            .unwrap()
            .into_iter()
            .map(|(text, _)| text.to_string())
            .collect()
    }

    #[test]
    fn an_insert_of_values_is_repeated_in_one_statement() {
        let sql = "insert into gold.t (a, b, c) values (?, 'x''y', ?)";
        insta::assert_snapshot!(texts(sql, 3).join("\n"));
        let all = executions(&Arc::from(sql), Some(&rows(3))).unwrap();
        let values: Vec<i64> = all[0]
            .1
            .as_ref()
            .unwrap()
            .columns()
            .iter()
            .map(|column| column.as_primitive::<Int64Type>().value(0))
            .collect();
        assert_eq!(values, [0, 100, 1, 101, 2, 102]);
    }

    #[test]
    fn parameters_may_be_numbered_out_of_order() {
        let text = &texts("insert into t values ($2, $1)", 2)[0];
        assert!(text.contains("($2, $1), ($4, $3)"), "{text}");
    }

    #[test]
    fn a_branch_is_kept() {
        let text = &texts("insert into t @ audit values (?, ?)", 2)[0];
        assert_eq!(text, "INSERT INTO t @ audit VALUES ($1, $2), ($3, $4)");
    }

    #[test]
    fn long_lists_are_cut() {
        let all = executions(&Arc::from("insert into t values (?, ?)"), Some(&rows(5000))).unwrap();
        assert_eq!(all.len(), 3);
        let parameters: usize = all
            .iter()
            .map(|(_, batch)| batch.as_ref().unwrap().num_columns())
            .sum();
        assert_eq!(parameters, 10_000);
    }

    #[test]
    fn anything_else_is_executed_row_by_row() {
        for sql in [
            "insert into t select ?, ?",
            "insert into t values (?, ?), (1, 2)",
            "insert into t values (?, ? + random())",
            "insert overwrite t values (?, ?)",
            "delete from t where a = ? and b = ?",
            "not sql at all",
        ] {
            let all = texts(sql, 3);
            assert_eq!(all, [sql, sql, sql]);
        }
        assert_eq!(texts("insert into t values (?, ?)", 1).len(), 1);
    }
}
