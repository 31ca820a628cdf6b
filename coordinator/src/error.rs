//! Errors of the coordinator, and their one translation to gRPC and to HTTP.

mod explain;

use datafusion::error::DataFusionError;
use ingot_catalog::CatalogError;

pub(crate) use explain::explain_datafusion;
pub use explain::one_line;

/// Result of every coordinator operation.
pub type Result<T, E = CoordinatorError> = std::result::Result<T, E>;

/// What kind of failure an error is, whatever crate it comes from.
///
/// Protocols translate this enum and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The statement, a value in it or a setting cannot be right.
    InvalidInput,
    /// A table, schema, session, query or job that was named does not exist.
    NotFound,
    /// What is to be created exists.
    AlreadyExists,
    /// The state of the system forbids it (a schema that is not empty, a failed check).
    FailedPrecondition,
    /// A concurrent change was first: trying again may succeed.
    Conflict,
    /// Valid, and Ingot does not do it.
    Unsupported,
    /// No or wrong credentials, or an expired session.
    Unauthenticated,
    /// Known user, forbidden operation.
    PermissionDenied,
    /// Memory, disk or slots ran out.
    ResourceExhausted,
    /// Ended by a user.
    Cancelled,
    /// Took longer than allowed.
    Timeout,
    /// Storage, catalog or workers cannot be reached now.
    Unavailable,
    /// A bug of Ingot or of a library in it.
    Internal,
}

impl ErrorCode {
    /// The gRPC status code.
    pub fn to_tonic(self) -> tonic::Code {
        match self {
            Self::InvalidInput => tonic::Code::InvalidArgument,
            Self::NotFound => tonic::Code::NotFound,
            Self::AlreadyExists => tonic::Code::AlreadyExists,
            Self::FailedPrecondition => tonic::Code::FailedPrecondition,
            Self::Conflict => tonic::Code::Aborted,
            Self::Unsupported => tonic::Code::Unimplemented,
            Self::Unauthenticated => tonic::Code::Unauthenticated,
            Self::PermissionDenied => tonic::Code::PermissionDenied,
            Self::ResourceExhausted => tonic::Code::ResourceExhausted,
            Self::Cancelled => tonic::Code::Cancelled,
            Self::Timeout => tonic::Code::DeadlineExceeded,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::Internal => tonic::Code::Internal,
        }
    }

