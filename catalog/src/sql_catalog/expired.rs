//! Which versions of the catalog keep their files, so that a branch or tag can be made of them.
//!
//! A version does as long as each state in it can be read ([`Inner::reachable_metadata`]): on its own
//! branch until another commit there is older than the retention, and as long as a branch or tag
//! reads the same. Every other version has what was not deleted yet, and so has one within the
//! retention: `DROP TABLE … PURGE` does not wait for its end.

use std::collections::{BTreeSet, HashSet};

use futures::{FutureExt, StreamExt, TryStreamExt};
use iceberg::{NamespaceIdent, TableIdent};
use sqlx::{AnyConnection, Row};

use super::Inner;
use super::merge::describe;
use super::position::{Level, Listing, NamedObject, Position, list_objects};
use super::reachable::condition_of;
use super::schema::kind;
use super::version::NewVersion;
use crate::error::{CatalogError, Result};
use crate::table::Table;
use crate::versioned::CatalogReference;

/// How many tables and views to look for at once.
const CONCURRENT_CHECKS: usize = 8;

/// How many ranges of versions a message has at most, the newest ones.
const LISTED_RANGES: usize = 5;

/// The states of one branch whose files are kept.
struct KeptStates {
    /// The versions that were committed to it, in ascending order.
    versions: Vec<i64>,
    /// The place in them of the first one from which on all are within the retention.
    in_retention: usize,
    /// States that a branch, tag or transaction reads: how many of the versions each one has.
    read: BTreeSet<usize>,
}

impl KeptStates {
    /// Whether the state at a version, of any branch, is among them.
    fn has(&self, version: i64) -> bool {
        self.has_state(self.state_at(version))
    }

    /// How many versions of the branch the state at a version has.
    fn state_at(&self, version: i64) -> usize {
        self.versions.partition_point(|own| *own <= version)
    }

    fn has_state(&self, state: usize) -> bool {
        // What ended this state is the version after it. What none of the later versions ended is
        // only kept if something reads it: it is gone when nothing does, as the branch was dropped.
        // Before the first one there is nothing.
        let has_ended_lately = self.in_retention <= state && state < self.versions.len();
        let is_followed = self.read.range(state..).next().is_some();
        state == 0 || self.read.contains(&state) || (has_ended_lately && is_followed)
    }

    /// The versions of the branch that have such states, such as `versions 5, 7 to 12`.
    fn describe(&self) -> Option<String> {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for state in (1..=self.versions.len()).filter(|state| self.has_state(*state)) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == state => *last = state,
                _ => ranges.push((state, state)),
            }
        }
        let version_of = |state: usize| self.versions.get(state - 1).copied().unwrap_or_default();
        let is_one = matches!(ranges.as_slice(), [(first, last)] if first == last);
        let listed = ranges.iter().rev().take(LISTED_RANGES).rev();
        let listed: Vec<String> = listed
            .map(|(first, last)| match first == last {
                true => version_of(*first).to_string(),
                false => format!("{} to {}", version_of(*first), version_of(*last)),
            })
            .collect();
        match (listed.is_empty(), is_one) {
            (true, _) => None,
            (false, true) => Some(format!("version {}", listed.join(", "))),
            (false, false) => Some(format!("versions {}", listed.join(", "))),
        }
    }
}

impl Inner {
    /// Whether a state may lack files: one that was. Of a branch or tag, whose state is read, it is
    /// known that it has them.
    pub(super) fn may_have_expired(&self, from: Option<&CatalogReference>) -> bool {
        match from {
            Some(CatalogReference::Version(_) | CatalogReference::TimestampMillis(_)) => true,
            Some(_) => false,
            // This handle may be at a version itself.
            None => {
                let nearest = self.position.levels().first();
                nearest.is_some_and(|level| level.at.is_some())
            }
        }
    }

    /// The first table or view, as messages call it, that has lost files in the state that is named,
    /// or else in this handle's. Only what is read now is sure to have its files, and is not looked
    /// for.
    pub(super) async fn lost_object(
        &self,
        from: Option<&CatalogReference>,
    ) -> Result<Option<String>> {
        let mut snapshot = self.database.begin_snapshot().await?;
        let position = match from {
            Some(from) => self.position_of(&mut snapshot, from).await?,
            None => self.position.clone(),
        };
        let levels = self.read_levels(&mut snapshot).await?;
        let read: Vec<String> = levels.into_iter().map(condition_of).collect();
        let read = format!("({})", read.join(" OR "));
        let read = self.contents(&mut snapshot, &read, &[]).await?;
        let read: HashSet<String> = read.into_iter().collect();
        let objects = list_objects(
            &mut *snapshot,
            self.catalog_id,
            position.levels(),
            Listing::Everything,
        )
        .await
        .map_err(|source| self.error(source))?;
        drop(snapshot);
        let unread = objects
            .into_iter()
            .filter(|named| !read.contains(&named.object.content));
        // Boxed: the compiler cannot tell otherwise that callers' futures may change threads.
        let checks: Vec<_> = unread
            .map(|named| self.lost_name_of(named).boxed())
            .collect();
        let mut checks = futures::stream::iter(checks).buffered(CONCURRENT_CHECKS);
        while let Some(lost) = checks.try_next().await? {
            if lost.is_some() {
                return Ok(lost);
            }
        }
        Ok(None)
    }

