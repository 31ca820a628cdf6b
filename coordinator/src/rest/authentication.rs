//! Whose request it is: users and passwords as in Flight SQL, or a token of `v1/oauth/tokens`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::RestCatalog;
use super::error::{RestError, Result};
use super::tokens;
use crate::authentication::{Authentication, Authorization, Credentials, malformed_authorization};

/// Lets a request pass if it proves a user, or if authentication is off.
pub(super) async fn check(
    State(rest): State<Arc<RestCatalog>>,
    request: Request,
    next: Next,
) -> Response {
    match rest.user_of(request.headers()) {
        Ok(user) => {
            tracing::debug!(user, method = %request.method(), path = request.uri().path(), "rest catalog");
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

impl RestCatalog {
    /// The user that the headers prove.
    fn user_of(&self, headers: &HeaderMap) -> Result<String> {
        if let Authentication::None = self.authentication {
            // Any header is as good as none.
            return Ok(self.authentication.check(None)?);
        }
        match authorization(headers)? {
            Some(Authorization::Basic(credentials)) => self.check_password(&credentials),
            Some(Authorization::Bearer(token)) => {
                tokens::verify(&token, &self.authentication, chrono::Utc::now().timestamp())
                    .ok_or_else(|| {
                        RestError::unauthenticated(
                            "unknown or expired token: get a new one from v1/oauth/tokens",
                        )
                    })
            }
            None => Ok(self.authentication.check(None)?),
        }
    }

    /// The user of a name and password.
    pub(super) fn check_password(&self, credentials: &Credentials) -> Result<String> {
        Ok(self.authentication.check(Some(credentials))?)
    }
}

/// What the `authorization` header holds, if there is one.
pub(super) fn authorization(headers: &HeaderMap) -> Result<Option<Authorization>> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| malformed_authorization())?;
    Ok(Authorization::parse(text)?)
}
