//! `ALTER TABLE` and `COMMENT ON`.

use sqlparser::ast::Expr;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token};

use super::create::{new_table_name, parse_column_definition_of, parse_default};
use super::references;
use super::tokens::{Constant, TokenReader, parse_constant};
use super::written_table_name;
use crate::error::SqlError;
use crate::name::{ColumnPath, ObjectName};
use crate::statement::{
    AlterMaterializedView, AlterMaterializedViewOperation, AlterTable, AlterTableOperation,
    AlterView, AlterViewOperation, ColumnPosition, Statement,
};
use crate::table_properties::TablePropertyChanges;
use crate::types::parse_column_type;

/// The most parts that the name of a field in columns may have.
const DEEPEST_COLUMN: usize = 100;

pub(super) fn parse_alter(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("alter")?;
    if parser.take_words(&["materialized", "view"]) {
        return parse_alter_materialized_view(parser);
    }
    if parser.take_word("view") {
        return parse_alter_view(parser);
    }
    if !parser.take_word("table") {
        return Err(SqlError::unsupported(
            "ALTER of anything but a table, view or materialized view",
            location,
        ));
    }
    let if_exists = parser.take_if_exists();
    let name = written_table_name(parser)?;
    let operation = parse_operation(parser)?;
    Ok(Statement::AlterTable(AlterTable {
        name,
        if_exists,
        operation,
    }))
}

/// `ALTER VIEW [IF EXISTS] view RENAME TO name`
fn parse_alter_view(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let if_exists = parser.take_if_exists();
    let name = written_table_name(parser)?;
    if !parser.take_words(&["rename", "to"]) {
        return Err(parser.expected_here("RENAME TO"));
    }
    let new_name = new_table_name(parser)?;
    Ok(Statement::AlterView(AlterView {
        name,
        if_exists,
        operation: AlterViewOperation::Rename { new_name },
    }))
}

/// `ALTER MATERIALIZED VIEW [IF EXISTS] view RENAME TO name | SET PROPERTIES name = value | DEFAULT, …`
fn parse_alter_materialized_view(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let if_exists = parser.take_if_exists();
    let name = written_table_name(parser)?;
    let operation = if parser.take_words(&["rename", "to"]) {
        let new_name = new_table_name(parser)?;
        AlterMaterializedViewOperation::Rename { new_name }
    } else if parser.take_words(&["set", "properties"]) {
        let changes = parse_property_changes(parser)?;
        let grace_period = changes.iter().find(|(name, ..)| name == "grace_period");
        if let Some((_, location, _)) = grace_period {
            return Err(SqlError::unsupported_but(
                "changing the grace period",
                "it is no property, write GRACE PERIOD in CREATE OR REPLACE MATERIALIZED VIEW",
                *location,
            ));
        }
        let changes = TablePropertyChanges::from_list(changes)?;
        AlterMaterializedViewOperation::SetProperties { changes }
    } else {
        return Err(parser.expected_here("RENAME TO or SET PROPERTIES"));
    };
    Ok(Statement::AlterMaterializedView(AlterMaterializedView {
        name,
        if_exists,
        operation,
    }))
}

fn parse_operation(parser: &mut Parser<'_>) -> Result<AlterTableOperation, SqlError> {
    if parser.take_word("add") {
        let _ = parser.take_word("column");
        return parse_add_column(parser);
    }
    if parser.take_word("drop") {
        if references::is_reference(parser) {
            return references::parse_drop_reference(parser);
        }
        let _ = parser.take_word("column");
        let if_exists = parser.take_if_exists();
        let column = column_path(parser)?;
        return Ok(AlterTableOperation::DropColumn { column, if_exists });
    }
    if parser.peek_word("create") || parser.peek_word("replace") {
        return references::parse_set_reference(parser);
    }
    if parser.take_words(&["rename", "to"]) {
        let new_name = new_table_name(parser)?;
        return Ok(AlterTableOperation::RenameTable { new_name });
    }
    if parser.take_word("rename") {
        let _ = parser.take_word("column");
        let if_exists = parser.take_if_exists();
        let column = column_path(parser)?;
        parser.expect_word("to")?;
        let new_name = parser.folded_identifier()?;
        return Ok(AlterTableOperation::RenameColumn {
            column,
            new_name,
            if_exists,
        });
    }
    if parser.take_words(&["set", "properties"]) {
        let changes = TablePropertyChanges::from_list(parse_property_changes(parser)?)?;
        return Ok(AlterTableOperation::SetProperties { changes });
    }
    if parser.take_word("alter") {
        let _ = parser.take_word("column");
        return parse_alter_column(parser);
    }
    if parser.take_word("execute") {
        return parse_execute(parser);
    }
    Err(parser.expected_here(
        "ADD COLUMN, DROP COLUMN, RENAME, ALTER COLUMN, SET PROPERTIES, CREATE BRANCH, CREATE TAG, \
         DROP BRANCH, DROP TAG or EXECUTE",
    ))
}

/// `[IF NOT EXISTS] [struct.]name type [NOT NULL] [COMMENT 'text'] [FIRST | LAST | AFTER column]`
fn parse_add_column(parser: &mut Parser<'_>) -> Result<AlterTableOperation, SqlError> {
    let if_not_exists = parser.take_if_not_exists();
    let mut path = column_path(parser)?;
    let Some(name) = path.parts.pop() else {
        return Err(parser.expected_here("a column"));
    };
    let parent = (!path.parts.is_empty()).then_some(path);
    let column = parse_column_definition_of(parser, name)?;
    let position = parse_position(parser)?;
    Ok(AlterTableOperation::AddColumn {
        parent,
        column,
        position,
        if_not_exists,
    })
}