    /// The name of an object that has lost its metadata file or the manifest list of a branch or
    /// tag of the table. Data files go before their manifest lists.
    async fn lost_name_of(&self, named: NamedObject) -> Result<Option<String>> {
        let name = describe(&named.object.kind, &named.schema, &named.name);
        let location = named.object.content;
        if !self.storage.exists(&location).await? {
            return Ok(Some(name));
        }
        if named.object.kind != kind::TABLE {
            return Ok(None);
        }
        let table = Table {
            ident: TableIdent::new(NamespaceIdent::new(named.schema), named.name),
            metadata: self.read_metadata(&location).await?,
            metadata_location: Some(location),
        };
        for reference in table.references()?.into_values() {
            let snapshot = table.metadata.snapshot_by_id(reference.snapshot_id);
            let has_list = match snapshot {
                Some(snapshot) => self.storage.exists(snapshot.manifest_list()).await?,
                None => false,
            };
            if !has_list {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Refuses a state that [may have expired](Inner::may_have_expired) and whose files are not kept;
    /// `lost` is what [`Inner::lost_object`] found in it.
    ///
    /// # Errors
    /// `VersionExpired`, with the versions of the same branch that can be had.
    pub(super) async fn check_kept(
        &self,
        version: &mut NewVersion<'_>,
        position: &Position,
        lost: Option<String>,
    ) -> Result<()> {
        let Some(Level {
            ref_id,
            at: Some(at),
        }) = position.levels().first().copied()
        else {
            // A branch as it is now.
            return Ok(());
        };
        let connection = version.connection();
        let read = self.read_levels(&mut *connection).await?;
        let mut own = self.kept_states(&mut *connection, ref_id, &read).await?;
        let mut is_kept = own.has(at);
        for level in position.levels().iter().skip(1) {
            if let (true, Some(at)) = (is_kept, level.at) {
                let states = self.kept_states(&mut *connection, level.ref_id, &read);
                is_kept = states.await?.has(at);
            }
        }
        let has_retention = !self.options.version_retention.is_zero();
        let reason = match (is_kept, lost) {
            (_, Some(object)) => {
                // Others within the retention may have lost the same.
                own.in_retention = own.versions.len();
                format!("{object} has lost files")
            }
            (false, None) if has_retention => {
                "catalog.version_retention keeps its files no longer".to_string()
            }
            (_, None) => return Ok(()),
        };
        let branch = self.reference_by_id(&mut *connection, ref_id).await?;
        let branch = branch.and_then(|branch| branch.name);
        Err(CatalogError::VersionExpired {
            catalog: self.name.clone(),
            what: position.what(),
            reason,
            available: match (branch, own.describe()) {
                (Some(branch), Some(versions)) => {
                    format!("available on branch {branch}: {versions}")
                }
                _ => "choose a branch or tag".to_string(),
            },
        })
    }

    /// The states of a branch whose files are kept, where these levels are read.
    async fn kept_states(
        &self,
        connection: &mut AnyConnection,
        ref_id: i64,
        read: &BTreeSet<Level>,
    ) -> Result<KeptStates> {
        let rows = sqlx::query(
            "SELECT version_id, committed_at_ms FROM catalog_versions
             WHERE catalog_id = $1 AND ref_id = $2 ORDER BY version_id",
        )
        .bind(self.catalog_id)
        .bind(ref_id)
        .fetch_all(connection)
        .await;
        let rows: Result<Vec<(i64, i64)>, sqlx::Error> = rows.and_then(|rows| {
            let rows = rows.iter();
            rows.map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect()
        });
        let rows = rows.map_err(|source| self.error(source))?;
        let mut kept = KeptStates {
            versions: rows.iter().map(|(version, _)| *version).collect(),
            in_retention: rows.len(),
            read: BTreeSet::new(),
        };
        if let Some(oldest_ms) = self.oldest_kept_ms() {
            // Clocks may go backwards.
            let young = rows.iter().rev();
            let young = young.take_while(|(_, committed_at_ms)| *committed_at_ms >= oldest_ms);
            kept.in_retention = rows.len() - young.count();
        }
        for level in read.iter().filter(|level| level.ref_id == ref_id) {
            let state = match level.at {
                Some(at) => kept.state_at(at),
                None => kept.versions.len(),
            };
            kept.read.insert(state);
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(in_retention: usize, read: &[usize]) -> KeptStates {
        KeptStates {
            versions: vec![2, 3, 5, 8, 9, 12],
            in_retention,
            read: read.iter().copied().collect(),
        }
    }

    #[test]
    fn a_version_is_kept_until_its_end_is_too_old() {
        // Commits from 8 on are young: they ended the states from 5 on.
        let states = kept(3, &[6]);
        let is_kept = [2, 3, 4, 5, 7, 8, 9, 11, 12].map(|version| states.has(version));
        let expected = [false, false, false, true, true, true, true, true, true];
        assert_eq!(is_kept, expected);
        assert!(states.has(1));
        assert_eq!(states.describe().unwrap(), "versions 5 to 12");
    }

    #[test]
    fn what_is_read_is_kept() {
        let states = kept(6, &[1, 6]);
        assert_eq!(states.describe().unwrap(), "versions 2, 12");
        assert!(states.has(2) && !states.has(3) && !states.has(9) && states.has(12));
        assert_eq!(kept(6, &[6]).describe().unwrap(), "version 12");
        // A branch that was dropped, and has no retention.
        let states = kept(6, &[]);
        assert_eq!(states.describe(), None);
        assert!(!states.has(12));
    }

    #[test]
    fn a_branch_that_was_dropped_keeps_what_is_read_after_it() {
        // What no later version ended is in no state that is read.
        assert!(!kept(3, &[]).has(5));
        // A tag of version 8 has what was not ended until then.
        let states = kept(3, &[4]);
        let is_kept = [3, 5, 8, 9, 12].map(|version| states.has(version));
        assert_eq!(is_kept, [false, true, true, false, false]);
    }
}
