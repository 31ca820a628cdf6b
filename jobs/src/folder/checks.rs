//! The checks of a header.

use std::collections::BTreeMap;

use ingot_sql::{ObjectName, Statement};
use serde::Deserialize;

use super::values::{DurationText, LimitValue, Names};
use crate::definition::{CheckDefinition, CheckKind, Severity};

/// One entry of `checks`: exactly one kind, and what applies to all kinds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckSettings {
    not_null: Option<Names>,
    unique: Option<Names>,
    row_count: Option<RowCountSettings>,
    accepted_values: Option<AcceptedValuesSettings>,
    expression: Option<String>,
    relationship: Option<RelationshipSettings>,
    freshness: Option<FreshnessSettings>,
    schema: Option<BTreeMap<String, String>>,
    query: Option<String>,

    name: Option<String>,
    table: Option<String>,
    severity: Option<Severity>,
    max_failures: Option<LimitValue>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowCountSettings {
    min: Option<u64>,
    max: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptedValuesSettings {
    column: String,
    values: Names,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RelationshipSettings {
    columns: Names,
    references: String,
    referenced_columns: Option<Names>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FreshnessSettings {
    column: String,
    max_age: DurationText,
}

/// A check; `written` is the table that its job writes.
pub(super) fn check_of(
    settings: CheckSettings,
    written: Option<&ObjectName>,
) -> Result<CheckDefinition, String> {
    let mut kinds: Vec<(String, CheckKind)> = Vec::new();
    if let Some(columns) = settings.not_null {
        let columns = some_columns("not_null", columns)?;
        let name = format!("not_null({})", columns.join(", "));
        kinds.push((name, CheckKind::NotNull { columns }));
    }
    if let Some(columns) = settings.unique {
        let columns = some_columns("unique", columns)?;
        let name = format!("unique({})", columns.join(", "));
        kinds.push((name, CheckKind::Unique { columns }));
    }
    if let Some(RowCountSettings { min, max }) = settings.row_count {
        if min.is_none() && max.is_none() {
            return Err("row_count needs min, max or both".to_string());
        }
        if let (Some(least), Some(most)) = (min, max)
            && least > most
        {
            return Err(format!("row_count has min {least} above max {most}"));
        }
        kinds.push(("row_count".to_string(), CheckKind::RowCount { min, max }));
    }
    if let Some(AcceptedValuesSettings { column, values }) = settings.accepted_values {
        if values.0.is_empty() {
            return Err("accepted_values needs at least one value".to_string());
        }
        let name = format!("accepted_values({column})");
        let values = values.0;
        kinds.push((name, CheckKind::AcceptedValues { column, values }));
    }
    if let Some(condition) = settings.expression {
        let condition = condition.trim().to_string();
        if condition.is_empty() {
            return Err("expression needs a condition".to_string());
        }
        let name = format!("expression({condition})");
        kinds.push((name, CheckKind::Expression { condition }));
    }
    if let Some(relationship) = settings.relationship {
        let columns = some_columns("relationship", relationship.columns)?;
        let referenced_columns = match relationship.referenced_columns {
            Some(names) => names.0,
            None => columns.clone(),
        };
        if columns.len() != referenced_columns.len() {
            return Err(format!(
                "relationship has {} columns and {} referenced_columns: they belong together",
                columns.len(),
                referenced_columns.len()
            ));
        }
        let references = relationship.references;
        let name = format!("relationship({} -> {references})", columns.join(", "));
        kinds.push((
            name,
            CheckKind::Relationship {
                columns,
                references,
                referenced_columns,
            },
        ));
    }
    if let Some(FreshnessSettings { column, max_age }) = settings.freshness {
        let name = format!("freshness({column})");
        let max_age = max_age.0;
        kinds.push((name, CheckKind::Freshness { column, max_age }));
    }
    if let Some(columns) = settings.schema {
        if columns.is_empty() {
            return Err("schema needs at least one column".to_string());
        }
        kinds.push(("schema".to_string(), CheckKind::Schema { columns }));
    }
    if let Some(sql) = settings.query {
        let Some(name) = settings.name.clone() else {
            return Err("a check of kind query needs a name".to_string());
        };
        let sql = sql.trim().trim_end_matches(';').to_string();
        // With variables in it, it can be understood only when it runs.
        if !sql.contains("{{") {
            match ingot_sql::parse_statement(&sql) {
                Ok(Statement::Query(_)) => {}
                Ok(_) => return Err("query: this is not a SELECT".to_string()),
                Err(error) => return Err(format!("query: {error}")),
            }
        }
        kinds.push((name, CheckKind::Query { sql }));
    }

    let mut kinds = kinds.into_iter();
    let (default_name, kind) = kinds.next().ok_or_else(|| {
        "a check needs a kind: not_null, unique, row_count, accepted_values, expression, \
         relationship, freshness, schema or query"
            .to_string()
    })?;
    if let Some((other, _)) = kinds.next() {
        return Err(format!(
            "a check has one kind: write {default_name} and {other} as two entries"
        ));
    }
    let counts_rows = !matches!(
        kind,
        CheckKind::RowCount { .. } | CheckKind::Freshness { .. } | CheckKind::Schema { .. }
    );
    if settings.max_failures.is_some() && !counts_rows {
        return Err(format!(
            "{} has no rows that fail: remove max_failures",
            kind.name()
        ));
    }
    let table = match settings.table {
        Some(table) => table,
        None => written
            .map(ObjectName::to_string)
            .ok_or_else(|| "the job writes no table: say which table to check".to_string())?,
    };
    Ok(CheckDefinition {
        name: settings.name.unwrap_or(default_name),
        table,
        kind,
        severity: settings.severity.unwrap_or(Severity::Error),
        limit: settings
            .max_failures
            .map_or_else(Default::default, |limit| limit.0),
    })
}

fn some_columns(kind: &str, names: Names) -> Result<Vec<String>, String> {
    if names.0.is_empty() {
        return Err(format!("{kind} needs at least one column"));
    }
    Ok(names.0)
}
