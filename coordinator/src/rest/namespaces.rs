//! Namespaces, which are Ingot's schemas and have one level.

use axum::Json;
use axum::http::StatusCode;

use super::error::{RestError, Result, Subject};
use super::paging::page;
use super::request::{Body, Parameters, Target, single_level};
use super::wire::{ChangeProperties, ChangedProperties, CreateNamespace, Namespace, NamespaceList};

/// `GET namespaces`: all, or those below `parent`, of which there are none.
pub(super) async fn list(target: Target, parameters: Parameters) -> Result<Json<NamespaceList>> {
    let names = match parameters.namespace("parent") {
        None => target.catalog.list_schemas().await?,
        Some(parent) => {
            let schema = single_level(&parent, Subject::Namespace)?;
            target.catalog.load_schema(schema).await?;
            Vec::new()
        }
    };
    let (names, next_page_token) = page(names, &parameters)?;
    Ok(Json(NamespaceList {
        namespaces: names.into_iter().map(|name| vec![name]).collect(),
        next_page_token,
    }))
}

/// `POST namespaces`
pub(super) async fn create(
    target: Target,
    Body(request): Body<CreateNamespace>,
) -> Result<Json<Namespace>> {
    let [schema] = request.namespace.as_slice() else {
        return Err(RestError::unsupported(format!(
            "namespace {}, which has not one level,",
            request.namespace.join(".")
        )));
    };
    let properties = request.properties.unwrap_or_default();
    target.catalog.create_schema(schema, properties).await?;
    loaded(&target, schema).await
}

/// `GET namespaces/{namespace}`
pub(super) async fn load(target: Target) -> Result<Json<Namespace>> {
    loaded(&target, target.schema()?).await
}

async fn loaded(target: &Target, schema: &str) -> Result<Json<Namespace>> {
    Ok(Json(Namespace {
        namespace: vec![schema.to_string()],
        properties: target.catalog.load_schema(schema).await?,
    }))
}

/// `HEAD namespaces/{namespace}`
pub(super) async fn exists(target: Target) -> Result<StatusCode> {
    target.catalog.load_schema(target.schema()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE namespaces/{namespace}`
pub(super) async fn drop(target: Target) -> Result<StatusCode> {
    target.catalog.drop_schema(target.schema()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST namespaces/{namespace}/properties`
pub(super) async fn change_properties(
    target: Target,
    Body(request): Body<ChangeProperties>,
) -> Result<Json<ChangedProperties>> {
    let schema = target.schema()?;
    let removals = request.removals.unwrap_or_default();
    let updates = request.updates.unwrap_or_default();
    if let Some(name) = removals.iter().find(|name| updates.contains_key(*name)) {
        return Err(RestError::unprocessable(format!(
            "property {name} is to be both removed and set"
        )));
    }
    let current = target.catalog.load_schema(schema).await?;
    let (removed, missing): (Vec<String>, Vec<String>) = removals
        .into_iter()
        .partition(|name| current.contains_key(name));
    let mut updated: Vec<String> = updates.keys().cloned().collect();
    updated.sort();
    target
        .catalog
        .change_schema_properties(schema, updates, &removed)
        .await?;
    Ok(Json(ChangedProperties {
        updated,
        removed,
        missing,
    }))
}
