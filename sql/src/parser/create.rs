//! `CREATE` and `DROP` of schemas, tables and views.

use std::ops::ControlFlow;

use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token};

use super::interval::parse_grace_period;
use super::parse_query_of;
use super::references;
use super::tokens::{Constant, TokenReader, parse_property_list};
use crate::error::SqlError;
use crate::name::ObjectName;
use crate::statement::{
    ColumnDefinition, CreateSchema, CreateTable, CreateTableAs, CreateView, DropSchema, DropTable,
    DropView, Statement,
};
use crate::table_properties::TableProperties;
use crate::types::parse_column_type;

pub(super) fn parse_create(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("create")?;
    let or_replace = parser.take_words(&["or", "replace"]);
    if parser.take_word("table") {
        return parse_create_table(parser, or_replace);
    }
    if parser.take_word("view") {
        return parse_create_view(parser, or_replace, false);
    }
    if parser.take_words(&["materialized", "view"]) {
        return parse_create_view(parser, or_replace, true);
    }
    if (parser.peek_word("schema") || parser.peek_word("database")) && !or_replace {
        parser.advance_token();
        return parse_create_schema(parser);
    }
    if parser.peek_word("external") {
        return Err(SqlError::unsupported_but(
            "CREATE EXTERNAL TABLE",
            "read files with read_parquet('…'), read_csv('…') or read_json('…')",
            location,
        ));
    }
    if parser.peek_word("temporary") || parser.peek_word("temp") {
        return Err(SqlError::unsupported("CREATE TEMPORARY TABLE", location));
    }
    if parser.peek_word("branch") || parser.peek_word("tag") {
        return references::parse_create(parser, or_replace);
    }
    for kind in ["function", "role", "index", "sequence", "job", "catalog"] {
        if parser.peek_word(kind) {
            let what = format!("CREATE {}", kind.to_uppercase());
            return Err(SqlError::unsupported(what, location));
        }
    }
    Err(parser.expected_here("TABLE, SCHEMA, VIEW or MATERIALIZED VIEW"))
}

pub(super) fn parse_drop(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("drop")?;
    if parser.take_word("table") {
        let if_exists = parser.take_if_exists();
        let name = parser.table_name()?;
        let purge = parser.take_word("purge");
        return Ok(Statement::DropTable(DropTable {
            name,
            if_exists,
            purge,
        }));
    }
    let materialized = parser.peek_words(&["materialized", "view"]);
    if parser.take_word("view") || parser.take_words(&["materialized", "view"]) {
        let if_exists = parser.take_if_exists();
        let name = parser.table_name()?;
        return Ok(Statement::DropView(DropView {
            name,
            if_exists,
            materialized,
        }));
    }
    if parser.take_word("schema") || parser.take_word("database") {
        let if_exists = parser.take_if_exists();
        let name = parser.schema_name()?;
        let cascade = parser.take_word("cascade");
        if !cascade {
            let _ = parser.take_word("restrict");
        }
        return Ok(Statement::DropSchema(DropSchema {
            name,
            if_exists,
            cascade,
        }));
    }
    if parser.peek_word("branch") || parser.peek_word("tag") {
        return references::parse_drop(parser);
    }
    for kind in ["function", "role", "index", "sequence", "job", "catalog"] {
        if parser.peek_word(kind) {
            let what = format!("DROP {}", kind.to_uppercase());
            return Err(SqlError::unsupported(what, location));
        }
    }
    Err(parser.expected_here("TABLE, SCHEMA, VIEW or MATERIALIZED VIEW"))
}

fn parse_create_schema(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let if_not_exists = parser.take_if_not_exists();
    let name = parser.schema_name()?;
    let mut location = None;
    if parser.take_word("with") {
        for property in parse_property_list(parser)? {
            match (property.name.as_str(), property.value) {
                ("location", Constant::Text(text)) if !text.is_empty() => location = Some(text),
                ("location", other) => {
                    return Err(SqlError::invalid(
                        "schema property 'location'",
                        format!(
                            "expected a location such as 's3://bucket/path', found {}",
                            other.describe()
                        ),
                        property.location,
                    ));
                }
                (unknown, _) => {
                    return Err(SqlError::invalid(
                        format!("schema property '{unknown}'"),
                        "there is no such property, the only one is 'location'",
                        property.location,
                    ));
                }
            }
        }
    }
    Ok(Statement::CreateSchema(CreateSchema {
        name,
        if_not_exists,
        location,
    }))
}

/// What stands in the parentheses after the name of a new table.
enum TableElements {
    None,
    Definitions(Vec<ColumnDefinition>),
    Names(Vec<String>),
}

