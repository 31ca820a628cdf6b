//! Time-travel clauses: `FOR VERSION AS OF`, `FOR TIMESTAMP AS OF`, `FOR SYSTEM_TIME AS OF`.
//!
//! The parser library does not know Trino's clauses and the planner ignores the versions it does
//! know, so the clauses are folded into the preceding name before parsing: `t FOR VERSION AS OF 5`
//! becomes the quoted name `"t FOR VERSION AS OF 5"` (see [`RelationName::encode`]). Whether
//! that name really stands for a table is checked on the parsed query, so that a clause in a wrong
//! place is an error and never dropped.

use sqlparser::ast::{Expr, UnaryOperator, Value, Visit, Visitor};
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};
use std::ops::ControlFlow;

use crate::error::SqlError;
use crate::parser::tokens::word_of;
use crate::relation::{RelationName, RelationVersion};

/// A folded clause.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FoldedClause {
    /// The table's own name, for the alias.
    pub table: String,
    /// Where the table's name starts: the place tells the folded name from any other.
    pub name_location: Location,
    /// Where the clause starts.
    pub location: Location,
}

/// Folds the clauses of one statement into the table names before them.
pub(crate) fn fold_time_travel(
    dialect: &dyn Dialect,
    tokens: Vec<TokenWithSpan>,
) -> Result<(Vec<TokenWithSpan>, Vec<FoldedClause>), SqlError> {
    let mut folded: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut clauses = vec![];
    let mut index = 0;
    while index < tokens.len() {
        let Some(clause) = clause_at(&tokens, index) else {
            folded.push(tokens[index].clone());
            index += 1;
            continue;
        };
        let location = tokens[index].span.start;
        let mut parser = Parser::new(dialect)
            .with_tokens_with_locations(tokens[clause.expression_index..].to_vec());
        let expression = parser.parse_expr()?;
        let version = match clause.kind {
            ClauseKind::Version => version_of(&expression, location)?,
            ClauseKind::Timestamp => timestamp_of(&expression, location)?,
        };
        // The parser has looked past white space; give it back.
        let consumed = parser.get_current_index() + 1;
        index = clause.expression_index + consumed;

        let name = folded
            .iter_mut()
            .rev()
            .find(|token| !matches!(token.token, Token::Whitespace(_)))
            .and_then(|token| match &mut token.token {
                Token::Word(word) => Some((word, token.span.start)),
                _ => None,
            });
        let Some((word, name_location)) = name else {
            return Err(misplaced(location));
        };
        let identifier = match word.quote_style {
            Some(_) => word.value.clone(),
            None => word.value.to_lowercase(),
        };
        let relation = RelationName {
            version: Some(version),
            ..RelationName::from_identifier(&identifier)
        };
        *word = Word {
            value: relation.encode(),
            quote_style: Some('"'),
            keyword: Keyword::NoKeyword,
        };
        clauses.push(FoldedClause {
            table: identifier,
            name_location,
            location,
        });
    }
    Ok((folded, clauses))
}

/// A clause that does not follow a table name.
pub(crate) fn misplaced(location: Location) -> SqlError {
    SqlError::syntax(
        "a time-travel clause must directly follow the name of a table in FROM or JOIN, before its \
         alias",
        location,
    )
}

enum ClauseKind {
    Version,
    Timestamp,
}

struct Clause {
    kind: ClauseKind,
    expression_index: usize,
}

/// Whether `FOR … AS OF` starts at the token.
fn clause_at(tokens: &[TokenWithSpan], index: usize) -> Option<Clause> {
    word_of(&tokens[index].token).filter(|word| word.eq_ignore_ascii_case("for"))?;
    let mut words = tokens
        .iter()
        .enumerate()
        .skip(index + 1)
        .filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)));
    let (_, kind_token) = words.next()?;
    let kind = match word_of(&kind_token.token)?.to_lowercase().as_str() {
        "version" | "system_version" => ClauseKind::Version,
        "timestamp" | "system_time" => ClauseKind::Timestamp,
        _ => return None,
    };
    for expected in ["as", "of"] {
        let (_, token) = words.next()?;
        word_of(&token.token).filter(|word| word.eq_ignore_ascii_case(expected))?;
    }
    let expression_index = words.next().map_or(tokens.len(), |(at, _)| at);
    Some(Clause {
        kind,
        expression_index,
    })
}

/// A snapshot id or the name of a branch or tag.
pub(crate) fn version_of(
    expression: &Expr,
    location: Location,
) -> Result<RelationVersion, SqlError> {
    let invalid = || {
        SqlError::invalid(
            "version in FOR VERSION AS OF",
            format!(
                "expected a snapshot id or the quoted name of a branch or tag, found {expression}"
            ),
            location,
        )
    };
    match expression {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number
                .parse()
                .map(RelationVersion::SnapshotId)
                .map_err(|_| invalid()),
            Value::SingleQuotedString(name) if !name.is_empty() => {
                Ok(RelationVersion::Reference(name.clone()))
            }
            _ => Err(invalid()),
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            // Snapshot ids are 64 random bits in some writers.
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => format!("-{number}")
                    .parse()
                    .map(RelationVersion::SnapshotId)
                    .map_err(|_| invalid()),
                _ => Err(invalid()),
            },
            _ => Err(invalid()),
        },
        _ => Err(invalid()),
    }
}

/// The expression is evaluated before the query runs: it must not read anything.
fn timestamp_of(expression: &Expr, location: Location) -> Result<RelationVersion, SqlError> {
    if let Expr::Value(value) = expression
        && matches!(
            value.value,
            Value::Number(..) | Value::Boolean(_) | Value::Null
        )
    {
        return Err(SqlError::invalid(
            "timestamp in FOR TIMESTAMP AS OF",
            format!(
                "expected a timestamp such as TIMESTAMP '2026-01-31 12:00:00', found {expression}"
            ),
            location,
        ));
    }
    match expression.visit(&mut FindVariable) {
        ControlFlow::Break(found) => Err(SqlError::invalid(
            "timestamp in FOR TIMESTAMP AS OF",
            format!("the expression must be constant, but it has {found}"),
            location,
        )),
        ControlFlow::Continue(()) => Ok(RelationVersion::TimestampExpr(expression.to_string())),
    }
}

struct FindVariable;

impl Visitor for FindVariable {
    type Break = String;

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        match expression {
            Expr::Identifier(name) if !is_time_function(&name.value) => {
                ControlFlow::Break(format!("the column {name}"))
            }
            Expr::CompoundIdentifier(_) => ControlFlow::Break(format!("the column {expression}")),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                ControlFlow::Break("a subquery".to_string())
            }
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => ControlFlow::Break(format!(
                    "the parameter {name}; write the time into the statement"
                )),
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Functions that are written without parentheses.
fn is_time_function(name: &str) -> bool {
    ["current_timestamp", "current_date", "localtimestamp"]
        .iter()
        .any(|function| function.eq_ignore_ascii_case(name))
}
