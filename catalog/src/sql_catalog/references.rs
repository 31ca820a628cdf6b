//! Branches and tags: finding, making and dropping them.

use sqlx::any::AnyRow;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Row};

use super::position::{Level, Position};
use super::schema::{MAIN_REF, kind};
use super::version::NewVersion;
use super::{Inner, names, nearest_name};
use crate::error::{CatalogError, Result};
use crate::versioned::{
    CatalogReference, CatalogReferenceInfo, CatalogReferenceKind, MAIN, VersionId,
};

/// Names of hidden branches begin with it; no branch or tag of a user does.
pub(super) const HIDDEN_PREFIX: &str = "$";

/// A row of `catalog_refs`.
#[derive(Debug, Clone)]
pub(super) struct StoredReference {
    pub ref_id: i64,
    /// `None` when it was dropped.
    pub name: Option<String>,
    pub kind: String,
    /// The newest version that was committed to it; its parent's until there is one.
    pub head_version: i64,
    /// The branch that it was made from, and that branch's version.
    pub parent: Option<(i64, i64)>,
    pub created_at_ms: i64,
}

const COLUMNS: &str =
    "ref_id, name, kind, head_version, parent_ref_id, fork_version, created_at_ms";

impl StoredReference {
    fn of(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let parent_ref_id: Option<i64> = row.try_get(4)?;
        let fork_version: Option<i64> = row.try_get(5)?;
        Ok(Self {
            ref_id: row.try_get(0)?,
            name: row.try_get(1)?,
            kind: row.try_get(2)?,
            head_version: row.try_get(3)?,
            parent: parent_ref_id.zip(fork_version),
            created_at_ms: row.try_get(6)?,
        })
    }

    /// What users can name; hidden branches are neither.
    fn public_kind(&self) -> Option<CatalogReferenceKind> {
        match self.kind.as_str() {
            kind::BRANCH => Some(CatalogReferenceKind::Branch),
            kind::TAG => Some(CatalogReferenceKind::Tag),
            _ => None,
        }
    }

    /// As messages call it.
    pub(super) fn what(&self) -> String {
        match (self.public_kind(), &self.name) {
            (Some(kind), Some(name)) => format!("{kind} {name}"),
            (Some(kind), None) => format!("a dropped {kind}"),
            (None, _) => "a transaction".to_string(),
        }
    }
}

impl Inner {
    pub(super) async fn connection(&self) -> Result<PoolConnection<Any>> {
        let acquired = self.database.pool().acquire().await;
        acquired.map_err(|source| self.error(source))
    }

