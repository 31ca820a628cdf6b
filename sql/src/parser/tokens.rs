//! Reading words, names and constants from the parser library's token stream.

use sqlparser::ast::{Expr, UnaryOperator, Value};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token};

use crate::error::SqlError;
use crate::name::{ObjectName, fold_identifier};

/// The text of an unquoted word.
pub(crate) fn word_of(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}

/// Words are compared without regard to case; many of ours are no keywords of the library.
pub(crate) trait TokenReader {
    /// Where the next token starts.
    fn location(&self) -> Location;
    /// Whether the next token is this unquoted word.
    fn peek_word(&self, word: &str) -> bool;
    /// Whether the next tokens are these unquoted words.
    fn peek_words(&self, words: &[&str]) -> bool;
    /// Consumes the word if it is next.
    fn take_word(&mut self, word: &str) -> bool;
    /// Consumes the words if all of them are next.
    fn take_words(&mut self, words: &[&str]) -> bool;
    /// Consumes the word or fails.
    fn expect_word(&mut self, word: &str) -> Result<(), SqlError>;
    /// An identifier, folded.
    fn folded_identifier(&mut self) -> Result<String, SqlError>;
    /// A name of one to `at_most` parts, folded.
    fn object_name(&mut self, at_most: usize) -> Result<ObjectName, SqlError>;
    /// The name of a table: one to three parts.
    fn table_name(&mut self) -> Result<ObjectName, SqlError>;
    /// The name of a schema: one or two parts.
    fn schema_name(&mut self) -> Result<ObjectName, SqlError>;
    /// A string constant.
    fn string_literal(&mut self, what: &str) -> Result<String, SqlError>;
    /// `(name, …)` if the next token opens a list.
    fn optional_column_names(&mut self) -> Result<Vec<String>, SqlError>;
    /// The error "expected …, found the next token".
    fn expected_here(&self, what: &str) -> SqlError;
    /// `IF NOT EXISTS`
    fn take_if_not_exists(&mut self) -> bool;
    /// `IF EXISTS`
    fn take_if_exists(&mut self) -> bool;
}

