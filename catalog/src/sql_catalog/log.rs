//! The catalog's history.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Inner;
use super::schema::{SCHEMA_ROW, kind};
use crate::error::Result;
use crate::versioned::{CatalogLogEntry, VersionId};

impl Inner {
    /// The newest commits of all branches, newest first. Those of open transactions are not
    /// among them.
    pub(super) async fn newest_versions(&self, limit: usize) -> Result<Vec<CatalogLogEntry>> {
        let rows = sqlx::query(
            "SELECT version.version_id, reference.name, version.parent_version,
                    version.merged_version, version.committed_at_ms, version.author,
                    version.message
             FROM catalog_versions AS version
             JOIN catalog_refs AS reference
               ON reference.catalog_id = version.catalog_id
              AND reference.ref_id = version.ref_id
             WHERE version.catalog_id = $1 AND reference.kind = $2
             ORDER BY version.version_id DESC LIMIT $3",
        )
        .bind(self.catalog_id)
        .bind(kind::BRANCH)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.database.pool())
        .await;
        let entries: Result<Vec<(i64, CatalogLogEntry)>, sqlx::Error> =
            rows.and_then(|rows| rows.iter().map(entry_of).collect());
        let entries = entries.map_err(|source| self.error(source))?;
        let oldest = entries.last().map(|(number, _)| *number);
        let mut changed = self.changed_since(oldest).await?;
        let entries = entries.into_iter().map(|(number, mut entry)| {
            let names = changed.remove(&number).unwrap_or_default();
            entry.changed = names.into_iter().collect();
            entry
        });
        Ok(entries.collect())
    }

    /// What each version changed, from this one on.
    async fn changed_since(&self, oldest: Option<i64>) -> Result<BTreeMap<i64, BTreeSet<String>>> {
        let mut changed: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        let Some(oldest) = oldest else {
            return Ok(changed);
        };
        let rows = sqlx::query(
            "SELECT version_id, schema_name, object_name FROM catalog_changes
             WHERE catalog_id = $1 AND version_id >= $2",
        )
        .bind(self.catalog_id)
        .bind(oldest)
        .fetch_all(self.database.pool())
        .await
        .map_err(|source| self.error(source))?;
        for row in &rows {
            let (version, name) = changed_name(row).map_err(|source| self.error(source))?;
            changed.entry(version).or_default().insert(name);
        }
        Ok(changed)
    }
}

/// A version, with its number.
fn entry_of(row: &AnyRow) -> Result<(i64, CatalogLogEntry), sqlx::Error> {
    let number: i64 = row.try_get(0)?;
    let parent: Option<i64> = row.try_get(2)?;
    let merged: Option<i64> = row.try_get(3)?;
    let entry = CatalogLogEntry {
        version: number.into(),
        branch: row.try_get(1)?,
        parent: parent.map(VersionId::from),
        merged: merged.map(VersionId::from),
        committed_at_ms: row.try_get(4)?,
        author: row.try_get(5)?,
        message: row.try_get(6)?,
        changed: Vec::new(),
    };
    Ok((number, entry))
}

fn changed_name(row: &AnyRow) -> Result<(i64, String), sqlx::Error> {
    let (schema, name): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    let full_name = match name.as_str() {
        SCHEMA_ROW => schema,
        _ => format!("{schema}.{name}"),
    };
    Ok((row.try_get(0)?, full_name))
}
