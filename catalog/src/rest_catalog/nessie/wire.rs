//! Bodies of requests and answers of Nessie's API, version 2, as it names their fields.

use serde::{Deserialize, Serialize};

use super::super::wire::Page;
use crate::versioned::CatalogReferenceKind;

/// A branch or tag, as it is now: `Branch`, `Tag`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct NamedReference {
    #[serde(rename = "type")]
    pub(super) reference_type: ReferenceType,
    pub(super) name: String,
    pub(super) hash: String,
}

impl NamedReference {
    pub(super) fn kind(&self) -> CatalogReferenceKind {
        match self.reference_type {
            ReferenceType::Branch => CatalogReferenceKind::Branch,
            ReferenceType::Tag => CatalogReferenceKind::Tag,
        }
    }
}

/// `ReferenceType`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum ReferenceType {
    Branch,
    Tag,
}

impl ReferenceType {
    pub(super) fn of(kind: CatalogReferenceKind) -> Self {
        match kind {
            CatalogReferenceKind::Branch => Self::Branch,
            CatalogReferenceKind::Tag => Self::Tag,
        }
    }

    /// As a parameter.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Branch => "BRANCH",
            Self::Tag => "TAG",
        }
    }
}

/// What a reference is made from: `Branch`, `Tag`, `Detached`, each with the hash of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub(super) enum Source {
    Branch { name: String, hash: String },
    Tag { name: String, hash: String },
    Detached { hash: String },
}

impl Source {
    /// The newest commit of a reference.
    pub(super) fn of(reference: NamedReference) -> Self {
        let NamedReference {
            reference_type,
            name,
            hash,
        } = reference;
        match reference_type {
            ReferenceType::Branch => Self::Branch { name, hash },
            ReferenceType::Tag => Self::Tag { name, hash },
        }
    }

    /// The branch, if it is the newest state of one.
    pub(super) fn branch(&self) -> Option<&str> {
        match self {
            Self::Branch { name, .. } => Some(name),
            Self::Tag { .. } | Self::Detached { .. } => None,
        }
    }
}

/// `SingleReferenceResponse`
#[derive(Debug, Deserialize)]
pub(super) struct SingleReference {
    pub(super) reference: NamedReference,
}

/// `ReferencesResponse`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct References {
    references: Vec<NamedReference>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    token: Option<String>,
}

impl Page for References {
    type Item = NamedReference;

    fn into_parts(self) -> (Vec<Self::Item>, Option<String>) {
        let token = self.token.filter(|_| self.has_more);
        (self.references, token)
    }
}

/// `LogResponse`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct History {
    log_entries: Vec<LogEntry>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    token: Option<String>,
}

impl Page for History {
    type Item = LogEntry;

    fn into_parts(self) -> (Vec<Self::Item>, Option<String>) {
        let token = self.token.filter(|_| self.has_more);
        (self.log_entries, token)
    }
}

/// `LogEntry`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogEntry {
    pub(super) commit_meta: CommitMeta,
    #[serde(default)]
    pub(super) parent_commit_hash: Option<String>,
    /// Only where they are asked for.
    #[serde(default)]
    pub(super) operations: Option<Vec<Operation>>,
}

/// `CommitMeta`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommitMeta {
    pub(super) hash: String,
    #[serde(default)]
    pub(super) authors: Vec<String>,
    #[serde(default)]
    pub(super) committer: Option<String>,
    #[serde(default)]
    pub(super) message: String,
    /// ISO 8601, UTC.
    #[serde(default)]
    pub(super) commit_time: Option<String>,
    /// The commit before it; for a merge also the newest one of what was merged.
    #[serde(default)]
    pub(super) parent_commit_hashes: Vec<String>,
}

/// `Operation`
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    pub(super) key: ContentKey,
}

/// `ContentKey`
#[derive(Debug, Deserialize)]
pub(super) struct ContentKey {
    pub(super) elements: Vec<String>,
}

impl ContentKey {
    /// `schema.table`, or `schema`.
    pub(super) fn name(&self) -> String {
        self.elements.join(".")
    }
}

/// `Merge`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Merge<'a> {
    pub(super) from_ref_name: &'a str,
    pub(super) from_hash: &'a str,
    pub(super) return_conflict_as_result: bool,
}

/// `MergeResponse`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MergeAnswer {
    #[serde(default)]
    pub(super) was_applied: bool,
    #[serde(default)]
    pub(super) was_successful: bool,
    #[serde(default)]
    pub(super) resultant_target_hash: Option<String>,
    #[serde(default)]
    pub(super) details: Vec<KeyDetails>,
}

/// `ContentKeyDetails`
#[derive(Debug, Deserialize)]
pub(super) struct KeyDetails {
    pub(super) key: ContentKey,
    #[serde(default)]
    pub(super) conflict: Option<Conflict>,
}

/// `Conflict`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conflict {
    #[serde(default, alias = "type")]
    pub(super) conflict_type: String,
    #[serde(default)]
    pub(super) message: String,
}
