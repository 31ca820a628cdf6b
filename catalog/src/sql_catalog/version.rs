//! One commit of the catalog, as a database transaction.

use sqlx::{Any, AnyConnection, Transaction};

use super::Inner;
use super::position::{Level, Listing, LiveObject, find_object, list_objects};
use super::schema::{MAIN_REF, SCHEMA_ROW, kind};
use crate::database::Database;
use crate::error::{CatalogError, Result};
use crate::materialized_view::STORAGE_TABLE_SUFFIX;
use crate::storage::Location;

/// A catalog version in the making. Committers of one catalog wait for each other from
/// [`NewVersion::begin`] on, so what [`NewVersion::live`] says stays true until
/// [`NewVersion::finish`]. Dropping it undoes everything.
pub(super) struct NewVersion<'a> {
    database: &'a Database,
    transaction: Transaction<'static, Any>,
    catalog_id: i64,
    ref_id: i64,
    /// What the branch reads: its own rows first.
    levels: Vec<Level>,
    version: i64,
}

impl<'a> NewVersion<'a> {
    /// Takes the catalog's commit lock and the next version number, for a commit to the
    /// branch of this handle.
    ///
    /// # Errors
    /// `ReferenceEnded` when the branch was dropped or the transaction has ended,
    /// `InvalidInput` for a handle that commits to none.
    pub(super) async fn begin(inner: &'a Inner) -> Result<Self> {
        let mut version = Self::lock(inner).await?;
        if version.ref_id != MAIN_REF && !version.is_open().await? {
            return Err(CatalogError::ReferenceEnded {
                what: inner.position.what(),
            });
        }
        Ok(version)
    }

