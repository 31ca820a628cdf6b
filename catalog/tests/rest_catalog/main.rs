//! The client of Iceberg REST catalogs, against a server whose answers go wrong when a test wants
//! it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod authentication;
mod catalog;
mod commits;
mod maintenance;
mod nessie;
mod nessie_server;
mod server;
mod views;

use std::sync::Arc;

use common::{local_catalog, local_storage};
use ingot_catalog::RestCatalog;
use server::Server;

/// A server over a local warehouse with the schema `s`, and a client.
async fn started() -> (tempfile::TempDir, Server, Arc<RestCatalog>) {
    let (folder, catalog) = local_catalog().await;
    let server = Server::start(catalog).await;
    let client = server.open(local_storage()).await;
    (folder, server, client)
}
