//! Proving who is asking: nothing, a token, a password, or tokens of an OAuth 2 server.

use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use url::form_urlencoded;

use super::failure::{Failure, redirection};
use super::http::{Waits, answer};
use super::options::RestAuthentication;

/// A fresh token is fetched this long before the old one ends, or when a quarter of its time is
/// left.
const LONGEST_MARGIN: Duration = Duration::from_secs(60);

/// Gives requests their proof.
pub(super) struct Authenticator {
    kind: RestAuthentication,
    /// Where tokens are issued.
    token_uri: String,
    http: reqwest::Client,
    /// The token of an OAuth 2 server. Whoever finds it old fetches a new one; the others wait.
    issued: tokio::sync::Mutex<Option<IssuedToken>>,
}

struct IssuedToken {
    token: String,
    /// When to fetch another one.
    due: Option<Instant>,
}

/// What one request proves itself with.
pub(super) enum Authorization {
    None,
    Bearer(String),
    Basic { user: String, password: String },
}

impl Authorization {
    pub(super) fn add_to(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self {
            Self::None => request,
            Self::Bearer(token) => request.bearer_auth(token),
            Self::Basic { user, password } => request.basic_auth(user, Some(password)),
        }
    }
}

/// The answer of a token server (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    /// Seconds. Some servers write it as a text.
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

/// Its error (section 5.2).
#[derive(Deserialize)]
struct TokenError {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
}

impl Authenticator {
    /// For the catalog at `uri`, which issues tokens itself unless the settings say who does.
    pub(super) fn new(kind: RestAuthentication, uri: &str, http: reqwest::Client) -> Self {
        let given = match &kind {
            RestAuthentication::ClientCredentials { token_uri, .. } => token_uri.clone(),
            _ => None,
        };
        Self {
            token_uri: given.unwrap_or_else(|| format!("{uri}/v1/oauth/tokens")),
            kind,
            http,
            issued: tokio::sync::Mutex::default(),
        }
    }

    /// The proof for the next request.
    pub(super) async fn authorization(&self) -> Result<Authorization, Failure> {
        Ok(match &self.kind {
            RestAuthentication::None => Authorization::None,
            RestAuthentication::Token(token) => Authorization::Bearer(token.clone()),
            RestAuthentication::Basic { user, password } => Authorization::Basic {
                user: user.clone(),
                password: password.clone(),
            },
            RestAuthentication::ClientCredentials { .. } => {
                Authorization::Bearer(self.issued_token().await?)
            }
        })
    }

    /// Forgets a token that the catalog refused. Whether it makes sense to ask again with another.
    pub(super) async fn forget(&self, refused: &Authorization) -> bool {
        let (RestAuthentication::ClientCredentials { .. }, Authorization::Bearer(refused)) =
            (&self.kind, refused)
        else {
            return false;
        };
        let mut issued = self.issued.lock().await;
        if issued.as_ref().is_some_and(|known| known.token == *refused) {
            *issued = None;
        }
        true
    }

    async fn issued_token(&self) -> Result<String, Failure> {
        let mut issued = self.issued.lock().await;
        if let Some(known) = issued.as_ref()
            && known.due.is_none_or(|due| Instant::now() < due)
        {
            return Ok(known.token.clone());
        }
        let fresh = self.fetch_token().await?;
        let token = fresh.token.clone();
        *issued = Some(fresh);
        Ok(token)
    }

    async fn fetch_token(&self) -> Result<IssuedToken, Failure> {
        let form = self.token_form();
        let mut waits = Waits::default();
        loop {
            let request = self
                .http
                .post(&self.token_uri)
                .header(ACCEPT, "application/json")
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.clone());
            let asked = Instant::now();
            let failure = match answer(request).await {
                Ok(body) => return read_token(&body, asked).map_err(|reason| self.failed(&reason)),
                Err(failure) => failure,
            };
            // A token that was issued and got lost harms nobody.
            if !failure.may_pass() || !waits.wait(&failure).await {
                return Err(self.failed(&told(&failure)));
            }
        }
    }

    fn token_form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let RestAuthentication::ClientCredentials {
            client_id,
            client_secret,
            scope,
            ..
        } = &self.kind
        {
            if let Some(client_id) = client_id {
                form.append_pair("client_id", client_id);
            }
            form.append_pair("client_secret", client_secret);
            if let Some(scope) = scope {
                form.append_pair("scope", scope);
            }
        }
        form.finish()
    }

    fn failed(&self, reason: &str) -> Failure {
        Failure::NoToken {
            reason: format!(
                "there is no token from {} (settings catalog.rest.credential, \
                 catalog.rest.oauth2_server_uri and catalog.rest.scope): {reason}",
                self.token_uri
            ),
        }
    }
}

fn read_token(body: &[u8], asked: Instant) -> Result<IssuedToken, String> {
    // The answer itself is not quoted: it may have a token in it.
    let answer: TokenAnswer =
        serde_json::from_slice(body).map_err(|_| "its answer has no access_token".to_string())?;
    let seconds = answer.expires_in.and_then(|value| match value {
        serde_json::Value::Number(number) => number.as_u64(),
        serde_json::Value::String(text) => text.parse().ok(),
        _ => None,
    });
    let due = seconds.and_then(|seconds| {
        let lifetime = Duration::from_secs(seconds);
        asked.checked_add(lifetime - LONGEST_MARGIN.min(lifetime / 4))
    });
    Ok(IssuedToken {
        token: answer.access_token,
        due,
    })
}

/// What a token server says, which has a form of its own.
fn told(failure: &Failure) -> String {
    let answer = match failure {
        Failure::Answer(answer) => answer,
        Failure::Redirected { status, to } => return redirection(*status, to.as_deref()),
        _ => return failure.reason(),
    };
    match serde_json::from_str::<TokenError>(&answer.message) {
        Ok(error) => match error.error_description {
            Some(description) => format!("{} ({description})", error.error),
            None => error.error,
        },
        Err(_) => failure.reason(),
    }
}