impl TokenReader for Parser<'_> {
    fn location(&self) -> Location {
        self.peek_token_ref().span.start
    }

    fn peek_word(&self, word: &str) -> bool {
        self.peek_words(&[word])
    }

    fn peek_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(index, word)| {
            word_of(&self.peek_nth_token_ref(index).token)
                .is_some_and(|found| found.eq_ignore_ascii_case(word))
        })
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.take_words(&[word])
    }

    fn take_words(&mut self, words: &[&str]) -> bool {
        let found = self.peek_words(words);
        if found {
            for _ in words {
                self.advance_token();
            }
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<(), SqlError> {
        if self.take_word(word) {
            Ok(())
        } else {
            Err(self.expected_here(&word.to_uppercase()))
        }
    }

    fn folded_identifier(&mut self) -> Result<String, SqlError> {
        let location = self.location();
        let identifier = fold_identifier(&self.parse_identifier()?);
        if identifier.is_empty() {
            return Err(SqlError::syntax("a name must not be empty", location));
        }
        Ok(identifier)
    }

    fn object_name(&mut self, at_most: usize) -> Result<ObjectName, SqlError> {
        let location = self.location();
        let mut parts = vec![self.folded_identifier()?];
        while self.consume_token(&Token::Period) {
            parts.push(self.folded_identifier()?);
        }
        let name = ObjectName { parts };
        if name.parts.len() > at_most {
            return Err(SqlError::syntax(
                format!("the name {name} has too many parts, at most {at_most} are possible here"),
                location,
            ));
        }
        Ok(name)
    }

    fn table_name(&mut self) -> Result<ObjectName, SqlError> {
        self.object_name(3)
    }

    fn schema_name(&mut self) -> Result<ObjectName, SqlError> {
        self.object_name(2)
    }

    fn string_literal(&mut self, what: &str) -> Result<String, SqlError> {
        let token = self.next_token();
        match token.token {
            Token::SingleQuotedString(text)
            | Token::UnicodeStringLiteral(text)
            | Token::EscapedStringLiteral(text) => Ok(text),
            _ => Err(SqlError::syntax(
                format!("expected {what} as a quoted string, found {token}"),
                token.span.start,
            )),
        }
    }

    fn optional_column_names(&mut self) -> Result<Vec<String>, SqlError> {
        if !self.consume_token(&Token::LParen) {
            return Ok(vec![]);
        }
        let mut names: Vec<String> = vec![];
        loop {
            let location = self.location();
            let name = self.folded_identifier()?;
            if names.contains(&name) {
                return Err(SqlError::invalid(
                    "column list",
                    format!("the column '{name}' is given twice"),
                    location,
                ));
            }
            names.push(name);
            if !self.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    fn expected_here(&self, what: &str) -> SqlError {
        let found = self.peek_token_ref();
        let found_text = match found.token {
            Token::EOF => "the end of the statement".to_string(),
            _ => found.to_string(),
        };
        SqlError::syntax(
            format!("expected {what}, found {found_text}"),
            found.span.start,
        )
    }

    fn take_if_not_exists(&mut self) -> bool {
        self.take_words(&["if", "not", "exists"])
    }

    fn take_if_exists(&mut self) -> bool {
        self.take_words(&["if", "exists"])
    }
}

/// A constant in a property list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Text(String),
    Number(String),
    Boolean(bool),
    Null,
    Array(Vec<Constant>),
    Map(Vec<(String, String)>),
}

impl Constant {
    /// How the constant is called in an error message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("'{text}'"),
            Self::Number(number) => number.clone(),
            Self::Boolean(value) => value.to_string(),
            Self::Null => "null".to_string(),
            Self::Array(_) => "an array".to_string(),
            Self::Map(_) => "a map".to_string(),
        }
    }

    /// A text, number or boolean as the text of a property.
    pub(crate) fn as_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.clone()),
            Self::Boolean(value) => Some(value.to_string()),
            Self::Null | Self::Array(_) | Self::Map(_) => None,
        }
    }

    fn of_expression(expression: &Expr) -> Option<Self> {
        match expression {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text)
                | Value::EscapedStringLiteral(text)
                | Value::UnicodeStringLiteral(text) => Some(Self::Text(text.clone())),
                Value::Number(number, _) => Some(Self::Number(number.clone())),
                Value::Boolean(value) => Some(Self::Boolean(*value)),
                Value::Null => Some(Self::Null),
                _ => None,
            },
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => match Self::of_expression(expr)? {
                Self::Number(number) => Some(Self::Number(format!("-{number}"))),
                _ => None,
            },
            Expr::Nested(inner) => Self::of_expression(inner),
            Expr::Array(array) => array
                .elem
                .iter()
                .map(Self::of_expression)
                .collect::<Option<Vec<_>>>()
                .map(Self::Array),
            Expr::Map(map) => map
                .entries
                .iter()
                .map(|entry| {
                    let key = Self::of_expression(&entry.key)?.as_text()?;
                    let value = Self::of_expression(&entry.value)?.as_text()?;
                    Some((key, value))
                })
                .collect::<Option<Vec<_>>>()
                .map(Self::Map),
            Expr::Function(function) => Self::of_map_function(function),
            _ => None,
        }
    }

    /// Trino's `MAP(ARRAY['key', …], ARRAY['value', …])`.
    fn of_map_function(function: &sqlparser::ast::Function) -> Option<Self> {
        use sqlparser::ast::{FunctionArg, FunctionArgExpr, FunctionArguments};
        if !function.name.to_string().eq_ignore_ascii_case("map") {
            return None;
        }
        let FunctionArguments::List(list) = &function.args else {
            return None;
        };
        let arrays = list
            .args
            .iter()
            .map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => {
                    Self::of_expression(expression)
                }
                _ => None,
            })
            .collect::<Option<Vec<_>>>()?;
        let [Self::Array(keys), Self::Array(values)] = arrays.as_slice() else {
            return None;
        };
        if keys.len() != values.len() {
            return None;
        }
        keys.iter()
            .zip(values)
            .map(|(key, value)| Some((key.as_text()?, value.as_text()?)))
            .collect::<Option<Vec<_>>>()
            .map(Self::Map)
    }
}

/// A property of a `WITH (…)` list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Property {
    pub name: String,
    pub value: Constant,
    pub location: Location,
}

/// `(name = constant, …)`; the parser stands before the parenthesis.
pub(crate) fn parse_property_list(parser: &mut Parser<'_>) -> Result<Vec<Property>, SqlError> {
    parser.expect_token(&Token::LParen)?;
    let properties = parse_properties(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(properties)
}

/// `name = constant, …` without parentheses.
pub(crate) fn parse_properties(parser: &mut Parser<'_>) -> Result<Vec<Property>, SqlError> {
    let mut properties: Vec<Property> = vec![];
    loop {
        let location = parser.location();
        let name = parser.folded_identifier()?;
        if properties.iter().any(|property| property.name == name) {
            return Err(SqlError::invalid(
                format!("property '{name}'"),
                "it is given twice",
                location,
            ));
        }
        parser.expect_token(&Token::Eq)?;
        let value = parse_constant(parser, &name)?;
        properties.push(Property {
            name,
            value,
            location,
        });
        if !parser.consume_token(&Token::Comma) {
            return Ok(properties);
        }
    }
}

/// A constant expression.
pub(crate) fn parse_constant(parser: &mut Parser<'_>, name: &str) -> Result<Constant, SqlError> {
    let location = parser.location();
    let expression = parser.parse_expr()?;
    Constant::of_expression(&expression).ok_or_else(|| {
        SqlError::invalid(
            format!("value of '{name}'"),
            format!(
                "expected a string, number, boolean, array or map constant, found {expression}"
            ),
            location,
        )
    })
}
