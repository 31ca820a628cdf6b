//! Branches and tags of a table, and those of a whole catalog.
//!
//! `ALTER TABLE t CREATE BRANCH b …` is the spelling of Spark and Presto, `CREATE BRANCH b IN TABLE
//! t` Trino's. Both mean the same. Without a table, `CREATE BRANCH b` is one of the catalog.

use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::tokens::{TokenReader, word_of};
use super::written_table_name;
use crate::error::SqlError;
use crate::relation::RelationVersion;
use crate::statement::{
    AlterTable, AlterTableOperation, CatalogSource, CreateCatalogReference, DropCatalogReference,
    ReferenceKind, ReferenceRetention, SetReference, SetReferenceMode, Statement,
};
use crate::time_travel::{catalog_version, reference_name, version_of};

/// `CREATE [OR REPLACE] BRANCH | TAG …` or `REPLACE BRANCH | TAG …` in an `ALTER TABLE`, from the
/// first word on.
pub(super) fn parse_set_reference(
    parser: &mut Parser<'_>,
) -> Result<AlterTableOperation, SqlError> {
    let mut mode = if parser.take_word("replace") {
        SetReferenceMode::Replace
    } else {
        parser.expect_word("create")?;
        match parser.take_words(&["or", "replace"]) {
            true => SetReferenceMode::CreateOrReplace,
            false => SetReferenceMode::Create,
        }
    };
    let kind = parse_kind(parser)?;
    take_if_not_exists(parser, &mut mode)?;
    let name = reference_name(parser)?;
    let version = parse_version(parser)?;
    let retention = parse_retention(parser, kind)?;
    Ok(AlterTableOperation::SetReference(SetReference {
        kind,
        name,
        mode,
        version,
        retention,
    }))
}

/// `DROP BRANCH | TAG [IF EXISTS] name` in an `ALTER TABLE`, after `DROP`.
pub(super) fn parse_drop_reference(
    parser: &mut Parser<'_>,
) -> Result<AlterTableOperation, SqlError> {
    let kind = parse_kind(parser)?;
    let if_exists = parser.take_if_exists();
    let name = reference_name(parser)?;
    Ok(AlterTableOperation::DropReference {
        kind,
        name,
        if_exists,
    })
}

/// Whether `BRANCH name` or `TAG name` is next, and not a column of such a name.
pub(super) fn is_reference(parser: &Parser<'_>) -> bool {
    let is_kind = parser.peek_word("branch") || parser.peek_word("tag");
    is_kind && parser.peek_nth_token_ref(1).token != Token::EOF
}

/// `CREATE [OR REPLACE] BRANCH [IF NOT EXISTS] name IN TABLE table [FROM reference]`, or the same of a
/// catalog: `… name [IN catalog] [FROM reference | FROM VERSION version]`; from `BRANCH` on.
pub(super) fn parse_create(
    parser: &mut Parser<'_>,
    or_replace: bool,
) -> Result<Statement, SqlError> {
    let location = parser.location();
    let mut mode = match or_replace {
        true => SetReferenceMode::CreateOrReplace,
        false => SetReferenceMode::Create,
    };
    let kind = parse_kind(parser)?;
    take_if_not_exists(parser, &mut mode)?;
    let name = reference_name(parser)?;
    if !parser.peek_words(&["in", "table"]) {
        if or_replace {
            return Err(SqlError::unsupported_but(
                format!("CREATE OR REPLACE {kind} of a catalog"),
                "drop it first",
                location,
            ));
        }
        return Ok(Statement::CreateCatalogReference(CreateCatalogReference {
            kind,
            name,
            if_not_exists: mode == SetReferenceMode::CreateIfNotExists,
            catalog: parse_in_catalog(parser)?,
            from: parse_catalog_source(parser)?,
        }));
    }
    let table = parse_in_table(parser)?;
    let version = match parser.take_word("from") {
        true => Some(RelationVersion::Reference(reference_name(parser)?)),
        false => None,
    };
    let operation = AlterTableOperation::SetReference(SetReference {
        kind,
        name,
        mode,
        version,
        retention: ReferenceRetention::default(),
    });
    Ok(Statement::AlterTable(AlterTable {
        name: table,
        if_exists: false,
        operation,
    }))
}

/// `DROP BRANCH [IF EXISTS] name IN TABLE table`, or `… name [IN catalog]`; from `BRANCH` on.
pub(super) fn parse_drop(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    let kind = parse_kind(parser)?;
    let if_exists = parser.take_if_exists();
    let name = reference_name(parser)?;
    if !parser.peek_words(&["in", "table"]) {
        return Ok(Statement::DropCatalogReference(DropCatalogReference {
            kind,
            name,
            if_exists,
            catalog: parse_in_catalog(parser)?,
        }));
    }
    Ok(Statement::AlterTable(AlterTable {
        name: parse_in_table(parser)?,
        if_exists: false,
        operation: AlterTableOperation::DropReference {
            kind,
            name,
            if_exists,
        },
    }))
}

/// `MERGE BRANCH branch INTO target [IN catalog]`
pub(super) fn parse_merge_branch(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("merge")?;
    parser.expect_word("branch")?;
    let branch = reference_name(parser)?;
    parser.expect_word("into")?;
    let target = reference_name(parser)?;
    Ok(Statement::MergeBranch {
        branch,
        target,
        catalog: parse_in_catalog(parser)?,
    })
}

