//! Sessions, statement execution, cluster scheduling, Flight SQL and HTTP.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod authentication;
pub mod cluster;
pub mod coordinator;
pub mod core;
pub mod error;
pub mod flight;
pub mod http;
mod job_statements;
pub mod jobs;
pub mod queries;
pub mod rest;
pub mod server;
pub mod service;
pub mod session_properties;
pub mod sessions;
mod statement;
pub mod statement_catalogs;
pub mod transactions;
pub mod units;

pub use coordinator::Coordinator;
pub use error::{CoordinatorError, ErrorCode, Result};
