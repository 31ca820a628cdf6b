//! `COPY INTO table [(columns)] FROM 'location' [FORMAT name] [WITH (…)]`

use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token};

use super::tokens::{Constant, Property, TokenReader, parse_property_list};
use super::written_table_name;
use crate::error::SqlError;
use crate::statement::{CopyFormat, CopyInto, CopyMode, Statement};

const OPTION_NAMES: [&str; 9] = [
    "format",
    "mode",
    "rejects",
    "header",
    "delimiter",
    "quote",
    "escape",
    "null_value",
    "force",
];

pub(super) fn parse_copy(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("copy")?;
    if !parser.take_word("into") {
        return Err(SqlError::unsupported_but(
            "COPY of anything but COPY INTO table FROM 'location'",
            "write COPY INTO table FROM 's3://bucket/path/*.csv'",
            location,
        ));
    }
    let table = written_table_name(parser)?;
    let columns = parser.optional_column_names()?;
    parser.expect_word("from")?;
    let locations = parse_locations(parser)?;
    let mut copy = CopyInto {
        table,
        columns,
        locations,
        format: None,
        mode: CopyMode::default(),
        rejects: None,
        header: true,
        delimiter: ',',
        quote: '"',
        escape: None,
        null_value: String::new(),
        force: false,
    };
    if parser.take_word("format") {
        let location = parser.location();
        let name = match parser.peek_token_ref().token {
            Token::Word(_) => parser.folded_identifier()?,
            _ => parser.string_literal("a format")?,
        };
        copy.format = Some(format_of(&name, location)?);
    }
    if parser.take_word("with") {
        for property in parse_property_list(parser)? {
            set_option(&mut copy, property)?;
        }
    }
    if copy.rejects.is_some() && copy.mode == CopyMode::Strict {
        return Err(SqlError::invalid(
            "option 'rejects'",
            "rows are rejected only with mode = 'permissive'",
            location,
        ));
    }
    Ok(Statement::CopyInto(copy))
}

/// `'location'` or `('location', …)`
fn parse_locations(parser: &mut Parser<'_>) -> Result<Vec<String>, SqlError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(vec![non_empty_location(parser)?]);
    }
    let mut locations = vec![non_empty_location(parser)?];
    while parser.consume_token(&Token::Comma) {
        locations.push(non_empty_location(parser)?);
    }
    parser.expect_token(&Token::RParen)?;
    Ok(locations)
}

fn non_empty_location(parser: &mut Parser<'_>) -> Result<String, SqlError> {
    let position = parser.location();
    let location = parser.string_literal("the location of the files")?;
    if location.is_empty() {
        return Err(SqlError::invalid(
            "location",
            "it must not be empty",
            position,
        ));
    }
    Ok(location)
}

fn format_of(name: &str, location: Location) -> Result<CopyFormat, SqlError> {
    match name.to_lowercase().as_str() {
        "csv" => Ok(CopyFormat::Csv),
        "json" | "ndjson" | "jsonl" => Ok(CopyFormat::Json),
        "parquet" => Ok(CopyFormat::Parquet),
        _ => Err(SqlError::invalid(
            format!("format '{name}'"),
            "the formats are csv, json and parquet",
            location,
        )),
    }
}

fn set_option(copy: &mut CopyInto, property: Property) -> Result<(), SqlError> {
    let Property {
        name,
        value,
        location,
    } = property;
    let expected = |wanted: &str| {
        SqlError::invalid(
            format!("option '{name}'"),
            format!("expected {wanted}, found {}", value.describe()),
            location,
        )
    };
    let one_character = || match &value {
        Constant::Text(text) => {
            let mut characters = text.chars();
            match (characters.next(), characters.next()) {
                (Some(character), None) if character.is_ascii() => Ok(character),
                _ => Err(expected("one ASCII character")),
            }
        }
        _ => Err(expected("one ASCII character")),
    };
    match (name.as_str(), &value) {
        ("format", Constant::Text(text)) => {
            let format = format_of(text, location)?;
            if copy.format.is_some_and(|other| other != format) {
                return Err(expected("the format that FORMAT names"));
            }
            copy.format = Some(format);
        }
        ("format", _) => return Err(expected("'csv', 'json' or 'parquet'")),
        ("mode", Constant::Text(text)) => match text.to_lowercase().as_str() {
            "strict" => copy.mode = CopyMode::Strict,
            "permissive" => copy.mode = CopyMode::Permissive,
            _ => return Err(expected("'strict' or 'permissive'")),
        },
        ("mode", _) => return Err(expected("'strict' or 'permissive'")),
        ("rejects", Constant::Text(text)) if !text.is_empty() => copy.rejects = Some(text.clone()),
        ("rejects", _) => return Err(expected("a location")),
        ("header", Constant::Boolean(header)) => copy.header = *header,
        ("header", _) => return Err(expected("true or false")),
        ("delimiter", _) => copy.delimiter = one_character()?,
        ("quote", _) => copy.quote = one_character()?,
        ("escape", _) => copy.escape = Some(one_character()?),
        ("null_value", Constant::Text(text)) => copy.null_value = text.clone(),
        ("null_value", _) => return Err(expected("a text")),
        ("force", Constant::Boolean(force)) => copy.force = *force,
        ("force", _) => return Err(expected("true or false")),
        _ => {
            return Err(SqlError::invalid(
                format!("option '{name}'"),
                format!(
                    "there is no such option, the options are {}",
                    OPTION_NAMES.join(", ")
                ),
                location,
            ));
        }
    }
    Ok(())
}
