//! `ALTER TABLE` and `COMMENT ON`.

use sqlparser::ast::Expr;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::create::parse_column_definition;
use super::tokens::{TokenReader, parse_properties};
use crate::error::SqlError;
use crate::name::ObjectName;
use crate::statement::{AlterTable, AlterTableOperation, Statement};
use crate::table_properties::TableProperties;
use crate::types::parse_column_type;

pub(super) fn parse_alter(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("alter")?;
    if !parser.take_word("table") {
        return Err(SqlError::unsupported(
            "ALTER of anything but a table",
            location,
        ));
    }
    let if_exists = parser.take_if_exists();
    let name = parser.table_name()?;
    let operation = parse_operation(parser)?;
    Ok(Statement::AlterTable(AlterTable {
        name,
        if_exists,
        operation,
    }))
}

fn parse_operation(parser: &mut Parser<'_>) -> Result<AlterTableOperation, SqlError> {
    if parser.take_word("add") {
        let _ = parser.take_word("column");
        let if_not_exists = parser.take_if_not_exists();
        let column = parse_column_definition(parser)?;
        return Ok(AlterTableOperation::AddColumn {
            column,
            if_not_exists,
        });
    }
    if parser.take_word("drop") {
        let _ = parser.take_word("column");
        let if_exists = parser.take_if_exists();
        let name = parser.folded_identifier()?;
        return Ok(AlterTableOperation::DropColumn { name, if_exists });
    }
    if parser.take_words(&["rename", "to"]) {
        let new_name = parser.table_name()?;
        return Ok(AlterTableOperation::RenameTable { new_name });
    }
    if parser.take_word("rename") {
        let _ = parser.take_word("column");
        let if_exists = parser.take_if_exists();
        let name = parser.folded_identifier()?;
        parser.expect_word("to")?;
        let new_name = parser.folded_identifier()?;
        return Ok(AlterTableOperation::RenameColumn {
            name,
            new_name,
            if_exists,
        });
    }
    if parser.take_words(&["set", "properties"]) {
        let properties = TableProperties::from_list(parse_properties(parser)?)?;
        return Ok(AlterTableOperation::SetProperties { properties });
    }
    if parser.take_word("alter") {
        let _ = parser.take_word("column");
        let name = parser.folded_identifier()?;
        if parser.take_words(&["drop", "not", "null"]) {
            return Ok(AlterTableOperation::DropNotNull { name });
        }
        parser.expect_word("set")?;
        parser.expect_word("data")?;
        parser.expect_word("type")?;
        let column_type = parse_column_type(parser)?;
        return Ok(AlterTableOperation::SetColumnType { name, column_type });
    }
    if parser.take_word("execute") {
        return parse_execute(parser);
    }
    Err(parser
        .expected_here("ADD COLUMN, DROP COLUMN, RENAME, ALTER COLUMN, SET PROPERTIES or EXECUTE"))
}

/// `EXECUTE procedure [(name => value, …)] [WHERE condition]`
fn parse_execute(parser: &mut Parser<'_>) -> Result<AlterTableOperation, SqlError> {
    let procedure = parser.folded_identifier()?;
    let mut arguments: Vec<(String, Expr)> = vec![];
    if parser.consume_token(&Token::LParen) && !parser.consume_token(&Token::RParen) {
        loop {
            let location = parser.location();
            let name = parser.folded_identifier()?;
            if arguments.iter().any(|(other, _)| *other == name) {
                return Err(SqlError::invalid(
                    format!("argument '{name}'"),
                    "it is given twice",
                    location,
                ));
            }
            parser.expect_token(&Token::RArrow)?;
            arguments.push((name, parser.parse_expr()?));
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        parser.expect_token(&Token::RParen)?;
    }
    let condition = if parser.take_word("where") {
        Some(Box::new(parser.parse_expr()?))
    } else {
        None
    };
    Ok(AlterTableOperation::Execute {
        procedure,
        arguments,
        condition,
    })
}

/// `COMMENT ON TABLE name IS 'text'`, `COMMENT ON COLUMN table.column IS NULL`
pub(super) fn parse_comment(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("comment")?;
    parser.expect_word("on")?;
    let is_column = parser.peek_word("column");
    if !parser.take_word("table") && !parser.take_word("column") {
        return Err(SqlError::unsupported(
            "COMMENT ON anything but a table or column",
            location,
        ));
    }
    let mut name = parser.object_name(if is_column { 4 } else { 3 })?;
    let column = if is_column { name.parts.pop() } else { None };
    if name.parts.is_empty() {
        return Err(SqlError::syntax(
            "expected table.column after COMMENT ON COLUMN",
            location,
        ));
    }
    parser.expect_word("is")?;
    let comment = if parser.take_word("null") {
        None
    } else {
        Some(parser.string_literal("the comment")?)
    };
    let operation = match column {
        Some(column) => AlterTableOperation::SetColumnComment { column, comment },
        None => AlterTableOperation::SetComment { comment },
    };
    Ok(Statement::AlterTable(AlterTable {
        name: ObjectName { parts: name.parts },
        if_exists: false,
        operation,
    }))
}
