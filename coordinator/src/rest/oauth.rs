//! `POST v1/oauth/tokens`: a user name and password for an access token (RFC 6749, client
//! credentials), and a token for a fresh one (RFC 8693, token exchange).
//!
//! Errors have the form of OAuth and not that of the other endpoints.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::RestCatalog;
use super::authentication::authorization;
use super::request::body_bytes;
use super::tokens::{self, LIFETIME_SECONDS};
use crate::authentication::{Authentication, Authorization, Credentials};

const CLIENT_CREDENTIALS: &str = "client_credentials";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The token of clients that insist on one when authentication is off.
const OPEN_TOKEN: &str = "open";

/// An error of this endpoint.
struct OAuthError {
    status: StatusCode,
    error: &'static str,
    description: String,
}

impl OAuthError {
    fn invalid_request(description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: "invalid_request",
            description: description.into(),
        }
    }

    fn invalid_client() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            error: "invalid_client",
            description: "wrong user or password".to_string(),
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        (self.status, Json(body)).into_response()
    }
}

/// Answers a token for the user that the request proves.
pub(super) async fn issue_token(
    State(rest): State<Arc<RestCatalog>>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    let Ok(body) = body_bytes(request).await else {
        return OAuthError::invalid_request("the body cannot be read").into_response();
    };
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    match rest.answer_token(&headers, &form) {
        Ok(token) => token_response(&token),
        Err(error) => error.into_response(),
    }
}

impl RestCatalog {
    fn answer_token(
        &self,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<String, OAuthError> {
        if let Authentication::None = self.authentication {
            return Ok(OPEN_TOKEN.to_string());
        }
        let user = match form.get("grant_type").map(String::as_str) {
            Some(CLIENT_CREDENTIALS) => self.user_of_client(headers, form)?,
            Some(TOKEN_EXCHANGE) => self.user_of_exchange(headers, form)?,
            Some(other) => {
                return Err(OAuthError {
                    status: StatusCode::BAD_REQUEST,
                    error: "unsupported_grant_type",
                    description: format!(
                        "grant_type {other:?} is not supported: use {CLIENT_CREDENTIALS}"
                    ),
                });
            }
            None => return Err(OAuthError::invalid_request("grant_type is missing")),
        };
        let password = self.authentication.password(&user).unwrap_or_default();
        tokens::issue(&user, password, chrono::Utc::now().timestamp()).map_err(|error| OAuthError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: "invalid_request",
            description: error.to_string(),
        })
    }

    /// From `client_id` and `client_secret`, or basic authentication.
    fn user_of_client(
        &self,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<String, OAuthError> {
        let credentials = match (form.get("client_id"), form.get("client_secret")) {
            (Some(user), Some(password)) => Some(Credentials {
                user: user.clone(),
                password: password.clone(),
            }),
            _ => basic_credentials(headers),
        };
        let Some(credentials) = credentials else {
            return Err(OAuthError::invalid_request(
                "client_id and client_secret are missing: the client's credential is user:password",
            ));
        };
        self.check_password(&credentials)
            .map_err(|_| OAuthError::invalid_client())
    }

    /// From a token that is still good, or basic authentication for one that is not.
    fn user_of_exchange(
        &self,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<String, OAuthError> {
        if form.contains_key("actor_token") {
            return Err(OAuthError::invalid_request(
                "actor_token is not supported: a token can only be exchanged for a fresh one",
            ));
        }
        if let Some(credentials) = basic_credentials(headers) {
            return self
                .check_password(&credentials)
                .map_err(|_| OAuthError::invalid_client());
        }
        let now = chrono::Utc::now().timestamp();
        form.get("subject_token")
            .and_then(|token| tokens::verify(token, &self.authentication, now))
            .ok_or_else(|| OAuthError {
                status: StatusCode::BAD_REQUEST,
                error: "invalid_grant",
                description: "unknown or expired token".to_string(),
            })
    }
}

fn basic_credentials(headers: &HeaderMap) -> Option<Credentials> {
    match authorization(headers) {
        Ok(Some(Authorization::Basic(credentials))) => Some(credentials),
        _ => None,
    }
}

fn token_response(token: &str) -> Response {
    let mut body = json!({
        "access_token": token,
        "token_type": "bearer",
        "issued_token_type": ACCESS_TOKEN,
        "scope": "catalog",
    });
    if token != OPEN_TOKEN {
        body["expires_in"] = LIFETIME_SECONDS.into();
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
