//! `table_changes`: the rows that came and went between two snapshots of a table.
//!
//! `table_changes('schema.table', 1, 5)` and Trino's `TABLE(system.table_changes(schema_name => …, …))`
//! stand where a table stands. The planner looks up tables by name, and so the function becomes one
//! ([`RelationName::changes`](crate::RelationName)) before a statement is planned.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, Spanned, Statement, TableAlias, TableFactor,
    UnaryOperator, Value, VisitMut, VisitorMut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use crate::error::SqlError;
use crate::name::{ObjectName, fold_identifier};
use crate::parser::tokens::TokenReader;
use crate::relation::{RelationChanges, RelationName};

/// Name of the function.
pub const TABLE_CHANGES: &str = "table_changes";
/// Trino's name of the schema that the function is in.
const SYSTEM_SCHEMA: &str = "system";

const SCHEMA_NAME: &str = "schema_name";
const TABLE_NAME: &str = "table_name";
const START: &str = "start_snapshot_id";
const END: &str = "end_snapshot_id";

const USAGE: &str = "write table_changes('schema.table', start_snapshot_id, end_snapshot_id), or \
    TABLE(system.table_changes(schema_name => …, table_name => …, start_snapshot_id => …, \
    end_snapshot_id => …))";

/// A call of the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableChanges {
    pub(crate) table: ObjectName,
    pub(crate) changes: RelationChanges,
}

impl TableChanges {
    /// The call that a table factor is, if it is one.
    ///
    /// # Errors
    /// `Invalid` for arguments that the function does not take.
    pub(crate) fn of(factor: &TableFactor) -> Result<Option<Self>, SqlError> {
        let location = factor.span().start;
        let TableFactor::Table {
            name,
            args: Some(arguments),
            ..
        } = factor
        else {
            return Ok(None);
        };
        let Some(name) = ObjectName::from_ast(name) else {
            return Ok(None);
        };
        let catalog = match name.parts.as_slice() {
            [function] if function == TABLE_CHANGES => None,
            [schema, function] if schema == SYSTEM_SCHEMA && function == TABLE_CHANGES => None,
            [catalog, schema, function] if schema == SYSTEM_SCHEMA && function == TABLE_CHANGES => {
                Some(catalog.clone())
            }
            _ => return Ok(None),
        };
        let invalid = |message: String| {
            SqlError::invalid(
                "call of table_changes",
                format!("{message}: {USAGE}"),
                location,
            )
        };
        let arguments = named_arguments(&arguments.args).map_err(invalid)?;
        let text = |name: &str| match arguments.iter().find(|(argument, _)| argument == name) {
            None => Ok(None),
            Some((_, Expr::Value(value))) => match value.value.clone().into_string() {
                Some(text) => Ok(Some(text)),
                None => Err(invalid(format!("argument {name} must be a text"))),
            },
            Some(_) => Err(invalid(format!("argument {name} must be a text"))),
        };
        let snapshot = |name: &str| match arguments.iter().find(|(argument, _)| argument == name) {
            None => Err(invalid(format!("argument {name} is missing"))),
            Some((_, value)) => snapshot_id(value)
                .ok_or_else(|| invalid(format!("argument {name} must be a snapshot id"))),
        };
        let table = text(TABLE_NAME)?
            .ok_or_else(|| invalid(format!("argument {TABLE_NAME} is missing")))?;
        let mut table = match text(SCHEMA_NAME)? {
            Some(schema) => ObjectName::new([schema, table]),
            None => parse_name(&table).ok_or_else(|| invalid(format!("{table:?} is no table")))?,
        };
        if let Some(catalog) = catalog {
            if table.parts.len() != 2 {
                return Err(invalid(format!("table {table} must have a schema only")));
            }
            table.parts.insert(0, catalog);
        }
        Ok(Some(Self {
            table,
            changes: RelationChanges {
                from: snapshot(START)?,
                to: snapshot(END)?,
            },
        }))
    }
}

/// The arguments by name; those without a name are table, start and end, or all four.
fn named_arguments(arguments: &[FunctionArg]) -> Result<Vec<(String, Expr)>, String> {
    let unnamed = arguments
        .iter()
        .filter(|argument| matches!(argument, FunctionArg::Unnamed(_)));
    let positional: &[&str] = match unnamed.count() {
        4 => &[SCHEMA_NAME, TABLE_NAME, START, END],
        _ => &[TABLE_NAME, START, END],
    };
    let mut named: Vec<(String, Expr)> = Vec::with_capacity(arguments.len());
    for (position, argument) in arguments.iter().enumerate() {
        let (name, value) = match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
                let name = positional.get(position);
                let name = name.ok_or_else(|| "there are too many arguments".to_string())?;
                ((*name).to_string(), value.clone())
            }
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                ..
            } => (fold_identifier(name), value.clone()),
            other => return Err(format!("argument {other} is not expected")),
        };
        if ![SCHEMA_NAME, TABLE_NAME, START, END].contains(&name.as_str()) {
            return Err(format!("argument {name} is not expected"));
        }
        if named.iter().any(|(other, _)| *other == name) {
            return Err(format!("argument {name} is given twice"));
        }
        named.push((name, value));
    }
    Ok(named)
}

