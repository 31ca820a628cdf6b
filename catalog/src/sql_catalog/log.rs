//! The catalog's history.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Inner;
use super::schema::{SCHEMA_ROW, kind};
use crate::error::Result;
use crate::versioned::CatalogLogEntry;

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
        let entries: Result<Vec<CatalogLogEntry>, sqlx::Error> =
            rows.and_then(|rows| rows.iter().map(entry_of).collect());
        let mut entries = entries.map_err(|source| self.error(source))?;
        let mut changed = self.changed_since(entries.last()).await?;
        for entry in &mut entries {
            let names = changed.remove(&entry.version).unwrap_or_default();
            entry.changed = names.into_iter().collect();
        }
        Ok(entries)
    }

    /// What each version changed, from this one on.
    async fn changed_since(
        &self,
        oldest: Option<&CatalogLogEntry>,
    ) -> Result<BTreeMap<i64, BTreeSet<String>>> {
        let mut changed: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        let Some(oldest) = oldest else {
            return Ok(changed);
        };
        let rows = sqlx::query(
            "SELECT version_id, schema_name, object_name FROM catalog_changes
             WHERE catalog_id = $1 AND version_id >= $2",
        )
        .bind(self.catalog_id)
        .bind(oldest.version)
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

fn entry_of(row: &AnyRow) -> Result<CatalogLogEntry, sqlx::Error> {
    Ok(CatalogLogEntry {
        version: row.try_get(0)?,
        branch: row.try_get(1)?,
        parent: row.try_get(2)?,
        merged: row.try_get(3)?,
        committed_at_ms: row.try_get(4)?,
        author: row.try_get(5)?,
        message: row.try_get(6)?,
        changed: Vec::new(),
    })
}

fn changed_name(row: &AnyRow) -> Result<(i64, String), sqlx::Error> {
    let (schema, name): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    let full_name = match name.as_str() {
        SCHEMA_ROW => schema,
        _ => format!("{schema}.{name}"),
    };
    Ok((row.try_get(0)?, full_name))
}
