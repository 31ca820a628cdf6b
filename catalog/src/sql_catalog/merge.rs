//! Publishing the changes of a branch on the branch that it was made from.
//!
//! For every object that the branch ever changed, three states are compared: what the two
//! branches last agreed on, what the branch has now, and what the target has now. An object
//! that only the branch changed is published; one that both changed is a conflict.

use std::collections::{BTreeSet, HashMap};

use sqlx::Row;

use super::Inner;
use super::position::{Level, LiveObject};
use super::references::StoredReference;
use super::schema::{SCHEMA_ROW, kind};
use super::version::NewVersion;
use crate::error::{CatalogError, Result};
use crate::versioned::{CatalogReferenceKind, MergeReport};

/// A branch that is to be published.
pub(super) struct Source {
    pub ref_id: i64,
    /// What it reads.
    pub levels: Vec<Level>,
    /// The version of the target that it was made from.
    pub fork_version: i64,
}

/// What publishing a branch comes to.
#[derive(Default)]
pub(super) struct Merged {
    /// Each object that changed: the verb, and what it is.
    changes: Vec<(&'static str, String)>,
    /// What both branches changed; when there is any, nothing may be published.
    pub conflicts: BTreeSet<String>,
}

impl Merged {
    /// What changed, sorted.
    pub(super) fn changed(&self) -> Vec<String> {
        let what = self.changes.iter().map(|(_, object)| object.clone());
        what.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// What changed, in words.
    pub(super) fn message(&self) -> String {
        let words = self.changes.iter();
        let words: Vec<String> = words.map(|(verb, what)| format!("{verb} {what}")).collect();
        words.join(", ")
    }
}

/// What two branches have under a name.
type State = Option<LiveObject>;

impl Inner {
    pub(super) async fn merge_branch(&self, branch: &str, target: &str) -> Result<MergeReport> {
        self.position.refuse_in_transaction("merging a branch")?;
        let is_branch = Some(CatalogReferenceKind::Branch);
        let mut connection = self.connection().await?;
        let stored_target = self
            .named_reference(&mut connection, is_branch, target)
            .await?;
        let reference = crate::versioned::CatalogReference::Branch(target.to_string());
        let target_position = self.position_of(&mut connection, &reference).await?;
        drop(connection);

        let target_handle = self.at_position(target_position);
        let mut version = NewVersion::begin(&target_handle).await?;
        let stored = self
            .named_reference(version.connection(), is_branch, branch)
            .await?;
        let source = self
            .source_of(&mut version, &stored, branch, &stored_target, target)
            .await?;
        let merged = self.publish_source(&mut version, &source).await?;
        if !merged.conflicts.is_empty() {
            return Err(CatalogError::MergeConflict {
                branch: branch.to_string(),
                target: target.to_string(),
                objects: merged.conflicts.into_iter().collect(),
            });
        }
        if merged.changes.is_empty() {
            return Ok(MergeReport {
                version: None,
                changed: Vec::new(),
            });
        }
        let number = version.number();
        let message = format!("merge branch {branch}: {}", merged.message());
        let author = &self.options.author;
        version
            .finish_merge(author, &message, Some(stored.head_version))
            .await?;
        Ok(MergeReport {
            version: Some(number.into()),
            changed: merged.changed(),
        })
    }

    /// The branch as what is to be merged, if it was made from the target.
    async fn source_of(
        &self,
        version: &mut NewVersion<'_>,
        stored: &StoredReference,
        branch: &str,
        stored_target: &StoredReference,
        target: &str,
    ) -> Result<Source> {
        let refuse = |reason: String| {
            Err(CatalogError::InvalidInput(format!(
                "branch {branch} cannot be merged into {target}: {reason}"
            )))
        };
        match stored.parent {
            _ if stored.ref_id == stored_target.ref_id => refuse("it is the same".to_string()),
            None => refuse("it was not made from another branch".to_string()),
            Some((parent, fork_version)) if parent == stored_target.ref_id => Ok(Source {
                ref_id: stored.ref_id,
                levels: self.levels_of(version.connection(), stored).await?,
                fork_version,
            }),
            Some((parent, _)) => {
                let parent = self.reference_by_id(version.connection(), parent).await?;
                match parent.and_then(|parent| parent.name) {
                    Some(parent) => refuse(format!(
                        "it was made from {parent}, and can only be merged into that"
                    )),
                    None => refuse("the branch that it was made from was dropped".to_string()),
                }
            }
        }
    }