fn snapshot_id(value: &Expr) -> Option<i64> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => snapshot_id(expr)?.checked_neg(),
        Expr::Nested(inner) => snapshot_id(inner),
        _ => None,
    }
}

fn parse_name(text: &str) -> Option<ObjectName> {
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(text).ok()?;
    let name = parser.table_name().ok()?;
    (parser.peek_token_ref().token == sqlparser::tokenizer::Token::EOF).then_some(name)
}

/// Makes each call of the function in a statement a table of that name.
///
/// # Errors
/// `Invalid` for arguments that the function does not take.
pub fn rewrite_table_changes(statement: &mut Statement) -> Result<(), SqlError> {
    struct Rewriter;
    impl VisitorMut for Rewriter {
        type Break = SqlError;

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
            let call = match TableChanges::of(factor) {
                Ok(Some(call)) => call,
                Ok(None) => return ControlFlow::Continue(()),
                Err(error) => return ControlFlow::Break(error),
            };
            if let TableFactor::Table {
                name, args, alias, ..
            } = factor
            {
                let mut relation = call.table;
                if let Some(last) = relation.parts.last_mut() {
                    let encoded = RelationName {
                        changes: Some(call.changes),
                        ..RelationName::table(last.as_str())
                    };
                    *last = encoded.encode();
                }
                *name = relation.to_ast();
                *args = None;
                alias.get_or_insert_with(|| TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', TABLE_CHANGES),
                    columns: vec![],
                    at: None,
                });
            }
            ControlFlow::Continue(())
        }
    }
    match VisitMut::visit(statement, &mut Rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Statement, parse_statement, table_references};

    use super::*;

    fn rewritten(sql: &str) -> Result<String, SqlError> {
        let Statement::Query(query) = parse_statement(sql)? else {
            panic!("no query: {sql}");
        };
        let mut statement = sqlparser::ast::Statement::Query(query);
        rewrite_table_changes(&mut statement)?;
        Ok(statement.to_string())
    }

    #[test]
    fn a_call_becomes_a_table() {
        assert_eq!(
            rewritten("SELECT * FROM table_changes('gold.T', 1, -5)").unwrap(),
            r#"SELECT * FROM "gold"."t CHANGES FROM 1 TO -5" AS "table_changes""#
        );
        assert_eq!(
            rewritten(
                "SELECT c.* FROM TABLE(system.table_changes(schema_name => 'gold', table_name => 't', \
                 start_snapshot_id => 1, end_snapshot_id => 5)) AS c"
            )
            .unwrap(),
            r#"SELECT c.* FROM "gold"."t CHANGES FROM 1 TO 5" AS c"#
        );
        assert_eq!(
            rewritten("SELECT * FROM TABLE(system.table_changes('gold', 't', 1, 5))").unwrap(),
            r#"SELECT * FROM "gold"."t CHANGES FROM 1 TO 5" AS "table_changes""#
        );
        assert_eq!(
            rewritten("SELECT * FROM TABLE(other.system.table_changes('a.b', 1, 5))").unwrap(),
            r#"SELECT * FROM "other"."a"."b CHANGES FROM 1 TO 5" AS "table_changes""#
        );
    }

    #[test]
    fn wrong_arguments_are_told() {
        for (call, expected) in [
            ("table_changes('t', 1)", "end_snapshot_id is missing"),
            ("table_changes('s', 't', 1, 2, 3)", "too many"),
            ("table_changes('t', 1, 2, 3)", "table_name must be a text"),
            ("table_changes('t', 1, 'x')", "must be a snapshot id"),
            ("table_changes(t, 1, 2)", "table_name must be a text"),
            ("table_changes('a b', 1, 2)", "is no table"),
            ("table_changes('t', x => 2)", "argument x is not expected"),
            ("table_changes('t', table_name => 'u', 1)", "given twice"),
        ] {
            let error = rewritten(&format!("SELECT * FROM {call}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{call}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_table_counts_as_read_and_the_text_stays() {
        let sql = "SELECT * FROM table_changes('gold.t', 1, 5) AS c";
        let statement = parse_statement(sql).unwrap();
        assert_eq!(table_references(&statement).reads[0].to_string(), "gold.t");
        assert_eq!(statement.to_string(), sql);
    }
}
