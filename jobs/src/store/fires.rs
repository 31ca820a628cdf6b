//! Which times of a schedule were taken, by whichever server.

use chrono::{DateTime, Utc};

use super::{JobStore, from_micros, now, to_micros};
use crate::error::Result;

impl JobStore {
    /// Takes one time of a schedule: true for exactly one caller, whatever the number of
    /// servers and restarts.
    ///
    /// # Errors
    /// `Catalog` when the database fails.
    pub async fn claim_fire(&self, pipeline: &str, due: DateTime<Utc>) -> Result<bool> {
        let inserted = sqlx::query(
            "INSERT INTO jobs_schedule_fires (pipeline, due, claimed_at) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(pipeline)
        .bind(to_micros(due))
        .bind(to_micros(now()))
        .execute(self.database.pool())
        .await
        .map_err(|error| self.error(error))?;
        Ok(inserted.rows_affected() == 1)
    }

    /// The latest time of a schedule that was taken.
    ///
    /// # Errors
    /// `Catalog` when the database fails.
    pub async fn last_fire(&self, pipeline: &str) -> Result<Option<DateTime<Utc>>> {
        let due: Option<i64> =
            sqlx::query_scalar("SELECT MAX(due) FROM jobs_schedule_fires WHERE pipeline = $1")
                .bind(pipeline)
                .fetch_one(self.database.pool())
                .await
                .map_err(|error| self.error(error))?;
        due.map(|due| from_micros("schedule", due)).transpose()
    }
}
