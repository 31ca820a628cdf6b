//! [`RestCatalog`] as a [`VersionedCatalog`], where the server is Nessie.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::failure::Failure;
use super::super::{Inner, RestCatalog};
use super::references::{log_entry, names_of};
use super::wire::{Conflict, MergeAnswer, NamedReference, ReferenceType};
use super::{DEFAULT_BRANCH, Nessie, is_reference_name};
use crate::catalog::Catalog;
use crate::error::{CatalogError, Result};
use crate::versioned::{
    CatalogLogEntry, CatalogReference, CatalogReferenceInfo, CatalogReferenceKind,
    CatalogTransaction, MergeReport, VersionId, VersionedCatalog,
};

/// How often a branch is deleted again that somebody commits to meanwhile.
const DELETE_ATTEMPTS: u32 = 5;

#[async_trait]
impl VersionedCatalog for RestCatalog {
    fn default_branch(&self) -> &str {
        let nessie = self.inner.nessie.as_ref();
        nessie.map_or(DEFAULT_BRANCH, |nessie| nessie.default_branch.as_str())
    }

    fn has_numbered_versions(&self) -> bool {
        false
    }

    async fn at(&self, reference: &CatalogReference) -> Result<Arc<dyn Catalog>> {
        let nessie = self.inner.nessie()?;
        let position = self.inner.position_of(nessie, reference).await?;
        Ok(self.moved(nessie, position))
    }

    /// Nessie names the author in its log, and besides, as the committer, whoever it takes for the
    /// user of the connection.
    fn by_author(&self, author: &str) -> Arc<dyn Catalog> {
        let mut inner = self.inner.as_ref().clone();
        inner.client = inner.client.by_author(author);
        if let Some(nessie) = &mut inner.nessie {
            nessie.client = nessie.client.by_author(author);
        }
        Arc::new(Self {
            inner: Arc::new(inner),
        })
    }

    async fn create_reference(
        &self,
        kind: CatalogReferenceKind,
        name: &str,
        from: Option<&CatalogReference>,
    ) -> Result<CatalogReferenceInfo> {
        let inner = &self.inner;
        let nessie = inner.nessie()?;
        if !is_reference_name(name) {
            return Err(CatalogError::InvalidInput(format!(
                "{kind} name {name:?} is not one that catalog {} can have: begin with a letter, \
                 then take letters, digits and . / _ -, and do not write a hash",
                inner.name
            )));
        }
        let source = inner.source_of(nessie, from).await?;
        // A tag may have the name of a branch in Nessie, and would not be found by it.
        let existing = nessie.find(name).await;
        if let Some(existing) = existing.map_err(|failure| inner.error(failure))? {
            return Err(CatalogError::ReferenceExists {
                what: format!("{} {name}", existing.kind()),
            });
        }
        let created = nessie.create(ReferenceType::of(kind), name, &source).await;
        let what = format!("{kind} {name}");
        let created = created.map_err(|failure| match failure.status() {
            Some(409) => CatalogError::ReferenceExists { what },
            _ => failure.into_change_error(&inner.name, what),
        })?;
        let mut info = info_of(created);
        info.parent = source.branch().map(str::to_string);
        info.forked_at = Some(info.version.clone());
        Ok(info)
    }

    async fn drop_reference(&self, kind: CatalogReferenceKind, name: &str) -> Result<()> {
        let inner = &self.inner;
        let nessie = inner.nessie()?;
        if kind == CatalogReferenceKind::Branch && name == nessie.default_branch {
            return Err(CatalogError::InvalidInput(format!(
                "branch {name} of catalog {} cannot be dropped: sessions begin there",
                inner.name
            )));
        }
        let mut attempts = 0;
        loop {
            let found = inner.named_reference(nessie, Some(kind), name).await?;
            attempts += 1;
            match nessie.delete(&found).await {
                Ok(()) => return Ok(()),
                // Somebody committed to it meanwhile.
                Err(failure) if failure.status() == Some(409) && attempts < DELETE_ATTEMPTS => {}
                Err(failure) if failure.is_missing() => {
                    return Err(inner.reference_not_found(nessie, Some(kind), name).await);
                }
                Err(failure) => {
                    let what = format!("{kind} {name}");
                    return Err(failure.into_change_error(&inner.name, what));
                }
            }
        }
    }

    async fn merge_branch(&self, branch: &str, target: &str) -> Result<MergeReport> {
        let inner = &self.inner;
        let nessie = inner.nessie()?;
        if branch == target {
            return Err(CatalogError::InvalidInput(format!(
                "branch {branch} cannot be merged into {target}: it is the same"
            )));
        }
        let is_branch = Some(CatalogReferenceKind::Branch);
        let into = inner.named_reference(nessie, is_branch, target).await?;
        let from = inner.named_reference(nessie, is_branch, branch).await?;
        match nessie.merge(&from, &into).await {
            Ok(answer) => merge_report(branch, target, answer),
            Err(failure) => inner.failed_merge(nessie, &from, &into, failure).await,
        }
    }

    async fn references(&self) -> Result<Vec<CatalogReferenceInfo>> {
        let nessie = self.inner.nessie()?;
        let references = self.inner.sorted_references(nessie).await?;
        Ok(references.into_iter().map(info_of).collect())
    }

