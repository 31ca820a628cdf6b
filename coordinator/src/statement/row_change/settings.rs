//! How a table wants its rows to be changed: its properties `write.*.mode` and
//! `write.*.isolation-level`.

use iceberg::spec::FormatVersion;
use ingot_catalog::Table;
use ingot_catalog::commit::Isolation;

use crate::error::{CoordinatorError, Result};

/// Which statement's properties count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Delete,
    Update,
    Merge,
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Update => "update",
            Self::Merge => "merge",
        }
    }
}

/// How old rows leave their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteMode {
    /// The files are written again without them (the default in format versions 1 and 2).
    CopyOnWrite,
    /// Their positions are written into delete files or deletion vectors (the default in format
    /// version 3).
    MergeOnRead,
}

/// The settings of one statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    command: Command,
    pub mode: WriteMode,
    pub isolation: Isolation,
}

impl Settings {
    /// # Errors
    /// `InvalidInput` for a property with another value than it can have.
    pub(super) fn of(table: &Table, command: Command) -> Result<Self> {
        let property = |suffix: &str, first: &str, second: &str| {
            let name = format!("write.{}.{suffix}", command.name());
            match table.metadata.properties().get(&name) {
                None => Ok(None),
                Some(value) if value.eq_ignore_ascii_case(first) => Ok(Some(true)),
                Some(value) if value.eq_ignore_ascii_case(second) => Ok(Some(false)),
                Some(value) => Err(CoordinatorError::InvalidInput(format!(
                    "property {name} of table {} is {value:?}: it must be {first} or {second}",
                    table.name()
                ))),
            }
        };
        let mode = match property("mode", "copy-on-write", "merge-on-read")? {
            Some(true) => WriteMode::CopyOnWrite,
            Some(false) => WriteMode::MergeOnRead,
            None => match table.metadata.format_version() {
                FormatVersion::V1 | FormatVersion::V2 => WriteMode::CopyOnWrite,
                FormatVersion::V3 => WriteMode::MergeOnRead,
            },
        };
        let isolation = match property("isolation-level", "serializable", "snapshot")? {
            Some(true) | None => Isolation::Serializable,
            Some(false) => Isolation::Snapshot,
        };
        Ok(Self {
            command,
            mode,
            isolation,
        })
    }

    /// Whether rows can leave their files as the table wants it. Whole files can in any mode.
    ///
    /// # Errors
    /// `InvalidInput` for tables whose format version does not have what the mode needs.
    pub(super) fn check_mode(&self, table: &Table) -> Result<()> {
        let command = self.command.name();
        match (table.metadata.format_version(), self.mode) {
            // It would move rows without their row ids, which version 3 has.
            (FormatVersion::V3, WriteMode::CopyOnWrite) => {
                Err(CoordinatorError::InvalidInput(format!(
                    "table {} has format version 3, whose rows are changed by deletion vectors \
                     only: set its property write.{command}.mode to merge-on-read",
                    table.name(),
                )))
            }
            (FormatVersion::V1, WriteMode::MergeOnRead) => {
                Err(CoordinatorError::InvalidInput(format!(
                    "table {} has format version 1, which has no delete files: set its property \
                     write.{command}.mode to copy-on-write",
                    table.name(),
                )))
            }
            _ => Ok(()),
        }
    }
}