fn parse_create_table(parser: &mut Parser<'_>, or_replace: bool) -> Result<Statement, SqlError> {
    let location = parser.location();
    let if_not_exists = parser.take_if_not_exists();
    if if_not_exists && or_replace {
        return Err(SqlError::syntax(
            "OR REPLACE and IF NOT EXISTS exclude each other",
            location,
        ));
    }
    let name = new_table_name(parser)?;
    let elements = parse_table_elements(parser)?;
    let comment = parse_optional_comment(parser)?;
    let properties = parse_table_properties(parser)?;
    let comment = match comment {
        None => parse_optional_comment(parser)?,
        some => some,
    };
    if parser.take_word("as") {
        let column_names = match elements {
            TableElements::None => vec![],
            TableElements::Names(names) => names,
            TableElements::Definitions(_) => {
                return Err(SqlError::syntax(
                    "the columns of CREATE TABLE … AS are names without types; cast in the query",
                    location,
                ));
            }
        };
        let query = parse_query_of(parser)?;
        let with_data = parse_with_data(parser)?;
        return Ok(Statement::CreateTableAs(CreateTableAs {
            name,
            if_not_exists,
            or_replace,
            column_names,
            comment,
            properties,
            query,
            with_data,
        }));
    }
    match elements {
        TableElements::Definitions(columns) => Ok(Statement::CreateTable(CreateTable {
            name,
            if_not_exists,
            or_replace,
            columns,
            comment,
            properties,
        })),
        TableElements::None => {
            Err(parser.expected_here("columns in parentheses, or AS and a query"))
        }
        TableElements::Names(_) => {
            Err(parser.expected_here("AS and a query, or types of the columns"))
        }
    }
}

/// A name that a new table or view may have: `$` and the words of a time-travel clause would make
/// it unreachable.
pub(super) fn new_table_name(parser: &mut Parser<'_>) -> Result<ObjectName, SqlError> {
    let location = parser.location();
    let name = parser.table_name()?;
    let object = name.object();
    if object.contains('$') {
        return Err(SqlError::invalid(
            format!("table name '{object}'"),
            "a name must not have a '$', which leads to metadata tables",
            location,
        ));
    }
    if crate::relation::RelationName::parse(object).map_or(true, |relation| {
        relation != crate::relation::RelationName::table(object)
    }) {
        return Err(SqlError::invalid(
            format!("table name '{object}'"),
            "a name must not look like a time-travel clause or begin with a quote",
            location,
        ));
    }
    Ok(name)
}

