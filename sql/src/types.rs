//! Column types of new tables: Trino's and standard SQL's spellings of Iceberg's types.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::error::SqlError;
use crate::name::quote_identifier;
use crate::parser::tokens::{TokenReader, word_of};

/// An Iceberg column type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    /// `BOOLEAN`
    Boolean,
    /// `INTEGER`, also for `TINYINT` and `SMALLINT`, which Iceberg lacks: 32 bits
    Integer,
    /// `BIGINT`: 64 bits
    Bigint,
    /// `REAL`: 32 bits
    Real,
    /// `DOUBLE`: 64 bits
    Double,
    /// `DECIMAL(precision, scale)`: precision 1 to 38
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `VARCHAR`, also for lengths, which Iceberg does not keep
    Varchar,
    /// `VARBINARY`
    Varbinary,
    /// `FIXED(length)`: that many bytes
    Fixed(u64),
    /// `UUID`
    Uuid,
    /// `DATE`
    Date,
    /// `TIME`: microseconds
    Time,
    /// `TIMESTAMP`: microseconds, no zone
    Timestamp,
    /// `TIMESTAMP WITH TIME ZONE`: microseconds, in UTC
    TimestampWithTimeZone,
    /// `ARRAY(element)`
    Array(Box<ColumnType>),
    /// `MAP(key, value)`
    Map(Box<ColumnType>, Box<ColumnType>),
    /// `ROW(name type, …)`
    Row(Vec<StructField>),
}

/// A field of a [`ColumnType::Row`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StructField {
    /// The field's name.
    pub name: String,
    /// Its type.
    pub field_type: ColumnType,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => formatter.write_str("boolean"),
            Self::Integer => formatter.write_str("integer"),
            Self::Bigint => formatter.write_str("bigint"),
            Self::Real => formatter.write_str("real"),
            Self::Double => formatter.write_str("double"),
            Self::Decimal { precision, scale } => {
                write!(formatter, "decimal({precision}, {scale})")
            }
            Self::Varchar => formatter.write_str("varchar"),
            Self::Varbinary => formatter.write_str("varbinary"),
            Self::Fixed(length) => write!(formatter, "fixed({length})"),
            Self::Uuid => formatter.write_str("uuid"),
            Self::Date => formatter.write_str("date"),
            Self::Time => formatter.write_str("time(6)"),
            Self::Timestamp => formatter.write_str("timestamp(6)"),
            Self::TimestampWithTimeZone => formatter.write_str("timestamp(6) with time zone"),
            Self::Array(element) => write!(formatter, "array({element})"),
            Self::Map(key, value) => write!(formatter, "map({key}, {value})"),
            Self::Row(fields) => {
                formatter.write_str("row(")?;
                for (index, field) in fields.iter().enumerate() {
                    if index > 0 {
                        formatter.write_str(", ")?;
                    }
                    write!(
                        formatter,
                        "{} {}",
                        quote_identifier(&field.name),
                        field.field_type
                    )?;
                }
                formatter.write_str(")")
            }
        }
    }
}

/// Parses a type at the parser's position.
pub(crate) fn parse_column_type(parser: &mut Parser<'_>) -> Result<ColumnType, SqlError> {
    let token = parser.next_token();
    let location = token.span.start;
    let Some(name) = word_of(&token.token).map(str::to_lowercase) else {
        return Err(SqlError::syntax(
            format!("expected a column type, found {token}"),
            location,
        ));
    };
    let mut column_type = match name.as_str() {
        "boolean" | "bool" => ColumnType::Boolean,
        "tinyint" | "smallint" | "int" | "integer" | "int2" | "int4" => ColumnType::Integer,
        "bigint" | "int8" | "long" => ColumnType::Bigint,
        "real" | "float4" => ColumnType::Real,
        "float" => parse_float(parser)?,
        "float8" => ColumnType::Double,
        "double" => {
            let _ = parser.take_word("precision");
            ColumnType::Double
        }
        "decimal" | "numeric" | "dec" => parse_decimal(parser)?,
        "varchar" | "char" | "character" | "string" | "text" | "json" => {
            if name == "json" {
                return Err(SqlError::unsupported_but(
                    "the column type json",
                    "Iceberg has none, use varchar",
                    location,
                ));
            }
            let _ = name == "character" && parser.take_word("varying");
            parse_optional_arguments(parser, 1)?;
            ColumnType::Varchar
        }
        "varbinary" | "binary" | "bytea" | "blob" => {
            parse_optional_arguments(parser, 1)?;
            ColumnType::Varbinary
        }
        "fixed" => match parse_optional_arguments(parser, 1)?.as_slice() {
            [length] if *length > 0 => ColumnType::Fixed(*length),
            _ => {
                return Err(SqlError::invalid(
                    "column type fixed",
                    "write its length in bytes, for example fixed(16)",
                    location,
                ));
            }
        },
        "uuid" => ColumnType::Uuid,
        "date" => ColumnType::Date,
        "time" => parse_time(parser, location)?,
        "timestamp" | "datetime" => parse_timestamp(parser, location)?,
        "timestamptz" => {
            check_precision(parser, location)?;
            ColumnType::TimestampWithTimeZone
        }
        "array" | "list" => {
            let close = parse_open(parser)?;
            let element = parse_column_type(parser)?;
            parse_close(parser, close)?;
            ColumnType::Array(Box::new(element))
        }
        "map" => {
            let close = parse_open(parser)?;
            let key = parse_column_type(parser)?;
            parser.expect_token(&Token::Comma)?;
            let value = parse_column_type(parser)?;
            parse_close(parser, close)?;
            ColumnType::Map(Box::new(key), Box::new(value))
        }
        "row" | "struct" => parse_row(parser)?,
        _ => {
            return Err(SqlError::invalid(
                format!("column type '{name}'"),
                "there is no such type; the types are boolean, integer, bigint, real, double, \
                 decimal(p, s), varchar, varbinary, fixed(n), uuid, date, time, timestamp, \
                 timestamp with time zone, array(t), map(k, v) and row(name t, …)",
                location,
            ));
        }
    };
    while parser.consume_token(&Token::LBracket) {
        parser.expect_token(&Token::RBracket)?;
        column_type = ColumnType::Array(Box::new(column_type));
    }
    Ok(column_type)
}

