//! What became of a request that did not succeed, and the one map from that to our errors.

use std::time::Duration;

use serde::Deserialize;

use crate::error::CatalogError;

/// Most characters of an answer that is no error of the protocol.
const MAX_QUOTED: usize = 200;

/// A request that did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered an error.
    Answer(ErrorAnswer),
    /// The server sends its client on `to` elsewhere, which is not followed.
    Redirected { status: u16, to: Option<String> },
    /// There was no answer. The server has the request, perhaps, if it `was_sent`.
    NoAnswer { was_sent: bool, reason: String },
    /// The server did it, and its answer cannot be read.
    Unreadable { reason: String },
    /// There is no token to ask with.
    NoToken { reason: String },
    /// The request cannot be made.
    Invalid(String),
}

/// An error as the protocol has it: `{"error": {"message", "type", "code"}}`, or as Nessie's own API
/// has it: `{"status", "reason", "message", "errorCode"}`.
#[derive(Debug)]
pub(super) struct ErrorAnswer {
    pub(super) status: u16,
    /// The exception of the Java library that `type` names, or Nessie's code; empty when the answer
    /// has another form.
    pub(super) exception: String,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorModel,
}

#[derive(Deserialize)]
struct ErrorModel {
    #[serde(default)]
    message: Option<String>,
    #[serde(default, rename = "type")]
    exception: Option<String>,
}

/// `NessieError`
#[derive(Deserialize)]
struct NessieError {
    #[serde(rename = "errorCode")]
    error_code: String,
    #[serde(default)]
    message: Option<String>,
}

impl ErrorAnswer {
    /// From the status and body of an answer.
    pub(super) fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let (exception, message) = match serde_json::from_slice::<ErrorBody>(body) {
            Ok(ErrorBody { error }) => (error.exception, error.message),
            Err(_) => match serde_json::from_slice::<NessieError>(body) {
                Ok(error) => (Some(error.error_code), error.message),
                Err(_) => (None, Some(quoted(body))),
            },
        };
        let message = message.filter(|message| !message.is_empty());
        Self {
            status,
            exception: exception.unwrap_or_default(),
            message: message.unwrap_or_else(|| format!("status {status}")),
            retry_after,
        }
    }
}

/// The beginning of an answer that has another form, which a proxy gave, perhaps.
fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(MAX_QUOTED).collect()
}

