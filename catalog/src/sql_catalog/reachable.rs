//! Which states of tables and views can still be read: on branches, in transactions, at tags, and
//! in catalog versions that are kept (`docs/decisions/0001-versioned-catalog.md`).

use std::collections::{BTreeSet, HashSet};

use iceberg::TableIdent;
use sqlx::{AnyConnection, Row};

use super::merge::describe;
use super::position::{Level, Listing, NamedObject, list_objects};
use super::schema::kind;
use super::version::NewVersion;
use super::{Inner, schema_of};
use crate::error::Result;
use crate::storage::Location;
use crate::table::{Table, object_folder};

impl Inner {
    /// The metadata locations of the states of a table that can be read: those that were ever
    /// under its name, and those of tables in its folder, since tables are renamed, and in folders
    /// around it, whose files may be in it.
    pub(super) async fn reachable_metadata(
        &self,
        ident: &TableIdent,
        folder: &str,
    ) -> Result<Vec<String>> {
        let folder = Location::parse(folder)?;
        // One state of the database: what a merge or a new branch moves from one level to another
        // between two of them would be in neither.
        let mut snapshot = self.database.begin_snapshot().await?;
        let readable = self.readable_rows(&mut snapshot).await?;
        let named = format!(
            "{readable} AND o.kind = $2
             AND o.content IN (SELECT content FROM catalog_objects
                               WHERE catalog_id = $1 AND schema_name = $3 AND object_name = $4
                                 AND content IS NOT NULL)"
        );
        let name = [kind::TABLE, schema_of(ident)?, ident.name()];
        let mut locations = self.contents(&mut snapshot, &named, &name).await?;
        let mut patterns = vec![within_pattern(folder.path.as_ref())];
        patterns.extend(ancestors(folder.path.as_ref()).map(metadata_pattern));
        let likes: Vec<String> = (3..patterns.len() + 3).map(is_like).collect();
        let placed = format!("{readable} AND o.kind = $2 AND ({})", likes.join(" OR "));
        let mut parameters = vec![kind::TABLE];
        parameters.extend(patterns.iter().map(String::as_str));
        let found = self.contents(&mut snapshot, &placed, &parameters).await?;
        locations.extend(found.into_iter().filter(|location| {
            let around = object_folder(location).and_then(|around| Location::parse(around).ok());
            is_in(location, &folder) || around.is_some_and(|around| folder.is_within(&around))
        }));
        locations.sort();
        locations.dedup();
        Ok(locations)
    }

    /// The metadata locations of tables and views in a folder, in all states that can be read.
    pub(super) async fn reachable_within(&self, folder: &str) -> Result<Vec<String>> {
        let folder = Location::parse(folder)?;
        let mut snapshot = self.database.begin_snapshot().await?;
        let readable = self.readable_rows(&mut snapshot).await?;
        let placed = format!("{readable} AND o.kind <> $2 AND {}", is_like(3));
        let pattern = within_pattern(folder.path.as_ref());
        let parameters = [kind::SCHEMA, pattern.as_str()];
        let mut locations = self.contents(&mut snapshot, &placed, &parameters).await?;
        locations.retain(|location| is_in(location, &folder));
        Ok(locations)
    }

