//! Users and tokens.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::server::{Answer, Server, answer, error, users};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

async fn namespaces(server: &Server, authorization: Option<&str>) -> Answer {
    let mut request = server.request("GET", "/v1/iceberg/namespaces");
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    answer(request).await
}

async fn token(server: &Server, form: &[(&str, &str)], authorization: Option<&str>) -> Answer {
    let body: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let mut request = server.request("POST", "/v1/oauth/tokens").body(body);
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    answer(request).await
}

#[tokio::test]
async fn nothing_is_told_without_a_password() {
    let server = Server::start_with(users()).await;
    for authorization in [
        None,
        Some(basic("ann:wrong")),
        Some(basic("eve:se:cret")),
        Some("Bearer made-up".to_string()),
        Some("Bearer None".to_string()),
        Some("Bearer open".to_string()),
        Some("Digest x".to_string()),
    ] {
        let refused = namespaces(&server, authorization.as_deref()).await;
        error(refused, 401, "NotAuthorizedException");
    }
    for (method, path) in [
        ("GET", "/v1/config"),
        ("GET", "/v1/iceberg/namespaces/s/tables/t"),
        ("POST", "/v1/iceberg/transactions/commit"),
        ("DELETE", "/v1/iceberg/namespaces/s"),
        ("GET", "/v1/nothing"),
    ] {
        let refused = answer(server.request(method, path)).await;
        error(refused, 401, "NotAuthorizedException");
    }
    let response = server.request("GET", "/v1/config").send().await.unwrap();
    assert!(response.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn a_password_is_enough() {
    let server = Server::start_with(users()).await;
    let (status, body) = namespaces(&server, Some(&basic("ann:se:cret"))).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_password_becomes_a_token() {
    let server = Server::start_with(users()).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "ann"),
        ("client_secret", "se:cret"),
        ("scope", "catalog"),
    ];
    let by_header = [("grant_type", "client_credentials")];
    for (form, header) in [
        (&form[..], None),
        (&by_header[..], Some(basic("ann:se:cret"))),
    ] {
        let (status, body) = token(&server, form, header.as_deref()).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["token_type"], "bearer");
        assert_eq!(body["expires_in"], 3600);
        let bearer = format!("Bearer {}", body["access_token"].as_str().unwrap());
        assert_eq!(namespaces(&server, Some(&bearer)).await.0, 200);
        let shortened = &bearer[..bearer.len() - 2];
        assert_eq!(namespaces(&server, Some(shortened)).await.0, 401);
    }
}

#[tokio::test]
async fn a_token_becomes_a_fresh_one() {
    let server = Server::start_with(users()).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "ann"),
        ("client_secret", "se:cret"),
    ];
    let (_, body) = token(&server, &form, None).await;
    let first = body["access_token"].as_str().unwrap().to_string();
    let exchange = |subject: &str| {
        [
            ("grant_type".to_string(), EXCHANGE.to_string()),
            ("subject_token".to_string(), subject.to_string()),
        ]
    };
    let form = exchange(&first);
    let form: Vec<(&str, &str)> = form.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let (status, body) = token(&server, &form, Some(&format!("Bearer {first}"))).await;
    assert_eq!(status, 200, "{body}");
    let fresh = format!("Bearer {}", body["access_token"].as_str().unwrap());
    assert_eq!(namespaces(&server, Some(&fresh)).await.0, 200);

    let expired = [("grant_type", EXCHANGE), ("subject_token", "expired")];
    let (status, body) = token(&server, &expired, None).await;
    assert_eq!(
        (status, &body["error"]),
        (400, &Value::from("invalid_grant"))
    );
    // With the password it may have expired.
    let (status, _) = token(&server, &expired, Some(&basic("ann:se:cret"))).await;
    assert_eq!(status, 200);
    let (status, _) = token(&server, &expired, Some(&basic("ann:wrong"))).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn errors_of_tokens_have_the_form_of_oauth() {
    let server = Server::start_with(users()).await;
    for (form, status, code) in [
        (&[][..], 400, "invalid_request"),
        (
            &[("grant_type", "password")][..],
            400,
            "unsupported_grant_type",
        ),
        (
            &[("grant_type", "client_credentials")][..],
            400,
            "invalid_request",
        ),
        (
            &[
                ("grant_type", "client_credentials"),
                ("client_id", "ann"),
                ("client_secret", "x"),
            ][..],
            401,
            "invalid_client",
        ),
        (&[("grant_type", EXCHANGE)][..], 400, "invalid_grant"),
        (
            &[
                ("grant_type", EXCHANGE),
                ("subject_token", "x"),
                ("actor_token", "y"),
            ][..],
            400,
            "invalid_request",
        ),
    ] {
        let (actual, body) = token(&server, form, None).await;
        assert_eq!(
            (actual, body["error"].as_str().unwrap()),
            (status, code),
            "{body}"
        );
        assert!(body["error_description"].is_string());
    }
}

#[tokio::test]
async fn a_token_without_a_signature_is_none() {
    let server = Server::start_with(users()).await;
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let claims = part(r#"{"sub":"ann","iat":0,"exp":99999999999}"#);
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256","typ":"JWT"}"#] {
        let bearer = format!("Bearer {}.{claims}.", part(header));
        let refused = namespaces(&server, Some(&bearer)).await;
        error(refused, 401, "NotAuthorizedException");
    }
}

#[tokio::test]
async fn without_users_everybody_is_let_in() {
    let server = Server::start().await;
    for authorization in [None, Some("Bearer anything"), Some("Digest x")] {
        assert_eq!(namespaces(&server, authorization).await.0, 200);
    }
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "a"),
        ("client_secret", "b"),
    ];
    let (status, body) = token(&server, &form, None).await;
    assert_eq!(status, 200);
    assert!(body["access_token"].is_string());
}
