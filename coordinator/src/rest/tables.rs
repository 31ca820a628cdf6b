//! Tables: all but commits.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use iceberg::TableIdent;
use iceberg::spec::{SortOrder, TableProperties, UnboundPartitionSpec};
use ingot_catalog::commit::{
    StagedTable, check_purge, check_readable, commit_staged, purge_table, stage_create,
};
use ingot_catalog::{Catalog, CatalogError, Table};
use serde_json::Value;

use super::RestCatalog;
use super::error::{About, RestError, Result, Subject};
use super::paging::identifier_page;
use super::request::{Body, Parameters, Target, refuse_storage_table};
use super::table_result::Snapshots;
use super::wire::{CreateTable, IdentifierList, RegisterTable, Rename};

/// The property that sets the format version of a new table.
const FORMAT_VERSION: &str = "format-version";

/// `GET namespaces/{namespace}/tables`
pub(super) async fn list(target: Target, parameters: Parameters) -> Result<Json<IdentifierList>> {
    let schema = target.schema()?;
    let names = target.catalog.list_tables(schema).await?;
    identifier_page(schema, names, &parameters)
}

/// `POST namespaces/{namespace}/tables`: creates a table, or with `stage-create` says what it would
/// be, for a commit with `assert-create`.
pub(super) async fn create(
    State(rest): State<Arc<RestCatalog>>,
    target: Target,
    Body(request): Body<CreateTable>,
) -> Result<Response> {
    let ident = target.new_object(&request.name)?;
    let catalog = target.catalog.as_ref();
    let is_staged = request.stage_create.unwrap_or(false);
    let staged = stage(catalog, &ident, request).await?;
    let table = match is_staged {
        true => staged.table().clone(),
        false => commit_staged(catalog, staged, Vec::new()).await?,
    };
    rest.table_response(catalog, &table, Snapshots::All)
}

async fn stage(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    request: CreateTable,
) -> Result<StagedTable> {
    let mut properties: HashMap<String, String> = request.properties.unwrap_or_default();
    // What tables of Iceberg's Java library show as properties and are none.
    properties.retain(|name, _| {
        name == FORMAT_VERSION || !TableProperties::RESERVED_PROPERTIES.contains(&name.as_str())
    });
    if let Some(location) = request.location {
        properties.insert("location".to_string(), location);
    }
    let unpartitioned = || UnboundPartitionSpec::builder().build();
    let staged = stage_create(
        catalog,
        ident,
        request.schema,
        request.partition_spec.unwrap_or_else(unpartitioned),
        request
            .write_order
            .unwrap_or_else(SortOrder::unsorted_order),
        properties,
    )
    .await
    .map_err(|error| match error {
        CatalogError::IsView { name, .. } => CatalogError::ViewExists { name },
        other => other,
    })?;
    check_readable(&staged.table().metadata).map_err(refused_metadata)?;
    Ok(staged)
}

/// Metadata that a client gave is the client's mistake.
fn refused_metadata(error: CatalogError) -> RestError {
    match error {
        CatalogError::Metadata { .. } => RestError::bad_request(error.to_string()),
        other => other.into(),
    }
}

/// `GET namespaces/{namespace}/tables/{table}`
pub(super) async fn load(
    State(rest): State<Arc<RestCatalog>>,
    target: Target,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response> {
    let snapshots = Snapshots::parse(parameters.get("snapshots"))?;
    let table = load_table(&target).await?;
    match rest.not_modified(&headers, &table, snapshots) {
        Some(response) => Ok(response),
        None => rest.table_response(target.catalog.as_ref(), &table, snapshots),
    }
}

async fn load_table(target: &Target) -> Result<Table> {
    let ident = target.table()?;
    target.catalog.load_table(&ident).await.about_table()
}

/// `HEAD namespaces/{namespace}/tables/{table}`
pub(super) async fn exists(target: Target) -> Result<StatusCode> {
    load_table(&target).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE namespaces/{namespace}/tables/{table}`: with `purgeRequested`, deletes the files too.
pub(super) async fn drop(target: Target, parameters: Parameters) -> Result<StatusCode> {
    let purge = parameters.flag("purgeRequested")?;
    let ident = target.table_to_change()?;
    let catalog = target.catalog.as_ref();
    if purge {
        let table = catalog.load_table(&ident).await.about_table()?;
        check_purge(&table)?;
    }
    let dropping = match purge {
        true => catalog.drop_table_for_purge(&ident),
        false => catalog.drop_table(&ident),
    };
    let dropped = dropping.await.about_table()?;
    if purge {
        match purge_table(catalog, &dropped).await {
            Ok(report) => tracing::info!(table = %dropped.name(), files = %report, "purged"),
            // The table is gone, as was asked; what stays are files that nobody refers to.
            Err(error) => {
                tracing::warn!(table = %dropped.name(), %error, "cannot delete files of a dropped table");
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST namespaces/{namespace}/tables/{table}/unregister`: drops the table and tells where its last
/// metadata is.
pub(super) async fn unregister(
    State(rest): State<Arc<RestCatalog>>,
    target: Target,
) -> Result<Response> {
    let ident = target.table_to_change()?;
    let dropped = target.catalog.drop_table(&ident).await.about_table()?;
    rest.table_response(target.catalog.as_ref(), &dropped, Snapshots::All)
}

/// `POST namespaces/{namespace}/register`
pub(super) async fn register(
    State(rest): State<Arc<RestCatalog>>,
    target: Target,
    Body(request): Body<RegisterTable>,
) -> Result<Response> {
    if request.overwrite.unwrap_or(false) {
        return Err(RestError::unsupported("registering over a table"));
    }
    let ident = target.new_object(&request.name)?;
    let table = target
        .catalog
        .register_table(&ident, &request.metadata_location)
        .await
        .map_err(refused_metadata)?;
    rest.table_response(target.catalog.as_ref(), &table, Snapshots::All)
}

/// `POST tables/rename`
pub(super) async fn rename(target: Target, Body(request): Body<Rename>) -> Result<StatusCode> {
    let from = request.source.ident(Subject::Table)?;
    let to = request.destination.ident(Subject::Namespace)?;
    refuse_storage_table(&from)?;
    refuse_storage_table(&to)?;
    target.catalog.load_table(&from).await.about_table()?;
    target.catalog.rename_table(&from, &to).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST namespaces/{namespace}/tables/{table}/metrics`: reports of clients on their scans and
/// commits. They are logged and not kept.
pub(super) async fn report_metrics(
    target: Target,
    Body(report): Body<Value>,
) -> Result<StatusCode> {
    let ident = target.table()?;
    let Some(kind) = report["report-type"].as_str() else {
        return Err(RestError::bad_request("the report has no report-type"));
    };
    tracing::debug!(table = %ident, kind, %report, "metrics of a client");
    Ok(StatusCode::NO_CONTENT)
}
