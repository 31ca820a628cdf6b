//! Commits that other programs ask for, as requirements and updates.
//!
//! A client of the REST catalog works its updates out by itself and may be wrong, outdated or
//! hostile. So nothing is taken on trust: requirements are checked against the newest state, all
//! locations against what the catalog allows, and the new metadata must be readable again.

mod checks;
mod creation;
mod view;

use std::collections::{BTreeSet, HashMap};

use iceberg::{TableIdent, TableRequirement, TableUpdate};
use uuid::Uuid;

use super::retry::Backoff;
use super::turns::take_turn;
use crate::catalog::{Catalog, TableCommit};
use crate::error::{CatalogError, Result};
use crate::table::{Table, ident_name};

pub use checks::check_readable;
pub use view::{NewView, create_requested_view, replace_requested_view};

use creation::first_metadata;

/// One table's part of a commit that a client asks for.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The table to change or, with the requirement `assert-create`, to create.
    pub ident: TableIdent,
    /// What must hold of the newest state.
    pub requirements: Vec<TableRequirement>,
    /// What to do, in order. For a creation, all that makes the table: schema, partition spec,
    /// sort order, location, properties.
    pub updates: Vec<TableUpdate>,
}

impl CommitRequest {
    fn is_creation(&self) -> bool {
        self.requirements.contains(&TableRequirement::NotExist)
    }

    fn name(&self) -> String {
        ident_name(&self.ident)
    }

    fn invalid(&self, problem: impl std::fmt::Display) -> CatalogError {
        CatalogError::InvalidInput(format!("table {}: {problem}", self.name()))
    }

    fn conflict(&self, reason: String) -> CatalogError {
        CatalogError::CommitConflict {
            table: self.name(),
            reason,
        }
    }
}

/// Commits changes of one or several tables, all or none. When somebody else was first, it is
/// tried again for as long as all requirements hold on the newest state.
///
/// # Errors
/// `CommitConflict` for a requirement that does not hold and for a snapshot that was made from an
/// older state; `TableExists` or `ViewExists` for a creation; `TableNotFound`; `InvalidInput` for
/// updates that do not fit the table and locations that are not allowed; `CommitStateUnknown`, see
/// the module.
pub async fn commit_requested(
    catalog: &dyn Catalog,
    requests: Vec<CommitRequest>,
) -> Result<Vec<Table>> {
    let mut backoff = Backoff::new(&HashMap::new())?;
    let mut turns = Vec::new();
    // In the order of their ids, so that two of these never wait for each other.
    for table in existing_tables(catalog, &requests).await? {
        turns.push(take_turn(catalog.storage(), table).await);
    }
    loop {
        let mut commits = Vec::with_capacity(requests.len());
        for request in &requests {
            commits.push(checked_commit(catalog, request).await?);
        }
        match catalog.commit(commits).await {
            Err(error) if error.is_conflict() => {
                if !backoff.wait().await {
                    return Err(error);
                }
            }
            outcome => return outcome,
        }
    }
}

async fn existing_tables(
    catalog: &dyn Catalog,
    requests: &[CommitRequest],
) -> Result<BTreeSet<Uuid>> {
    let mut tables = BTreeSet::new();
    for request in requests {
        if let Some(table) = find(catalog, request).await? {
            tables.insert(table.metadata.uuid());
        }
    }
    Ok(tables)
}

/// The table of a request; `None` only when it is to be created.
async fn find(catalog: &dyn Catalog, request: &CommitRequest) -> Result<Option<Table>> {
    match catalog.load_table(&request.ident).await {
        Ok(table) => Ok(Some(table)),
        Err(CatalogError::TableNotFound { .. }) if request.is_creation() => Ok(None),
        Err(CatalogError::IsView { name, .. }) if request.is_creation() => {
            Err(CatalogError::ViewExists { name })
        }
        Err(error) => Err(error),
    }
}

async fn checked_commit(catalog: &dyn Catalog, request: &CommitRequest) -> Result<TableCommit> {
    let current = find(catalog, request).await?;
    let mut commit = TableCommit {
        ident: request.ident.clone(),
        requirements: request.requirements.clone(),
        based_on: None,
        created_from: None,
        updates: request.updates.clone(),
    };
    commit.check_requirements(current.as_ref())?;
    if current.is_none() {
        commit.created_from = Some(first_metadata(catalog, request).await?);
    }
    let base = match (&current, &commit.created_from) {
        (Some(table), _) => table.metadata.as_ref(),
        (None, Some(metadata)) => metadata,
        (None, None) => return Err(request.invalid("it does not exist")),
    };
    checks::check_identity(request, current.as_ref())?;
    checks::check_locations(catalog, request, base).await?;
    checks::check_properties(request, base)?;
    checks::check_snapshots(request, base)?;
    checks::check_field_ids(request)?;
    checks::check_outcome(request, &commit, current.as_ref())?;
    Ok(commit)
}