    pub(super) async fn reference_by_id(
        &self,
        connection: &mut AnyConnection,
        ref_id: i64,
    ) -> Result<Option<StoredReference>> {
        let sql =
            format!("SELECT {COLUMNS} FROM catalog_refs WHERE catalog_id = $1 AND ref_id = $2");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.catalog_id)
            .bind(ref_id)
            .fetch_optional(connection)
            .await
            .map_err(|source| self.error(source))?;
        let read = row.map(|row| StoredReference::of(&row)).transpose();
        read.map_err(|source| self.error(source))
    }

    async fn reference_by_name(
        &self,
        connection: &mut AnyConnection,
        name: &str,
    ) -> Result<Option<StoredReference>> {
        let sql = format!("SELECT {COLUMNS} FROM catalog_refs WHERE catalog_id = $1 AND name = $2");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.catalog_id)
            .bind(name)
            .fetch_optional(connection)
            .await
            .map_err(|source| self.error(source))?;
        let read = row.map(|row| StoredReference::of(&row)).transpose();
        let found = read.map_err(|source| self.error(source))?;
        Ok(found.filter(|reference| reference.public_kind().is_some()))
    }

    /// Those that have not been dropped, hidden ones among them.
    pub(super) async fn all_references(
        &self,
        connection: &mut AnyConnection,
    ) -> Result<Vec<StoredReference>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM catalog_refs WHERE catalog_id = $1 AND name IS NOT NULL"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.catalog_id)
            .fetch_all(connection)
            .await;
        let read = rows.and_then(|rows| rows.iter().map(StoredReference::of).collect());
        read.map_err(|source| self.error(source))
    }

    /// A branch or tag of this name and, if it matters, of this kind.
    pub(super) async fn named_reference(
        &self,
        connection: &mut AnyConnection,
        wanted: Option<CatalogReferenceKind>,
        name: &str,
    ) -> Result<StoredReference> {
        let Some(found) = self.reference_by_name(connection, name).await? else {
            let what = match wanted {
                Some(kind) => format!("{kind} {name}"),
                None => format!("branch or tag {name}"),
            };
            let others = self.all_references(connection).await?;
            let known = others.into_iter().filter_map(|reference| {
                let kind = reference.public_kind()?;
                let is_wanted = wanted.is_none_or(|wanted| wanted == kind);
                is_wanted.then_some(reference.name).flatten()
            });
            let known: Vec<String> = known.collect();
            return Err(CatalogError::ReferenceNotFound {
                catalog: self.name.clone(),
                what,
                suggestion: nearest_name(name, &known),
            });
        };
        match (wanted, found.public_kind()) {
            (Some(wanted), Some(kind)) if wanted != kind => {
                Err(CatalogError::InvalidInput(format!(
                    "{name} is a {kind} of catalog {}, not a {wanted}",
                    self.name
                )))
            }
            _ => Ok(found),
        }
    }

    /// The levels of a branch: its own rows as they are now, then its ancestors'.
    pub(super) async fn levels_of(
        &self,
        connection: &mut AnyConnection,
        reference: &StoredReference,
    ) -> Result<Vec<Level>> {
        let mut levels = vec![Level {
            ref_id: reference.ref_id,
            at: None,
        }];
        let mut parent = reference.parent;
        while let Some((ref_id, version)) = parent {
            levels.push(Level {
                ref_id,
                at: Some(version),
            });
            parent = match ref_id {
                MAIN_REF => None,
                _ => {
                    let found = self.reference_by_id(connection, ref_id).await?;
                    found.and_then(|reference| reference.parent)
                }
            };
        }
        Ok(levels)
    }

    async fn position_of_stored(
        &self,
        connection: &mut AnyConnection,
        reference: &StoredReference,
    ) -> Result<Position> {
        let mut levels = self.levels_of(connection, reference).await?;
        if reference.kind == kind::TAG {
            // A tag has no rows of its own.
            levels.remove(0);
            return Ok(Position::read_only(levels, &reference.what()));
        }
        let name = reference.name.as_deref().unwrap_or_default();
        Ok(Position::branch(levels, name))
    }

    /// The state that a reference names.
    pub(super) async fn position_of(
        &self,
        connection: &mut AnyConnection,
        reference: &CatalogReference,
    ) -> Result<Position> {
        let (wanted, name) = match reference {
            CatalogReference::Named(name) => (None, name),
            CatalogReference::Branch(name) => (Some(CatalogReferenceKind::Branch), name),
            CatalogReference::Tag(name) => (Some(CatalogReferenceKind::Tag), name),
            CatalogReference::Version(VersionId::Number(version)) => {
                return self.position_of_version(connection, *version).await;
            }
            CatalogReference::Version(VersionId::Hash(hash)) => {
                return Err(CatalogError::InvalidInput(format!(
                    "catalog {} has no version '{hash}': its versions are numbers, without quotes",
                    self.name
                )));
            }
            CatalogReference::TimestampMillis(time) => {
                return self.position_at_time(connection, *time).await;
            }
        };
        let found = self.named_reference(connection, wanted, name).await?;
        self.position_of_stored(connection, &found).await
    }

    async fn position_of_version(
        &self,
        connection: &mut AnyConnection,
        version: i64,
    ) -> Result<Position> {
        let ref_id: Option<i64> = sqlx::query_scalar(
            "SELECT ref_id FROM catalog_versions WHERE catalog_id = $1 AND version_id = $2",
        )
        .bind(self.catalog_id)
        .bind(version)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|source| self.error(source))?;
        let found = match ref_id {
            Some(ref_id) => self.reference_by_id(connection, ref_id).await?,
            None => None,
        };
        // What a transaction did is nobody else's business until it is committed.
        match found.filter(|reference| reference.kind == kind::BRANCH) {
            Some(reference) => {
                let mut levels = self.levels_of(connection, &reference).await?;
                if let Some(own) = levels.first_mut() {
                    own.at = Some(version);
                }
                Ok(Position::read_only(levels, &format!("version {version}")))
            }
            None => Err(self.no_such_version(&CatalogReference::Version(version.into()))),
        }
    }

    async fn position_at_time(
        &self,
        connection: &mut AnyConnection,
        time_ms: i64,
    ) -> Result<Position> {
        let reference = CatalogReference::TimestampMillis(time_ms);
        let levels = self.position.levels();
        for (index, level) in levels.iter().enumerate() {
            let version: Option<i64> = sqlx::query_scalar(
                "SELECT MAX(version_id) FROM catalog_versions
                 WHERE catalog_id = $1 AND ref_id = $2 AND committed_at_ms <= $3
                   AND version_id <= $4",
            )
            .bind(self.catalog_id)
            .bind(level.ref_id)
            .bind(time_ms)
            .bind(level.at.unwrap_or(i64::MAX))
            .fetch_one(&mut *connection)
            .await
            .map_err(|source| self.error(source))?;
            if version.is_some() {
                let mut levels = levels[index..].to_vec();
                levels[0].at = version;
                return Ok(Position::read_only(levels, &format!("the {reference}")));
            }
        }
        Err(self.no_such_version(&reference))
    }

    fn no_such_version(&self, reference: &CatalogReference) -> CatalogError {
        let what = match reference {
            CatalogReference::TimestampMillis(_) => {
                format!("{reference}: it is before its first commit")
            }
            _ => reference.to_string(),
        };
        CatalogError::ReferenceNotFound {
            catalog: self.name.clone(),
            what,
            suggestion: None,
        }
    }

    pub(super) async fn create_reference(
        &self,
        kind: CatalogReferenceKind,
        name: &str,
        from: Option<&CatalogReference>,
    ) -> Result<CatalogReferenceInfo> {
        let verb = match kind {
            CatalogReferenceKind::Branch => "making a branch",
            CatalogReferenceKind::Tag => "making a tag",
        };
        self.position.refuse_in_transaction(verb)?;
        validate_reference_name(kind, name)?;
        // Before the lock, under which no file is looked for.
        let may_have_expired = self.may_have_expired(from);
        let lost = match may_have_expired {
            true => self.lost_object(from).await?,
            false => None,
        };
        // The lock of all commits: what is forked does not move meanwhile.
        let main = self.at_position(Position::main());
        let mut version = NewVersion::begin(&main).await?;
        let position = match from {
            Some(reference) => self.position_of(version.connection(), reference).await?,
            None => self.position.clone(),
        };
        if let Some(other) = self.reference_by_name(version.connection(), name).await? {
            let what = other.what();
            return Err(CatalogError::ReferenceExists { what });
        }
        if may_have_expired {
            self.check_kept(&mut version, &position, lost).await?;
        }
        let parent = self.fork_point(&mut version, &position).await?;
        let stored_kind = match kind {
            CatalogReferenceKind::Branch => kind::BRANCH,
            CatalogReferenceKind::Tag => kind::TAG,
        };
        let created = self
            .insert_reference(&mut version, stored_kind, name, parent)
            .await?;
        let parent = self.reference_by_id(version.connection(), parent.0).await?;
        version.finish_unrecorded().await?;
        Ok(CatalogReferenceInfo {
            name: name.to_string(),
            kind,
            version: created.head_version.into(),
            parent: parent.and_then(|parent| parent.name),
            forked_at: created.parent.map(|(_, version)| version.into()),
            created_at_ms: Some(created.created_at_ms),
        })
    }

    /// The branch and the version of it that a new branch of `position` is made from.
    pub(super) async fn fork_point(
        &self,
        version: &mut NewVersion<'_>,
        position: &Position,
    ) -> Result<(i64, i64)> {
        let nearest = position.levels().first().copied();
        let Level { ref_id, at } = nearest.unwrap_or(Level {
            ref_id: MAIN_REF,
            at: None,
        });
        if let Some(at) = at {
            return Ok((ref_id, at));
        }
        let found = self.reference_by_id(version.connection(), ref_id).await?;
        match found.filter(|reference| reference.name.is_some()) {
            Some(reference) => Ok((ref_id, reference.head_version)),
            None => Err(CatalogError::ReferenceEnded {
                what: position.what(),
            }),
        }
    }

    pub(super) async fn insert_reference(
        &self,
        version: &mut NewVersion<'_>,
        stored_kind: &str,
        name: &str,
        (parent_ref_id, fork_version): (i64, i64),
    ) -> Result<StoredReference> {
        let created = StoredReference {
            // Never used twice, as version numbers are not; `main` is 1.
            ref_id: version.number() + MAIN_REF,
            name: Some(name.to_string()),
            kind: stored_kind.to_string(),
            head_version: fork_version,
            parent: Some((parent_ref_id, fork_version)),
            created_at_ms: chrono::Utc::now().timestamp_millis(),
        };
        sqlx::query(
            "INSERT INTO catalog_refs
                (catalog_id, ref_id, name, kind, head_version, parent_ref_id, fork_version,
                 created_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(self.catalog_id)
        .bind(created.ref_id)
        .bind(name)
        .bind(stored_kind)
        .bind(fork_version)
        .bind(parent_ref_id)
        .bind(fork_version)
        .bind(created.created_at_ms)
        .execute(version.connection())
        .await
        .map_err(|source| self.error(source))?;
        Ok(created)
    }

    pub(super) async fn drop_reference(
        &self,
        kind: CatalogReferenceKind,
        name: &str,
    ) -> Result<()> {
        self.position
            .refuse_in_transaction("dropping a branch or tag")?;
        if name == MAIN {
            return Err(CatalogError::InvalidInput(format!(
                "branch {MAIN} of catalog {} cannot be dropped",
                self.name
            )));
        }
        let main = self.at_position(Position::main());
        let mut version = NewVersion::begin(&main).await?;
        let found = self.named_reference(version.connection(), Some(kind), name);
        let found = found.await?;
        sqlx::query("UPDATE catalog_refs SET name = NULL WHERE catalog_id = $1 AND ref_id = $2")
            .bind(self.catalog_id)
            .bind(found.ref_id)
            .execute(version.connection())
            .await
            .map_err(|source| self.error(source))?;
        version.finish_unrecorded().await
    }

    /// What `SHOW BRANCHES` shows: `main` first, then by name.
    pub(super) async fn public_references(&self) -> Result<Vec<CatalogReferenceInfo>> {
        let mut connection = self.connection().await?;
        let stored = self.all_references(&mut connection).await?;
        let name_of = |ref_id: i64| {
            let mut found = stored.iter().filter(|other| other.ref_id == ref_id);
            found.next().and_then(|other| other.name.clone())
        };
        let mut infos: Vec<CatalogReferenceInfo> = stored
            .iter()
            .filter_map(|reference| {
                Some(CatalogReferenceInfo {
                    name: reference.name.clone()?,
                    kind: reference.public_kind()?,
                    version: reference.head_version.into(),
                    parent: reference.parent.and_then(|(ref_id, _)| name_of(ref_id)),
                    forked_at: reference.parent.map(|(_, version)| version.into()),
                    created_at_ms: Some(reference.created_at_ms),
                })
            })
            .collect();
        infos.sort_by(|left, right| {
            (left.name != MAIN, &left.name).cmp(&(right.name != MAIN, &right.name))
        });
        Ok(infos)
    }
}

/// Refuses names that nobody could write, and those of hidden branches.
fn validate_reference_name(kind: CatalogReferenceKind, name: &str) -> Result<()> {
    names::validate_name(&kind.to_string(), name)?;
    if name.starts_with(HIDDEN_PREFIX) {
        return Err(CatalogError::InvalidInput(format!(
            "{kind} name {name:?} begins with {HIDDEN_PREFIX}: choose another name"
        )));
    }
    Ok(())
}
