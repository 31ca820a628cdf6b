//! Finding what SQL names among the references of Nessie.

use std::collections::BTreeSet;

use super::super::Inner;
use super::wire::{ContentKey, LogEntry, NamedReference, Source};
use super::{Nessie, Position, is_hash};
use crate::error::{CatalogError, Result};
use crate::sql_catalog::nearest_name;
use crate::versioned::{CatalogLogEntry, CatalogReference, CatalogReferenceKind, VersionId};

impl Inner {
    /// A branch or tag of this name and, if it matters, of this kind.
    pub(super) async fn named_reference(
        &self,
        nessie: &Nessie,
        wanted: Option<CatalogReferenceKind>,
        name: &str,
    ) -> Result<NamedReference> {
        let found = nessie.find(name).await;
        let Some(found) = found.map_err(|failure| self.error(failure))? else {
            return Err(self.reference_not_found(nessie, wanted, name).await);
        };
        match wanted {
            Some(wanted) if wanted != found.kind() => Err(CatalogError::InvalidInput(format!(
                "{name} is a {} of catalog {}, not a {wanted}",
                found.kind(),
                self.name
            ))),
            _ => Ok(found),
        }
    }

    /// That there is no such branch or tag, with the nearest name.
    pub(super) async fn reference_not_found(
        &self,
        nessie: &Nessie,
        wanted: Option<CatalogReferenceKind>,
        name: &str,
    ) -> CatalogError {
        let others = match nessie.list().await {
            Ok(others) => others,
            Err(failure) => return self.error(failure),
        };
        let known = others
            .into_iter()
            .filter(|other| wanted.is_none_or(|wanted| wanted == other.kind()));
        let known: Vec<String> = known.map(|other| other.name).collect();
        CatalogError::ReferenceNotFound {
            catalog: self.name.clone(),
            what: match wanted {
                Some(kind) => format!("{kind} {name}"),
                None => format!("branch or tag {name}"),
            },
            suggestion: nearest_name(name, &known),
        }
    }

    /// The state that a reference names.
    pub(super) async fn position_of(
        &self,
        nessie: &Nessie,
        reference: &CatalogReference,
    ) -> Result<Position> {
        let (wanted, name) = match reference {
            CatalogReference::Named(name) => (None, name),
            CatalogReference::Branch(name) => (Some(CatalogReferenceKind::Branch), name),
            CatalogReference::Tag(name) => (Some(CatalogReferenceKind::Tag), name),
            CatalogReference::Version(version) => {
                let hash = self.commit_of_version(nessie, version).await?;
                return Ok(Position::Fixed {
                    spec: format!("@{hash}"),
                    what: reference.to_string(),
                });
            }
            CatalogReference::TimestampMillis(time_ms) => {
                return self.position_at_time(nessie, *time_ms).await;
            }
        };
        let found = self.named_reference(nessie, wanted, name).await?;
        Ok(match found.kind() {
            CatalogReferenceKind::Branch => Position::Branch(found.name),
            CatalogReferenceKind::Tag => Position::Fixed {
                what: format!("tag {}", found.name),
                spec: found.name,
            },
        })
    }

    /// The hash of a commit that exists.
    async fn commit_of_version(&self, nessie: &Nessie, version: &VersionId) -> Result<String> {
        let hash = match version {
            VersionId::Hash(hash) if is_hash(hash) => hash.to_ascii_lowercase(),
            VersionId::Hash(_) | VersionId::Number(_) => {
                return Err(CatalogError::InvalidInput(format!(
                    "catalog {} has no version {version}: its versions are hashes, such as \
                     SHOW CATALOG LOG has, in quotes",
                    self.name
                )));
            }
        };
        match nessie.newest(&format!("@{hash}")).await {
            Ok(_) => Ok(hash),
            Err(failure) if failure.is_missing() => {
                Err(self.no_such_version(format!("version {hash}")))
            }
            Err(failure) => Err(self.error(failure)),
        }
    }

