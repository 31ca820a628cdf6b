//! Querying checks: what must hold of a table after its job.
//!
//! Checks that look at one row at a time share one scan of their table; the others have
//! a query each. Failing rows are fetched only for checks that fail.

mod sql;
mod values;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::definition::{CheckDefinition, CheckKind, CheckLimit};
use crate::error::StatementError;
use crate::report::{CheckOutcome, CheckReport};

/// How many failing rows are kept.
const SAMPLE_ROWS: usize = 5;

/// Answers the queries of checks.
#[async_trait]
pub(crate) trait CheckQueries: Send + Sync {
    async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, StatementError>;
}

/// One query that reads every table that a check reads, for the order of the jobs.
pub(crate) fn reading_query(check: &CheckDefinition) -> String {
    match sql::row_condition(&check.kind) {
        Some(condition) => sql::scan(&check.table, &[condition]),
        None => sql::failure_count(&check.table, &check.kind),
    }
}

/// What a check found, before it is judged.
struct Finding {
    failures: u64,
    rows: u64,
    /// Said instead of the number of failing rows.
    message: Option<String>,
}

/// Queries the checks of a job, in their order. `done` is called after each of them.
///
/// # Errors
/// Only when a query was cancelled; every other failure is the outcome of its check.
pub(crate) async fn run_checks(
    queries: &dyn CheckQueries,
    checks: &[CheckDefinition],
    now: DateTime<Utc>,
    mut done: impl FnMut(&CheckReport) + Send,
) -> Result<Vec<CheckReport>, StatementError> {
    let mut scans: BTreeMap<&str, TableScan> = BTreeMap::new();
    let mut reports = Vec::with_capacity(checks.len());
    for check in checks {
        let start = Instant::now();
        if !scans.contains_key(check.table.as_str()) {
            let scan = scan_table(queries, &check.table, checks).await?;
            scans.insert(&check.table, scan);
        }
        let scan = scans.get(check.table.as_str());
        let found = find(queries, check, scan, now).await;
        let report = judge(queries, check, found, start).await?;
        done(&report);
        reports.push(report);
    }
    Ok(reports)
}

/// Results of the one scan of a table.
struct TableScan {
    rows: Result<u64, StatementError>,
    /// Failures by condition.
    failures: BTreeMap<String, u64>,
}

async fn scan_table(
    queries: &dyn CheckQueries,
    table: &str,
    checks: &[CheckDefinition],
) -> Result<TableScan, StatementError> {
    let conditions: Vec<String> = checks
        .iter()
        .filter(|check| check.table == table)
        .filter_map(|check| sql::row_condition(&check.kind))
        .collect();
    match counts(queries, &sql::scan(table, &conditions)).await {
        Ok(counts) => {
            let mut counts = counts.into_iter();
            let rows = counts.next().unwrap_or_default();
            Ok(TableScan {
                rows: Ok(rows),
                failures: conditions.into_iter().zip(counts).collect(),
            })
        }
        Err(error) if error.cancelled => Err(error),
        // One wrong condition fails the whole scan: ask one by one, so that the error is
        // that of its own check.
        Err(_) => {
            let rows = counts(queries, &sql::scan(table, &[])).await;
            Ok(TableScan {
                rows: rows.map(|counts| counts.first().copied().unwrap_or_default()),
                failures: BTreeMap::new(),
            })
        }
    }
}

async fn find(
    queries: &dyn CheckQueries,
    check: &CheckDefinition,
    scan: Option<&TableScan>,
    now: DateTime<Utc>,
) -> Result<Finding, StatementError> {
    let rows = match scan {
        Some(scan) => scan.rows.clone()?,
        None => 0,
    };
    let finding = |failures| Finding {
        failures,
        rows,
        message: None,
    };
    if let Some(condition) = sql::row_condition(&check.kind) {
        if let Some(failures) = scan.and_then(|scan| scan.failures.get(&condition)) {
            return Ok(finding(*failures));
        }
        let counted = counts(queries, &sql::scan(&check.table, &[condition])).await?;
        return Ok(finding(counted.get(1).copied().unwrap_or_default()));
    }
    match &check.kind {
        CheckKind::RowCount { min, max } => Ok(row_count(rows, *min, *max)),
        CheckKind::Freshness { column, max_age } => {
            let batches = queries.query(&sql::newest(&check.table, column)).await?;
            let newest = values::first_time(&batches)?;
            Ok(freshness(rows, column, newest, *max_age, now))
        }
        CheckKind::Schema { columns } => {
            let batches = queries.query(&sql::no_rows(&check.table)).await?;
            let differences = values::schema_differences(&batches, columns)?;
            Ok(Finding {
                failures: differences.len() as u64,
                rows,
                message: Some(match differences.as_slice() {
                    [] => "the columns are as expected".to_string(),
                    differences => differences.join("; "),
                }),
            })
        }
        kind => {
            let query = sql::failure_count(&check.table, kind);
            let counted = counts(queries, &query).await?;
            Ok(finding(counted.first().copied().unwrap_or_default()))
        }
    }
}

