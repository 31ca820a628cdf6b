//! Flight SQL client library and interactive shell.
//!
//! [`Client`] talks to a server. The shell ([`shell::run_shell`]) runs over any
//! [`StatementExecutor`], of which the client is one and an in-process engine another.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod client;
pub mod error;
pub mod executor;
pub mod output;
pub mod shell;
pub mod splitter;

pub use client::{Client, ClientOptions};
pub use error::{ClientError, Result};
pub use executor::{Progress, QueryState, StatementExecutor, StatementResult};
pub use output::OutputFormat;
pub use shell::{ShellInput, ShellOptions, run_shell};
