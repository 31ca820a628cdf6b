//! Statements about the session: `USE`, `SET`, `PREPARE`, `RUN JOB`, transactions.

use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::tokens::{Constant, TokenReader, parse_constant, word_of};
use super::{parse_one, references};
use crate::error::SqlError;
use crate::statement::{CallArgument, SessionValue, Statement};

/// `USE schema`, `USE catalog.schema`, `USE BRANCH branch [IN catalog]`
pub(super) fn parse_use(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("use")?;
    // A schema may be called branch.
    let is_branch = parser.peek_word("branch")
        && matches!(
            parser.peek_nth_token_ref(1).token,
            Token::Word(_) | Token::SingleQuotedString(_)
        );
    if is_branch {
        return references::parse_use_branch(parser);
    }
    let name = parser.schema_name()?;
    Ok(Statement::Use {
        catalog: name.schema().map(str::to_string),
        schema: name.object().to_string(),
    })
}

/// `SET SESSION name = value`, `SET name = value`, `SET TIME ZONE value`
pub(super) fn parse_set(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("set")?;
    if parser.take_words(&["time", "zone"]) {
        let value = parse_session_value(parser, "time_zone")?;
        return Ok(Statement::SetSession {
            name: "time_zone".to_string(),
            value,
        });
    }
    for kind in ["role", "path"] {
        if parser.peek_word(kind) {
            let what = format!("SET {}", kind.to_uppercase());
            return Err(SqlError::unsupported(what, location));
        }
    }
    let _ = parser.take_word("session");
    let name = property_name(parser)?;
    if !parser.consume_token(&Token::Eq) && !parser.take_word("to") {
        return Err(parser.expected_here("'='"));
    }
    let value = parse_session_value(parser, &name)?;
    Ok(Statement::SetSession { name, value })
}

/// `RESET SESSION name`, `RESET SESSION ALL`, `RESET ALL`
pub(super) fn parse_reset(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("reset")?;
    let _ = parser.take_word("session");
    if parser.take_word("all") {
        return Ok(Statement::ResetSession { name: None });
    }
    let name = property_name(parser)?;
    Ok(Statement::ResetSession { name: Some(name) })
}

fn property_name(parser: &mut Parser<'_>) -> Result<String, SqlError> {
    Ok(parser.object_name(8)?.parts.join("."))
}

fn parse_session_value(parser: &mut Parser<'_>, name: &str) -> Result<SessionValue, SqlError> {
    let location = parser.location();
    // A bare word such as `local`; `true` and `false` are constants.
    let word = word_of(&parser.peek_token_ref().token).map(str::to_lowercase);
    if let Some(word) = word.filter(|word| !["true", "false", "null"].contains(&word.as_str())) {
        parser.advance_token();
        return Ok(SessionValue::Text(word));
    }
    match parse_constant(parser, name)? {
        Constant::Text(text) => Ok(SessionValue::Text(text)),
        Constant::Number(number) => Ok(SessionValue::Number(number)),
        Constant::Boolean(value) => Ok(SessionValue::Boolean(value)),
        other => Err(SqlError::invalid(
            format!("value of '{name}'"),
            format!(
                "expected a text, number or boolean, found {}",
                other.describe()
            ),
            location,
        )),
    }
}

/// `PREPARE name FROM statement`
pub(super) fn parse_prepare(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("prepare")?;
    let name = parser.folded_identifier()?;
    if !parser.take_word("from") {
        parser.expect_word("as")?;
    }
    let location = parser.location();
    let statement = parse_one(parser)?;
    if matches!(
        statement,
        Statement::Prepare { .. } | Statement::Execute { .. } | Statement::Deallocate { .. }
    ) {
        return Err(SqlError::unsupported(
            "PREPARE of a PREPARE, EXECUTE or DEALLOCATE",
            location,
        ));
    }
    if matches!(
        statement,
        Statement::StartTransaction | Statement::Commit | Statement::Rollback
    ) {
        return Err(SqlError::unsupported(
            "PREPARE of what begins or ends a transaction",
            location,
        ));
    }
    Ok(Statement::Prepare {
        name,
        statement: Box::new(statement),
    })
}

/// `EXECUTE name [USING expression, …]`
pub(super) fn parse_execute(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    parser.expect_word("execute")?;
    if parser.peek_word("immediate") {
        return Err(SqlError::unsupported_but(
            "EXECUTE IMMEDIATE",
            "send the statement itself",
            location,
        ));
    }
    let name = parser.folded_identifier()?;
    let parameters = if parser.take_word("using") {
        parser.parse_comma_separated(Parser::parse_expr)?
    } else {
        vec![]
    };
    Ok(Statement::Execute { name, parameters })
}

/// `DEALLOCATE PREPARE name`
pub(super) fn parse_deallocate(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("deallocate")?;
    let _ = parser.take_word("prepare");
    let name = parser.folded_identifier()?;
    Ok(Statement::Deallocate { name })
}

