//! Branches, tags, versions and transactions of a whole catalog.
//!
//! They are not the branches of one table, which are part of the table's own metadata and
//! which every Iceberg catalog has.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;

use crate::catalog::Catalog;
use crate::error::Result;

/// The branch that the SQL catalog begins with. It cannot be dropped.
pub const MAIN: &str = "main";

/// What a catalog calls one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VersionId {
    /// The number of a commit, in the SQL catalog. Numbers grow with time over all branches; some
    /// are not used.
    Number(i64),
    /// The hash of a commit, hexadecimal, in catalogs such as Nessie.
    Hash(String),
}

impl Display for VersionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Hash(hash) => formatter.write_str(hash),
        }
    }
}

impl From<i64> for VersionId {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// A state of a catalog, or a line of states, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CatalogReference {
    /// A branch or a tag, whichever has this name.
    Named(String),
    /// A branch: its newest state.
    Branch(String),
    /// A tag: the state that it was given.
    Tag(String),
    /// The state after this commit, on the branch where it was made.
    Version(VersionId),
    /// What was the newest state at this time, in milliseconds since the epoch, on the
    /// branch that is asked.
    TimestampMillis(i64),
}

/// As SQL and error messages call it.
impl Display for CatalogReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(formatter, "branch or tag {name}"),
            Self::Branch(name) => write!(formatter, "branch {name}"),
            Self::Tag(name) => write!(formatter, "tag {name}"),
            Self::Version(version) => write!(formatter, "version {version}"),
            Self::TimestampMillis(time) => {
                write!(
                    formatter,
                    "version at {}",
                    crate::table::format_millis(*time)
                )
            }
        }
    }
}

/// What a reference of a catalog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogReferenceKind {
    /// Moves with the commits that are made to it.
    Branch,
    /// Stays where it is.
    Tag,
}

/// `branch` or `tag`.
impl Display for CatalogReferenceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        })
    }
}

/// A branch or tag of a catalog, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogReferenceInfo {
    /// Its name.
    pub name: String,
    /// Branch or tag.
    pub kind: CatalogReferenceKind,
    /// Its newest commit, which is its parent's until it has one of its own.
    pub version: VersionId,
    /// The branch that it was made from; `None` for `main`, when that one was dropped, and in
    /// catalogs that do not keep it.
    pub parent: Option<String>,
    /// The version that it was made from; `None` for `main`, and in catalogs that do not keep it.
    pub forked_at: Option<VersionId>,
    /// When it was made, in milliseconds since the epoch; `None` in catalogs that do not keep it.
    pub created_at_ms: Option<i64>,
}

/// One commit of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogLogEntry {
    /// What it is called.
    pub version: VersionId,
    /// The branch that it was made on; `None` when that one was dropped. In catalogs that do not
    /// keep it, a branch that has it.
    pub branch: Option<String>,
    /// The commit before it.
    pub parent: Option<VersionId>,
    /// For a merge, the newest commit of the branch that was merged.
    pub merged: Option<VersionId>,
    /// When it was made, in milliseconds since the epoch.
    pub committed_at_ms: i64,
    /// Who made it.
    pub author: String,
    /// What it did, in words.
    pub message: String,
    /// The tables, views (`schema.name`) and schemas (`schema`) that it changed, sorted.
    pub changed: Vec<String>,
}

/// What a merge published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeReport {
    /// The version that has it; `None` when there was nothing to merge.
    pub version: Option<VersionId>,
    /// The tables, views (`schema.name`) and schemas (`schema`) that changed, sorted.
    pub changed: Vec<String>,
}

/// What a catalog with versions offers besides its tables.
#[async_trait]
pub trait VersionedCatalog: Debug + Send + Sync {
    /// The branch where sessions begin.
    fn default_branch(&self) -> &str {
        MAIN
    }

    /// Whether its versions are numbers ([`VersionId::Number`]), or else hashes.
    fn has_numbered_versions(&self) -> bool {
        true
    }

    /// The same catalog, reading the state that is named and committing to it if it is a
    /// branch. A branch that is dropped later refuses commits from then on.
    ///
    /// # Errors
    /// `ReferenceNotFound`, with the nearest name.
    async fn at(&self, reference: &CatalogReference) -> Result<Arc<dyn Catalog>>;

    /// The same catalog, whose commits name this author in the log.
    fn by_author(&self, author: &str) -> Arc<dyn Catalog>;

    /// Makes a branch or tag of the state `from`, or of the one that this handle reads.
    /// Nothing is copied.
    ///
    /// # Errors
    /// `ReferenceExists`; `ReferenceNotFound` for `from`, and `VersionExpired` for a version whose
    /// files are not kept any more; `InvalidInput` for a bad name.
    async fn create_reference(
        &self,
        kind: CatalogReferenceKind,
        name: &str,
        from: Option<&CatalogReference>,
    ) -> Result<CatalogReferenceInfo>;

    /// Forgets a branch or tag. Branches and tags made from it stay as they are; files that
    /// only it used stay in storage.
    ///
    /// # Errors
    /// `ReferenceNotFound`; `InvalidInput` for the default branch.
    async fn drop_reference(&self, kind: CatalogReferenceKind, name: &str) -> Result<()>;

    /// Publishes what changed on a branch since it was made from `target` or merged into it
    /// last, in one commit: every table, view and schema or none. The branch stays.
    ///
    /// # Errors
    /// `MergeConflict`, naming everything that both branches changed; `InvalidInput` when
    /// the SQL catalog's `branch` was not made from `target`, or Nessie's two have no commit in
    /// common; `ReferenceNotFound`; `CommitConflict` when a server says that somebody else was first;
    /// `CommitStateUnknown` when its answer was lost.
    async fn merge_branch(&self, branch: &str, target: &str) -> Result<MergeReport>;

    /// Its branches and tags: the default branch first, then by name.
    async fn references(&self) -> Result<Vec<CatalogReferenceInfo>>;

    /// The newest commits of all branches, newest first, at most `limit`.
    async fn log(&self, limit: usize) -> Result<Vec<CatalogLogEntry>>;

    /// Begins a transaction on the branch that this handle commits to.
    ///
    /// # Errors
    /// `InvalidInput` for a handle that commits to no branch; `Unsupported` for catalogs without
    /// transactions.
    async fn begin_transaction(&self) -> Result<Arc<dyn CatalogTransaction>>;

    /// Rolls back transactions that nobody will end: those that began at least so long ago.
    /// Returns their number.
    async fn roll_back_abandoned(&self, min_age: std::time::Duration) -> Result<usize>;
}

/// Changes of any number of tables that become visible together.
///
/// It reads the state of when it began, with its own changes. Transactions that changed
/// the same table conflict: the one that commits first wins. A table that was only read
/// is not checked (snapshot isolation).
#[async_trait]
pub trait CatalogTransaction: Debug + Send + Sync {
    /// The catalog as the transaction sees and changes it.
    fn catalog(&self) -> Arc<dyn Catalog>;

    /// Publishes everything in one commit and ends the transaction; without changes, only
    /// ends it.
    ///
    /// # Errors
    /// `TransactionConflict`, naming everything that others changed meanwhile. After it, and
    /// after any other error but `CommitStateUnknown`, nothing is published and the
    /// transaction is to be rolled back.
    async fn commit(&self) -> Result<MergeReport>;

    /// Ends the transaction and deletes the files that only it wrote. A transaction that
    /// has ended is left as it is.
    async fn roll_back(&self) -> Result<()>;
}