/// `column SET DATA TYPE type | SET DEFAULT constant | DROP DEFAULT | DROP NOT NULL | FIRST | LAST | AFTER other`
fn parse_alter_column(parser: &mut Parser<'_>) -> Result<AlterTableOperation, SqlError> {
    let column = column_path(parser)?;
    if parser.take_words(&["drop", "not", "null"]) {
        return Ok(AlterTableOperation::DropNotNull { column });
    }
    if parser.take_words(&["drop", "default"]) {
        let value = None;
        return Ok(AlterTableOperation::SetDefault { column, value });
    }
    if parser.take_words(&["set", "default"]) {
        let value = Some(parse_default(parser)?);
        return Ok(AlterTableOperation::SetDefault { column, value });
    }
    if let Some(position) = parse_position(parser)? {
        return Ok(AlterTableOperation::MoveColumn { column, position });
    }
    let location = parser.location();
    if parser.take_words(&["set", "not", "null"]) {
        return Err(SqlError::unsupported_but(
            "SET NOT NULL",
            "rows that exist may have nulls, create a table with NOT NULL from a query",
            location,
        ));
    }
    if !parser.take_words(&["set", "data", "type"]) {
        return Err(
            parser.expected_here(
                "SET DATA TYPE, SET DEFAULT, DROP DEFAULT, DROP NOT NULL, FIRST, LAST or AFTER a column",
            )
        );
    }
    let column_type = parse_column_type(parser)?;
    Ok(AlterTableOperation::SetColumnType {
        column,
        column_type,
    })
}

fn parse_position(parser: &mut Parser<'_>) -> Result<Option<ColumnPosition>, SqlError> {
    if parser.take_word("first") {
        return Ok(Some(ColumnPosition::First));
    }
    if parser.take_word("last") {
        return Ok(Some(ColumnPosition::Last));
    }
    if parser.take_word("after") {
        return Ok(Some(ColumnPosition::After(parser.folded_identifier()?)));
    }
    Ok(None)
}

/// `column`, `struct.field`, `array.element.field`, `map.value.field`
fn column_path(parser: &mut Parser<'_>) -> Result<ColumnPath, SqlError> {
    let name = parser.object_name(DEEPEST_COLUMN)?;
    Ok(ColumnPath { parts: name.parts })
}

/// `name = constant | DEFAULT, …`
fn parse_property_changes(
    parser: &mut Parser<'_>,
) -> Result<Vec<(String, Location, Option<Constant>)>, SqlError> {
    let mut changes: Vec<(String, Location, Option<Constant>)> = vec![];
    loop {
        let location = parser.location();
        let name = parser.folded_identifier()?;
        if changes.iter().any(|(other, ..)| *other == name) {
            return Err(SqlError::invalid(
                format!("property '{name}'"),
                "it is given twice",
                location,
            ));
        }
        parser.expect_token(&Token::Eq)?;
        let value = match parser.take_word("default") {
            true => None,
            false => Some(parse_constant(parser, &name)?),
        };
        changes.push((name, location, value));
        if !parser.consume_token(&Token::Comma) {
            return Ok(changes);
        }
    }
}

/// `EXECUTE procedure [([name =>] value, …)] [WHERE condition]`
fn parse_execute(parser: &mut Parser<'_>) -> Result<AlterTableOperation, SqlError> {
    let procedure = parser.folded_identifier()?;
    let mut arguments: Vec<(Option<String>, Expr)> = vec![];
    if parser.consume_token(&Token::LParen) && !parser.consume_token(&Token::RParen) {
        loop {
            arguments.push(parse_execute_argument(parser, &arguments)?);
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

fn parse_execute_argument(
    parser: &mut Parser<'_>,
    previous: &[(Option<String>, Expr)],
) -> Result<(Option<String>, Expr), SqlError> {
    let location = parser.location();
    if parser.peek_nth_token_ref(1).token != Token::RArrow {
        if previous.iter().any(|(name, _)| name.is_some()) {
            return Err(SqlError::invalid(
                format!("argument {}", previous.len() + 1),
                "arguments without a name come first",
                location,
            ));
        }
        return Ok((None, parser.parse_expr()?));
    }
    let name = parser.folded_identifier()?;
    parser.expect_token(&Token::RArrow)?;
    if previous
        .iter()
        .any(|(other, _)| other.as_ref() == Some(&name))
    {
        return Err(SqlError::invalid(
            format!("argument '{name}'"),
            "it is given twice",
            location,
        ));
    }
    Ok((Some(name), parser.parse_expr()?))
}

/// `COMMENT ON TABLE name IS 'text'`, `COMMENT ON [MATERIALIZED] VIEW name IS 'text'`, `COMMENT ON
/// COLUMN table.column IS NULL`; whether a name of several parts is a column's or a field's of a
/// column is not known here.
pub(super) fn parse_comment(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("comment")?;
    parser.expect_word("on")?;
    let is_materialized = parser.take_words(&["materialized", "view"]);
    let is_column = !is_materialized && parser.peek_word("column");
    let is_view = !is_materialized && parser.peek_word("view");
    let is_known = is_materialized
        || parser.take_word("table")
        || parser.take_word("column")
        || parser.take_word("view");
    if !is_known {
        return Err(SqlError::unsupported(
            "COMMENT ON anything but a table, view, materialized view or column",
            location,
        ));
    }
    let mut name = parser.object_name(if is_column { DEEPEST_COLUMN } else { 3 })?;
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
    if is_materialized {
        return Ok(Statement::AlterMaterializedView(AlterMaterializedView {
            name,
            if_exists: false,
            operation: AlterMaterializedViewOperation::SetComment { comment },
        }));
    }
    if is_view {
        return Ok(Statement::AlterView(AlterView {
            name,
            if_exists: false,
            operation: AlterViewOperation::SetComment { comment },
        }));
    }
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
