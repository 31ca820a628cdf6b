//! Which states of a table can still be read: on branches, in transactions, at tags, and in
//! catalog versions that are kept (`docs/decisions/0001-versioned-catalog.md`).

use std::collections::BTreeSet;

use iceberg::TableIdent;
use sqlx::{AnyConnection, Row};

use super::merge::describe;
use super::position::{Level, Listing, NamedObject, list_objects};
use super::schema::kind;
use super::version::NewVersion;
use super::{Inner, schema_of};
use crate::error::Result;
use crate::storage::Location;
use crate::table::Table;

impl Inner {
    /// The metadata locations of the states of a table that can be read: those that were ever
    /// under its name, and those in its folder, under any name now, since tables are renamed.
    pub(super) async fn reachable_metadata(
        &self,
        ident: &TableIdent,
        folder: &str,
    ) -> Result<Vec<String>> {
        // One state of the database: what a merge or a new branch moves from one level to another
        // between two of them would be in neither.
        let mut snapshot = self.database.begin_snapshot().await?;
        let levels = self.read_levels(&mut snapshot).await?;
        let mut conditions: Vec<String> = levels.into_iter().map(condition_of).collect();
        let retention = self.options.version_retention.as_millis();
        if retention > 0 {
            let now = chrono::Utc::now().timestamp_millis();
            let oldest = now.saturating_sub(i64::try_from(retention).unwrap_or(i64::MAX));
            conditions.push(format!(
                "o.to_version IN (SELECT version_id FROM catalog_versions
                 WHERE catalog_id = $1 AND committed_at_ms >= {oldest})"
            ));
        }
        let folder = format!("{}/", folder.trim_end_matches('/'));
        let length = i64::try_from(folder.chars().count()).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT DISTINCT o.content FROM catalog_objects o
             WHERE o.catalog_id = $1 AND o.kind = $2 AND o.content IS NOT NULL
               AND (o.content IN (SELECT content FROM catalog_objects
                                  WHERE catalog_id = $1 AND schema_name = $3
                                    AND object_name = $4 AND content IS NOT NULL)
                    OR substr(o.content, 1, {length}) = $5)
               AND ({})",
            conditions.join(" OR ")
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.catalog_id)
            .bind(kind::TABLE)
            .bind(schema_of(ident)?)
            .bind(ident.name())
            .bind(folder)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(|source| self.error(source))?;
        let locations: Result<Vec<String>, sqlx::Error> =
            rows.iter().map(|row| row.try_get(0)).collect();
        locations.map_err(|source| self.error(source))
    }

    /// Who reads files of a table that `version` drops: other tables and views of its own branch (a
    /// merge may bring a table that is registered there under another name), and other branches,
    /// tags and transactions.
    pub(super) async fn other_readers(
        &self,
        version: &mut NewVersion<'_>,
        table: &Table,
    ) -> Result<Vec<String>> {
        let folder = Location::parse(table.metadata.location())?;
        let own_ref_id = version.ref_id();
        let connection = version.connection();
        let mut readers = Vec::new();
        for reference in self.all_references(connection).await? {
            let levels = self.levels_of(connection, &reference).await?;
            // The table itself is no longer among those of its own branch.
            let objects = list_objects(
                &mut *connection,
                self.catalog_id,
                &levels,
                Listing::Everything,
            )
            .await
            .map_err(|source| self.error(source))?;
            let reads = |location: &String| {
                table.metadata_location.as_ref() == Some(location)
                    || Location::parse(location).is_ok_and(|file| file.is_within(&folder))
            };
            let mut reading = objects
                .into_iter()
                .filter(|named| reads(&named.object.content));
            if reference.ref_id == own_ref_id {
                let what =
                    |named: NamedObject| describe(&named.object.kind, &named.schema, &named.name);
                readers.extend(reading.map(what));
            } else if reading.next().is_some() {
                readers.push(reference.what());
            }
        }
        readers.sort();
        readers.dedup();
        Ok(readers)
    }

    /// What branches, tags and transactions read.
    async fn read_levels(&self, connection: &mut AnyConnection) -> Result<BTreeSet<Level>> {
        let mut read = BTreeSet::new();
        for reference in self.all_references(&mut *connection).await? {
            let levels = self.levels_of(&mut *connection, &reference).await?;
            // A tag has no rows of its own. Those of a transaction that was rolled back are
            // nobody's, and some of its files may be deleted; the deletion of the others reads
            // what it began with.
            let own = match reference.kind.as_str() {
                kind::BRANCH | kind::TRANSACTION => 0,
                _ => 1,
            };
            read.extend(levels.into_iter().skip(own));
        }
        Ok(read)
    }
}

/// The condition on rows of `catalog_objects` that a level has, all of numbers.
fn condition_of(Level { ref_id, at }: Level) -> String {
    match at {
        None => format!("(o.ref_id = {ref_id} AND o.to_version IS NULL)"),
        Some(version) => format!(
            "(o.ref_id = {ref_id} AND o.from_version <= {version}
              AND (o.to_version IS NULL OR o.to_version > {version}))"
        ),
    }
}
