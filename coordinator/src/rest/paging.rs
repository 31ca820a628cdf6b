//! Pages of listings.
//!
//! A client asks for pages by sending a `pageToken`, at first an empty one; without it, it gets
//! everything. The token is the last name of the page before, so a page begins right whatever was
//! created or dropped meanwhile.

use axum::Json;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::error::{RestError, Result};
use super::request::Parameters;
use super::wire::{Identifier, IdentifierList};

/// Names of a page when the client does not say how many.
const DEFAULT_PAGE_SIZE: usize = 1_000;

/// One page of sorted names, and the token of the next one if there is one.
pub(super) fn page(
    names: Vec<String>,
    parameters: &Parameters,
) -> Result<(Vec<String>, Option<String>)> {
    let Some(token) = parameters.get("pageToken") else {
        return Ok((names, None));
    };
    let size = match parameters.get("pageSize") {
        None | Some("") => DEFAULT_PAGE_SIZE,
        Some(text) => text.parse().ok().filter(|size| *size > 0).ok_or_else(|| {
            RestError::bad_request(format!("pageSize {text:?} is no number above 0"))
        })?,
    };
    let start = match token {
        "" => 0,
        token => {
            let last = decode(token)?;
            names.partition_point(|name| *name <= last)
        }
    };
    let end = start.saturating_add(size).min(names.len());
    let has_more = end < names.len();
    let page: Vec<String> = names.into_iter().take(end).skip(start).collect();
    let next = match page.last() {
        Some(last) if has_more => Some(BASE64_URL_SAFE_NO_PAD.encode(last)),
        _ => None,
    };
    Ok((page, next))
}

/// One page of the names of a schema's tables or views, as the protocol lists them.
pub(super) fn identifier_page(
    schema: &str,
    names: Vec<String>,
    parameters: &Parameters,
) -> Result<Json<IdentifierList>> {
    let (names, next_page_token) = page(names, parameters)?;
    let identifiers = names.into_iter().map(|name| Identifier::of(schema, name));
    Ok(Json(IdentifierList {
        identifiers: identifiers.collect(),
        next_page_token,
    }))
}

fn decode(token: &str) -> Result<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| RestError::bad_request("pageToken is not one that this server gave"))
}
