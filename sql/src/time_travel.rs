//! Time-travel clauses: `FOR VERSION AS OF`, `FOR TIMESTAMP AS OF`, `FOR SYSTEM_TIME AS OF` of a table,
//! `AT BRANCH`, `AT TAG`, `AT VERSION`, `AT TIMESTAMP` of the whole catalog.
//!
//! The parser library does not know Trino's clauses and the planner ignores the versions it does
//! know, so the clauses are folded into the preceding name before parsing: `t FOR VERSION AS OF 5`
//! becomes the quoted name `"t FOR VERSION AS OF 5"` (see [`RelationName::encode`]). Whether
//! that name really stands for a table is checked on the parsed query, so that a clause in a wrong
//! place is an error and never dropped.

use sqlparser::ast::{Expr, UnaryOperator, Value, Visit, Visitor};
use sqlparser::dialect::Dialect;
use sqlparser::keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};
use std::ops::ControlFlow;

use crate::error::SqlError;
use crate::parser::tokens::{TokenReader, word_of};
use crate::relation::{CatalogVersion, CatalogVersionId, RelationName, RelationVersion};

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
        let Some(clause) = clause_at(&folded, &tokens, index) else {
            folded.push(tokens[index].clone());
            index += 1;
            continue;
        };
        let location = tokens[index].span.start;
        let value_tokens = tokens[clause.value_index..].to_vec();
        let mut parser = Parser::new(dialect).with_tokens_with_locations(value_tokens);
        let version = clause.kind.parse_version(&mut parser, location)?;
        // The parser has looked past white space; give it back.
        let consumed = parser.get_current_index() + 1;
        index = clause.value_index + consumed;

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
        // A name may have one clause of the catalog and one of the table.
        let is_folded = clauses
            .last()
            .is_some_and(|clause: &FoldedClause| clause.name_location == name_location);
        let mut relation = match is_folded {
            true => RelationName::parse(&word.value)?,
            false => RelationName::from_identifier(&identifier),
        };
        if !version.put_into(&mut relation) {
            return Err(SqlError::syntax(
                "a table has two time-travel clauses of one kind",
                location,
            ));
        }
        *word = Word {
            value: relation.encode(),
            quote_style: Some('"'),
            keyword: Keyword::NoKeyword,
        };
        if !is_folded {
            clauses.push(FoldedClause {
                table: identifier,
                name_location,
                location,
            });
        }
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

#[derive(Clone, Copy)]
enum ClauseKind {
    /// `FOR VERSION AS OF`
    Version,
    /// `FOR TIMESTAMP AS OF`
    Timestamp,
    /// `AT BRANCH`
    CatalogBranch,
    /// `AT TAG`
    CatalogTag,
    /// `AT VERSION`
    CatalogVersion,
    /// `AT TIMESTAMP`
    CatalogTimestamp,
}

/// What a clause asks for.
enum ClauseVersion {
    OfTable(RelationVersion),
    OfCatalog(CatalogVersion),
}

impl ClauseVersion {
    /// False when the relation has a clause of this kind.
    fn put_into(self, relation: &mut RelationName) -> bool {
        match self {
            Self::OfTable(version) => relation.version.replace(version).is_none(),
            Self::OfCatalog(version) => relation.catalog_version.replace(version).is_none(),
        }
    }
}

impl ClauseKind {
    /// Parses the value after the clause's words.
    fn parse_version(
        self,
        parser: &mut Parser<'_>,
        location: Location,
    ) -> Result<ClauseVersion, SqlError> {
        Ok(match self {
            Self::Version => ClauseVersion::OfTable(version_of(&parser.parse_expr()?, location)?),
            Self::Timestamp => {
                let expression = parser.parse_expr()?;
                let text = timestamp_of(&expression, "FOR TIMESTAMP AS OF", location)?;
                ClauseVersion::OfTable(RelationVersion::TimestampExpr(text))
            }
            Self::CatalogBranch => {
                ClauseVersion::OfCatalog(CatalogVersion::Branch(reference_name(parser)?))
            }
            Self::CatalogTag => {
                ClauseVersion::OfCatalog(CatalogVersion::Tag(reference_name(parser)?))
            }
            Self::CatalogVersion => {
                ClauseVersion::OfCatalog(CatalogVersion::Version(catalog_version(parser)?))
            }
            Self::CatalogTimestamp => {
                let expression = parser.parse_expr()?;
                let text = timestamp_of(&expression, "AT TIMESTAMP", location)?;
                ClauseVersion::OfCatalog(CatalogVersion::TimestampExpr(text))
            }
        })
    }
}

