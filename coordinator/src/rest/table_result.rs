//! Answers that hold a table: its metadata, where that is stored, and how to reach its files.

use std::collections::{BTreeMap, HashSet};

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use iceberg::spec::TableMetadata;
use ingot_catalog::{Catalog, Table};
use serde::Serialize;
use serde_json::Value;

use super::RestCatalog;
use super::error::{RestError, Result};
use super::storage::client_properties;

/// Which snapshots an answer lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snapshots {
    /// All that the table has.
    All,
    /// Those that branches and tags point at.
    Referenced,
}

impl Snapshots {
    /// From the parameter `snapshots`.
    pub(super) fn parse(text: Option<&str>) -> Result<Self> {
        match text {
            None | Some("") => Ok(Self::All),
            Some(text) if text.eq_ignore_ascii_case("all") => Ok(Self::All),
            Some(text) if text.eq_ignore_ascii_case("refs") => Ok(Self::Referenced),
            Some(text) => Err(RestError::bad_request(format!(
                "parameter snapshots is {text:?}: it must be all or refs"
            ))),
        }
    }
}

/// `LoadTableResult`; `CommitTableResponse` and `UnregisterTableResult` are parts of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct TableResult<'a, M> {
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_location: Option<&'a str>,
    metadata: M,
    config: BTreeMap<String, String>,
}

impl RestCatalog {
    /// The answer with a table. One that is staged has no metadata location and no tag.
    pub(super) fn table_response(
        &self,
        catalog: &dyn Catalog,
        table: &Table,
        snapshots: Snapshots,
    ) -> Result<Response> {
        let metadata = table.metadata.as_ref();
        let metadata_location = table.metadata_location.as_deref();
        let s3 = &catalog.storage().config().s3;
        let config = client_properties(metadata.location(), s3, self.gives_credentials);
        let mut response = match snapshots {
            Snapshots::All => Json(TableResult {
                metadata_location,
                metadata,
                config,
            })
            .into_response(),
            Snapshots::Referenced => Json(TableResult {
                metadata_location,
                metadata: with_referenced_snapshots(metadata)?,
                config,
            })
            .into_response(),
        };
        if let Some(tag) = self.entity_tag(table, snapshots) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        Ok(response)
    }

    /// `304 Not Modified` when the client has this state of the table already.
    pub(super) fn not_modified(
        &self,
        headers: &HeaderMap,
        table: &Table,
        snapshots: Snapshots,
    ) -> Option<Response> {
        let tag = self.entity_tag(table, snapshots)?;
        let known = headers.get(header::IF_NONE_MATCH)?.to_str().ok()?;
        let is_known = known.split(',').any(|known| known.trim() == tag);
        is_known.then(|| (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response())
    }

    /// Identifies what an answer says: metadata files never change, so it is where they are. None
    /// when the answer has credentials, which do change.
    fn entity_tag(&self, table: &Table, snapshots: Snapshots) -> Option<HeaderValue> {
        if self.gives_credentials {
            return None;
        }
        let location = table.metadata_location.as_deref()?;
        let encoded: String = url::form_urlencoded::byte_serialize(location.as_bytes()).collect();
        let which = match snapshots {
            Snapshots::All => "all",
            Snapshots::Referenced => "refs",
        };
        HeaderValue::from_str(&format!("\"{encoded}-{which}\"")).ok()
    }
}

/// The metadata without the snapshots that no branch or tag points at.
fn with_referenced_snapshots(metadata: &TableMetadata) -> Result<Value> {
    let mut json = serde_json::to_value(metadata).map_err(|error| {
        RestError::internal(format!("metadata of {}: {error}", metadata.location()))
    })?;
    let referenced: HashSet<i64> = json["refs"]
        .as_object()
        .into_iter()
        .flat_map(|references| references.values())
        .filter_map(|reference| reference["snapshot-id"].as_i64())
        .chain(metadata.current_snapshot_id())
        .collect();
    if let Some(snapshots) = json["snapshots"].as_array_mut() {
        snapshots.retain(|snapshot| {
            snapshot["snapshot-id"]
                .as_i64()
                .is_some_and(|id| referenced.contains(&id))
        });
    }
    Ok(json)
}
