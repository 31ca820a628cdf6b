//! What a server says of itself: `GET v1/config`.

use std::collections::HashSet;

use super::failure::Failure;
use super::http::{Call, Client};
use super::nessie::Nessie;
use super::options::checked_uri;
use super::paths::Paths;
use super::wire::CatalogConfig;
use crate::error::{CatalogError, Result};

/// Between the levels of a namespace when the server does not say.
const DEFAULT_SEPARATOR: &str = "%1F";

/// What servers offer that do not list it (specification, `CatalogConfig`). Those listed here are
/// the ones that are asked about.
const DEFAULT_ENDPOINTS: [&str; 1] = [Endpoints::COMMIT_TRANSACTION];

/// Asks for the configuration of the server, or of one of its warehouses.
pub(super) async fn configuration(
    client: &Client,
    warehouse: Option<&str>,
) -> Result<ServerConfiguration, Failure> {
    let mut call = Call::get("config".to_string());
    if let Some(warehouse) = warehouse {
        call = call.with("warehouse", warehouse);
    }
    let config = client.fetch(&call).await?;
    Ok(ServerConfiguration { config })
}

/// What the server said.
pub(super) struct ServerConfiguration {
    config: CatalogConfig,
}

impl ServerConfiguration {
    /// What the server insists on, or else what it suggests.
    fn get(&self, name: &str) -> Option<&str> {
        let overrides = self.config.overrides.get(name).and_then(Option::as_deref);
        let defaults = || self.config.defaults.get(name).and_then(Option::as_deref);
        overrides.or_else(defaults)
    }

    /// Where all other requests go, if it is elsewhere than where this one went.
    ///
    /// # Errors
    /// `InvalidInput` for what is no URI, and for one where what was sent encrypted no longer
    /// would be.
    pub(super) fn uri(&self, asked: &str) -> Result<Option<String>> {
        let overridden = self.config.overrides.get("uri").and_then(Option::as_deref);
        let uri = overridden.map(|uri| followed(asked, uri));
        uri.transpose()
    }

    /// The API of Nessie for its references, where the server is one.
    ///
    /// # Errors
    /// As [`Self::uri`].
    pub(super) fn nessie(&self, client: &Client) -> Result<Option<Nessie>> {
        let is_nessie = self.get("nessie.is-nessie-catalog");
        let core_uri = self.get("nessie.core-base-uri");
        let (Some("true"), Some(core_uri)) = (is_nessie, core_uri) else {
            return Ok(None);
        };
        let core_uri = followed(client.uri(), core_uri)?;
        let default_branch = self.get("nessie.default-branch.name");
        Ok(Some(Nessie::new(
            client,
            core_uri,
            self.get("prefix").unwrap_or_default(),
            default_branch,
        )))
    }

    pub(super) fn paths(&self, is_nested: bool) -> Paths {
        let separator = self.get("namespace-separator");
        Paths::new(
            self.get("prefix"),
            separator.unwrap_or(DEFAULT_SEPARATOR),
            is_nested,
        )
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        let mut offered: HashSet<String> = match &self.config.endpoints {
            Some(endpoints) => endpoints.iter().cloned().collect(),
            None => DEFAULT_ENDPOINTS.iter().map(ToString::to_string).collect(),
        };
        // Servers from before the list existed said it so.
        let has_views = self.get("view-endpoints-supported");
        if has_views.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            offered.insert(Endpoints::LIST_VIEWS.to_string());
            offered.insert(Endpoints::LOAD_VIEW.to_string());
        }
        Endpoints { offered }
    }
}

/// A URI that the server at `asked` sends its clients to.
fn followed(asked: &str, uri: &str) -> Result<String> {
    let uri = checked_uri(uri)?;
    if asked.starts_with("https://") && uri.starts_with("http://") {
        return Err(CatalogError::InvalidInput(format!(
            "the rest catalog at {asked} sends its clients to {uri}, where passwords would be \
             readable: have it know its public address"
        )));
    }
    Ok(uri)
}

/// What the server offers beyond tables and namespaces.
pub(super) struct Endpoints {
    offered: HashSet<String>,
}

impl Endpoints {
    const COMMIT_TRANSACTION: &'static str = "POST /v1/{prefix}/transactions/commit";
    const LIST_VIEWS: &'static str = "GET /v1/{prefix}/namespaces/{namespace}/views";
    const LOAD_VIEW: &'static str = "GET /v1/{prefix}/namespaces/{namespace}/views/{view}";
    const LOAD_CREDENTIALS: &'static str =
        "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials";

    /// Commits of several tables at once.
    pub(super) fn has_transactions(&self) -> bool {
        self.offered.contains(Self::COMMIT_TRANSACTION)
    }

    /// Views.
    pub(super) fn has_views(&self) -> bool {
        self.offered.contains(Self::LIST_VIEWS) && self.offered.contains(Self::LOAD_VIEW)
    }

    /// Credentials of storage without the table.
    pub(super) fn has_credentials(&self) -> bool {
        self.offered.contains(Self::LOAD_CREDENTIALS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(json: &str) -> ServerConfiguration {
        ServerConfiguration {
            config: serde_json::from_str(json).unwrap(),
        }
    }

    #[test]
    fn overrides_win_over_defaults() {
        let server = configuration(
            r#"{"defaults": {"prefix": "a", "x": null}, "overrides": {"prefix": "b"}}"#,
        );
        assert_eq!(server.get("prefix"), Some("b"));
        assert!(server.endpoints().has_transactions());
        assert!(!server.endpoints().has_views());
        let server = configuration(r#"{"defaults": {}, "overrides": {}, "endpoints": []}"#);
        assert!(!server.endpoints().has_transactions());
    }

    #[test]
    fn nobody_is_sent_from_https_to_http() {
        let server = configuration(r#"{"overrides": {"uri": "http://other/x/"}}"#);
        let uri = server.uri("http://h").unwrap();
        assert_eq!(uri.as_deref(), Some("http://other/x"));
        let error = server.uri("https://h").unwrap_err().to_string();
        assert!(error.contains("http://other/x"), "{error}");
    }
}
