//! Requests: sending them, repeating those that may be repeated, reading answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::authentication::Authenticator;
use super::failure::{ErrorAnswer, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a request is tried again.
const RETRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest that a server may have a client wait (`Retry-After`).
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Asks for credentials of storage together with a table.
const ACCESS_DELEGATION: &str = "x-iceberg-access-delegation";
const VENDED_CREDENTIALS: &str = "vended-credentials";
/// Names the authors of a commit to Nessie, which separates them by commas.
const COMMIT_AUTHORS: &str = "nessie-commit-authors";

/// The connections to one server. Clones share them, and their tokens.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    authenticator: Arc<Authenticator>,
    uri: String,
    /// The version of the API, which all paths are below.
    version: &'static str,
    /// Who makes the commits, for servers that note it.
    author: Option<HeaderValue>,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Method,
    /// Below the version of the API, with everything escaped.
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Bytes>,
    wants_access: bool,
}

impl Call {
    fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
            wants_access: false,
        }
    }

    pub(super) fn get(path: String) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn delete(path: String) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(super) fn post(path: String, body: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::Invalid(format!("the request has no json: {error}")))?;
        let mut call = Self::new(Method::POST, path);
        call.body = Some(body.into());
        Ok(call)
    }

    /// With a parameter.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Asks for the credentials of storage too.
    pub(super) fn with_access(mut self, wants_access: bool) -> Self {
        self.wants_access = wants_access;
        self
    }

    /// Whether doing it twice is the same as once.
    fn is_repeatable(&self) -> bool {
        self.method == Method::GET
    }
}

/// The HTTP client of a catalog and of its token server. It follows no redirects: a commit that is
/// sent on becomes a `GET`, whose good answer would be taken for that of the commit, and secrets
/// would go where nobody configured it.
pub(super) fn http_client(request_timeout: Duration) -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .user_agent(concat!("ingot/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(request_timeout)
        .redirect(redirect::Policy::none())
        .build()
        .map_err(|error| Failure::Invalid(format!("no http client: {}", innermost(&error))))
}

impl Client {
    pub(super) fn new(http: reqwest::Client, authenticator: Authenticator, uri: String) -> Self {
        Self {
            http,
            authenticator: Arc::new(authenticator),
            uri,
            version: "v1",
            author: None,
        }
    }

    /// For another API of the same server, which takes the same tokens.
    pub(super) fn for_api(&self, uri: String, version: &'static str) -> Self {
        Self {
            uri,
            version,
            ..self.clone()
        }
    }

    /// Names this author of commits. One that cannot be in a header is not named.
    pub(super) fn by_author(&self, author: &str) -> Self {
        Self {
            author: HeaderValue::from_str(&author.replace(',', " ")).ok(),
            ..self.clone()
        }
    }

    /// The server, without the version of the API.
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    pub(super) fn set_uri(&mut self, uri: String) {
        self.uri = uri;
    }

    /// Sends a request and reads its answer.
    pub(super) async fn fetch<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failure> {
        let body = self.send(call).await?;
        serde_json::from_slice(&body).map_err(|error| Failure::Unreadable {
            reason: error.to_string(),
        })
    }

    /// Sends a request; returns the body of its answer.
    pub(super) async fn send(&self, call: &Call) -> Result<Bytes, Failure> {
        let mut waits = Waits::default();
        let mut has_new_token = false;
        loop {
            let authorization = self.authenticator.authorization().await?;
            let request = authorization.add_to(self.request(call)?);
            let failure = match answer(request).await {
                Ok(body) => return Ok(body),
                Err(failure) => failure,
            };
            // 419 is what the protocol has for a token that has ended.
            if matches!(failure.status(), Some(401 | 419))
                && !has_new_token
                && self.authenticator.forget(&authorization).await
            {
                has_new_token = true;
                continue;
            }
            let may_retry = match call.is_repeatable() {
                true => failure.may_pass(),
                false => failure.was_put_off(),
            };
            if !may_retry || !waits.wait(&failure).await {
                return Err(failure);
            }
        }
    }

    fn request(&self, call: &Call) -> Result<reqwest::RequestBuilder, Failure> {
        let mut url = Url::parse(&format!("{}/{}/{}", self.uri, self.version, call.path))
            .map_err(|error| Failure::Invalid(format!("{} is no path: {error}", call.path)))?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .header(ACCEPT, "application/json");
        if let Some(author) = &self.author {
            request = request.header(COMMIT_AUTHORS, author.clone());
        }
        if call.wants_access {
            request = request.header(ACCESS_DELEGATION, VENDED_CREDENTIALS);
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        Ok(request)
    }
}

/// Sends a request once; returns the body of a good answer.
pub(super) async fn answer(request: reqwest::RequestBuilder) -> Result<Bytes, Failure> {
    let response = request.send().await.map_err(|error| Failure::NoAnswer {
        was_sent: !error.is_connect() && !error.is_builder(),
        reason: innermost(&error),
    })?;
    let status = response.status();
    if status.is_redirection() {
        return Err(Failure::Redirected {
            status: status.as_u16(),
            to: redirected_to(&response),
        });
    }
    let retry_after = retry_after(response.headers());
    let body = response.bytes().await;
    if !status.is_success() {
        // The status alone says enough when the rest did not arrive.
        let body = body.unwrap_or_default();
        let answer = ErrorAnswer::read(status.as_u16(), retry_after, &body);
        return Err(Failure::Answer(answer));
    }
    if status == StatusCode::NO_CONTENT {
        return Ok(Bytes::new());
    }
    body.map_err(|error| Failure::NoAnswer {
        was_sent: true,
        reason: innermost(&error),
    })
}

/// Scheme, host and port that an answer sends its client on to. The rest may have secrets in it.
fn redirected_to(response: &reqwest::Response) -> Option<String> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let origin = response.url().join(location).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The innermost cause of an error: the outer ones have the URL, and say no more.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_string();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The waits between the attempts of one request: exponentially longer, with jitter.
#[derive(Default)]
pub(super) struct Waits {
    made: u32,
}

impl Waits {
    /// Waits before the next attempt, as long as the server wants; false when there is none.
    pub(super) async fn wait(&mut self, failure: &Failure) -> bool {
        if self.made == RETRIES {
            return false;
        }
        let wanted = match failure {
            Failure::Answer(answer) => answer.retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let own = FIRST_WAIT * 2_u32.pow(self.made);
        let jittered = own.mul_f64(rand::rng().random_range(0.5..1.0));
        self.made += 1;
        tokio::time::sleep(jittered.max(wanted).min(LONGEST_WAIT)).await;
        true
    }
}
