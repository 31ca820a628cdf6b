//! Tokens: given, issued, ended, refused.

use std::time::Duration;

use ingot_catalog::{Catalog, CatalogError, RestAuthentication, RestCatalog};

use crate::common::*;
use crate::server::{Fault, Server};

async fn guarded() -> (tempfile::TempDir, Server) {
    let (folder, catalog) = local_catalog().await;
    let server = Server::start(catalog).await;
    server.set_rules(|rules| rules.tokens = Some(vec!["static-token".to_string()]));
    (folder, server)
}

fn client_credentials(secret: &str) -> RestAuthentication {
    RestAuthentication::ClientCredentials {
        client_id: Some("ann".to_string()),
        client_secret: secret.to_string(),
        scope: Some("catalog".to_string()),
        token_uri: None,
    }
}

async fn open(
    server: &Server,
    authentication: RestAuthentication,
) -> Result<std::sync::Arc<RestCatalog>, CatalogError> {
    let mut options = server.options();
    options.authentication = authentication;
    RestCatalog::open("lake", local_storage(), options).await
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let (_folder, server) = guarded().await;
    let client = open(&server, client_credentials("hush")).await.unwrap();
    client.list_schemas().await.unwrap();
    assert_eq!(server.count("POST", "oauth/tokens"), 1);
    server.set_rules(|rules| rules.tokens = Some(Vec::new()));
    // Whoever is refused asks for a new one, and all use it.
    let (first, second) = tokio::join!(client.list_schemas(), client.list_schemas());
    assert_eq!(first.unwrap(), second.unwrap());
    let asked = server.count("POST", "oauth/tokens");
    assert!((2..=3).contains(&asked), "{asked}");

    server.plan_always(
        "GET",
        "namespaces",
        Fault::Instead(
            401,
            "{\"error\":{\"message\":\"never\",\"type\":\"NotAuthorizedException\"}}",
        ),
    );
    let error = client.list_schemas().await.unwrap_err();
    assert!(
        matches!(error, CatalogError::RemoteAccess { .. }),
        "{error}"
    );
    assert_eq!(server.count("POST", "oauth/tokens"), asked + 1);
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    let (_folder, server) = guarded().await;
    server.set_rules(|rules| rules.token_lifetime = Some(1));
    let client = open(&server, client_credentials("hush")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    client.list_schemas().await.unwrap();
    assert_eq!(server.count("POST", "oauth/tokens"), 2);
}

#[tokio::test]
async fn a_static_token_is_used_as_it_is() {
    let (_folder, server) = guarded().await;
    let token = RestAuthentication::Token("static-token".to_string());
    let client = open(&server, token).await.unwrap();
    client.list_schemas().await.unwrap();
    server.set_rules(|rules| rules.tokens = Some(Vec::new()));
    let error = client.list_schemas().await.unwrap_err();
    assert!(
        matches!(error, CatalogError::RemoteAccess { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("catalog.rest.token"), "{error}");
    assert!(!error.to_string().contains("static-token"), "{error}");
}

#[tokio::test]
async fn a_wrong_secret_is_told_and_not_shown() {
    let (_folder, server) = guarded().await;
    let error = open(&server, client_credentials("wrong-secret"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, CatalogError::RemoteAccess { .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("catalog.rest.credential"), "{text}");
    assert!(text.contains("oauth/tokens"), "{text}");
    assert!(!text.contains("wrong-secret"), "{text}");
    let nobody = open(&server, RestAuthentication::None).await.unwrap_err();
    assert!(
        matches!(nobody, CatalogError::RemoteAccess { .. }),
        "{nobody}"
    );
}
