//! Where a REST catalog is and how to get in.

use std::fmt;
use std::time::Duration;

use url::Url;

use crate::error::{CatalogError, Result};

/// How long one request may take when nothing else is said.
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of a [`RestCatalog`](super::RestCatalog).
#[derive(Debug, Clone)]
pub struct RestCatalogOptions {
    /// The server, without `/v1`: `https://host/path`.
    pub uri: String,
    /// Which of the server's warehouses; the server chooses without one.
    pub warehouse: Option<String>,
    /// How to prove who is asking.
    pub authentication: RestAuthentication,
    /// Whether the server is asked for the credentials of storage.
    pub access_delegation: AccessDelegation,
    /// Whether namespaces within namespaces are schemas too, called `outer.inner`.
    pub nested_namespaces: bool,
    /// The longest that one request may take.
    pub request_timeout: Duration,
}

/// How Ingot proves itself to a REST catalog.
#[derive(Clone, Default)]
pub enum RestAuthentication {
    /// Not at all.
    #[default]
    None,
    /// With a token that does not change.
    Token(String),
    /// With a user and password (HTTP basic authentication).
    Basic {
        /// The user.
        user: String,
        /// Never logged or shown.
        password: String,
    },
    /// With tokens of an OAuth 2 server, for a client's id and secret (RFC 6749, section 4.4).
    ClientCredentials {
        /// The client's id; some servers know clients by their secret alone.
        client_id: Option<String>,
        /// Never logged or shown.
        client_secret: String,
        /// What the token is to be good for.
        scope: Option<String>,
        /// Where tokens are issued; `None` is the catalog itself.
        token_uri: Option<String>,
    },
}

/// Shows no secret.
impl fmt::Debug for RestAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token",
            Self::Basic { .. } => "Basic",
            Self::ClientCredentials { .. } => "ClientCredentials",
        })
    }
}

/// Who gives access to a table's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessDelegation {
    /// The catalog, with credentials for each table, where it has some; else the process's own
    /// settings.
    #[default]
    VendedCredentials,
    /// The process's own settings, always.
    None,
}

impl RestCatalogOptions {
    /// A server at this URI, with everything else as it is by default.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            warehouse: None,
            authentication: RestAuthentication::None,
            access_delegation: AccessDelegation::default(),
            nested_namespaces: false,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
        }
    }

    pub(super) fn checked_uri(&self) -> Result<String> {
        checked_uri(&self.uri)
    }
}

/// A URI that requests can be sent below, without a slash at its end.
///
/// # Errors
/// `InvalidInput` for what is no HTTP URI, or has a password in it, which would be shown.
pub(super) fn checked_uri(uri: &str) -> Result<String> {
    let invalid = |problem: &str| {
        CatalogError::InvalidInput(format!(
            "the uri of the rest catalog {problem}: write http://host:port/path or https://host/path"
        ))
    };
    let parsed = Url::parse(uri).map_err(|error| invalid(&format!("is not valid ({error})")))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(invalid("is not one of http"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(invalid("has a user or password in it"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(invalid("has parameters in it"));
    }
    Ok(parsed.as_str().trim_end_matches('/').to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_checked() {
        assert_eq!(checked_uri("http://h:1/a/").unwrap(), "http://h:1/a");
        assert_eq!(checked_uri("https://h").unwrap(), "https://h");
        for uri in [
            "h:8181/catalog",
            "ftp://h/",
            "http://u:hush@h/",
            "http://h/?a=b",
            "",
        ] {
            let error = checked_uri(uri).unwrap_err().to_string();
            assert!(error.contains("the uri of the rest catalog"), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut options = RestCatalogOptions::new("http://h");
        for authentication in [
            RestAuthentication::Token("hush".to_string()),
            RestAuthentication::Basic {
                user: "u".to_string(),
                password: "hush".to_string(),
            },
            RestAuthentication::ClientCredentials {
                client_id: None,
                client_secret: "hush".to_string(),
                scope: None,
                token_uri: None,
            },
        ] {
            options.authentication = authentication;
            let shown = format!("{options:?}");
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}
