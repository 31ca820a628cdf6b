//! What requests carry: names in the path, parameters, and a JSON body.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::Catalog;
use ingot_catalog::materialized_view::is_storage_table;
use ingot_catalog::table::ident_name;
use serde::de::DeserializeOwned;

use super::RestCatalog;
use super::error::{RestError, Result, Subject};
use super::wire::Identifier;

/// The largest body that is read. A commit carries metadata, never data.
const MAX_BODY_BYTES: usize = 32 << 20;

/// Between the levels of a namespace.
const LEVEL_SEPARATOR: char = '\u{1f}';

/// What the path of a request names.
pub(super) struct Target {
    /// The catalog that the prefix names.
    pub(super) catalog: Arc<dyn Catalog>,
    namespace: Vec<String>,
    name: String,
}

impl FromRequestParts<Arc<RestCatalog>> for Target {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, rest: &Arc<RestCatalog>) -> Result<Self> {
        let Path(mut names) = Path::<HashMap<String, String>>::from_request_parts(parts, rest)
            .await
            .map_err(|error| {
                RestError::bad_request(format!("the path cannot be read: {}", error.body_text()))
            })?;
        let prefix = names.remove("prefix").unwrap_or_default();
        let namespace = names.remove("namespace").unwrap_or_default();
        let table = names.remove("table");
        Ok(Self {
            catalog: rest.catalog(&prefix)?,
            namespace: levels(&namespace),
            name: table.or_else(|| names.remove("view")).unwrap_or_default(),
        })
    }
}

/// The levels of a namespace as paths and parameters write them.
fn levels(text: &str) -> Vec<String> {
    text.split(LEVEL_SEPARATOR).map(str::to_string).collect()
}

impl Target {
    /// The namespace.
    ///
    /// # Errors
    /// `NoSuchNamespaceException` for one with several levels.
    pub(super) fn schema(&self) -> Result<&str> {
        single_level(&self.namespace, Subject::Namespace)
    }

    /// A table or view of this name in the namespace, to be created.
    pub(super) fn new_object(&self, name: &str) -> Result<TableIdent> {
        let ident = ident(self.schema()?, name);
        refuse_storage_table(&ident)?;
        Ok(ident)
    }

    /// The table.
    pub(super) fn table(&self) -> Result<TableIdent> {
        Ok(ident(
            single_level(&self.namespace, Subject::Table)?,
            &self.name,
        ))
    }

    /// The table, to be changed or dropped.
    pub(super) fn table_to_change(&self) -> Result<TableIdent> {
        let ident = self.table()?;
        refuse_storage_table(&ident)?;
        Ok(ident)
    }

    /// The view.
    pub(super) fn view(&self) -> Result<TableIdent> {
        Ok(ident(
            single_level(&self.namespace, Subject::View)?,
            &self.name,
        ))
    }
}

impl Identifier {
    /// The object that it names.
    ///
    /// # Errors
    /// That it does not exist, in words about `subject`, when its namespace has several levels.
    pub(super) fn ident(&self, subject: Subject) -> Result<TableIdent> {
        Ok(ident(single_level(&self.namespace, subject)?, &self.name))
    }
}

/// Refuses to make, change or drop a table with the rows of a materialized view: only refreshes
/// and the view itself do that.
pub(super) fn refuse_storage_table(ident: &TableIdent) -> Result<()> {
    if !is_storage_table(ident) {
        return Ok(());
    }
    Err(RestError::unsupported(format!(
        "changing {}, the name of a materialized view's rows,",
        ident_name(ident)
    )))
}

/// The one level of a namespace.
pub(super) fn single_level(namespace: &[String], subject: Subject) -> Result<&str> {
    match namespace {
        [schema] => Ok(schema),
        levels => Err(RestError::nested_namespace(subject, levels)),
    }
}

fn ident(schema: &str, name: &str) -> TableIdent {
    TableIdent::new(NamespaceIdent::new(schema.to_string()), name.to_string())
}

/// The parameters after the question mark. Of one that is given twice, the last counts.
pub(super) struct Parameters(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Ok(Self(pairs.into_owned().collect()))
    }
}

impl Parameters {
    /// The text of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The namespace that a parameter names; none when it is empty.
    pub(super) fn namespace(&self, name: &str) -> Option<Vec<String>> {
        let text = self.get(name).filter(|text| !text.is_empty())?;
        Some(levels(text))
    }

    /// A parameter that is `true` or `false`, which it is when it is missing.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None | Some("") => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(RestError::bad_request(format!(
                "parameter {name} is {text:?}: it must be true or false"
            ))),
        }
    }
}

/// The body of a request, from JSON.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = RestError;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let bytes = body_bytes(request).await?;
        // Parsers of structures would take an array of the fields' values too.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(RestError::bad_request(
                "the body of the request must be a JSON object",
            ));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            RestError::bad_request(format!("the body of the request cannot be read: {error}"))
        })
    }
}

/// The whole body, if it is not too large.
pub(super) async fn body_bytes(request: Request) -> Result<bytes::Bytes> {
    to_bytes(request.into_body(), MAX_BODY_BYTES)
        .await
        .map_err(|error| {
            RestError::bad_request(format!(
                "the body of the request cannot be read, at most {MAX_BODY_BYTES} bytes: {error}"
            ))
        })
}
