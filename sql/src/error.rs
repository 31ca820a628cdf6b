//! What can be wrong with SQL text.

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Location, TokenizerError};
use thiserror::Error;

/// Why SQL text is not a statement of this dialect. Lines and columns count from 1; a line of 0
/// means that the place is not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SqlError {
    /// The text breaks the grammar.
    #[error("syntax error at line {line}, column {column}: {message}")]
    Syntax {
        /// What was expected and what was found instead.
        message: String,
        /// Line of the offending token.
        line: u64,
        /// Column of the offending token, in characters.
        column: u64,
    },
    /// The grammar is fine, but a value in it is not: a property, a type, a transform.
    #[error("invalid {what}{}: {message}", at(*line, *column))]
    Invalid {
        /// The thing that is wrong, for example "table property 'format'".
        what: String,
        /// What is wrong with it and what would be right.
        message: String,
        /// Line of the thing.
        line: u64,
        /// Column of the thing, in characters.
        column: u64,
    },
    /// SQL that is understood but that Ingot cannot execute.
    #[error("{what} is not supported{}{}", at(*line, *column), remedy_text(remedy))]
    Unsupported {
        /// The clause or statement.
        what: String,
        /// What to write instead, when there is something.
        remedy: Option<String>,
        /// Line of the clause.
        line: u64,
        /// Column of the clause, in characters.
        column: u64,
    },
    /// There is no statement in the text.
    #[error("there is no SQL statement in the text")]
    Empty,
    /// There are several statements where one was wanted.
    #[error("expected one SQL statement, found {count}: send them one by one")]
    NotOne {
        /// How many there are.
        count: usize,
    },
}

fn at(line: u64, column: u64) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(" at line {line}, column {column}")
    }
}

fn remedy_text(remedy: &Option<String>) -> String {
    match remedy {
        Some(remedy) => format!(": {remedy}"),
        None => String::new(),
    }
}

impl SqlError {
    pub(crate) fn syntax(message: impl Into<String>, location: Location) -> Self {
        Self::Syntax {
            message: message.into(),
            line: location.line,
            column: location.column,
        }
    }

    pub(crate) fn invalid(
        what: impl Into<String>,
        message: impl Into<String>,
        location: Location,
    ) -> Self {
        Self::Invalid {
            what: what.into(),
            message: message.into(),
            line: location.line,
            column: location.column,
        }
    }

    pub(crate) fn unsupported(what: impl Into<String>, location: Location) -> Self {
        Self::Unsupported {
            what: what.into(),
            remedy: None,
            line: location.line,
            column: location.column,
        }
    }

    pub(crate) fn unsupported_but(
        what: impl Into<String>,
        remedy: impl Into<String>,
        location: Location,
    ) -> Self {
        Self::Unsupported {
            what: what.into(),
            remedy: Some(remedy.into()),
            line: location.line,
            column: location.column,
        }
    }

    /// A parser reports the end of the text without a place: it is where the text ends.
    pub(crate) fn located_at_end(self, end: Location) -> Self {
        match self {
            Self::Syntax {
                message, line: 0, ..
            } => Self::Syntax {
                message,
                line: end.line,
                column: end.column,
            },
            other => other,
        }
    }

    /// The line and column, where known.
    pub fn position(&self) -> Option<(u64, u64)> {
        match self {
            Self::Syntax { line, column, .. }
            | Self::Invalid { line, column, .. }
            | Self::Unsupported { line, column, .. } => (*line > 0).then_some((*line, *column)),
            Self::Empty | Self::NotOne { .. } => None,
        }
    }
}

impl From<ParserError> for SqlError {
    fn from(error: ParserError) -> Self {
        match error {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
                from_located_text(&text)
            }
            ParserError::RecursionLimitExceeded => Self::Syntax {
                message: "the statement is nested too deeply".to_string(),
                line: 0,
                column: 0,
            },
        }
    }
}

impl From<TokenizerError> for SqlError {
    fn from(error: TokenizerError) -> Self {
        Self::syntax(clean(&error.message), error.location)
    }
}

/// The parser library writes the place at the end of its text: `… at Line: 1, Column: 8`.
fn from_located_text(text: &str) -> SqlError {
    let located = text.rsplit_once(" at Line: ").and_then(|(message, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((message, line.parse().ok()?, column.trim().parse().ok()?))
    });
    let (message, line, column) = located.unwrap_or((text, 0, 0));
    SqlError::Syntax {
        message: clean(message),
        line,
        column,
    }
}

/// The parser library's wording in our style.
fn clean(message: &str) -> String {
    lower_first(message)
        .replace("found: EOF", "found the end of the statement")
        .replace("expected: ", "expected ")
        .replace("found: ", "found ")
        .trim_end_matches('.')
        .to_string()
}

/// Keywords keep their capitals.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let is_keyword = text.chars().take(2).all(char::is_uppercase);
    match characters.next() {
        Some(first) if !is_keyword => first.to_lowercase().chain(characters).collect(),
        _ => text.to_string(),
    }
}