fn parse_float(parser: &mut Parser<'_>) -> Result<ColumnType, SqlError> {
    // Standard SQL: up to 24 binary digits fit 32 bits. Without digits DataFusion reads `float` as
    // 32 bits too.
    let arguments = parse_optional_arguments(parser, 1)?;
    match arguments.first() {
        Some(digits) if *digits > 24 => Ok(ColumnType::Double),
        _ => Ok(ColumnType::Real),
    }
}

fn parse_decimal(parser: &mut Parser<'_>) -> Result<ColumnType, SqlError> {
    let location = parser.location();
    let arguments = parse_optional_arguments(parser, 2)?;
    let (precision, scale) = match arguments.as_slice() {
        [] => (38, 0),
        [precision] => (*precision, 0),
        [precision, scale, ..] => (*precision, *scale),
    };
    let in_range = (1..=38).contains(&precision) && scale <= precision;
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if in_range => Ok(ColumnType::Decimal { precision, scale }),
        _ => Err(SqlError::invalid(
            format!("column type decimal({precision}, {scale})"),
            "the precision must be 1 to 38, the scale at most the precision",
            location,
        )),
    }
}

fn parse_time(
    parser: &mut Parser<'_>,
    location: sqlparser::tokenizer::Location,
) -> Result<ColumnType, SqlError> {
    check_precision(parser, location)?;
    if parse_time_zone(parser)? {
        return Err(SqlError::unsupported_but(
            "the column type time with time zone",
            "Iceberg has none, use time or timestamp with time zone",
            location,
        ));
    }
    Ok(ColumnType::Time)
}

fn parse_timestamp(
    parser: &mut Parser<'_>,
    location: sqlparser::tokenizer::Location,
) -> Result<ColumnType, SqlError> {
    check_precision(parser, location)?;
    if parse_time_zone(parser)? {
        Ok(ColumnType::TimestampWithTimeZone)
    } else {
        Ok(ColumnType::Timestamp)
    }
}

/// Coarser precisions are stored as microseconds; finer ones would lose digits.
fn check_precision(
    parser: &mut Parser<'_>,
    location: sqlparser::tokenizer::Location,
) -> Result<(), SqlError> {
    match parse_optional_arguments(parser, 1)?.first() {
        Some(precision) if *precision > 6 => Err(SqlError::unsupported_but(
            format!("a time precision of {precision} digits"),
            "Iceberg format v2 keeps microseconds, use a precision of at most 6",
            location,
        )),
        _ => Ok(()),
    }
}

fn parse_time_zone(parser: &mut Parser<'_>) -> Result<bool, SqlError> {
    if parser.take_words(&["with", "time", "zone"])
        || parser.take_words(&["with", "local", "time", "zone"])
    {
        return Ok(true);
    }
    let _ = parser.take_words(&["without", "time", "zone"]);
    Ok(false)
}

fn parse_row(parser: &mut Parser<'_>) -> Result<ColumnType, SqlError> {
    let close = parse_open(parser)?;
    let mut fields: Vec<StructField> = vec![];
    loop {
        let location = parser.location();
        let name = parser.folded_identifier()?;
        if fields.iter().any(|field| field.name == name) {
            return Err(SqlError::invalid(
                "column type row",
                format!("the field '{name}' is given twice"),
                location,
            ));
        }
        let _ = parser.consume_token(&Token::Colon);
        let field_type = parse_column_type(parser)?;
        fields.push(StructField { name, field_type });
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parse_close(parser, close)?;
    Ok(ColumnType::Row(fields))
}

/// `(1, 2)` after a type's name; empty without parentheses.
fn parse_optional_arguments(parser: &mut Parser<'_>, at_most: usize) -> Result<Vec<u64>, SqlError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(vec![]);
    }
    let mut arguments = vec![parser.parse_literal_uint()?];
    while arguments.len() < at_most && parser.consume_token(&Token::Comma) {
        arguments.push(parser.parse_literal_uint()?);
    }
    parser.expect_token(&Token::RParen)?;
    Ok(arguments)
}

/// Opens `(…)` or `<…>` and says which token closes it.
fn parse_open(parser: &mut Parser<'_>) -> Result<Token, SqlError> {
    if parser.consume_token(&Token::Lt) {
        Ok(Token::Gt)
    } else {
        parser.expect_token(&Token::LParen)?;
        Ok(Token::RParen)
    }
}

fn parse_close(parser: &mut Parser<'_>, close: Token) -> Result<(), SqlError> {
    parser.expect_token(&close)?;
    Ok(())
}