    /// [`NewVersion::begin`], whatever became of the branch.
    async fn lock(inner: &'a Inner) -> Result<Self> {
        let ref_id = inner.position.commit_ref()?;
        let database = &inner.database;
        let mut transaction = database.begin_immediate().await?;
        let version = sqlx::query_scalar(
            "UPDATE catalogs SET last_version = last_version + 1
             WHERE catalog_id = $1 RETURNING last_version",
        )
        .bind(inner.catalog_id)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|source| database.error(source))?;
        Ok(Self {
            database,
            transaction,
            catalog_id: inner.catalog_id,
            ref_id,
            levels: inner.position.levels().to_vec(),
            version,
        })
    }

    fn error(&self, source: sqlx::Error) -> CatalogError {
        self.database.error(source)
    }

    /// Whether commits can still go to the branch.
    async fn is_open(&mut self) -> Result<bool> {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM catalog_refs
             WHERE catalog_id = $1 AND ref_id = $2 AND name IS NOT NULL AND kind IN ($3, $4)",
        )
        .bind(self.catalog_id)
        .bind(self.ref_id)
        .bind(kind::BRANCH)
        .bind(kind::TRANSACTION)
        .fetch_one(&mut *self.transaction)
        .await
        .map_err(|source| self.error(source))?;
        Ok(count > 0)
    }

    /// The number of this version.
    pub(super) fn number(&self) -> i64 {
        self.version
    }

    /// The branch that it is made on.
    pub(super) fn ref_id(&self) -> i64 {
        self.ref_id
    }

    /// What the branch reads, its own rows first.
    pub(super) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// For further statements of the same database transaction.
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// The object of this name, if there is one.
    pub(super) async fn live(&mut self, schema: &str, name: &str) -> Result<Option<LiveObject>> {
        let levels = self.levels.clone();
        self.object_at(&levels, schema, name).await
    }

    /// The object of this name in another state of the catalog.
    pub(super) async fn object_at(
        &mut self,
        levels: &[Level],
        schema: &str,
        name: &str,
    ) -> Result<Option<LiveObject>> {
        find_object(
            &mut *self.transaction,
            self.catalog_id,
            levels,
            schema,
            name,
        )
        .await
        .map_err(|source| self.error(source))
    }

    /// The table (`schema.table`) of the branch whose metadata files are below a table's location.
    pub(super) async fn table_in(&mut self, location: &str) -> Result<Option<String>> {
        let folder = format!("{}/metadata", location.trim_end_matches('/'));
        let folder = Location::parse(&folder)?;
        let listed = list_objects(
            &mut *self.transaction,
            self.catalog_id,
            &self.levels,
            Listing::Everything,
        )
        .await;
        let listed = listed.map_err(|source| self.error(source))?;
        let mut tables = listed
            .into_iter()
            .filter(|named| named.object.kind == kind::TABLE);
        let found = tables.find(|named| {
            let metadata = Location::parse(&named.object.content);
            metadata.is_ok_and(|metadata| metadata.is_within(&folder))
        });
        Ok(found.map(|named| format!("{}.{}", named.schema, named.name)))
    }

    /// Whether the schema exists.
    pub(super) async fn has_schema(&mut self, schema: &str) -> Result<bool> {
        Ok(self.live(schema, SCHEMA_ROW).await?.is_some())
    }

    /// How many objects (tables and views) the schema has. A materialized view and the table with
    /// its rows are one.
    pub(super) async fn count_objects(&mut self, schema: &str) -> Result<usize> {
        let listed = list_objects(
            &mut *self.transaction,
            self.catalog_id,
            &self.levels,
            Listing::In(schema),
        )
        .await;
        let listed = listed.map_err(|source| self.error(source))?;
        let counted = listed
            .iter()
            .filter(|named| !named.name.ends_with(STORAGE_TABLE_SUFFIX));
        Ok(counted.count())
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
        // Even without old content there may be a row, which hides the parent's object.
        if old.is_some() || self.levels.len() > 1 {
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
        if new.is_some() || self.parent_has(schema, name).await? {
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
            .bind(new.map(str::to_string))
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

    /// Whether the branch would read this object from its parent if it had no row for it.
    async fn parent_has(&mut self, schema: &str, name: &str) -> Result<bool> {
        let parent = self.levels.get(1..).unwrap_or_default().to_vec();
        if parent.is_empty() {
            return Ok(false);
        }
        Ok(self.object_at(&parent, schema, name).await?.is_some())
    }

    /// Publishes the version. After an error its fate is unknown: the connection may
    /// have broken before or after the database decided.
    pub(super) async fn finish(self, author: &str, message: &str) -> Result<()> {
        self.finish_merge(author, message, None).await
    }

    /// [`NewVersion::finish`] of what was merged from a branch whose newest version is
    /// `merged`.
    pub(super) async fn finish_merge(
        mut self,
        author: &str,
        message: &str,
        merged: Option<i64>,
    ) -> Result<()> {
        let database = self.database;
        sqlx::query(
            "INSERT INTO catalog_versions
                (catalog_id, version_id, ref_id, parent_version, merged_version,
                 committed_at_ms, author, message)
             SELECT catalog_id, $1, ref_id, head_version, $2, $3, $4, $5
             FROM catalog_refs WHERE catalog_id = $6 AND ref_id = $7",
        )
        .bind(self.version)
        .bind(merged)
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
        self.finish_unrecorded().await
    }

    /// Ends the database transaction without a version: its number is not used.
    pub(super) async fn finish_unrecorded(self) -> Result<()> {
        let database = self.database;
        self.transaction
            .commit()
            .await
            .map_err(|source| database.error(source))
    }

    /// Whether a version with this content of a table or view was ever published on the
    /// branch. Waits for a commit whose outcome is still open.
    pub(super) async fn was_published(
        inner: &'a Inner,
        (schema, name): (&str, &str),
        kind: &str,
        content: &str,
    ) -> Result<bool> {
        let mut version = Self::lock(inner).await?;
        let found: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM catalog_objects
             WHERE catalog_id = $1 AND ref_id = $2 AND schema_name = $3 AND object_name = $4
               AND kind = $5 AND content = $6",
        )
        .bind(version.catalog_id)
        .bind(version.ref_id)
        .bind(schema)
        .bind(name)
        .bind(kind)
        .bind(content)
        .fetch_one(&mut *version.transaction)
        .await
        .map_err(|source| version.database.error(source))?;
        Ok(found > 0)
    }
}
