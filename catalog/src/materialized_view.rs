//! Materialized views: views whose rows are stored in a table.
//!
//! They follow Iceberg's proposal for materialized views (apache/iceberg, pull request 11041): a
//! version of the view names its storage table, and each snapshot of that table that a refresh
//! made says, in its summary, which states of which tables and views the rows were made from.

use std::collections::BTreeMap;

use iceberg::TableIdent;
use iceberg::spec::{Operation, SnapshotRef, Summary};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{CatalogError, Result};
use crate::table::Table;

/// What the names of storage tables end with. No statement can give such a name to a table.
pub const STORAGE_TABLE_SUFFIX: &str = "$materialized_view_storage";

/// Entry of a snapshot's summary: a [`RefreshState`] as JSON.
const REFRESH_STATE: &str = "refresh-state";
/// Entry of a snapshot's summary: what the query reads besides tables and views, as a JSON array.
const UNTRACKED: &str = "ingot.refresh.untracked";
/// Entry of a snapshot's summary: the time zone of the refresh, when the rows depend on it.
const TIME_ZONE: &str = "ingot.refresh.time-zone";
/// Entry of a snapshot's summary: how the rows were made.
const KIND: &str = "ingot.refresh.kind";
/// The snapshot id of a table that was never written.
const NO_SNAPSHOT: i64 = -1;

/// The table that stores the rows of a materialized view.
pub fn storage_table_of(view: &TableIdent) -> TableIdent {
    let name = format!("{}{STORAGE_TABLE_SUFFIX}", view.name());
    TableIdent::new(view.namespace().clone(), name)
}

/// Whether a table stores the rows of a materialized view.
pub fn is_storage_table(table: &TableIdent) -> bool {
    table.name().ends_with(STORAGE_TABLE_SUFFIX)
}

/// What makes a view a materialized one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Materialization {
    /// The table with its rows.
    pub storage_table: TableIdent,
    /// How long the rows may answer after they ceased to be up to date, in milliseconds; without
    /// limit when absent.
    pub grace_period_ms: Option<i64>,
}

/// How a refresh made the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshKind {
    /// From all rows of the sources.
    Full,
    /// From the rows before it and those that were added to the source since.
    Incremental,
}

impl RefreshKind {
    /// `full` or `incremental`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }
}

/// What the rows of a storage table were made from: the proposal's "refresh state" record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RefreshState {
    /// The version of the view whose query was run.
    pub view_version_id: i32,
    /// Every table that was read and every view that was expanded.
    pub source_states: Vec<SourceState>,
    /// When the refresh began, before it looked at any source; milliseconds since the epoch.
    pub refresh_start_timestamp_ms: i64,
}

/// The state of one source of a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum SourceState {
    /// A table, which may be the storage table of another materialized view.
    Table(SourceTable),
    /// A view, materialized or not.
    View(SourceView),
}

/// A table that a refresh read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceTable {
    /// Its catalog.
    pub catalog: String,
    /// The levels of its namespace.
    pub namespace: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// The snapshot that was read; -1 when it had none.
    pub snapshot_id: i64,
    /// The branch or tag that was read; `main` when absent.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The schema that it was read with (no part of the proposal).
    pub schema_id: i32,
}

impl SourceTable {
    /// The snapshot that was read; none when the table had none.
    pub fn snapshot(&self) -> Option<i64> {
        (self.snapshot_id != NO_SNAPSHOT).then_some(self.snapshot_id)
    }

    /// The value of `snapshot_id` for this snapshot.
    pub fn snapshot_id_of(snapshot: Option<i64>) -> i64 {
        snapshot.unwrap_or(NO_SNAPSHOT)
    }

    /// The table in its catalog.
    ///
    /// # Errors
    /// `InvalidInput` when it has no namespace.
    pub fn ident(&self) -> Result<TableIdent> {
        ident_of(&self.namespace, &self.name)
    }
}

/// A view whose query a refresh expanded, or a materialized view whose rows it read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceView {
    /// Its catalog.
    pub catalog: String,
    /// The levels of its namespace.
    pub namespace: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its version.
    pub version_id: i32,
}

impl SourceView {
    /// The view in its catalog.
    ///
    /// # Errors
    /// `InvalidInput` when it has no namespace.
    pub fn ident(&self) -> Result<TableIdent> {
        ident_of(&self.namespace, &self.name)
    }
}

fn ident_of(namespace: &[String], name: &str) -> Result<TableIdent> {
    TableIdent::from_strs(namespace.iter().map(String::as_str).chain([name])).map_err(|error| {
        CatalogError::InvalidInput(format!(
            "source {name} of a refresh: {}",
            error.message().to_lowercase()
        ))
    })
}