    async fn log(&self, limit: usize) -> Result<Vec<CatalogLogEntry>> {
        let inner = &self.inner;
        let nessie = inner.nessie()?;
        let mut known: HashSet<String> = HashSet::new();
        let mut log = Vec::new();
        // The default branch first, so that what others have of it counts as its own.
        for reference in inner.sorted_references(nessie).await? {
            if reference.kind() != CatalogReferenceKind::Branch {
                continue;
            }
            let entries = match nessie.history(&reference.name, limit, &known).await {
                Ok(entries) => entries,
                // It was dropped meanwhile.
                Err(failure) if failure.is_missing() => Vec::new(),
                Err(failure) => return Err(inner.error(failure)),
            };
            for entry in entries {
                known.insert(entry.commit_meta.hash.clone());
                log.push(log_entry(entry, &reference.name));
            }
        }
        log.sort_by_key(|entry| std::cmp::Reverse(entry.committed_at_ms));
        log.truncate(limit);
        Ok(log)
    }

    async fn begin_transaction(&self) -> Result<Arc<dyn CatalogTransaction>> {
        Err(CatalogError::Unsupported(format!(
            "a transaction in catalog {} (make a branch, change it, and merge it instead)",
            self.inner.name
        )))
    }

    /// There are none.
    async fn roll_back_abandoned(&self, _min_age: Duration) -> Result<usize> {
        Ok(0)
    }
}

impl Inner {
    /// All branches and tags: the default branch first, then by name.
    async fn sorted_references(&self, nessie: &Nessie) -> Result<Vec<NamedReference>> {
        let listed = nessie.list().await;
        let mut listed = listed.map_err(|failure| self.error(failure))?;
        listed.sort_by(|left, right| {
            let rank = |reference: &NamedReference| reference.name != nessie.default_branch;
            (rank(left), &left.name).cmp(&(rank(right), &right.name))
        });
        Ok(listed)
    }

    /// What became of a merge without a good answer. If the answer was lost, the target's log tells
    /// whether it happened.
    async fn failed_merge(
        &self,
        nessie: &Nessie,
        from: &NamedReference,
        into: &NamedReference,
        failure: Failure,
    ) -> Result<MergeReport> {
        let (branch, target) = (&from.name, &into.name);
        if failure.leaves_outcome_open() {
            let before = HashSet::from([into.hash.clone()]);
            let since = nessie.history(target, usize::MAX, &before).await;
            let is_merge = |parents: &[String]| parents.iter().skip(1).any(|at| *at == from.hash);
            let merged = since
                .unwrap_or_default()
                .into_iter()
                .find(|entry| is_merge(&entry.commit_meta.parent_commit_hashes));
            if let Some(entry) = merged {
                let entry = log_entry(entry, target);
                return Ok(MergeReport {
                    version: Some(entry.version),
                    changed: entry.changed,
                });
            }
            return Err(failure.into_change_error(&self.name, format!("branch {target}")));
        }
        if failure.is_missing() {
            let is_branch = Some(CatalogReferenceKind::Branch);
            self.named_reference(nessie, is_branch, target).await?;
            self.named_reference(nessie, is_branch, branch).await?;
            // What is not there is a commit that both have.
            return Err(CatalogError::InvalidInput(format!(
                "branch {branch} cannot be merged into {target}, and nothing was merged: {}",
                failure.reason()
            )));
        }
        match failure.status() {
            // Somebody else was first. Keys that conflict are an answer.
            Some(409) => Err(CatalogError::CommitConflict {
                table: format!("branch {target}"),
                reason: failure.reason(),
            }),
            _ => Err(self.error(failure)),
        }
    }
}

/// What a merge came to.
///
/// # Errors
/// `MergeConflict`, with every key that conflicts.
fn merge_report(branch: &str, target: &str, answer: MergeAnswer) -> Result<MergeReport> {
    let conflicts = answer.details.iter().filter_map(|details| {
        let conflict = details.conflict.as_ref()?;
        Some(describe(&details.key.name(), conflict))
    });
    let mut objects: Vec<String> = conflicts.collect();
    if !objects.is_empty() {
        objects.sort();
        return Err(CatalogError::MergeConflict {
            branch: branch.to_string(),
            target: target.to_string(),
            objects,
        });
    }
    if !answer.was_successful {
        return Err(CatalogError::InvalidInput(format!(
            "branch {branch} cannot be merged into {target}, and nothing was merged: the catalog \
             does not say why"
        )));
    }
    let applied = answer.resultant_target_hash.filter(|_| answer.was_applied);
    Ok(MergeReport {
        changed: match &applied {
            Some(_) => names_of(answer.details.iter().map(|details| &details.key)),
            None => Vec::new(),
        },
        version: applied.map(VersionId::Hash),
    })
}

/// What conflicts, and why if it is not that both branches changed it.
fn describe(name: &str, conflict: &Conflict) -> String {
    match conflict.conflict_type.as_str() {
        "NAMESPACE_ABSENT" | "NAMESPACE_NOT_EMPTY" | "NOT_A_NAMESPACE" => {
            format!("{name} ({})", conflict.message)
        }
        _ => name.to_string(),
    }
}

/// Nessie keeps neither where a reference comes from nor when it was made.
fn info_of(reference: NamedReference) -> CatalogReferenceInfo {
    CatalogReferenceInfo {
        kind: reference.kind(),
        name: reference.name,
        version: VersionId::Hash(reference.hash),
        parent: None,
        forked_at: None,
        created_at_ms: None,
    }
}
