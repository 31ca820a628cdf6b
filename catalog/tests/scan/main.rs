//! Scan planning on real manifests, written to a local folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod deletes;
mod metadata_tables;
mod oracle;
mod plans;
mod pruning;
mod table;