    /// What the handle's state was at a time.
    async fn position_at_time(&self, nessie: &Nessie, time_ms: i64) -> Result<Position> {
        let reference = CatalogReference::TimestampMillis(time_ms);
        let before_first =
            || self.no_such_version(format!("{reference}: it is before its first commit"));
        // Nessie takes no negative ones.
        if time_ms < 0 {
            return Err(before_first());
        }
        let spec = nessie.position.spec();
        let entry = match nessie.newest(&format!("{spec}*{time_ms}")).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Err(before_first()),
            Err(failure) if failure.is_missing() => return Err(before_first()),
            Err(failure) => return Err(self.error(failure)),
        };
        let hash = entry.commit_meta.hash;
        Ok(Position::Fixed {
            // The commit can be reached from where the handle is.
            spec: match &nessie.position {
                Position::Branch(branch) => format!("{branch}@{hash}"),
                Position::Fixed { .. } => format!("@{hash}"),
            },
            what: format!("the {reference}"),
        })
    }

    fn no_such_version(&self, what: String) -> CatalogError {
        CatalogError::ReferenceNotFound {
            catalog: self.name.clone(),
            what,
            suggestion: None,
        }
    }

    /// The commit that a new reference is made of.
    pub(super) async fn source_of(
        &self,
        nessie: &Nessie,
        from: Option<&CatalogReference>,
    ) -> Result<Source> {
        let position = match from {
            Some(reference) => self.position_of(nessie, reference).await?,
            None => nessie.position.clone(),
        };
        match position {
            Position::Branch(name) => {
                let found = self.named_reference(nessie, None, &name).await?;
                Ok(Source::of(found))
            }
            Position::Fixed { spec, what } => match nessie.newest(&spec).await {
                Ok(Some(entry)) => Ok(Source::Detached {
                    hash: entry.commit_meta.hash,
                }),
                Ok(None) => self.source_without_commits(nessie, &spec).await,
                Err(failure) if failure.is_missing() => Err(self.no_such_version(what)),
                Err(failure) => Err(self.error(failure)),
            },
        }
    }

    /// The state that a repository begins with, by its hash or by the name of a tag: no commit tells
    /// the hash.
    async fn source_without_commits(&self, nessie: &Nessie, spec: &str) -> Result<Source> {
        match spec.split_once('@') {
            Some((_, hash)) => Ok(Source::Detached {
                hash: hash.to_string(),
            }),
            None => {
                let found = self.named_reference(nessie, None, spec).await?;
                Ok(Source::of(found))
            }
        }
    }
}

/// A commit of the log. Nessie does not keep the branch of a commit: it is one that has it.
pub(super) fn log_entry(entry: LogEntry, branch: &str) -> CatalogLogEntry {
    let LogEntry {
        commit_meta,
        parent_commit_hash,
        operations,
    } = entry;
    let mut parents = commit_meta.parent_commit_hashes.into_iter();
    let first_parent = parents.next();
    let operations = operations.unwrap_or_default();
    let author = match commit_meta.authors.is_empty() {
        true => commit_meta.committer.unwrap_or_default(),
        false => commit_meta.authors.join(", "),
    };
    CatalogLogEntry {
        version: VersionId::Hash(commit_meta.hash),
        branch: Some(branch.to_string()),
        parent: parent_commit_hash.or(first_parent).map(VersionId::Hash),
        merged: parents.next().map(VersionId::Hash),
        committed_at_ms: millis_of(commit_meta.commit_time.as_deref()),
        author,
        message: commit_meta.message,
        changed: names_of(operations.iter().map(|operation| &operation.key)),
    }
}

/// Names of tables, views and schemas, sorted.
pub(super) fn names_of<'a>(keys: impl Iterator<Item = &'a ContentKey>) -> Vec<String> {
    let names: BTreeSet<String> = keys.map(ContentKey::name).collect();
    names.into_iter().collect()
}

/// A time in milliseconds since the epoch; the epoch when it is none.
fn millis_of(time: Option<&str>) -> i64 {
    let parsed = time.and_then(|time| chrono::DateTime::parse_from_rfc3339(time).ok());
    parsed.map_or(0, |time| time.timestamp_millis())
}
