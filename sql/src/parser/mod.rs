//! From text to [`Statement`]s.

mod alter;
mod analyze;
mod branch;
mod copy;
mod create;
mod interval;
mod references;
mod session;
mod show;
pub(crate) mod tokens;

pub use interval::interval_text;

use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::dialect::IngotDialect;
use crate::error::SqlError;
use crate::name::{ObjectName, fold_identifier};
use crate::parameters::number_parameters;
use crate::query_check::QueryRules;
use crate::relation::RelationName;
use crate::statement::{
    AlterTableOperation, Explain, ExplainKind, Insert, RowChange, Statement, StatsRelation,
};
use crate::time_travel::{fold_time_travel, misplaced};
use tokens::TokenReader;

/// Nesting of expressions and queries: deep enough for generated SQL, shallow enough for the stack
/// of a debug build.
const RECURSION_LIMIT: usize = 128;

/// Parses statements separated by `;`. Empty ones are skipped; the result may be empty.
///
/// # Errors
/// The first thing that is not a statement of the dialect, with its line and column.
pub fn parse_statements(text: &str) -> Result<Vec<Statement>, SqlError> {
    scan(text)?
        .into_iter()
        .map(|piece| parse_piece(piece.tokens, piece.end))
        .collect()
}

/// Parses a text that holds exactly one statement.
///
/// # Errors
/// As [`parse_statements`], and when there is no statement or more than one.
pub fn parse_statement(text: &str) -> Result<Statement, SqlError> {
    let mut statements = parse_statements(text)?;
    let count = statements.len();
    match (statements.pop(), count) {
        (Some(statement), 1) => Ok(statement),
        (None, _) => Err(SqlError::Empty),
        (Some(_), _) => Err(SqlError::NotOne { count }),
    }
}

/// The texts of the statements in a script, without their `;`. The statements need not parse, but
/// quotes and comments must be closed.
///
/// # Errors
/// When a quote or comment is not closed.
pub fn split_statements(text: &str) -> Result<Vec<&str>, SqlError> {
    let offsets = LineOffsets::new(text);
    Ok(scan(text)?
        .into_iter()
        .map(|piece| text[offsets.of(piece.start)..offsets.of(piece.end)].trim())
        .collect())
}

/// The tokens of one statement.
struct Piece {
    tokens: Vec<TokenWithSpan>,
    start: Location,
    end: Location,
}

/// No statement of the dialect has a `;` inside, so the text can be cut at each.
fn scan(text: &str) -> Result<Vec<Piece>, SqlError> {
    let mut tokens = Tokenizer::new(&IngotDialect, text).tokenize_with_location()?;
    number_parameters(&mut tokens)?;
    let text_end = tokens
        .last()
        .map_or(Location::new(1, 1), |token| token.span.end);
    let mut pieces = vec![];
    let mut current: Vec<TokenWithSpan> = vec![];
    let mut finish = |tokens: &mut Vec<TokenWithSpan>, end: Location| {
        let tokens = std::mem::take(tokens);
        let first = tokens
            .iter()
            .find(|token| !matches!(token.token, Token::Whitespace(_)));
        if let Some(start) = first.map(|token| token.span.start) {
            pieces.push(Piece { tokens, start, end });
        }
    };
    for token in tokens {
        match token.token {
            Token::SemiColon => finish(&mut current, token.span.start),
            Token::EOF => {}
            _ => current.push(token),
        }
    }
    finish(&mut current, text_end);
    Ok(pieces)
}

/// Stack for one token of a statement, generously: long chains of operators are deep trees until
/// they are balanced, and a syntax error behind one drops it by recursion.
const STACK_BYTES_PER_TOKEN: usize = 4 * 1024;

/// A part of the stack that is always kept free.
const STACK_RESERVE_BYTES: usize = 256 * 1024;

/// The largest stack that is asked of the system, which gives it page by page as it is used.
const STACK_LIMIT_BYTES: usize = 512 * 1024 * 1024;

fn parse_piece(tokens: Vec<TokenWithSpan>, end: Location) -> Result<Statement, SqlError> {
    let needed = STACK_RESERVE_BYTES + tokens.len() * STACK_BYTES_PER_TOKEN;
    let stack = needed.min(STACK_LIMIT_BYTES);
    stacker::maybe_grow(stack, stack, || parse_tokens(tokens, end))
}

