//! The tables of another Iceberg catalog, over the REST catalog protocol.
//!
//! Specification: `open-api/rest-catalog-open-api.yaml` of Apache Iceberg. The server decides where
//! tables are and makes each commit a compare-and-swap; this side builds commits as for the SQL
//! catalog. What makes it different is that an answer can get lost: [`commit`] then finds out what
//! the server did before anybody deletes a file.

mod access;
mod authentication;
mod commit;
mod creation;
mod evidence;
mod failure;
mod http;
mod lookup;
mod nessie;
mod operations;
mod options;
mod pages;
mod paths;
mod server;
mod views;
mod wire;

use std::sync::Arc;

use crate::error::{CatalogError, Result};
use crate::storage::Storage;

use authentication::Authenticator;
use failure::Failure;
use http::Client;
use nessie::Nessie;
use paths::Paths;
use server::Endpoints;

pub use options::{AccessDelegation, RestAuthentication, RestCatalogOptions};

/// A catalog behind an Iceberg REST server. Only Nessie has branches of the whole catalog: those of
/// one table are part of the table.
#[derive(Clone)]
pub struct RestCatalog {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    name: String,
    storage: Arc<Storage>,
    client: Client,
    paths: Paths,
    endpoints: Arc<Endpoints>,
    access_delegation: AccessDelegation,
    /// Its references, and which one this handle is at; `None` for any other server.
    nessie: Option<Nessie>,
}

impl std::fmt::Debug for RestCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestCatalog")
            .field("name", &self.inner.name)
            .field("uri", &self.inner.client.uri())
            .finish_non_exhaustive()
    }
}

impl RestCatalog {
    /// Asks the server for its configuration and opens the catalog under this name.
    ///
    /// # Errors
    /// `InvalidInput` for a URI that is none; `Remote` when the server does not answer;
    /// `RemoteAccess` when it refuses the credentials.
    pub async fn open(
        name: &str,
        storage: Arc<Storage>,
        options: RestCatalogOptions,
    ) -> Result<Arc<Self>> {
        let uri = options.checked_uri()?;
        let in_catalog = |failure: Failure| match failure.into_error(name) {
            CatalogError::Remote { catalog, problem } => CatalogError::Remote {
                catalog,
                problem: format!("{problem} (setting catalog.rest.uri: {uri})"),
            },
            other => other,
        };
        let http = http::http_client(options.request_timeout).map_err(in_catalog)?;
        let authenticator = Authenticator::new(options.authentication, &uri, http.clone());
        let mut client = Client::new(http, authenticator, uri.clone());
        let warehouse = options.warehouse.as_deref();
        let server = server::configuration(&client, warehouse)
            .await
            .map_err(in_catalog)?;
        if let Some(uri) = server.uri(client.uri())? {
            client.set_uri(uri);
        }
        let nessie = server.nessie(&client)?;
        Ok(Arc::new(Self {
            inner: Arc::new(Inner {
                name: name.to_string(),
                storage,
                client,
                nessie,
                paths: server.paths(options.nested_namespaces),
                endpoints: Arc::new(server.endpoints()),
                access_delegation: options.access_delegation,
            }),
        }))
    }
}
