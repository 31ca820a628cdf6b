//! Requests of Nessie's API, version 2.

use std::collections::HashSet;

use super::super::failure::Failure;
use super::super::http::Call;
use super::super::paths::escaped;
use super::wire::{
    History, LogEntry, Merge, MergeAnswer, NamedReference, ReferenceType, References,
    SingleReference, Source,
};
use super::{Nessie, is_reference_name};

/// Entries of one page of a listing, at most. The server may make pages smaller.
const PAGE_SIZE: usize = 250;
/// The parameter that asks for a page after the first one.
const PAGE_TOKEN: &str = "page-token";

impl Nessie {
    /// The branch or tag of this name, if there is one.
    pub(super) async fn find(&self, name: &str) -> Result<Option<NamedReference>, Failure> {
        if !is_reference_name(name) {
            return Ok(None);
        }
        let call = Call::get(path_of(name));
        match self.client.fetch::<SingleReference>(&call).await {
            Ok(found) => Ok(Some(found.reference)),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// All branches and tags.
    pub(super) async fn list(&self) -> Result<Vec<NamedReference>, Failure> {
        let call = Call::get("trees".to_string());
        let mut references = Vec::new();
        let all = self
            .client
            .pages::<References>(&call, PAGE_TOKEN, None, |reference| {
                references.push(reference);
                true
            });
        all.await?;
        Ok(references)
    }

    /// The newest commits of a state, newest first, at most `limit`, up to one that is known.
    pub(super) async fn history(
        &self,
        spec: &str,
        limit: usize,
        known: &HashSet<String>,
    ) -> Result<Vec<LogEntry>, Failure> {
        let call = Call::get(format!("{}/history", path_of(spec)))
            .with("fetch", "ALL")
            .with("max-records", limit.min(PAGE_SIZE).to_string());
        let mut entries: Vec<LogEntry> = Vec::new();
        let wanted = self
            .client
            .pages::<History>(&call, PAGE_TOKEN, None, |entry| {
                if entries.len() == limit || known.contains(&entry.commit_meta.hash) {
                    return false;
                }
                entries.push(entry);
                entries.len() < limit
            });
        wanted.await?;
        Ok(entries)
    }

    /// The newest commit of a state; `None` when nothing was ever committed to it, as to the one
    /// that a repository begins with. That there is no such state is a failure.
    pub(super) async fn newest(&self, spec: &str) -> Result<Option<LogEntry>, Failure> {
        let entries = self.history(spec, 1, &HashSet::new()).await?;
        Ok(entries.into_iter().next())
    }

    /// Makes a branch or tag of a commit.
    pub(super) async fn create(
        &self,
        reference_type: ReferenceType,
        name: &str,
        source: &Source,
    ) -> Result<NamedReference, Failure> {
        let call = Call::post("trees".to_string(), source)?
            .with("name", name)
            .with("type", reference_type.name());
        let created = self.client.fetch::<SingleReference>(&call).await?;
        Ok(created.reference)
    }

    /// Forgets a branch or tag, as long as it is in this state.
    pub(super) async fn delete(&self, reference: &NamedReference) -> Result<(), Failure> {
        let spec = format!("{}@{}", reference.name, reference.hash);
        let call = Call::delete(path_of(&spec)).with("type", reference.reference_type.name());
        self.client.send(&call).await?;
        Ok(())
    }

    /// Merges the state of a branch into another one. Conflicts are an answer too.
    pub(super) async fn merge(
        &self,
        branch: &NamedReference,
        target: &NamedReference,
    ) -> Result<MergeAnswer, Failure> {
        let spec = format!("{}@{}", target.name, target.hash);
        let request = Merge {
            from_ref_name: &branch.name,
            from_hash: &branch.hash,
            return_conflict_as_result: true,
        };
        let call = Call::post(format!("{}/history/merge", path_of(&spec)), &request)?;
        self.client.fetch::<MergeAnswer>(&call).await
    }
}

/// The path of a state: `name`, `name@hash`, `name*milliseconds`, `@hash`.
fn path_of(spec: &str) -> String {
    format!("trees/{}", escaped(&separated(spec)))
}

/// A name with a slash ends with `@`, so that what follows it in a path is not taken for a part of
/// it.
fn separated(spec: &str) -> String {
    if !spec.contains('/') || spec.contains('@') {
        return spec.to_string();
    }
    let end = spec.find('*').unwrap_or(spec.len());
    let (name, rest) = spec.split_at(end);
    format!("{name}@{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_one_segment_of_a_path() {
        for (spec, path) in [
            ("main", "trees/main"),
            ("@0a1b2c3d", "trees/%400a1b2c3d"),
            ("main@0a1b2c3d*17", "trees/main%400a1b2c3d%2A17"),
            ("a/b", "trees/a%2Fb%40"),
            ("a/b*17", "trees/a%2Fb%40%2A17"),
            ("a/b@0a1b2c3d", "trees/a%2Fb%400a1b2c3d"),
        ] {
            assert_eq!(path_of(spec), path);
        }
    }
}