fn parse_tokens(tokens: Vec<TokenWithSpan>, end: Location) -> Result<Statement, SqlError> {
    let parse = || {
        // In `ALTER TABLE t CREATE TAG v1 FOR VERSION AS OF 5` the clause is no part of a table.
        let (tokens, clauses) = match is_alter(&tokens) {
            true => (tokens, vec![]),
            false => fold_time_travel(&IngotDialect, tokens)?,
        };
        let tokens = branch::fold_branches(tokens);
        let mut parser = Parser::new(&IngotDialect)
            .with_recursion_limit(RECURSION_LIMIT)
            .with_tokens_with_locations(tokens);
        let mut statement = parse_one(&mut parser)?;
        if parser.peek_token_ref().token != Token::EOF {
            return Err(parser.expected_here("the end of the statement or ';'"));
        }
        let mut rules = QueryRules::new(&clauses);
        for_each_query(&mut statement, &mut |query| rules.apply(query))?;
        match rules.first_unused_clause() {
            Some(clause) => Err(misplaced(clause.location)),
            None => Ok(statement),
        }
    };
    parse().map_err(|error| error.located_at_end(end))
}

fn is_alter(tokens: &[TokenWithSpan]) -> bool {
    tokens
        .iter()
        .find(|token| !matches!(token.token, Token::Whitespace(_)))
        .and_then(|token| tokens::word_of(&token.token))
        .is_some_and(|word| word.eq_ignore_ascii_case("alter"))
}

