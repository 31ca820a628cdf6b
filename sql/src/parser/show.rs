//! `SHOW` and `DESCRIBE`.

use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::parse_query_of;
use super::tokens::TokenReader;
use crate::error::SqlError;
use crate::statement::{LikePattern, Statement, StatsRelation};

pub(super) fn parse_show(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("show")?;
    if parser.take_word("catalogs") {
        let like = parse_like(parser)?;
        return Ok(Statement::ShowCatalogs { like });
    }
    if parser.take_word("schemas") || parser.take_word("databases") {
        let catalog = parse_from_catalog(parser)?;
        let like = parse_like(parser)?;
        return Ok(Statement::ShowSchemas { catalog, like });
    }
    if parser.take_word("tables") {
        let schema = if take_from(parser) {
            Some(parser.schema_name()?)
        } else {
            None
        };
        let like = parse_like(parser)?;
        return Ok(Statement::ShowTables { schema, like });
    }
    if parser.take_word("columns") {
        if !take_from(parser) {
            return Err(parser.expected_here("FROM and a table"));
        }
        let table = parser.table_name()?;
        let like = parse_like(parser)?;
        return Ok(Statement::ShowColumns { table, like });
    }
    if parser.take_words(&["create", "table"]) {
        let table = parser.table_name()?;
        return Ok(Statement::ShowCreateTable { table });
    }
    if parser.take_words(&["create", "view"]) {
        let view = parser.table_name()?;
        return Ok(Statement::ShowCreateView { view });
    }
    if parser.take_words(&["create", "materialized", "view"]) {
        let view = parser.table_name()?;
        return Ok(Statement::ShowCreateMaterializedView { view });
    }
    if parser.take_words(&["create", "schema"]) {
        let schema = parser.schema_name()?;
        return Ok(Statement::ShowCreateSchema { schema });
    }
    if parser.peek_word("create") {
        return Err(SqlError::unsupported(
            "SHOW CREATE of anything but a table, view, materialized view or schema",
            location,
        ));
    }
    if parser.take_word("stats") {
        parser.expect_word("for")?;
        let relation = parse_stats_relation(parser)?;
        return Ok(Statement::ShowStats { relation });
    }
    if parser.take_word("session") {
        let like = parse_like(parser)?;
        return Ok(Statement::ShowSession { like });
    }
    if parser.take_word("functions") {
        let like = parse_like(parser)?;
        return Ok(Statement::ShowFunctions { like });
    }
    if parser.take_word("jobs") {
        let like = parse_like(parser)?;
        return Ok(Statement::ShowJobs { like });
    }
    if parser.take_word("branches") {
        let catalog = parse_from_catalog(parser)?;
        let like = parse_like(parser)?;
        return Ok(Statement::ShowBranches { catalog, like });
    }
    if parser.take_words(&["catalog", "log"]) {
        let catalog = parse_from_catalog(parser)?;
        let like = parse_like(parser)?;
        let limit = match parser.take_word("limit") {
            true => Some(parser.parse_literal_uint()?),
            false => None,
        };
        return Ok(Statement::ShowCatalogLog {
            catalog,
            like,
            limit,
        });
    }
    Err(parser.expected_here(
        "CATALOGS, SCHEMAS, TABLES, COLUMNS, CREATE TABLE, CREATE SCHEMA, STATS, SESSION, FUNCTIONS, \
         JOBS, BRANCHES or CATALOG LOG",
    ))
}

/// `DESCRIBE table`, `DESC table`
pub(super) fn parse_describe(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.advance_token();
    for kind in ["input", "output"] {
        if parser.peek_word(kind) {
            let what = format!("DESCRIBE {}", kind.to_uppercase());
            return Err(SqlError::unsupported(what, location));
        }
    }
    let _ = parser.take_word("table");
    let table = parser.table_name()?;
    Ok(Statement::ShowColumns { table, like: None })
}

/// `table`, or a query in parentheses.
fn parse_stats_relation(parser: &mut Parser<'_>) -> Result<StatsRelation, SqlError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(StatsRelation::Table(parser.table_name()?));
    }
    let query = parse_query_of(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(StatsRelation::Query(query))
}

fn take_from(parser: &mut Parser<'_>) -> bool {
    parser.take_word("from") || parser.take_word("in")
}

/// `[FROM catalog]`
fn parse_from_catalog(parser: &mut Parser<'_>) -> Result<Option<String>, SqlError> {
    match take_from(parser) {
        true => parser.folded_identifier().map(Some),
        false => Ok(None),
    }
}

/// `[LIKE 'pattern' [ESCAPE 'c']]`
fn parse_like(parser: &mut Parser<'_>) -> Result<Option<LikePattern>, SqlError> {
    if !parser.take_word("like") {
        return Ok(None);
    }
    let pattern = parser.string_literal("the pattern")?;
    let location = parser.location();
    let escape = if parser.take_word("escape") {
        let text = parser.string_literal("the escape character")?;
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(escape), None) => Some(escape),
            _ => {
                return Err(SqlError::syntax(
                    "the escape must be one character",
                    location,
                ));
            }
        }
    } else {
        None
    };
    Ok(Some(LikePattern { pattern, escape }))
}
