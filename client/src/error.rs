//! What can go wrong between a user and a server.

use arrow_flight::error::FlightError;

/// Result of every client operation.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

/// Errors of the client: one lower-case line each.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be understood.
    #[error("{url} is not a server address: {reason}")]
    InvalidAddress {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Nobody answers.
    #[error("cannot connect to {url}: {reason}; is the server running there?")]
    Connect {
        /// The address.
        url: String,
        /// The cause, from the operating system or TLS.
        reason: String,
    },

    /// The server, or the engine in this process, refused or failed.
    #[error("{message}")]
    Statement {
        /// What kind of failure it is.
        code: tonic::Code,
        /// The server's one line.
        message: String,
    },

    /// The server sent something that Flight SQL does not allow.
    #[error("the server sent an invalid answer: {0}")]
    Protocol(String),

    /// A local file or stream failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, with the path.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },

    /// A result cannot be shown in the chosen format.
    #[error("cannot show the result: {0}")]
    Output(String),
}

impl ClientError {
    /// Whether the query was ended by a user.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Statement {
                code: tonic::Code::Cancelled,
                ..
            }
        )
    }

    /// Whether whoever read our output has gone away (`ingot sql … | head`).
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        let code = status.code();
        let lost = code == tonic::Code::Unavailable
            || (code == tonic::Code::Unknown && status.message().contains("transport error"));
        let message = if lost && std::error::Error::source(&status).is_some() {
            // Made by the transport on this side, not sent by the server.
            format!("lost the connection to the server: {}", status.message())
        } else {
            status.message().to_string()
        };
        Self::Statement { code, message }
    }
}

impl From<FlightError> for ClientError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => Self::from(*status),
            other => Self::Protocol(other.to_string()),
        }
    }
}