/// A part of a statement that the planner will see.
pub(crate) enum Plannable<'a> {
    Query(&'a mut ast::Query),
    Statement(&'a mut ast::Statement),
    Expression(&'a mut ast::Expr),
}

/// Shows every query, change and expression inside a statement to `visit`.
fn for_each_query(
    statement: &mut Statement,
    visit: &mut impl FnMut(Plannable<'_>) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    match statement {
        Statement::Query(query) => visit(Plannable::Query(query)),
        Statement::Explain(explain) => for_each_query(&mut explain.statement, visit),
        Statement::Prepare { statement, .. } => for_each_query(statement, visit),
        Statement::CreateTableAs(create) => visit(Plannable::Query(&mut create.query)),
        Statement::CreateView(create) => visit(Plannable::Query(&mut create.query)),
        Statement::Insert(insert) => visit(Plannable::Query(&mut insert.query)),
        Statement::ShowStats {
            relation: StatsRelation::Query(query),
        } => visit(Plannable::Query(query)),
        Statement::Delete(change) | Statement::Update(change) | Statement::Merge(change) => {
            visit(Plannable::Statement(&mut change.statement))
        }
        Statement::Execute { parameters, .. } => parameters
            .iter_mut()
            .try_for_each(|parameter| visit(Plannable::Expression(parameter))),
        Statement::AlterTable(alter) => match &mut alter.operation {
            AlterTableOperation::Execute {
                arguments,
                condition,
                ..
            } => arguments
                .iter_mut()
                .map(|(_, value)| value)
                .chain(condition.iter_mut().map(Box::as_mut))
                .try_for_each(|expression| visit(Plannable::Expression(expression))),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Parses the statement at the parser's position.
fn parse_one(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let location = parser.location();
    if parser.peek_token_ref().token == Token::LParen {
        return Ok(Statement::Query(parser.parse_query()?));
    }
    let Some(word) = tokens::word_of(&parser.peek_token_ref().token).map(str::to_lowercase) else {
        return Err(parser.expected_here("a statement"));
    };
    match word.as_str() {
        "select" | "with" | "values" | "table" => Ok(Statement::Query(parser.parse_query()?)),
        "insert" => parse_insert(parser),
        "explain" => parse_explain(parser),
        "create" => create::parse_create(parser),
        "drop" => create::parse_drop(parser),
        "alter" => alter::parse_alter(parser),
        "refresh" => create::parse_refresh(parser),
        "comment" => alter::parse_comment(parser),
        "copy" => copy::parse_copy(parser),
        "merge" if is_merge_branch(parser) => references::parse_merge_branch(parser),
        "delete" | "update" | "merge" => parse_row_change(parser, &word),
        "truncate" => {
            parser.advance_token();
            let _ = parser.take_word("table");
            let table = written_table_name(parser)?;
            Ok(Statement::Truncate { table })
        }
        "analyze" => analyze::parse_analyze(parser),
        "show" => show::parse_show(parser),
        "describe" | "desc" => show::parse_describe(parser),
        "use" => session::parse_use(parser),
        "set" => session::parse_set(parser),
        "reset" => session::parse_reset(parser),
        "prepare" => session::parse_prepare(parser),
        "execute" => session::parse_execute(parser),
        "deallocate" => session::parse_deallocate(parser),
        "run" => session::parse_run(parser),
        "call" => session::parse_call(parser),
        "begin" | "start" | "commit" | "rollback" => session::parse_transaction(parser),
        "savepoint" | "release" => Err(SqlError::unsupported("a savepoint", location)),
        "grant" | "revoke" | "deny" | "vacuum" | "optimize" | "load" | "export" | "cache"
        | "attach" | "declare" | "pragma" => Err(SqlError::unsupported(
            format!("the statement {}", word.to_uppercase()),
            location,
        )),
        _ => Err(parser.expected_here("a statement")),
    }
}

/// `MERGE BRANCH a INTO b` merges branches; `MERGE INTO` and `MERGE branch USING` change rows.
fn is_merge_branch(parser: &Parser<'_>) -> bool {
    parser.peek_words(&["merge", "branch"])
        && matches!(
            parser.peek_nth_token_ref(2).token,
            Token::Word(_) | Token::SingleQuotedString(_)
        )
        && !parser.peek_words(&["merge", "branch", "using"])
}

/// `EXPLAIN [ANALYZE] [VERBOSE] [(TYPE kind, FORMAT TEXT)] statement`
fn parse_explain(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("explain")?;
    let analyze = parser.take_word("analyze");
    let verbose = parser.take_word("verbose");
    let kind = if is_explain_option_list(parser) {
        parse_explain_options(parser)?
    } else {
        ExplainKind::default()
    };
    let location = parser.location();
    let statement = parse_one(parser)?;
    if matches!(statement, Statement::Explain(_)) {
        return Err(SqlError::unsupported("EXPLAIN of an EXPLAIN", location));
    }
    Ok(Statement::Explain(Explain {
        analyze,
        verbose,
        kind,
        statement: Box::new(statement),
    }))
}

/// `EXPLAIN (SELECT …)` explains a query in parentheses.
fn is_explain_option_list(parser: &Parser<'_>) -> bool {
    parser.peek_token_ref().token == Token::LParen
        && tokens::word_of(&parser.peek_nth_token_ref(1).token)
            .is_some_and(|word| ["type", "format"].contains(&word.to_lowercase().as_str()))
}

fn parse_explain_options(parser: &mut Parser<'_>) -> Result<ExplainKind, SqlError> {
    let mut kind = ExplainKind::default();
    parser.expect_token(&Token::LParen)?;
    loop {
        if parser.take_word("type") {
            kind = if parser.take_word("distributed") {
                ExplainKind::Distributed
            } else if parser.take_word("logical") {
                ExplainKind::Logical
            } else if parser.take_word("validate") {
                ExplainKind::Validate
            } else {
                return Err(parser.expected_here("DISTRIBUTED, LOGICAL or VALIDATE"));
            };
        } else if parser.take_word("format") {
            parser.expect_word("text")?;
        } else {
            return Err(parser.expected_here("TYPE or FORMAT"));
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    Ok(kind)
}

/// `INSERT INTO [TABLE] t [@ branch] [(columns)] query`, `INSERT OVERWRITE [TABLE] t …`
fn parse_insert(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("insert")?;
    let overwrite = parser.take_word("overwrite");
    if overwrite {
        let _ = parser.take_word("into");
    } else {
        parser.expect_word("into")?;
    }
    let _ = parser.take_word("table");
    let table = written_table_name(parser)?;
    let location = parser.location();
    let branch = match parser.consume_token(&Token::AtSign) {
        true if overwrite => {
            return Err(SqlError::unsupported(
                "INSERT OVERWRITE of a branch",
                location,
            ));
        }
        true => Some(parser.folded_identifier()?),
        false => None,
    };
    // A parenthesis opens either the columns or the query.
    let opens_query = parser.peek_token_ref().token == Token::LParen
        && (parser.peek_nth_token_ref(1).token == Token::LParen
            || tokens::word_of(&parser.peek_nth_token_ref(1).token).is_some_and(|word| {
                ["select", "with", "values"].contains(&word.to_lowercase().as_str())
            }));
    let columns = if opens_query {
        vec![]
    } else {
        parser.optional_column_names()?
    };
    if parser.peek_words(&["default", "values"]) {
        return Err(SqlError::unsupported_but(
            "INSERT … DEFAULT VALUES",
            "write the values",
            parser.location(),
        ));
    }
    let query = parse_query_of(parser)?;
    Ok(Statement::Insert(Insert {
        table,
        branch,
        columns,
        overwrite,
        query,
    }))
}

/// The name of an existing table whose rows are changed.
pub(crate) fn written_table_name(parser: &mut Parser<'_>) -> Result<ObjectName, SqlError> {
    let location = parser.location();
    let name = parser.table_name()?;
    check_writable(&name, location)?;
    Ok(name)
}

/// Only the current state of a table can be changed, and only its rows.
fn check_writable(name: &ObjectName, location: Location) -> Result<(), SqlError> {
    let object = name.object();
    match RelationName::parse(object) {
        Ok(relation) if relation == RelationName::table(object) => Ok(()),
        Ok(RelationName {
            catalog_version: Some(_),
            ..
        }) => Err(SqlError::unsupported_but(
            "writing to a table AT another branch",
            "make the branch the session's with USE BRANCH",
            location,
        )),
        Ok(RelationName {
            version: Some(_), ..
        }) => Err(misplaced(location)),
        _ => Err(SqlError::unsupported(
            format!("writing to the metadata table '{object}'"),
            location,
        )),
    }
}

/// The query of a `CREATE TABLE AS` or `INSERT`.
pub(crate) fn parse_query_of(parser: &mut Parser<'_>) -> Result<Box<ast::Query>, SqlError> {
    let starts_query = parser.peek_token_ref().token == Token::LParen
        || ["select", "with", "values", "table"]
            .iter()
            .any(|word| parser.peek_word(word));
    if !starts_query {
        return Err(parser.expected_here("a query"));
    }
    Ok(parser.parse_query()?)
}

/// `DELETE`, `UPDATE`, `MERGE`: as the parser library has them.
fn parse_row_change(parser: &mut Parser<'_>, word: &str) -> Result<Statement, SqlError> {
    let location = parser.location();
    let mut statement = parser.parse_statement()?;
    let mut branch = None;
    let target = match &mut statement {
        ast::Statement::Delete(delete) => match &mut delete.from {
            ast::FromTable::WithFromKeyword(tables) => single_table(tables, &mut branch),
            // A slip of the pen must not empty a table.
            ast::FromTable::WithoutKeyword(_) => {
                return Err(SqlError::unsupported_but(
                    "DELETE without FROM".to_string(),
                    "write DELETE FROM table",
                    location,
                ));
            }
        },
        ast::Statement::Update(update) => {
            single_table(std::slice::from_mut(&mut update.table), &mut branch)
        }
        ast::Statement::Merge(merge) => table_of(&mut merge.table, &mut branch),
        _ => None,
    };
    let Some(table) = target else {
        return Err(SqlError::unsupported_but(
            format!("{} of anything but one table", word.to_uppercase()),
            "name the table",
            location,
        ));
    };
    check_writable(&table, location)?;
    let change = RowChange {
        table,
        branch,
        statement: Box::new(statement),
    };
    Ok(match word {
        "delete" => Statement::Delete(change),
        "update" => Statement::Update(change),
        _ => Statement::Merge(change),
    })
}

fn single_table(
    tables: &mut [ast::TableWithJoins],
    branch: &mut Option<String>,
) -> Option<ObjectName> {
    match tables {
        [table] if table.joins.is_empty() => table_of(&mut table.relation, branch),
        _ => None,
    }
}

fn table_of(factor: &mut ast::TableFactor, branch: &mut Option<String>) -> Option<ObjectName> {
    *branch = branch::take_branch(factor);
    match factor {
        ast::TableFactor::Table {
            name, args: None, ..
        } => {
            let parts = name
                .0
                .iter()
                .map(|part| part.as_ident().map(fold_identifier))
                .collect::<Option<Vec<_>>>()?;
            (parts.len() <= 3).then_some(ObjectName { parts })
        }
        _ => None,
    }
}

/// Turns lines and columns into byte offsets.
struct LineOffsets<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineOffsets<'a> {
    fn new(text: &'a str) -> Self {
        let line_ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(line_ends).collect(),
        }
    }

    fn of(&self, location: Location) -> usize {
        let line = usize::try_from(location.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let column = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(start) = self.starts.get(line) else {
            return self.text.len();
        };
        self.text[*start..]
            .char_indices()
            .nth(column)
            .map_or(self.text.len(), |(offset, _)| start + offset)
    }
}
