//! The settings `catalog.rest.*`: the tables of another Iceberg catalog.

use std::fmt;

use ingot_catalog::{AccessDelegation, RestAuthentication, RestCatalogOptions};
use serde::Deserialize;

use super::{CatalogSection, ConfigError};

/// The Iceberg REST catalog that has the tables.
#[derive(Clone, Deserialize)]
#[serde(default)]
pub struct RestSection {
    pub uri: Option<String>,
    pub warehouse: Option<String>,
    pub credential: Option<String>,
    pub scope: String,
    pub oauth2_server_uri: Option<String>,
    pub token: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub access_delegation: Delegation,
    pub nested_namespaces: bool,
}

/// Whose credentials reach the files of a REST catalog's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delegation {
    VendedCredentials,
    None,
}

impl Default for RestSection {
    fn default() -> Self {
        Self {
            uri: None,
            warehouse: None,
            credential: None,
            scope: "catalog".to_owned(),
            oauth2_server_uri: None,
            token: None,
            user: None,
            password: None,
            access_delegation: Delegation::VendedCredentials,
            nested_namespaces: false,
        }
    }
}

/// Shows no secret.
impl fmt::Debug for RestSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestSection")
            .field("uri", &self.uri)
            .field("warehouse", &self.warehouse)
            .field("scope", &self.scope)
            .field("oauth2_server_uri", &self.oauth2_server_uri)
            .field("user", &self.user)
            .field("access_delegation", &self.access_delegation)
            .field("nested_namespaces", &self.nested_namespaces)
            .finish_non_exhaustive()
    }
}

impl RestSection {
    /// Where the tables are, if in a REST catalog.
    pub fn options(&self) -> Option<RestCatalogOptions> {
        let mut options = RestCatalogOptions::new(self.uri.clone()?);
        options.warehouse = self.warehouse.clone();
        options.nested_namespaces = self.nested_namespaces;
        options.access_delegation = match self.access_delegation {
            Delegation::VendedCredentials => AccessDelegation::VendedCredentials,
            Delegation::None => AccessDelegation::None,
        };
        if let Some(credential) = &self.credential {
            let (client_id, client_secret) = match credential.split_once(':') {
                Some((client_id, secret)) => (Some(client_id.to_owned()), secret),
                None => (None, credential.as_str()),
            };
            options.authentication = RestAuthentication::ClientCredentials {
                client_id,
                client_secret: client_secret.to_owned(),
                scope: Some(self.scope.clone()).filter(|scope| !scope.is_empty()),
                token_uri: self.oauth2_server_uri.clone(),
            };
        } else if let Some(token) = &self.token {
            options.authentication = RestAuthentication::Token(token.clone());
        } else if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options.authentication = RestAuthentication::Basic {
                user: user.clone(),
                password: password.clone(),
            };
        }
        Some(options)
    }
}

/// Refuses settings of the REST catalog that exclude each other or lack another one.
pub(super) fn check(catalog: &CatalogSection, origin: &str) -> Result<(), ConfigError> {
    let rest = &catalog.rest;
    let refused = |key: &str, message: &str| {
        Err(ConfigError::Value {
            origin: origin.to_owned(),
            key: key.to_owned(),
            message: message.to_owned(),
        })
    };
    let settings = [
        ("catalog.rest.warehouse", &rest.warehouse),
        ("catalog.rest.credential", &rest.credential),
        ("catalog.rest.oauth2_server_uri", &rest.oauth2_server_uri),
        ("catalog.rest.token", &rest.token),
        ("catalog.rest.user", &rest.user),
        ("catalog.rest.password", &rest.password),
    ];
    let mut given = settings.iter().filter(|(_, value)| value.is_some());
    if rest.uri.is_none() {
        return match given.next() {
            Some((key, _)) => refused(key, "is of no use without catalog.rest.uri"),
            None => Ok(()),
        };
    }
    if catalog.warehouse.is_some() {
        return refused(
            "catalog.warehouse",
            "goes with ingot's own catalog, and tables of a rest catalog are where it says: leave it out (a rest catalog's warehouse is named by catalog.rest.warehouse)",
        );
    }
    let proofs = [&rest.credential, &rest.token, &rest.user];
    if proofs.iter().filter(|proof| proof.is_some()).count() > 1 {
        return refused(
            "catalog.rest.credential",
            "give only one of catalog.rest.credential, catalog.rest.token and catalog.rest.user",
        );
    }
    if rest.user.is_some() != rest.password.is_some() {
        return refused(
            "catalog.rest.user",
            "goes with catalog.rest.password: give both or none",
        );
    }
    if rest.oauth2_server_uri.is_some() && rest.credential.is_none() {
        return refused(
            "catalog.rest.oauth2_server_uri",
            "is of no use without catalog.rest.credential",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter();
        Config::load(
            None,
            variables.map(|(name, value)| (name.to_string(), value.to_string())),
        )
    }

    #[test]
    fn settings_of_a_rest_catalog_that_do_not_go_together_are_refused() {
        for (variables, wanted) in [
            (
                vec![("INGOT_CATALOG_REST_TOKEN", "t")],
                "without catalog.rest.uri",
            ),
            (
                vec![
                    ("INGOT_CATALOG_REST_URI", "http://h"),
                    ("INGOT_CATALOG_REST_TOKEN", "t"),
                    ("INGOT_CATALOG_REST_CREDENTIAL", "a:b"),
                ],
                "give only one",
            ),
            (
                vec![
                    ("INGOT_CATALOG_REST_URI", "http://h"),
                    ("INGOT_CATALOG_REST_USER", "a"),
                ],
                "catalog.rest.password",
            ),
            (
                vec![
                    ("INGOT_CATALOG_REST_URI", "http://h"),
                    ("INGOT_CATALOG_WAREHOUSE", "s3://b/w"),
                ],
                "catalog.rest.warehouse",
            ),
            (
                vec![("INGOT_CATALOG_REST_ACCESS_DELEGATION", "remote-signing")],
                "catalog.rest.access_delegation",
            ),
        ] {
            let message = load(&variables).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        }
    }

    #[test]
    fn a_credential_is_an_id_and_a_secret() {
        let variables = [
            ("INGOT_CATALOG_REST_URI", "http://h"),
            ("INGOT_CATALOG_REST_CREDENTIAL", "ann:pass:word"),
        ];
        let config = load(&variables).unwrap();
        let options = config.rest_catalog_options().unwrap();
        let RestAuthentication::ClientCredentials {
            client_id,
            client_secret,
            scope,
            ..
        } = options.authentication
        else {
            panic!("no client");
        };
        assert_eq!(client_id.as_deref(), Some("ann"));
        assert_eq!(client_secret, "pass:word");
        assert_eq!(scope.as_deref(), Some("catalog"));
        assert!(load(&[]).unwrap().rest_catalog_options().is_none());
    }
}
