//! Pipelines: applied, versioned, paused, dropped.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{JobStore, from_json, from_micros, now, to_json, to_micros};
use crate::definition::Pipeline;
use crate::error::{JobsError, Result};
use crate::folder::nearest;

/// A pipeline as it was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPipeline {
    /// What was applied.
    pub pipeline: Pipeline,
    /// Counts the changes of its definition, from 1.
    pub version: i64,
    /// When this version was applied.
    pub applied_at: DateTime<Utc>,
    /// Its schedule does nothing while it is paused.
    pub paused: bool,
}

const COLUMNS: &str = "definition, version, applied_at, paused";

impl JobStore {
    /// Stores a pipeline as a whole, and returns its version. An unchanged pipeline keeps
    /// its version and the time when it was applied.
    ///
    /// # Errors
    /// `Catalog` when the database fails.
    pub async fn apply(&self, pipeline: &Pipeline) -> Result<i64> {
        let definition = to_json("pipeline", pipeline)?;
        let mut transaction = self.database.begin_immediate().await?;
        let stored = sqlx::query("SELECT version, definition FROM jobs_pipelines WHERE name = $1")
            .bind(&pipeline.name)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(|error| self.error(error))?;
        // Versions go on after a pipeline was dropped, so that old runs keep their meaning.
        let newest: i64 = sqlx::query_scalar(
            "SELECT COALESCE(MAX(version), 0) FROM jobs_pipeline_versions WHERE name = $1",
        )
        .bind(&pipeline.name)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| self.error(error))?;
        if let Some(row) = stored {
            let version: i64 = row.try_get(0).map_err(|error| self.error(error))?;
            let old: String = row.try_get(1).map_err(|error| self.error(error))?;
            if old == definition {
                return Ok(version);
            }
        }
        let version = newest + 1;
        let applied_at = to_micros(now());
        sqlx::query(
            "INSERT INTO jobs_pipeline_versions (name, version, definition, applied_at)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(&pipeline.name)
        .bind(version)
        .bind(&definition)
        .bind(applied_at)
        .execute(&mut *transaction)
        .await
        .map_err(|error| self.error(error))?;
        sqlx::query(
            "INSERT INTO jobs_pipelines (name, version, definition, applied_at, paused)
             VALUES ($1, $2, $3, $4, 0)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version,
                 definition = excluded.definition, applied_at = excluded.applied_at",
        )
        .bind(&pipeline.name)
        .bind(version)
        .bind(&definition)
        .bind(applied_at)
        .execute(&mut *transaction)
        .await
        .map_err(|error| self.error(error))?;
        transaction
            .commit()
            .await
            .map_err(|error| self.error(error))?;
        Ok(version)
    }

    /// All pipelines, by name.
    ///
    /// # Errors
    /// `Catalog` when the database fails, `Damaged` when what it has makes no sense.
    pub async fn pipelines(&self) -> Result<Vec<StoredPipeline>> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM jobs_pipelines ORDER BY name"
        )))
        .fetch_all(self.database.pool())
        .await
        .map_err(|error| self.error(error))?;
        rows.iter().map(|row| self.stored(row)).collect()
    }

    /// One pipeline.
    ///
    /// # Errors
    /// `NotFound` naming the nearest pipeline; otherwise as for `pipelines`.
    pub async fn pipeline(&self, name: &str) -> Result<StoredPipeline> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM jobs_pipelines WHERE name = $1"
        )))
        .bind(name)
        .fetch_optional(self.database.pool())
        .await
        .map_err(|error| self.error(error))?;
        match row {
            Some(row) => self.stored(&row),
            None => Err(self.pipeline_not_found(name).await?),
        }
    }

    /// Lets the schedule of a pipeline rest, or wakes it.
    ///
    /// # Errors
    /// `NotFound` naming the nearest pipeline; `Catalog` when the database fails.
    pub async fn set_paused(&self, name: &str, paused: bool) -> Result<()> {
        let updated = sqlx::query("UPDATE jobs_pipelines SET paused = $1 WHERE name = $2")
            .bind(i64::from(paused))
            .bind(name)
            .execute(self.database.pool())
            .await
            .map_err(|error| self.error(error))?;
        if updated.rows_affected() == 0 {
            return Err(self.pipeline_not_found(name).await?);
        }
        Ok(())
    }

    /// Forgets a pipeline. Its versions and runs stay in the history.
    ///
    /// # Errors
    /// `NotFound` naming the nearest pipeline; `Catalog` when the database fails.
    pub async fn drop_pipeline(&self, name: &str) -> Result<()> {
        let deleted = sqlx::query("DELETE FROM jobs_pipelines WHERE name = $1")
            .bind(name)
            .execute(self.database.pool())
            .await
            .map_err(|error| self.error(error))?;
        if deleted.rows_affected() == 0 {
            return Err(self.pipeline_not_found(name).await?);
        }
        Ok(())
    }

    async fn pipeline_not_found(&self, name: &str) -> Result<JobsError> {
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM jobs_pipelines")
            .fetch_all(self.database.pool())
            .await
            .map_err(|error| self.error(error))?;
        Ok(JobsError::NotFound {
            kind: "pipeline",
            name: name.to_string(),
            suggestion: nearest(name, names.iter().map(String::as_str)).map(str::to_string),
        })
    }

    fn stored(&self, row: &AnyRow) -> Result<StoredPipeline> {
        let error = |error| self.error(error);
        let definition: String = row.try_get(0).map_err(error)?;
        let paused: i64 = row.try_get(3).map_err(error)?;
        Ok(StoredPipeline {
            pipeline: from_json("pipeline", &definition)?,
            version: row.try_get(1).map_err(error)?,
            applied_at: from_micros("pipeline", row.try_get(2).map_err(error)?)?,
            paused: paused != 0,
        })
    }
}
