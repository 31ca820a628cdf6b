//! `GET v1/config`, and which catalog a request is for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ingot_catalog::Catalog;

use super::error::{RestError, Result};
use super::request::Parameters;
use super::wire::CatalogConfig;
use super::{ENDPOINTS, RestCatalog};

/// Tells a client the prefix of its paths, which is the catalog's name. The parameter `warehouse`
/// names the catalog; without it, it is the first.
pub(super) async fn get(
    State(rest): State<Arc<RestCatalog>>,
    parameters: Parameters,
) -> Result<Json<CatalogConfig>> {
    let wanted = parameters
        .get("warehouse")
        .filter(|warehouse| !warehouse.is_empty());
    let catalog = match wanted {
        Some(name) => rest.catalog(name)?,
        None => rest.first_catalog()?,
    };
    let prefix = path_segment(catalog.name());
    Ok(Json(CatalogConfig {
        defaults: BTreeMap::new(),
        overrides: BTreeMap::from([("prefix".to_string(), prefix)]),
        endpoints: &ENDPOINTS,
    }))
}

/// A name as it stands in a path.
fn path_segment(name: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    encoded.replace('+', "%20")
}

impl RestCatalog {
    /// The catalog of this name.
    pub(super) fn catalog(&self, name: &str) -> Result<Arc<dyn Catalog>> {
        let mut catalogs = self.catalogs.iter();
        let found = catalogs.find(|catalog| catalog.name() == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = self.catalogs.iter().map(|catalog| catalog.name()).collect();
            RestError::no_such_warehouse(format!(
                "warehouse {name} does not exist: leave it out or name a catalog of this server, {}",
                names.join(" or ")
            ))
        })
    }

    fn first_catalog(&self) -> Result<Arc<dyn Catalog>> {
        let first = self.catalogs.first().cloned();
        first.ok_or_else(|| RestError::no_such_warehouse("this server has no catalog"))
    }
}
