//! The binary as its users start it: coordinator, workers and shell in processes of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "processes/harness.rs"]
mod harness;

#[path = "processes/killed.rs"]
mod killed;

#[path = "processes/object_storage.rs"]
mod object_storage;

#[path = "crashes/references.rs"]
mod references;

#[path = "processes/rest_catalog.rs"]
mod rest_catalog;

#[path = "processes/starting.rs"]
mod starting;

#[path = "processes/transactions.rs"]
mod transactions;
