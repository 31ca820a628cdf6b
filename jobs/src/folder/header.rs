//! SQL files with a YAML header.

use std::path::Path;

use ingot_sql::SqlError;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::PipelineFile;
use super::checks::{CheckSettings, check_of};
use super::settings::RetrySettings;
use super::values::{DurationText, Names};
use super::yaml::YamlText;
use crate::definition::{CheckDefinition, JobDefinition, Pipeline};
use crate::error::{JobsError, Result};
use crate::statements::{JobStatement, job_statements};
use crate::variables;

/// Begins a header; it must be the first thing in the file.
const HEADER_START: &str = "/*---";
/// Ends a header, on a line of its own.
const HEADER_END: &str = "---*/";

/// The keys of a header.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: Option<String>,
    #[serde(default)]
    description: String,
    depends_on: Option<Names>,
    #[serde(default)]
    checks: Vec<Spanned<CheckSettings>>,
    retry: Option<RetrySettings>,
    timeout: Option<DurationText>,
    tags: Option<Names>,
}

/// A file, cut at the end of its header.
struct CutFile<'a> {
    header: YamlText<'a>,
    sql: &'a str,
    /// Line of the file at which `sql` begins.
    first_line: u64,
}

fn cut<'a>(path: &'a Path, text: &'a str) -> Result<CutFile<'a>> {
    let body = text.trim_start_matches('\u{feff}').trim_start();
    let Some(after_start) = body.strip_prefix(HEADER_START) else {
        // A file without header is a job without checks.
        let header = YamlText {
            path,
            first_line: 1,
            text: "",
        };
        return Ok(CutFile {
            header,
            sql: body,
            first_line: line_of(text, body),
        });
    };
    let mut position = 0;
    for line in after_start.split_inclusive('\n') {
        // The first line is what stands beside the start of the header.
        if position > 0 && line.trim() == HEADER_END {
            let sql = &after_start[position + line.len()..];
            return Ok(CutFile {
                header: YamlText {
                    path,
                    first_line: line_of(text, after_start),
                    text: &after_start[..position],
                },
                sql,
                first_line: line_of(text, sql),
            });
        }
        position += line.len();
    }
    Err(JobsError::InvalidFile {
        path: path.to_path_buf(),
        line: line_of(text, body),
        column: 1,
        message: format!("the header does not end: write a line {HEADER_END} after it"),
    })
}

/// The line, from 1, at which a tail of the text begins.
fn line_of(text: &str, tail: &str) -> u64 {
    let before = &text.as_bytes()[..text.len() - tail.len()];
    1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The job of one file.
pub(super) fn parse_job(
    path: &Path,
    file: &PipelineFile,
    pipeline: &Pipeline,
) -> Result<JobDefinition> {
    let cut = cut(path, &file.text)?;
    let header: Header = cut.header.parse()?;
    let default_name = file.path.trim_end_matches(".sql").replace('/', ".");
    let mut job = JobDefinition {
        name: header.name.unwrap_or(default_name),
        description: header.description,
        file: file.path.clone(),
        first_line: cut.first_line,
        sql: cut.sql.trim_end().to_string(),
        depends_on: header.depends_on.map(|names| names.0).unwrap_or_default(),
        checks: Vec::new(),
        retry: header
            .retry
            .map_or(pipeline.retry, |retry| retry.over(pipeline.retry)),
        timeout: header.timeout.map(|text| text.0),
        tags: header.tags.map(|names| names.0).unwrap_or_default(),
    };
    let statements = statements_of(path, &job, pipeline)?;
    let written = statements
        .iter()
        .rev()
        .find_map(|statement| statement.references.writes.first());
    for settings in header.checks {
        let location = settings.referenced;
        let check = check_of(settings.value, written)
            .map_err(|message| cut.header.error_at(location, message))?;
        ensure_unique_name(&check, &job.checks)
            .map_err(|message| cut.header.error_at(location, message))?;
        job.checks.push(check);
    }
    Ok(job)
}

fn ensure_unique_name(check: &CheckDefinition, others: &[CheckDefinition]) -> Result<(), String> {
    if others.iter().any(|other| other.name == check.name) {
        return Err(format!(
            "two checks are called {}: give one of them a name",
            check.name
        ));
    }
    Ok(())
}

/// The statements of a job with the pipeline's own variables, so that mistakes show when
/// the pipeline is applied and not at night.
fn statements_of(
    path: &Path,
    job: &JobDefinition,
    pipeline: &Pipeline,
) -> Result<Vec<JobStatement>> {
    let at = |line: u64, column: u64, message: String| JobsError::InvalidFile {
        path: path.to_path_buf(),
        line: job.first_line + line.saturating_sub(1),
        column,
        message,
    };
    let sql = variables::replace(&job.sql, &pipeline.variables)
        .map_err(|error| at(error.line, error.column, error.message))?;
    job_statements(&sql).map_err(|error| {
        let (line, column) = error.position().unwrap_or((1, 1));
        let message = match error {
            // The place is at the front already.
            SqlError::Syntax { message, .. } => format!("syntax error: {message}"),
            SqlError::Empty => "there is no statement in the file".to_string(),
            other => other.to_string(),
        };
        at(line, column, message)
    })
}