    /// The metadata files in a folder of states of views that were this catalog's and that cannot be
    /// read any more. What another catalog of the database has or had, which may share the folder,
    /// is not among them.
    pub(super) async fn unread_view_files(&self, folder: &str) -> Result<Vec<String>> {
        let folder = Location::parse(folder)?;
        let pattern = within_pattern(folder.path.as_ref());
        let parameters = [kind::VIEW, pattern.as_str()];
        // Rows of dropped views and of replaced states stay, so that they tell whose a file is.
        let placed = format!("o.kind = $2 AND {}", is_like(3));
        let own = format!(
            "{placed} AND o.content NOT IN (SELECT content FROM catalog_objects
                                            WHERE catalog_id <> $1 AND content IS NOT NULL)"
        );
        let mut snapshot = self.database.begin_snapshot().await?;
        let readable = self.readable_rows(&mut snapshot).await?;
        let readable = format!("{readable} AND {placed}");
        let readable = self.contents(&mut snapshot, &readable, &parameters).await?;
        let readable: HashSet<String> = readable.into_iter().collect();
        let mut unread = self.contents(&mut snapshot, &own, &parameters).await?;
        unread.retain(|location| !readable.contains(location) && is_in(location, &folder));
        Ok(unread)
    }

    /// The condition on rows `o` of `catalog_objects` that they are part of a state that can be
    /// read.
    pub(super) async fn readable_rows(&self, connection: &mut AnyConnection) -> Result<String> {
        let levels = self.read_levels(connection).await?;
        let mut conditions: Vec<String> = levels.into_iter().map(condition_of).collect();
        if let Some(oldest) = self.oldest_kept_ms() {
            conditions.push(format!(
                "o.to_version IN (SELECT version_id FROM catalog_versions
                 WHERE catalog_id = $1 AND committed_at_ms >= {oldest})"
            ));
        }
        Ok(format!("({})", conditions.join(" OR ")))
    }

    /// States that a commit from this time on ended keep their files, in milliseconds since the
    /// epoch; `None` without a retention.
    pub(super) fn oldest_kept_ms(&self) -> Option<i64> {
        let retention = self.options.version_retention.as_millis();
        let now = chrono::Utc::now().timestamp_millis();
        let oldest = now.saturating_sub(i64::try_from(retention).unwrap_or(i64::MAX));
        (retention > 0).then_some(oldest)
    }

    /// The different contents of the rows `o` of `catalog_objects` that fulfil a condition, whose
    /// parameters are numbered from 2 on.
    pub(super) async fn contents(
        &self,
        connection: &mut AnyConnection,
        condition: &str,
        parameters: &[&str],
    ) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT DISTINCT o.content FROM catalog_objects o
             WHERE o.catalog_id = $1 AND o.content IS NOT NULL AND {condition}"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(self.catalog_id);
        for parameter in parameters {
            query = query.bind(parameter.to_string());
        }
        let rows = query
            .fetch_all(connection)
            .await
            .map_err(|source| self.error(source))?;
        let contents: Result<Vec<String>, sqlx::Error> =
            rows.iter().map(|row| row.try_get(0)).collect();
        contents.map_err(|source| self.error(source))
    }

    /// Who reads files of a table that `version` drops: other tables and views of its own branch (a
    /// merge may bring a table that is registered there under another name), and other branches,
    /// tags and transactions.
    pub(super) async fn other_readers(
        &self,
        version: &mut NewVersion<'_>,
        table: &Table,
    ) -> Result<Vec<String>> {
        let own_file = table.metadata_location.as_ref();
        self.other_readers_of(version, table.metadata.location(), own_file)
            .await
    }

    /// [`Inner::other_readers`] of the table or view in a folder, with its newest metadata file.
    pub(super) async fn other_readers_of(
        &self,
        version: &mut NewVersion<'_>,
        folder: &str,
        own_file: Option<&String>,
    ) -> Result<Vec<String>> {
        let folder = Location::parse(folder)?;
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
            let reads = |location: &String| own_file == Some(location) || is_in(location, &folder);
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
    pub(super) async fn read_levels(
        &self,
        connection: &mut AnyConnection,
    ) -> Result<BTreeSet<Level>> {
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
pub(super) fn condition_of(Level { ref_id, at }: Level) -> String {
    match at {
        None => format!("(o.ref_id = {ref_id} AND o.to_version IS NULL)"),
        Some(version) => format!(
            "(o.ref_id = {ref_id} AND o.from_version <= {version}
              AND (o.to_version IS NULL OR o.to_version > {version}))"
        ),
    }
}

/// Whether a file is in a folder, however the two are spelled.
fn is_in(location: &str, folder: &Location) -> bool {
    Location::parse(location).is_ok_and(|file| file.is_within(folder))
}

/// Whether a row's content matches the pattern that is the parameter of this number.
fn is_like(parameter: usize) -> String {
    format!("o.content LIKE ${parameter} ESCAPE '{ESCAPE}'")
}

const ESCAPE: char = '!';

/// Matches the locations below a path of a store, in every spelling, and others: the store is not
/// compared, nor, by SQLite, the case of letters.
fn within_pattern(path: &str) -> String {
    match path {
        "" => "%".to_string(),
        path => format!("%/{}/%", escaped(path)),
    }
}

/// [`within_pattern`] of the metadata files of an object in the folder of this path.
fn metadata_pattern(path: &str) -> String {
    format!("%/{}/metadata/%", escaped(path))
}

fn escaped(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '%' | '_' | ESCAPE) {
            pattern.push(ESCAPE);
        }
        pattern.push(character);
    }
    pattern
}

/// The folders that a path is in.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_their_paths_literally() {
        assert_eq!(within_pattern("a_b/100%/c!"), "%/a!_b/100!%/c!!/%");
        let around: Vec<String> = ancestors("wh/s/t").map(metadata_pattern).collect();
        assert_eq!(around, ["%/wh/metadata/%", "%/wh/s/metadata/%"]);
    }
}
