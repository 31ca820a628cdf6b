//! The protocol's errors, and the one map from ours to them.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ingot_catalog::CatalogError;
use serde_json::json;

use crate::error::{CoordinatorError, one_line};

/// Result of an endpoint.
pub(super) type Result<T, E = RestError> = std::result::Result<T, E>;

/// An error as clients get it: `{"error": {"message", "type", "code"}}` with the status `code`.
/// `type` is the exception that the Java client has for it.
#[derive(Debug)]
pub(super) struct RestError {
    status: StatusCode,
    exception: &'static str,
    message: String,
}

/// What a request is about: an object whose namespace does not exist does not exist either, and
/// clients want to be told in these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A namespace, or the place where something is to be created.
    Namespace,
    /// A table that exists already.
    Table,
    /// A view that exists already.
    View,
}

const NO_SUCH_NAMESPACE: &str = "NoSuchNamespaceException";
const NO_SUCH_TABLE: &str = "NoSuchTableException";
const NO_SUCH_VIEW: &str = "NoSuchViewException";
const ALREADY_EXISTS: &str = "AlreadyExistsException";
const BAD_REQUEST: &str = "BadRequestException";

impl RestError {
    fn new(status: StatusCode, exception: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            exception,
            message: message.into(),
        }
    }

    /// The request cannot be right.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, BAD_REQUEST, message)
    }

    /// The same thing is in two places that exclude each other.
    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "UnprocessableEntityException",
            message,
        )
    }

    /// Valid, and this server does not do it.
    pub(super) fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "UnsupportedOperationException",
            format!("{what} is not supported"),
        )
    }

    /// No or wrong credentials.
    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "NotAuthorizedException", message)
    }

    /// No such path.
    pub(super) fn unknown_endpoint(method: &Method, path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NoSuchEndpointException",
            format!("there is no endpoint {method} {path}: GET v1/config lists all"),
        )
    }

    /// No such catalog, which the protocol calls a warehouse.
    pub(super) fn no_such_warehouse(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchWarehouseException", message)
    }

    /// Namespaces have one level, so one with more does not exist, nor does anything in it.
    pub(super) fn nested_namespace(subject: Subject, levels: &[String]) -> Self {
        let exception = match subject {
            Subject::Namespace => NO_SUCH_NAMESPACE,
            Subject::Table => NO_SUCH_TABLE,
            Subject::View => NO_SUCH_VIEW,
        };
        Self::new(
            StatusCode::NOT_FOUND,
            exception,
            format!(
                "namespace {} does not exist: namespaces of this catalog have one level",
                levels.join(".")
            ),
        )
    }

    /// A bug.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            message,
        )
    }

    /// An error of the catalog in a request about `subject`.
    pub(super) fn of_catalog(error: CatalogError, subject: Subject) -> Self {
        let (status, exception) = match error.cause() {
            CatalogError::SchemaNotFound { .. } => (
                StatusCode::NOT_FOUND,
                match subject {
                    Subject::Namespace => NO_SUCH_NAMESPACE,
                    Subject::Table => NO_SUCH_TABLE,
                    Subject::View => NO_SUCH_VIEW,
                },
            ),
            CatalogError::TableNotFound { .. } | CatalogError::IsView { .. } => {
                (StatusCode::NOT_FOUND, NO_SUCH_TABLE)
            }
            CatalogError::ViewNotFound { .. } | CatalogError::IsTable { .. } => {
                (StatusCode::NOT_FOUND, NO_SUCH_VIEW)
            }
            CatalogError::TableExists { .. }
            | CatalogError::ViewExists { .. }
            | CatalogError::SchemaExists { .. } => (StatusCode::CONFLICT, ALREADY_EXISTS),
            CatalogError::SchemaNotEmpty { .. } => {
                (StatusCode::CONFLICT, "NamespaceNotEmptyException")
            }
            CatalogError::CommitConflict { .. }
            | CatalogError::MergeConflict { .. }
            | CatalogError::TransactionConflict { .. } => {
                (StatusCode::CONFLICT, "CommitFailedException")
            }
            CatalogError::InvalidInput(_)
            | CatalogError::VersionNotFound { .. }
            | CatalogError::ReferenceNotFound { .. }
            | CatalogError::VersionExpired { .. }
            | CatalogError::ReferenceExists { .. }
            | CatalogError::ReferenceEnded { .. }
            | CatalogError::FilesInUse { .. } => (StatusCode::BAD_REQUEST, BAD_REQUEST),
            CatalogError::Unsupported(_) => {
                (StatusCode::NOT_ACCEPTABLE, "UnsupportedOperationException")
            }
            CatalogError::NotAllowed { .. } | CatalogError::RemoteAccess { .. } => {
                (StatusCode::FORBIDDEN, "ForbiddenException")
            }
            // Clients must neither try again nor delete their files.
            CatalogError::CommitStateUnknown { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "CommitStateUnknownException",
            ),
            // Nothing was changed: clients may try again.
            CatalogError::Storage { .. }
            | CatalogError::Database { .. }
            | CatalogError::Remote { .. }
            | CatalogError::Locked { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailableException",
            ),
            CatalogError::Metadata { .. } | CatalogError::InSnapshot { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
            }
        };
        Self::new(status, exception, one_line(&error.to_string()))
    }
}

