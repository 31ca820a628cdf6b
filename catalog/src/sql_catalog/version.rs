//! One commit of the catalog, as a database transaction.

use sqlx::{Any, Row, Transaction};

use super::schema::{MAIN_REF, SCHEMA_ROW};
use crate::database::Database;
use crate::error::{CatalogError, Result};

/// An object as it is on the branch now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LiveObject {
    /// See [`kind`](super::schema::kind).
    pub kind: String,
    /// Metadata location of a table, JSON properties of a schema.
    pub content: String,
}

/// A catalog version in the making. Committers of one catalog wait for each other from
/// [`NewVersion::begin`] on, so what [`NewVersion::live`] says stays true until
/// [`NewVersion::finish`]. Dropping it undoes everything.
pub(super) struct NewVersion<'a> {
    database: &'a Database,
    transaction: Transaction<'static, Any>,
    catalog_id: i64,
    ref_id: i64,
    version: i64,
}

impl<'a> NewVersion<'a> {
    /// Takes the catalog's commit lock and the next version number.
    pub(super) async fn begin(database: &'a Database, catalog_id: i64) -> Result<Self> {
        let mut transaction = database.begin_immediate().await?;
        let version = sqlx::query_scalar(
            "UPDATE catalogs SET last_version = last_version + 1
             WHERE catalog_id = $1 RETURNING last_version",
        )
        .bind(catalog_id)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|source| database.error(source))?;
        Ok(Self {
            database,
            transaction,
            catalog_id,
            ref_id: MAIN_REF,
            version,
        })
    }

    fn error(&self, source: sqlx::Error) -> CatalogError {
        self.database.error(source)
    }

    /// The object of this name, if there is one.
    pub(super) async fn live(&mut self, schema: &str, name: &str) -> Result<Option<LiveObject>> {
        let row = sqlx::query(
            "SELECT kind, content FROM catalog_objects
             WHERE catalog_id = $1 AND ref_id = $2 AND schema_name = $3 AND object_name = $4
               AND to_version IS NULL AND content IS NOT NULL",
        )
        .bind(self.catalog_id)
        .bind(self.ref_id)
        .bind(schema)
        .bind(name)
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(|source| self.error(source))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let read = |row: &sqlx::any::AnyRow| {
            Ok(LiveObject {
                kind: row.try_get(0)?,
                content: row.try_get(1)?,
            })
        };
        read(&row).map(Some).map_err(|source| self.error(source))
    }

    /// Whether the schema exists.
    pub(super) async fn has_schema(&mut self, schema: &str) -> Result<bool> {
        Ok(self.live(schema, SCHEMA_ROW).await?.is_some())
    }

    /// How many objects (tables and views) the schema has.
    pub(super) async fn count_objects(&mut self, schema: &str) -> Result<usize> {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM catalog_objects
             WHERE catalog_id = $1 AND ref_id = $2 AND schema_name = $3 AND object_name <> $4
               AND to_version IS NULL AND content IS NOT NULL",
        )
        .bind(self.catalog_id)
        .bind(self.ref_id)
        .bind(schema)
        .bind(SCHEMA_ROW)
        .fetch_one(&mut *self.transaction)
        .await
        .map_err(|source| self.error(source))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Gives an object its new content: creates it (`old` is `None`), changes it, or
    /// removes it (`new` is `None`). `old` is what [`NewVersion::live`] said.
    pub(super) async fn set(
        &mut self,
        kind: &str,
        (schema, name): (&str, &str),
        old: Option<&str>,
        new: Option<&str>,
    ) -> Result<()> {
        if old.is_some() {
            sqlx::query(
                "UPDATE catalog_objects SET to_version = $1
                 WHERE catalog_id = $2 AND ref_id = $3 AND schema_name = $4 AND object_name = $5
                   AND to_version IS NULL",
            )
            .bind(self.version)
            .bind(self.catalog_id)
            .bind(self.ref_id)
            .bind(schema)
            .bind(name)
            .execute(&mut *self.transaction)
            .await
            .map_err(|source| self.error(source))?;
        }
        if let Some(new) = new {
            sqlx::query(
                "INSERT INTO catalog_objects
                    (catalog_id, ref_id, schema_name, object_name, from_version, kind, content)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(self.catalog_id)
            .bind(self.ref_id)
            .bind(schema)
            .bind(name)
            .bind(self.version)
            .bind(kind)
            .bind(new)
            .execute(&mut *self.transaction)
            .await
            .map_err(|source| self.error(source))?;
        }
        sqlx::query(
            "INSERT INTO catalog_changes
                (catalog_id, version_id, schema_name, object_name, kind, old_content, new_content)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.catalog_id)
        .bind(self.version)
        .bind(schema)
        .bind(name)
        .bind(kind)
        .bind(old.map(str::to_string))
        .bind(new.map(str::to_string))
        .execute(&mut *self.transaction)
        .await
        .map_err(|source| self.error(source))?;
        Ok(())
    }

    /// Publishes the version. After an error its fate is unknown: the connection may
    /// have broken before or after the database decided.
    pub(super) async fn finish(mut self, author: &str, message: &str) -> Result<()> {
        let database = self.database;
        sqlx::query(
            "INSERT INTO catalog_versions
                (catalog_id, version_id, ref_id, parent_version, committed_at_ms, author, message)
             SELECT catalog_id, $1, ref_id, head_version, $2, $3, $4
             FROM catalog_refs WHERE catalog_id = $5 AND ref_id = $6",
        )
        .bind(self.version)
        .bind(chrono::Utc::now().timestamp_millis())
        .bind(author)
        .bind(message)
        .bind(self.catalog_id)
        .bind(self.ref_id)
        .execute(&mut *self.transaction)
        .await
        .map_err(|source| database.error(source))?;
        sqlx::query(
            "UPDATE catalog_refs SET head_version = $1 WHERE catalog_id = $2 AND ref_id = $3",
        )
        .bind(self.version)
        .bind(self.catalog_id)
        .bind(self.ref_id)
        .execute(&mut *self.transaction)
        .await
        .map_err(|source| database.error(source))?;
        self.transaction
            .commit()
            .await
            .map_err(|source| database.error(source))
    }

    /// Whether a version with this content of a table or view was ever published. Waits for a
    /// commit whose outcome is still open.
    pub(super) async fn was_published(
        database: &'a Database,
        catalog_id: i64,
        (schema, name): (&str, &str),
        kind: &str,
        content: &str,
    ) -> Result<bool> {
        let mut version = Self::begin(database, catalog_id).await?;
        let found: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM catalog_objects
             WHERE catalog_id = $1 AND ref_id = $2 AND schema_name = $3 AND object_name = $4
               AND kind = $5 AND content = $6",
        )
        .bind(catalog_id)
        .bind(version.ref_id)
        .bind(schema)
        .bind(name)
        .bind(kind)
        .bind(content)
        .fetch_one(&mut *version.transaction)
        .await
        .map_err(|source| database.error(source))?;
        Ok(found > 0)
    }
}