struct Clause {
    kind: ClauseKind,
    value_index: usize,
}

/// Whether `FOR … AS OF` or `AT …` starts at the token; `folded` is what precedes it.
fn clause_at(folded: &[TokenWithSpan], tokens: &[TokenWithSpan], index: usize) -> Option<Clause> {
    let first = word_of(&tokens[index].token)?.to_lowercase();
    let mut words = tokens
        .iter()
        .enumerate()
        .skip(index + 1)
        .filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)));
    let (_, kind_token) = words.next()?;
    let kind_word = word_of(&kind_token.token)?.to_lowercase();
    let kind = match (first.as_str(), kind_word.as_str()) {
        ("for", "version" | "system_version") => ClauseKind::Version,
        ("for", "timestamp" | "system_time") => ClauseKind::Timestamp,
        ("at", "branch") => ClauseKind::CatalogBranch,
        ("at", "tag") => ClauseKind::CatalogTag,
        ("at", "version") => ClauseKind::CatalogVersion,
        ("at", "timestamp") => ClauseKind::CatalogTimestamp,
        _ => return None,
    };
    if first == "for" {
        for expected in ["as", "of"] {
            let (_, token) = words.next()?;
            word_of(&token.token).filter(|word| word.eq_ignore_ascii_case(expected))?;
        }
        let value_index = words.next().map_or(tokens.len(), |(at, _)| at);
        return Some(Clause { kind, value_index });
    }
    // `CREATE TABLE t (at timestamp NOT NULL)` has a column of that name.
    let mut before = folded
        .iter()
        .rev()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)));
    if !matches!(before.next()?.token, Token::Word(_)) {
        return None;
    }
    let (value_index, value) = words.next()?;
    let is_value = match (kind, &value.token) {
        (ClauseKind::CatalogVersion, token) => {
            matches!(token, Token::Number(..) | Token::SingleQuotedString(_))
        }
        // `SELECT at branch FROM t` has a column and its alias.
        (_, Token::Word(word)) => {
            word.quote_style.is_some() || !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
        }
        (ClauseKind::CatalogTimestamp, Token::LParen) => true,
        (_, token) => matches!(token, Token::SingleQuotedString(_)),
    };
    is_value.then_some(Clause { kind, value_index })
}

/// The name of a branch or tag: an identifier, or a quoted text.
pub(crate) fn reference_name(parser: &mut Parser<'_>) -> Result<String, SqlError> {
    match &parser.peek_token_ref().token {
        Token::SingleQuotedString(text) if !text.is_empty() => {
            let name = text.clone();
            parser.advance_token();
            Ok(name)
        }
        _ => parser.folded_identifier(),
    }
}

/// The number or the quoted hash of a version of a catalog.
pub(crate) fn catalog_version(parser: &mut Parser<'_>) -> Result<CatalogVersionId, SqlError> {
    let location = parser.location();
    if let Token::SingleQuotedString(hash) = &parser.peek_token_ref().token {
        let hash = hash.clone();
        parser.advance_token();
        return Ok(CatalogVersionId::Hash(hash));
    }
    let number = parser.parse_literal_uint()?;
    let number = i64::try_from(number).map_err(|_| {
        SqlError::invalid(
            format!("catalog version {number}"),
            "there are no such numbers",
            location,
        )
    })?;
    Ok(CatalogVersionId::Number(number))
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
fn timestamp_of(expression: &Expr, clause: &str, location: Location) -> Result<String, SqlError> {
    if let Expr::Value(value) = expression
        && matches!(
            value.value,
            Value::Number(..) | Value::Boolean(_) | Value::Null
        )
    {
        return Err(SqlError::invalid(
            format!("timestamp in {clause}"),
            format!(
                "expected a timestamp such as TIMESTAMP '2026-01-31 12:00:00', found {expression}"
            ),
            location,
        ));
    }
    match expression.visit(&mut FindVariable) {
        ControlFlow::Break(found) => Err(SqlError::invalid(
            format!("timestamp in {clause}"),
            format!("the expression must be constant, but it has {found}"),
            location,
        )),
        ControlFlow::Continue(()) => Ok(expression.to_string()),
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
