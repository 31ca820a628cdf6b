//! When a pipeline runs by itself.

use serde::{Deserialize, Serialize};

/// A cron pattern in a time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Five fields (minute to weekday), six with leading seconds, or `@hourly` and its like.
    pub cron: String,
    /// Name in the IANA time zone database; `UTC` unless the header says otherwise.
    pub time_zone: String,
    /// What to do about times that passed while no server ran.
    pub missed: MissedFires,
}

/// What to do about times that passed while no server ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedFires {
    /// Run once, for the latest of them.
    #[default]
    RunOnce,
    /// Wait for the next time.
    Skip,
}
