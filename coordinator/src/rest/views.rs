//! Views.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ingot_catalog::View;
use ingot_catalog::commit::{NewView, create_requested_view, replace_requested_view};

use super::error::{About, RestError, Result, Subject};
use super::paging::identifier_page;
use super::request::{Body, Parameters, Target, refuse_storage_table};
use super::wire::{
    CommitView, CreateView, IdentifierList, Rename, ViewRequirement, ViewResult, check_identifier,
};
use crate::statement::delete_files_of_dropped;

/// `GET namespaces/{namespace}/views`
pub(super) async fn list(target: Target, parameters: Parameters) -> Result<Json<IdentifierList>> {
    let schema = target.schema()?;
    let names = target.catalog.list_views(schema).await?;
    identifier_page(schema, names, &parameters)
}

/// `POST namespaces/{namespace}/views`
pub(super) async fn create(target: Target, Body(request): Body<CreateView>) -> Result<Response> {
    let ident = target.new_object(&request.name)?;
    let new = NewView {
        location: request.location,
        schema: request.schema,
        version: request.view_version,
        properties: request.properties.unwrap_or_default(),
    };
    let view = create_requested_view(target.catalog.as_ref(), &ident, new).await?;
    Ok(view_response(&view))
}

/// `GET namespaces/{namespace}/views/{view}`
pub(super) async fn load(target: Target) -> Result<Response> {
    Ok(view_response(&load_view(&target).await?))
}

async fn load_view(target: &Target) -> Result<View> {
    let ident = target.view()?;
    target.catalog.load_view(&ident).await.about_view()
}

/// `HEAD namespaces/{namespace}/views/{view}`
pub(super) async fn exists(target: Target) -> Result<StatusCode> {
    load_view(&target).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST namespaces/{namespace}/views/{view}`
pub(super) async fn replace(target: Target, Body(request): Body<CommitView>) -> Result<Response> {
    let ident = target.view()?;
    check_identifier(request.identifier.as_ref(), &ident)?;
    let requirements = request.requirements.unwrap_or_default();
    let uuids: Vec<_> = requirements
        .iter()
        .map(|ViewRequirement::UuidMatch { uuid }| *uuid)
        .collect();
    let view = replace_requested_view(target.catalog.as_ref(), &ident, &uuids, &request.updates)
        .await
        .about_view()?;
    Ok(view_response(&view))
}

/// `DELETE namespaces/{namespace}/views/{view}`: a materialized view goes with its rows.
pub(super) async fn drop(target: Target) -> Result<StatusCode> {
    let ident = target.view()?;
    let catalog = target.catalog.as_ref();
    let dropped = catalog.drop_view(&ident).await.about_view()?;
    delete_files_of_dropped(catalog, &dropped).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST views/rename`
pub(super) async fn rename(target: Target, Body(request): Body<Rename>) -> Result<StatusCode> {
    let from = request.source.ident(Subject::View)?;
    let to = request.destination.ident(Subject::Namespace)?;
    refuse_storage_table(&to)?;
    let view = target.catalog.load_view(&from).await.about_view()?;
    if view.materialization()?.is_some() {
        return Err(RestError::unsupported(format!(
            "renaming materialized view {} but by SQL of Ingot",
            view.name()
        )));
    }
    target.catalog.rename_view(&from, &to).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn view_response(view: &View) -> Response {
    Json(ViewResult {
        metadata_location: &view.metadata_location,
        metadata: &view.metadata,
        config: BTreeMap::new(),
    })
    .into_response()
}