impl Failure {
    /// The status of the answer, if there is one.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(answer) => Some(answer.status),
            Self::Redirected { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the answer has this status and names one of these exceptions.
    pub(super) fn is(&self, status: u16, exceptions: &[&str]) -> bool {
        match self {
            Self::Answer(answer) => {
                answer.status == status && exceptions.contains(&answer.exception.as_str())
            }
            _ => false,
        }
    }

    /// Whether what is asked for is not there: 404 in the protocol's form, whose exceptions servers
    /// name differently. Any other 404 is that of a server which does not know the path.
    pub(super) fn is_missing(&self) -> bool {
        let unknown_path = [
            "",
            "NoSuchEndpointException",
            "NoSuchWarehouseException",
            "NoSuchProjectException",
        ];
        self.status() == Some(404) && !self.is(404, &unknown_path)
    }

    /// Whether the same request, of a kind that can be repeated, may succeed a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Answer(answer) => matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::NoAnswer { .. } => true,
            _ => false,
        }
    }

    /// Whether the server certainly did nothing and may do it a little later.
    pub(super) fn was_put_off(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.status == 429,
            Self::NoAnswer { was_sent, .. } => !was_sent,
            _ => false,
        }
    }

    /// Whether the server may have done, or may still do, what it was asked. "Not ready" (503) is
    /// a refusal by the protocol, unless a commit may have been under way: see
    /// [`Self::leaves_commit_open`]. All other errors of a server and of proxies, which have statuses
    /// of their own (520 to 529), tell nothing, but for "not implemented" (501).
    pub(super) fn leaves_outcome_open(&self) -> bool {
        match self {
            Self::Answer(answer) => match answer.status {
                501 | 503 => false,
                status => status == 408 || status >= 500,
            },
            // "See other" is how some servers answer what they have done.
            Self::Redirected { status, .. } => *status == 303,
            Self::NoAnswer { was_sent, .. } => *was_sent,
            Self::Unreadable { .. } => true,
            Self::NoToken { .. } | Self::Invalid(_) => false,
        }
    }

    /// The same for a commit, where a mistake would cost files.
    pub(super) fn leaves_commit_open(&self) -> bool {
        self.leaves_outcome_open() || self.status() == Some(503)
    }

    /// What happened, in words.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Answer(answer) if answer.exception.is_empty() => {
                format!("it answers {}: {}", answer.status, answer.message)
            }
            Self::Answer(answer) => answer.message.clone(),
            Self::Redirected { status, to } => format!(
                "{}: set catalog.rest.uri to the address where the catalog itself answers",
                redirection(*status, to.as_deref())
            ),
            Self::NoAnswer { reason, .. } => format!("it does not answer: {reason}"),
            Self::Unreadable { reason } => format!("its answer cannot be read: {reason}"),
            Self::NoToken { reason } => reason.clone(),
            Self::Invalid(reason) => reason.clone(),
        }
    }

    /// The error of a request that changes nothing.
    pub(super) fn into_error(self, catalog: &str) -> CatalogError {
        let catalog = catalog.to_string();
        let problem = self.reason();
        match &self {
            Self::Invalid(_) => CatalogError::InvalidInput(problem),
            Self::NoToken { .. } => CatalogError::RemoteAccess { catalog, problem },
            Self::Answer(answer) => match answer.status {
                400 | 409 | 422 => {
                    CatalogError::InvalidInput(format!("catalog {catalog} refuses this: {problem}"))
                }
                401 | 419 => CatalogError::RemoteAccess {
                    catalog,
                    problem: format!(
                        "{problem} (settings catalog.rest.credential, catalog.rest.token or \
                         catalog.rest.user)"
                    ),
                },
                403 => CatalogError::RemoteAccess { catalog, problem },
                406 | 501 => {
                    let what = problem.trim_end_matches(" is not supported");
                    CatalogError::Unsupported(format!("{what} in catalog {catalog}"))
                }
                _ => CatalogError::Remote { catalog, problem },
            },
            Self::Redirected { .. } | Self::NoAnswer { .. } | Self::Unreadable { .. } => {
                CatalogError::Remote { catalog, problem }
            }
        }
    }

    /// The error of a request that changes `what`.
    pub(super) fn into_change_error(self, catalog: &str, what: String) -> CatalogError {
        if self.leaves_outcome_open() {
            return CatalogError::CommitStateUnknown {
                table: what,
                reason: format!("catalog {catalog}: {}", self.reason()),
            };
        }
        self.into_error(catalog)
    }
}

/// A redirect, in words.
pub(super) fn redirection(status: u16, to: Option<&str>) -> String {
    let to = to.unwrap_or("elsewhere");
    format!("it redirects to {to} (status {status}), which is not followed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Failure {
        Failure::Answer(ErrorAnswer::read(status, None, body.as_bytes()))
    }

    #[test]
    fn a_path_that_is_unknown_is_no_missing_table() {
        let table = r#"{"error":{"message":"m","type":"NoSuchTableException","code":404}}"#;
        assert!(answer(404, table).is_missing());
        let other = answer(404, "<html>\nnot here</html>");
        assert!(!other.is_missing());
        let error = other.into_error("lake").to_string();
        assert_eq!(
            error,
            "catalog lake: it answers 404: <html> not here</html>"
        );
    }

    #[test]
    fn errors_of_nessie_are_read() {
        let body = r#"{"status":404,"reason":"Not Found","message":"no reference x",
            "errorCode":"REFERENCE_NOT_FOUND","errorDetails":null}"#;
        let missing = answer(404, body);
        assert!(missing.is_missing());
        assert_eq!(missing.reason(), "no reference x");
    }

    #[test]
    fn what_may_have_happened_is_told_from_what_did_not() {
        for (status, is_open, is_open_commit) in [
            (400, false, false),
            (409, false, false),
            (408, true, true),
            (429, false, false),
            (500, true, true),
            (501, false, false),
            (503, false, true),
            (504, true, true),
            (507, true, true),
            (520, true, true),
        ] {
            let failure = answer(status, "");
            assert_eq!(failure.leaves_outcome_open(), is_open, "{status}");
            assert_eq!(failure.leaves_commit_open(), is_open_commit, "{status}");
        }
        for (status, is_open) in [(302, false), (303, true), (307, false)] {
            let failure = Failure::Redirected { status, to: None };
            assert_eq!(failure.leaves_commit_open(), is_open, "{status}");
        }
    }
}
