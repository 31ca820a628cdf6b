//! Pipelines and their runs in the catalog database.

mod fires;
mod migrations;
mod pipelines;
mod runs;

use chrono::{DateTime, Utc};
use ingot_catalog::database::Database;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{JobsError, Result};

pub use pipelines::StoredPipeline;

/// Pipelines and their runs in the catalog database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobStore {
    database: Database,
}

impl JobStore {
    /// Opens the store, bringing its tables to the newest version.
    ///
    /// # Errors
    /// `Catalog` when the database cannot be reached or was made by a newer Ingot.
    pub async fn open(database: Database) -> Result<Self> {
        database.migrate("jobs", migrations::MIGRATIONS).await?;
        Ok(Self { database })
    }

    /// Turns an error of the database into ours.
    fn error(&self, source: sqlx::Error) -> JobsError {
        self.database.error(source).into()
    }
}

/// As it is stored.
fn to_micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

fn from_micros(what: &str, micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| damaged(what, format!("{micros} is no time")))
}

/// Counts beyond what the database can keep do not occur.
fn to_stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn from_stored(what: &str, count: i64) -> Result<u64> {
    u64::try_from(count).map_err(|_| damaged(what, format!("{count} is negative")))
}

fn to_json<T: Serialize>(what: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| damaged(what, error.to_string()))
}

fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| damaged(what, error.to_string()))
}

fn damaged(what: &str, message: String) -> JobsError {
    JobsError::Damaged {
        what: what.to_string(),
        message,
    }
}

/// The time, as exact as it is stored.
pub(crate) fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
