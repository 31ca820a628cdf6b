//! Commits to one table, and to several at once.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use iceberg::{TableIdent, TableRequirement};
use ingot_catalog::CatalogError;
use ingot_catalog::commit::{CommitRequest, commit_requested};

use super::RestCatalog;
use super::error::{About, RestError, Result, Subject};
use super::request::{Body, Target, refuse_storage_table};
use super::table_result::Snapshots;
use super::wire::{CommitTable, CommitTransaction, check_identifier};

/// `POST namespaces/{namespace}/tables/{table}`
pub(super) async fn commit(
    State(rest): State<Arc<RestCatalog>>,
    target: Target,
    Body(body): Body<CommitTable>,
) -> Result<Response> {
    let ident = target.table_to_change()?;
    check_identifier(body.identifier.as_ref(), &ident)?;
    let request = commit_request(ident, body);
    let is_creation = request.requirements.contains(&TableRequirement::NotExist);
    let catalog = target.catalog.as_ref();
    let committed = commit_requested(catalog, vec![request]).await;
    let tables = told(committed, is_creation)?;
    match tables.as_slice() {
        [table] => rest.table_response(catalog, table, Snapshots::All),
        _ => Err(RestError::internal("the catalog answered no table")),
    }
}

/// `POST transactions/commit`: all changes become visible at once, or none.
pub(super) async fn commit_transaction(
    target: Target,
    Body(body): Body<CommitTransaction>,
) -> Result<StatusCode> {
    if body.table_changes.is_empty() {
        return Err(RestError::bad_request("table-changes is empty"));
    }
    let mut requests = Vec::with_capacity(body.table_changes.len());
    for change in body.table_changes {
        let Some(identifier) = &change.identifier else {
            return Err(RestError::bad_request(
                "each of table-changes needs an identifier",
            ));
        };
        let ident = identifier.ident(Subject::Table)?;
        refuse_storage_table(&ident)?;
        requests.push(commit_request(ident, change));
    }
    commit_requested(target.catalog.as_ref(), requests)
        .await
        .about_table()?;
    Ok(StatusCode::NO_CONTENT)
}

fn commit_request(ident: TableIdent, body: CommitTable) -> CommitRequest {
    CommitRequest {
        ident,
        requirements: body.requirements,
        updates: body.updates,
    }
}

/// Where a table is to be created, a missing namespace is one; else the table is what is missing.
fn told<T>(outcome: Result<T, CatalogError>, is_creation: bool) -> Result<T> {
    match is_creation {
        true => Ok(outcome?),
        false => outcome.about_table(),
    }
}