    /// Puts what only the source changed into the version in the making.
    pub(super) async fn publish_source(
        &self,
        version: &mut NewVersion<'_>,
        source: &Source,
    ) -> Result<Merged> {
        let merged_before = self.merged_before(version, source).await?;
        let mut levels_at_fork = version.levels().to_vec();
        if let Some(own) = levels_at_fork.first_mut() {
            own.at = Some(source.fork_version);
        }
        let mut merged = Merged::default();
        let mut published: Vec<(String, String, State)> = Vec::new();
        for (schema, name) in self.objects_changed_on(version, source.ref_id).await? {
            let theirs = version.object_at(&source.levels, &schema, &name).await?;
            let ours = version.live(&schema, &name).await?;
            let name_of_change = (schema.clone(), name.clone());
            let agreed = match merged_before.get(&name_of_change) {
                Some(state) => state.clone(),
                None => version.object_at(&levels_at_fork, &schema, &name).await?,
            };
            if theirs == agreed {
                continue;
            }
            if ours != agreed {
                let kind = kind_of([&ours, &theirs, &agreed]);
                merged.conflicts.insert(describe(kind, &schema, &name));
                continue;
            }
            let kind = kind_of([&theirs, &ours, &agreed]);
            let content = |state: &State| state.as_ref().map(|object| object.content.clone());
            let (old, new) = (content(&ours), content(&theirs));
            version
                .set(kind, (&schema, &name), old.as_deref(), new.as_deref())
                .await?;
            let verb = match (&old, &new) {
                (None, _) => "create",
                (_, None) => "drop",
                _ => "change",
            };
            merged.changes.push((verb, describe(kind, &schema, &name)));
            published.push((schema, name, theirs));
        }
        self.check_schemas(version, published, &mut merged).await?;
        Ok(merged)
    }

    /// What was published has a schema, and no schema was dropped that has tables by now.
    async fn check_schemas(
        &self,
        version: &mut NewVersion<'_>,
        published: Vec<(String, String, State)>,
        merged: &mut Merged,
    ) -> Result<()> {
        for (schema, name, state) in published {
            let is_broken = match (name.as_str(), state) {
                (SCHEMA_ROW, None) => version.count_objects(&schema).await? > 0,
                (SCHEMA_ROW, Some(_)) | (_, None) => false,
                (_, Some(_)) => !version.has_schema(&schema).await?,
            };
            if is_broken {
                let schema = describe(kind::SCHEMA, &schema, SCHEMA_ROW);
                merged.conflicts.insert(schema);
            }
        }
        Ok(())
    }

    /// The names of everything that was ever changed on a branch, schemas first.
    async fn objects_changed_on(
        &self,
        version: &mut NewVersion<'_>,
        ref_id: i64,
    ) -> Result<BTreeSet<(String, String)>> {
        let rows = sqlx::query(
            "SELECT DISTINCT schema_name, object_name FROM catalog_objects
             WHERE catalog_id = $1 AND ref_id = $2",
        )
        .bind(self.catalog_id)
        .bind(ref_id)
        .fetch_all(version.connection())
        .await;
        let names = rows.and_then(|rows| {
            let names = rows.iter();
            names
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect()
        });
        names.map_err(|source| self.error(source))
    }

    /// What earlier merges of the source published last, by name.
    async fn merged_before(
        &self,
        version: &mut NewVersion<'_>,
        source: &Source,
    ) -> Result<HashMap<(String, String), State>> {
        let target_ref_id = version.ref_id();
        let rows = sqlx::query(
            "SELECT change.schema_name, change.object_name, change.kind, change.new_content
             FROM catalog_versions AS version
             JOIN catalog_versions AS merged
               ON merged.catalog_id = version.catalog_id
              AND merged.version_id = version.merged_version
             JOIN catalog_changes AS change
               ON change.catalog_id = version.catalog_id
              AND change.version_id = version.version_id
             WHERE version.catalog_id = $1 AND version.version_id > $2 AND version.ref_id = $3
               AND merged.ref_id = $4
             ORDER BY version.version_id",
        )
        .bind(self.catalog_id)
        .bind(source.fork_version)
        .bind(target_ref_id)
        .bind(source.ref_id)
        .fetch_all(version.connection())
        .await
        .map_err(|error| self.error(error))?;
        let read = |row: &sqlx::any::AnyRow| {
            let kind: String = row.try_get(2)?;
            let content: Option<String> = row.try_get(3)?;
            let state = content.map(|content| LiveObject { kind, content });
            Ok(((row.try_get(0)?, row.try_get(1)?), state))
        };
        let states: Result<_, sqlx::Error> = rows.iter().map(read).collect();
        states.map_err(|error| self.error(error))
    }
}

/// The kind of an object that has these states.
fn kind_of(states: [&State; 3]) -> &str {
    let object = states.into_iter().find_map(Option::as_ref);
    object.map_or(kind::TABLE, |object| object.kind.as_str())
}

/// An object as messages call it.
pub(super) fn describe(kind: &str, schema: &str, name: &str) -> String {
    match name {
        SCHEMA_ROW => format!("schema {schema}"),
        _ => format!("{kind} {schema}.{name}"),
    }
}
