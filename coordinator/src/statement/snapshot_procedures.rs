//! Procedures that move a table's branches: `CALL system.name('schema', 'table', …)`, and those of
//! `main` as `ALTER TABLE … EXECUTE name(…)`.

use ingot_catalog::TableVersion;
use ingot_catalog::commit::{cherry_pick_snapshot, commit_metadata};
use ingot_catalog::evolve;
use ingot_catalog::table::ident_name;
use ingot_engine::catalog_list::evaluate_timestamp;
use ingot_sql::SessionValue;

use super::context::StatementContext;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement_catalogs::ResolvedTable;

/// One of these procedures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnapshotProcedure {
    RollbackToSnapshot,
    RollbackToTimestamp,
    SetCurrentSnapshot,
    CherrypickSnapshot,
    FastForward,
}

impl SnapshotProcedure {
    pub(super) const ALL: [Self; 5] = [
        Self::RollbackToSnapshot,
        Self::RollbackToTimestamp,
        Self::SetCurrentSnapshot,
        Self::CherrypickSnapshot,
        Self::FastForward,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RollbackToSnapshot => "rollback_to_snapshot",
            Self::RollbackToTimestamp => "rollback_to_timestamp",
            Self::SetCurrentSnapshot => "set_current_snapshot",
            Self::CherrypickSnapshot => "cherrypick_snapshot",
            Self::FastForward => "fast_forward",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|procedure| procedure.name() == name)
    }

    /// The names of its arguments after schema and table.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::RollbackToSnapshot | Self::CherrypickSnapshot | Self::SetCurrentSnapshot => {
                &["snapshot_id"]
            }
            Self::RollbackToTimestamp => &["timestamp"],
            Self::FastForward => &["branch", "to"],
        }
    }

    /// Executes it with the values of its own arguments, one for each.
    pub(super) async fn execute(
        self,
        context: &StatementContext,
        target: &ResolvedTable,
        values: &[SessionValue],
    ) -> Result<StatementOutcome> {
        let catalog = target.catalog.as_ref();
        let ident = &target.ident;
        let table = match (self, values) {
            (Self::RollbackToSnapshot, [id]) => {
                let id = self.snapshot_id(id)?;
                commit_metadata(catalog, ident, |table| {
                    evolve::rollback_to_snapshot(table, id)
                })
                .await?
            }
            (Self::RollbackToTimestamp, [time]) => {
                let SessionValue::Text(time) = time else {
                    return Err(no_timestamp(time));
                };
                let expression = format!("'{}'", time.replace('\'', "''"));
                let zone = &context.state.config_options().execution.time_zone;
                let zone = zone.as_deref().unwrap_or("UTC");
                let micros =
                    evaluate_timestamp(&expression, zone).map_err(|_| no_timestamp(&expression))?;
                let millis = micros.div_euclid(1_000);
                commit_metadata(catalog, ident, |table| {
                    evolve::rollback_to_time(table, millis)
                })
                .await?
            }
            (Self::SetCurrentSnapshot, [version]) => {
                let version = match version {
                    SessionValue::Text(name) => TableVersion::Reference(name.clone()),
                    id => TableVersion::SnapshotId(self.snapshot_id(id)?),
                };
                commit_metadata(catalog, ident, |table| {
                    evolve::set_current_snapshot(table, &version)
                })
                .await?
            }
            (Self::CherrypickSnapshot, [id]) => {
                cherry_pick_snapshot(catalog, ident, self.snapshot_id(id)?).await?
            }
            (Self::FastForward, [branch, to]) => {
                let (branch, to) = (self.text(branch)?, self.text(to)?);
                commit_metadata(catalog, ident, |table| {
                    evolve::fast_forward(table, branch, to)
                })
                .await?
            }
            _ => {
                return Err(CoordinatorError::Internal(format!(
                    "{} got {} arguments",
                    self.name(),
                    values.len()
                )));
            }
        };
        let current = match (self, values) {
            (Self::FastForward, [SessionValue::Text(branch), _]) => {
                match table.references()?.get(branch.as_str()) {
                    Some(reference) => format!("branch {branch} is at {}", reference.snapshot_id),
                    None => format!("branch {branch} has no snapshot"),
                }
            }
            _ => match table.metadata.current_snapshot_id() {
                Some(id) => format!("current snapshot is {id}"),
                None => "it has no current snapshot".to_owned(),
            },
        };
        Ok(StatementOutcome::Done {
            message: format!("table {}: {current}", ident_name(ident)),
        })
    }

    fn snapshot_id(self, value: &SessionValue) -> Result<i64> {
        let parsed = match value {
            SessionValue::Number(number) => number.parse().ok(),
            _ => None,
        };
        parsed.ok_or_else(|| {
            CoordinatorError::InvalidInput(format!(
                "the snapshot id of {} must be a whole number, not {value}",
                self.name()
            ))
        })
    }

    fn text(self, value: &SessionValue) -> Result<&str> {
        match value {
            SessionValue::Text(text) => Ok(text),
            other => Err(CoordinatorError::InvalidInput(format!(
                "an argument of {} must be a text, not {other}",
                self.name()
            ))),
        }
    }
}

fn no_timestamp(given: impl std::fmt::Display) -> CoordinatorError {
    CoordinatorError::InvalidInput(format!(
        "the timestamp of rollback_to_timestamp must be written as TIMESTAMP '2026-01-31 12:00:00', \
         not {given}"
    ))
}