fn parse_table_elements(parser: &mut Parser<'_>) -> Result<TableElements, SqlError> {
    if parser.peek_token_ref().token != Token::LParen {
        return Ok(TableElements::None);
    }
    // `(a, b)` and `(a)` are names, `(a integer` are definitions.
    let after_first = &parser.peek_nth_token_ref(2).token;
    if matches!(after_first, Token::Comma | Token::RParen) {
        return Ok(TableElements::Names(parser.optional_column_names()?));
    }
    parser.expect_token(&Token::LParen)?;
    let mut columns: Vec<ColumnDefinition> = vec![];
    loop {
        let location = parser.location();
        refuse_table_constraint(parser, location)?;
        let column = parse_column_definition(parser)?;
        if columns.iter().any(|other| other.name == column.name) {
            return Err(SqlError::invalid(
                "column list",
                format!("the column '{}' is given twice", column.name),
                location,
            ));
        }
        columns.push(column);
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    if !parser.consume_token(&Token::RParen) {
        return Err(parser.expected_here("',' or ')' after a column"));
    }
    Ok(TableElements::Definitions(columns))
}

fn refuse_table_constraint(parser: &Parser<'_>, location: Location) -> Result<(), SqlError> {
    let constraints: [&[&str]; 4] = [
        &["primary", "key"],
        &["foreign", "key"],
        &["constraint"],
        &["unique"],
    ];
    for words in constraints {
        // `unique integer` would be a column of that name.
        let is_unique = words == ["unique"];
        if parser.peek_words(words)
            && (!is_unique || parser.peek_nth_token_ref(1).token == Token::LParen)
        {
            return Err(SqlError::unsupported_but(
                format!("the constraint {}", words.join(" ").to_uppercase()),
                "Iceberg tables have only NOT NULL; check keys with a job's checks",
                location,
            ));
        }
    }
    if parser.peek_word("like") {
        return Err(SqlError::unsupported_but(
            "CREATE TABLE with LIKE",
            "write CREATE TABLE … AS SELECT … WITH NO DATA",
            location,
        ));
    }
    Ok(())
}

/// `name type [NOT NULL] [DEFAULT constant] [COMMENT 'text']`
pub(super) fn parse_column_definition(
    parser: &mut Parser<'_>,
) -> Result<ColumnDefinition, SqlError> {
    let name = parser.folded_identifier()?;
    parse_column_definition_of(parser, name)
}

/// What follows a column's name.
pub(super) fn parse_column_definition_of(
    parser: &mut Parser<'_>,
    name: String,
) -> Result<ColumnDefinition, SqlError> {
    let column_type = parse_column_type(parser)?;
    let mut not_null = false;
    let mut default = None;
    let mut comment = None;
    loop {
        let location = parser.location();
        if parser.take_words(&["not", "null"]) {
            not_null = true;
        } else if parser.take_word("comment") {
            comment = Some(parser.string_literal("the column's comment")?);
        } else if parser.take_word("null") {
            // What a column is anyway, spelled out.
        } else if parser.take_word("default") {
            default = Some(parse_default(parser)?);
        } else if let Some(option) = ["primary", "unique", "references", "check", "with"]
            .into_iter()
            .find(|option| parser.peek_word(option))
        {
            return Err(SqlError::unsupported_but(
                format!("{} of a column", option.to_uppercase()),
                "a column has a type, NOT NULL, DEFAULT and COMMENT",
                location,
            ));
        } else {
            return Ok(ColumnDefinition {
                name,
                column_type,
                not_null,
                default,
                comment,
            });
        }
    }
}

/// The constant after `DEFAULT`, as SQL text.
pub(super) fn parse_default(parser: &mut Parser<'_>) -> Result<String, SqlError> {
    let location = parser.location();
    let value = parser.parse_prefix()?;
    let flow = ast::visit_expressions(&value, |part| match part {
        ast::Expr::Value(_)
        | ast::Expr::TypedString(_)
        | ast::Expr::UnaryOp { .. }
        | ast::Expr::Cast { .. }
        | ast::Expr::Interval(_)
        | ast::Expr::Nested(_) => ControlFlow::Continue(()),
        other => ControlFlow::Break(other.to_string()),
    });
    match flow {
        ControlFlow::Continue(()) => Ok(value.to_string()),
        ControlFlow::Break(part) => Err(SqlError::invalid(
            "default value",
            format!("it must be a constant, but it has {part}"),
            location,
        )),
    }
}

fn parse_optional_comment(parser: &mut Parser<'_>) -> Result<Option<String>, SqlError> {
    if parser.take_word("comment") {
        return Ok(Some(parser.string_literal("the table's comment")?));
    }
    Ok(None)
}

fn parse_table_properties(parser: &mut Parser<'_>) -> Result<TableProperties, SqlError> {
    let location = parser.location();
    if parser.peek_words(&["partitioned", "by"]) {
        return Err(SqlError::unsupported_but(
            "PARTITIONED BY",
            "write WITH (partitioning = ARRAY['day(ts)'])",
            location,
        ));
    }
    if parser.peek_word("using") || parser.peek_word("tblproperties") {
        return Err(SqlError::unsupported_but(
            "USING or TBLPROPERTIES",
            "write WITH (name = value, …)",
            location,
        ));
    }
    if parser.take_word("with") {
        return TableProperties::from_list(parse_property_list(parser)?);
    }
    Ok(TableProperties::default())
}

/// `WITH DATA`, `WITH NO DATA`
fn parse_with_data(parser: &mut Parser<'_>) -> Result<bool, SqlError> {
    if parser.take_words(&["with", "no", "data"]) {
        return Ok(false);
    }
    let _ = parser.take_words(&["with", "data"]);
    Ok(true)
}

fn parse_create_view(
    parser: &mut Parser<'_>,
    or_replace: bool,
    materialized: bool,
) -> Result<Statement, SqlError> {
    let if_not_exists = parser.take_if_not_exists();
    let name = new_table_name(parser)?;
    let column_names = parser.optional_column_names()?;
    let mut grace_period_ms = None;
    if materialized && parser.take_words(&["grace", "period"]) {
        grace_period_ms = Some(parse_grace_period(parser)?);
    }
    let comment = parse_optional_comment(parser)?;
    let location = parser.location();
    if parser.take_word("security") || parser.take_words(&["when", "stale"]) {
        return Err(SqlError::unsupported("this clause of a view", location));
    }
    let properties = match materialized {
        true => parse_table_properties(parser)?,
        false => TableProperties::default(),
    };
    parser.expect_word("as")?;
    let query = parse_query_of(parser)?;
    Ok(Statement::CreateView(CreateView {
        name,
        or_replace,
        if_not_exists,
        materialized,
        column_names,
        grace_period_ms,
        comment,
        properties,
        query,
    }))
}

/// `REFRESH MATERIALIZED VIEW view`
pub(super) fn parse_refresh(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("refresh")?;
    parser.expect_word("materialized")?;
    parser.expect_word("view")?;
    let view = parser.table_name()?;
    Ok(Statement::RefreshMaterializedView { view })
}