/// Errors of requests that create something or are about a namespace.
impl From<CatalogError> for RestError {
    fn from(error: CatalogError) -> Self {
        Self::of_catalog(error, Subject::Namespace)
    }
}

/// Errors of authentication.
impl From<CoordinatorError> for RestError {
    fn from(error: CoordinatorError) -> Self {
        match error {
            CoordinatorError::Unauthenticated(message) => Self::unauthenticated(message),
            other => Self::internal(one_line(&other.to_string())),
        }
    }
}

/// Says what a request was about when an error has to be told.
pub(super) trait About<T> {
    /// The error is told as one about a table that should exist.
    fn about_table(self) -> Result<T>;
    /// The error is told as one about a view that should exist.
    fn about_view(self) -> Result<T>;
}

impl<T> About<T> for std::result::Result<T, CatalogError> {
    fn about_table(self) -> Result<T> {
        self.map_err(|error| RestError::of_catalog(error, Subject::Table))
    }

    fn about_view(self) -> Result<T> {
        self.map_err(|error| RestError::of_catalog(error, Subject::View))
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), error = %self.message, "rest catalog");
        }
        let body = json!({
            "error": {
                "message": self.message,
                "type": self.exception,
                "code": self.status.as_u16(),
            }
        });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer, Basic realm=\"ingot\""),
            );
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: CatalogError, subject: Subject) -> (u16, &'static str) {
        let error = RestError::of_catalog(error, subject);
        (error.status.as_u16(), error.exception)
    }

    fn name() -> String {
        "s.t".to_string()
    }

    #[test]
    fn what_is_missing_depends_on_what_was_asked_for() {
        let missing = || CatalogError::SchemaNotFound {
            name: name(),
            suggestion: None,
        };
        for (subject, exception) in [
            (Subject::Namespace, NO_SUCH_NAMESPACE),
            (Subject::Table, NO_SUCH_TABLE),
            (Subject::View, NO_SUCH_VIEW),
        ] {
            assert_eq!(told(missing(), subject), (404, exception));
        }
    }

    #[test]
    fn clients_can_tell_what_may_have_happened_from_what_did_not() {
        let unknown = CatalogError::CommitStateUnknown {
            table: name(),
            reason: "the connection broke".to_string(),
        };
        assert_eq!(
            told(unknown, Subject::Table),
            (500, "CommitStateUnknownException")
        );
        let conflict = CatalogError::CommitConflict {
            table: name(),
            reason: "it was changed meanwhile".to_string(),
        };
        assert_eq!(
            told(conflict, Subject::Table),
            (409, "CommitFailedException")
        );
        let locked = CatalogError::Locked {
            database: "d".to_string(),
            holder: "h".to_string(),
        };
        assert_eq!(
            told(locked, Subject::Table),
            (503, "ServiceUnavailableException")
        );
        let forbidden = CatalogError::NotAllowed {
            path: "/etc".to_string(),
        };
        assert_eq!(told(forbidden, Subject::Table), (403, "ForbiddenException"));
        let unsupported = CatalogError::Unsupported("x".to_string());
        assert_eq!(
            told(unsupported, Subject::View),
            (406, "UnsupportedOperationException")
        );
    }
}