/// `USE BRANCH branch [IN catalog]`, after `USE`.
pub(super) fn parse_use_branch(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("branch")?;
    Ok(Statement::UseBranch {
        branch: reference_name(parser)?,
        catalog: parse_in_catalog(parser)?,
    })
}

/// `[IN catalog]`
fn parse_in_catalog(parser: &mut Parser<'_>) -> Result<Option<String>, SqlError> {
    match parser.take_word("in") {
        true => parser.folded_identifier().map(Some),
        false => Ok(None),
    }
}

/// `[FROM reference | FROM VERSION number | FROM VERSION 'hash']`
fn parse_catalog_source(parser: &mut Parser<'_>) -> Result<Option<CatalogSource>, SqlError> {
    if !parser.take_word("from") {
        return Ok(None);
    }
    let is_version = parser.peek_word("version")
        && matches!(
            parser.peek_nth_token_ref(1).token,
            Token::Number(..) | Token::SingleQuotedString(_)
        );
    if is_version {
        parser.advance_token();
        return Ok(Some(CatalogSource::Version(catalog_version(parser)?)));
    }
    Ok(Some(CatalogSource::Reference(reference_name(parser)?)))
}

fn parse_in_table(parser: &mut Parser<'_>) -> Result<crate::name::ObjectName, SqlError> {
    parser.expect_word("in")?;
    parser.expect_word("table")?;
    written_table_name(parser)
}

fn parse_kind(parser: &mut Parser<'_>) -> Result<ReferenceKind, SqlError> {
    if parser.take_word("branch") {
        Ok(ReferenceKind::Branch)
    } else if parser.take_word("tag") {
        Ok(ReferenceKind::Tag)
    } else {
        Err(parser.expected_here("BRANCH or TAG"))
    }
}

fn take_if_not_exists(
    parser: &mut Parser<'_>,
    mode: &mut SetReferenceMode,
) -> Result<(), SqlError> {
    let location = parser.location();
    if !parser.take_if_not_exists() {
        return Ok(());
    }
    if *mode != SetReferenceMode::Create {
        return Err(SqlError::syntax(
            "REPLACE and IF NOT EXISTS exclude each other",
            location,
        ));
    }
    *mode = SetReferenceMode::CreateIfNotExists;
    Ok(())
}

/// `FOR VERSION AS OF version` (Presto: `FOR SYSTEM_VERSION AS OF`), `AS OF VERSION version` (Spark).
fn parse_version(parser: &mut Parser<'_>) -> Result<Option<RelationVersion>, SqlError> {
    let location = parser.location();
    let is_given = parser.take_words(&["for", "version", "as", "of"])
        || parser.take_words(&["for", "system_version", "as", "of"])
        || parser.take_words(&["as", "of", "version"]);
    if !is_given {
        return Ok(None);
    }
    let expression = parser.parse_expr()?;
    version_of(&expression, location).map(Some)
}

fn parse_retention(
    parser: &mut Parser<'_>,
    kind: ReferenceKind,
) -> Result<ReferenceRetention, SqlError> {
    let mut retention = ReferenceRetention::default();
    if parser.take_word("retain") {
        retention.max_ref_age_ms = Some(parse_duration(parser)?);
    }
    let location = parser.location();
    if !parser.take_words(&["with", "snapshot", "retention"]) {
        return Ok(retention);
    }
    if kind == ReferenceKind::Tag {
        return Err(SqlError::syntax(
            "a tag has one snapshot: leave WITH SNAPSHOT RETENTION out",
            location,
        ));
    }
    let counts_snapshots = word_of(&parser.peek_nth_token_ref(1).token)
        .is_some_and(|word| ["snapshot", "snapshots"].contains(&word.to_lowercase().as_str()));
    if counts_snapshots {
        retention.min_snapshots_to_keep = Some(parse_positive(parser)?);
        parser.advance_token();
    }
    let gives_age = matches!(parser.peek_token_ref().token, Token::Number(..));
    if gives_age || !counts_snapshots {
        retention.max_snapshot_age_ms = Some(parse_duration(parser)?);
    }
    Ok(retention)
}

/// `7 DAYS`, in milliseconds.
fn parse_duration(parser: &mut Parser<'_>) -> Result<i64, SqlError> {
    let location = parser.location();
    let count = parser.parse_literal_uint()?;
    let minutes = if parser.take_word("days") || parser.take_word("day") {
        24 * 60
    } else if parser.take_word("hours") || parser.take_word("hour") {
        60
    } else if parser.take_word("minutes") || parser.take_word("minute") {
        1
    } else {
        return Err(parser.expected_here("DAYS, HOURS or MINUTES"));
    };
    let milliseconds = i64::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(minutes * 60 * 1_000));
    match milliseconds {
        Some(milliseconds) if milliseconds > 0 => Ok(milliseconds),
        _ => Err(SqlError::invalid(
            format!("duration {count}"),
            "it must be more than nothing and less than 290 million years",
            location,
        )),
    }
}

fn parse_positive(parser: &mut Parser<'_>) -> Result<i32, SqlError> {
    let location = parser.location();
    let number = parser.parse_literal_uint()?;
    match i32::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(SqlError::invalid(
            format!("number {number}"),
            "expected one from 1 to 2147483647",
            location,
        )),
    }
}
