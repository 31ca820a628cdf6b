//! The REST catalog over real HTTP on loopback, in front of a catalog in a temporary folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authentication;
mod commits;
mod hostile;
mod namespaces;
mod server;
mod tables;
mod transactions;
mod views;