/// `CALL [catalog.]schema.procedure(constant, name => constant, …)`
pub(super) fn parse_call(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("call")?;
    let procedure = parser.object_name(3)?;
    parser.expect_token(&Token::LParen)?;
    let mut arguments: Vec<CallArgument> = vec![];
    if !parser.consume_token(&Token::RParen) {
        loop {
            arguments.push(parse_call_argument(parser, &arguments)?);
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        parser.expect_token(&Token::RParen)?;
    }
    Ok(Statement::Call {
        procedure,
        arguments,
    })
}

fn parse_call_argument(
    parser: &mut Parser<'_>,
    previous: &[CallArgument],
) -> Result<CallArgument, SqlError> {
    let location = parser.location();
    let is_named = parser.peek_nth_token_ref(1).token == Token::RArrow;
    let name = if is_named {
        let name = parser.folded_identifier()?;
        parser.expect_token(&Token::RArrow)?;
        Some(name)
    } else {
        None
    };
    let what = match &name {
        Some(name) => name.clone(),
        None => format!("argument {}", previous.len() + 1),
    };
    let problem = match &name {
        Some(_) if previous.iter().any(|other| other.name == name) => "it is given twice",
        None if previous.iter().any(|other| other.name.is_some()) => {
            "arguments without a name come first"
        }
        _ => {
            if let Some(time) = parse_time_constant(parser) {
                return Ok(CallArgument {
                    name,
                    value: SessionValue::Text(time),
                });
            }
            let value = match parse_constant(parser, &what)? {
                Constant::Text(text) => SessionValue::Text(text),
                Constant::Number(number) => SessionValue::Number(number),
                Constant::Boolean(value) => SessionValue::Boolean(value),
                other => {
                    return Err(SqlError::invalid(
                        format!("value of '{what}'"),
                        format!(
                            "expected a text, number or boolean, found {}",
                            other.describe()
                        ),
                        location,
                    ));
                }
            };
            return Ok(CallArgument { name, value });
        }
    };
    let argument = match &name {
        Some(name) => format!("argument '{name}'"),
        None => what,
    };
    Err(SqlError::invalid(argument, problem, location))
}

/// `TIMESTAMP '2026-01-31 12:00:00'` or `DATE '2026-01-31'`, which procedures take as text.
fn parse_time_constant(parser: &mut Parser<'_>) -> Option<String> {
    let Token::SingleQuotedString(text) = &parser.peek_nth_token_ref(1).token else {
        return None;
    };
    let text = text.clone();
    if !parser.peek_word("timestamp") && !parser.peek_word("date") {
        return None;
    }
    parser.advance_token();
    parser.advance_token();
    Some(text)
}

/// `RUN JOB name`
pub(super) fn parse_run(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("run")?;
    parser.expect_word("job")?;
    let name = parser.object_name(3)?;
    Ok(Statement::RunJob { name })
}

/// `START TRANSACTION`, `BEGIN [TRANSACTION | WORK]`, `COMMIT [WORK]`, `ROLLBACK [WORK]`
pub(super) fn parse_transaction(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    if parser.take_word("start") {
        parser.expect_word("transaction")?;
        parse_transaction_modes(parser)?;
        return Ok(Statement::StartTransaction);
    }
    let is_begin = parser.take_word("begin");
    let is_commit = !is_begin && parser.take_word("commit");
    if !is_begin && !is_commit {
        parser.expect_word("rollback")?;
    }
    let _ = parser.take_word("transaction") || parser.take_word("work");
    if is_begin {
        parse_transaction_modes(parser)?;
        return Ok(Statement::StartTransaction);
    }
    if parser.peek_word("to") || parser.peek_word("and") {
        return Err(SqlError::unsupported(
            "a savepoint or a chained transaction",
            location,
        ));
    }
    Ok(match is_commit {
        true => Statement::Commit,
        false => Statement::Rollback,
    })
}

/// `[ISOLATION LEVEL level] [, READ WRITE]`: levels that snapshot isolation fulfils.
fn parse_transaction_modes(parser: &mut Parser<'_>) -> Result<(), SqlError> {
    loop {
        let location = parser.location();
        if parser.take_words(&["isolation", "level"]) {
            let is_given = parser.take_words(&["read", "uncommitted"])
                || parser.take_words(&["read", "committed"])
                || parser.take_words(&["repeatable", "read"]);
            if !is_given && parser.peek_word("serializable") {
                return Err(SqlError::unsupported_but(
                    "ISOLATION LEVEL SERIALIZABLE",
                    "transactions have snapshot isolation, which is REPEATABLE READ",
                    location,
                ));
            }
            if !is_given {
                return Err(parser.expected_here("an isolation level"));
            }
        } else if parser.take_words(&["read", "write"]) {
            // What every transaction can do.
        } else if parser.peek_words(&["read", "only"]) {
            return Err(SqlError::unsupported("a READ ONLY transaction", location));
        } else {
            return Ok(());
        }
        if !parser.consume_token(&Token::Comma) {
            return Ok(());
        }
    }
}
