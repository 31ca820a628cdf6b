//! Real servers for tests, on loopback, gone when dropped: an S3 server over HTTP
//! ([`S3Server`]) and, where it is installed, PostgreSQL ([`Postgres`]).
//!
//! For tests only: everything panics instead of returning errors.

mod postgres;
mod s3;

pub use postgres::Postgres;
pub use s3::S3Server;