fn row_count(rows: u64, min: Option<u64>, max: Option<u64>) -> Finding {
    let message = match (min, max) {
        (Some(min), _) if rows < min => format!("{rows} rows, at least {min} expected"),
        (_, Some(max)) if rows > max => format!("{rows} rows, at most {max} expected"),
        _ => {
            return Finding {
                failures: 0,
                rows,
                message: Some(format!("{rows} rows")),
            };
        }
    };
    Finding {
        failures: 1,
        rows,
        message: Some(message),
    }
}

fn freshness(
    rows: u64,
    column: &str,
    newest: Option<DateTime<Utc>>,
    max_age: Duration,
    now: DateTime<Utc>,
) -> Finding {
    let Some(newest) = newest else {
        return Finding {
            failures: 1,
            rows,
            message: Some(format!("there is no {column}")),
        };
    };
    // A time that is yet to come is fresh.
    let age = (now - newest).to_std().unwrap_or_default();
    let is_stale = age > max_age;
    let described = format!("the newest {column} is {} s old", age.as_secs());
    let limit = if is_stale {
        format!(", at most {} s allowed", max_age.as_secs())
    } else {
        String::new()
    };
    Finding {
        failures: u64::from(is_stale),
        rows,
        message: Some(described + &limit),
    }
}

async fn judge(
    queries: &dyn CheckQueries,
    check: &CheckDefinition,
    found: Result<Finding, StatementError>,
    start: Instant,
) -> Result<CheckReport, StatementError> {
    let mut report = CheckReport {
        check: check.name.clone(),
        kind: check.kind.name().to_string(),
        table: check.table.clone(),
        severity: check.severity,
        outcome: CheckOutcome::Passed,
        failures: 0,
        rows: 0,
        limit: check.limit,
        message: String::new(),
        sample: Vec::new(),
        elapsed: Duration::ZERO,
    };
    match found {
        Err(error) if error.cancelled => return Err(error),
        Err(error) => {
            report.outcome = CheckOutcome::Error;
            report.message = error.message;
        }
        Ok(finding) => {
            report.failures = finding.failures;
            report.rows = finding.rows;
            let is_allowed = check.limit.allows(finding.failures, finding.rows);
            report.message = finding
                .message
                .unwrap_or_else(|| describe(finding.failures, finding.rows, check.limit));
            if !is_allowed {
                report.outcome = CheckOutcome::Failed;
                report.sample = sample(queries, check).await?;
            }
        }
    }
    // As exact as it is stored.
    let elapsed = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    report.elapsed = Duration::from_micros(elapsed);
    Ok(report)
}

fn describe(failures: u64, rows: u64, limit: CheckLimit) -> String {
    let allowed = match limit {
        _ if failures == 0 => return format!("0 of {rows} rows fail"),
        CheckLimit::Rows(rows) => format!("{rows}"),
        CheckLimit::Share(share) => format!("{} %", share * 100.0),
    };
    format!("{failures} of {rows} rows fail, at most {allowed} allowed")
}

/// A few failing rows. That they cannot be had does not change that the check failed.
async fn sample(
    queries: &dyn CheckQueries,
    check: &CheckDefinition,
) -> Result<Vec<serde_json::Value>, StatementError> {
    let Some(query) = sql::failing_rows(&check.table, &check.kind, SAMPLE_ROWS) else {
        return Ok(Vec::new());
    };
    let rows = match queries.query(&query).await {
        Ok(batches) => values::json_rows(&batches, SAMPLE_ROWS),
        Err(error) if error.cancelled => return Err(error),
        Err(error) => Err(error),
    };
    Ok(rows.unwrap_or_else(|error| {
        tracing::warn!(check = check.name, %error, "cannot fetch the failing rows");
        Vec::new()
    }))
}

/// The counts of a query that returns one row of them.
async fn counts(queries: &dyn CheckQueries, query: &str) -> Result<Vec<u64>, StatementError> {
    values::first_counts(&queries.query(query).await?)
}

#[cfg(test)]
mod tests;