/// A refresh of a materialized view, as its storage table remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// What the rows were made from.
    pub state: RefreshState,
    /// What else the query depends on, whose changes cannot be seen: functions such as `now`,
    /// files, tables of other kinds.
    pub untracked: Vec<String>,
    /// The session's time zone, if the rows depend on it.
    pub time_zone: Option<String>,
}

impl Refresh {
    /// The entries that a snapshot's summary gets.
    ///
    /// # Errors
    /// `InvalidInput` when they cannot be written as JSON.
    pub fn to_summary(&self, kind: RefreshKind) -> Result<BTreeMap<String, String>> {
        let invalid =
            |error: serde_json::Error| CatalogError::InvalidInput(format!("refresh: {error}"));
        let state = serde_json::to_string(&self.state).map_err(invalid)?;
        let mut summary = BTreeMap::from([
            (REFRESH_STATE.to_string(), state),
            (KIND.to_string(), kind.as_str().to_string()),
        ]);
        if !self.untracked.is_empty() {
            let untracked = serde_json::to_string(&self.untracked).map_err(invalid)?;
            summary.insert(UNTRACKED.to_string(), untracked);
        }
        if let Some(time_zone) = &self.time_zone {
            summary.insert(TIME_ZONE.to_string(), time_zone.clone());
        }
        Ok(summary)
    }

    /// The refresh that made the current rows of a storage table; `None` when no refresh did.
    ///
    /// # Errors
    /// `Metadata` when what the snapshot says cannot be read.
    pub fn of_storage_table(table: &Table) -> Result<Option<Self>> {
        let Some(snapshot) = snapshot_with_rows(table) else {
            return Ok(None);
        };
        let summary = &snapshot.summary().additional_properties;
        let Some(state) = summary.get(REFRESH_STATE) else {
            return Ok(None);
        };
        let unreadable = |error: serde_json::Error| {
            CatalogError::metadata(
                format!("refresh state of table {}", table.name()),
                error.into(),
            )
        };
        let untracked = match summary.get(UNTRACKED) {
            Some(untracked) => serde_json::from_str(untracked).map_err(unreadable)?,
            None => Vec::new(),
        };
        Ok(Some(Self {
            state: serde_json::from_str(state).map_err(unreadable)?,
            untracked,
            time_zone: summary.get(TIME_ZONE).cloned(),
        }))
    }
}

/// Takes over what a snapshot's summary says of a refresh into that of one which only moves the
/// rows: the first of them may expire.
pub(crate) fn keep_refresh(moved: &Summary, entries: &mut BTreeMap<String, String>) {
    let moved = &moved.additional_properties;
    for key in [REFRESH_STATE, UNTRACKED, TIME_ZONE, KIND] {
        if let Some(value) = moved.get(key) {
            entries.insert(key.to_string(), value.clone());
        }
    }
}

/// The snapshot that made the current rows, or one that has taken over what it says. Compaction by
/// others says nothing.
fn snapshot_with_rows(table: &Table) -> Option<&SnapshotRef> {
    let says_nothing = |snapshot: &SnapshotRef| {
        let summary = snapshot.summary();
        summary.operation == Operation::Replace
            && !summary.additional_properties.contains_key(REFRESH_STATE)
    };
    let mut snapshot = table.metadata.current_snapshot()?;
    while says_nothing(snapshot) {
        snapshot = table
            .metadata
            .snapshot_by_id(snapshot.parent_snapshot_id()?)?;
    }
    Some(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refresh_states_are_those_of_the_proposal() {
        let state = RefreshState {
            view_version_id: 1,
            source_states: vec![
                SourceState::Table(SourceTable {
                    catalog: "iceberg".to_string(),
                    namespace: vec!["default".to_string()],
                    name: "events".to_string(),
                    uuid: Uuid::nil(),
                    snapshot_id: 6148331192489823102,
                    reference: None,
                    schema_id: 0,
                }),
                SourceState::View(SourceView {
                    catalog: "iceberg".to_string(),
                    namespace: vec!["default".to_string()],
                    name: "v".to_string(),
                    uuid: Uuid::nil(),
                    version_id: 3,
                }),
            ],
            refresh_start_timestamp_ms: 1573518435000,
        };
        let json = serde_json::to_value(&state).unwrap();
        let nil = "00000000-0000-0000-0000-000000000000";
        assert_eq!(
            json,
            serde_json::json!({
                "view-version-id": 1,
                "source-states": [
                    {"type": "table", "catalog": "iceberg", "namespace": ["default"],
                     "name": "events", "uuid": nil, "snapshot-id": 6148331192489823102_i64,
                     "schema-id": 0},
                    {"type": "view", "catalog": "iceberg", "namespace": ["default"],
                     "name": "v", "uuid": nil, "version-id": 3},
                ],
                "refresh-start-timestamp-ms": 1573518435000_i64,
            })
        );
        let back: RefreshState = serde_json::from_value(json).unwrap();
        assert_eq!(back, state);
    }
}