    /// The HTTP status code. A cancelled request has none of its own: 409 says that the state of
    /// the query forbids what was asked.
    pub fn to_http(self) -> axum::http::StatusCode {
        use axum::http::StatusCode;
        match self {
            Self::InvalidInput => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists | Self::Conflict | Self::Cancelled => StatusCode::CONFLICT,
            Self::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
            Self::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Errors of the coordinator: each message is one lower-case line that names the thing concerned
/// and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// From a catalog, table metadata or storage.
    #[error(transparent)]
    Catalog(#[from] CatalogError),

    /// SQL text that does not parse or cannot be right.
    #[error(transparent)]
    Sql(#[from] ingot_sql::SqlError),

    /// From reading or writing tables.
    #[error(transparent)]
    Engine(ingot_engine::EngineError),

    /// From pipelines, their runs and their store.
    #[error(transparent)]
    Jobs(#[from] ingot_jobs::JobsError),

    /// From planning or executing a query; shown as what the user did wrong, without the
    /// wrapping of the layers in between.
    #[error("{}", explain::explain_datafusion(.0).1)]
    DataFusion(DataFusionError),

    /// The statement, a value in it or a setting cannot be right.
    #[error("{0}")]
    InvalidInput(String),

    /// Something that was named does not exist.
    #[error("{0}")]
    NotFound(String),

    /// The state of the system forbids it.
    #[error("{0}")]
    FailedPrecondition(String),

    /// Valid, and Ingot does not do it.
    #[error("{0} is not supported")]
    Unsupported(String),

    /// No or wrong credentials, or an expired session.
    #[error("{0}")]
    Unauthenticated(String),

    /// Known user, forbidden operation.
    #[error("{0}")]
    PermissionDenied(String),

    /// Memory, disk or slots ran out.
    #[error("{0}")]
    ResourceExhausted(String),

    /// Ended by a user or by the end of its session.
    #[error("query {query_id} was cancelled")]
    Cancelled {
        /// The query.
        query_id: uuid::Uuid,
    },

    /// Took longer than allowed.
    #[error("{0}")]
    Timeout(String),

    /// Storage, catalog or workers cannot be reached now.
    #[error("{0}")]
    Unavailable(String),

    /// An address that cannot be bound, a certificate that cannot be read, …
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, with the address or path.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },

    /// A bug of Ingot or of a library in it.
    #[error("internal error: {0}")]
    Internal(String),
}

impl CoordinatorError {
    /// What kind of failure this is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Catalog(error) => explain::catalog_code(error),
            Self::Sql(error) => explain::sql_code(error),
            Self::Engine(error) => explain::engine_code(error),
            Self::Jobs(error) => explain::jobs_code(error),
            Self::DataFusion(error) => explain::explain_datafusion(error).0,
            Self::InvalidInput(_) => ErrorCode::InvalidInput,
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::FailedPrecondition(_) => ErrorCode::FailedPrecondition,
            Self::Unsupported(_) => ErrorCode::Unsupported,
            Self::Unauthenticated(_) => ErrorCode::Unauthenticated,
            Self::PermissionDenied(_) => ErrorCode::PermissionDenied,
            Self::ResourceExhausted(_) => ErrorCode::ResourceExhausted,
            Self::Cancelled { .. } => ErrorCode::Cancelled,
            Self::Timeout(_) => ErrorCode::Timeout,
            Self::Unavailable(_) | Self::Io { .. } => ErrorCode::Unavailable,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }
}

impl From<ingot_engine::EngineError> for CoordinatorError {
    fn from(error: ingot_engine::EngineError) -> Self {
        match error {
            ingot_engine::EngineError::Catalog(inner) => Self::Catalog(inner),
            ingot_engine::EngineError::Sql(inner) => Self::Sql(inner),
            ingot_engine::EngineError::DataFusion(inner) => Self::DataFusion(*inner),
            // Explained like errors of DataFusion.
            view @ ingot_engine::EngineError::View { .. } => {
                Self::DataFusion(DataFusionError::External(Box::new(view)))
            }
            other => Self::Engine(other),
        }
    }
}

impl From<DataFusionError> for CoordinatorError {
    fn from(error: DataFusionError) -> Self {
        Self::DataFusion(error)
    }
}

impl From<arrow::error::ArrowError> for CoordinatorError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::DataFusion(DataFusionError::ArrowError(Box::new(error), None))
    }
}

impl From<CoordinatorError> for tonic::Status {
    fn from(error: CoordinatorError) -> Self {
        Self::new(error.code().to_tonic(), one_line(&error.to_string()))
    }
}

impl From<CoordinatorError> for DataFusionError {
    fn from(error: CoordinatorError) -> Self {
        match error {
            CoordinatorError::DataFusion(inner) => inner,
            other => Self::External(Box::new(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_survives_a_trip_through_datafusion() {
        let inner = CatalogError::TableNotFound {
            name: "gold.dayly".to_string(),
            suggestion: Some("gold.daily".to_string()),
        };
        let wrapped = DataFusionError::External(Box::new(CoordinatorError::Catalog(inner)))
            .context("while planning")
            .context("while explaining");
        let error = CoordinatorError::from(wrapped);
        assert_eq!(error.code(), ErrorCode::NotFound);
        assert_eq!(
            error.to_string(),
            "table gold.dayly does not exist; did you mean gold.daily?"
        );
        let status = tonic::Status::from(error);
        assert_eq!(status.code(), tonic::Code::NotFound);
    }

    #[test]
    fn unauthenticated_maps_to_401_and_16() {
        assert_eq!(ErrorCode::Unauthenticated.to_http().as_u16(), 401);
        assert_eq!(
            ErrorCode::Unauthenticated.to_tonic(),
            tonic::Code::Unauthenticated
        );
    }
}
