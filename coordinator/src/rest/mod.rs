//! The Iceberg REST catalog: the HTTP protocol by which other engines use the same tables.
//!
//! Specification: `open-api/rest-catalog-open-api.yaml` of Apache Iceberg. Requests are parsed into
//! the types of [`wire`], one file per group of endpoints turns them into calls of
//! [`Catalog`](ingot_catalog::Catalog), and [`error`] has the one map from our errors to the
//! protocol's. Everything in a request is checked: clients are programs of others.

mod authentication;
mod config;
mod error;
mod namespaces;
mod oauth;
mod paging;
mod request;
mod storage;
mod table_commits;
mod table_result;
mod tables;
mod tokens;
mod views;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ingot_catalog::Catalog;

use crate::authentication::Authentication;
use error::RestError;

/// Where the HTTP port serves it: clients are given `http://host:port/iceberg`.
pub const BASE_PATH: &str = "/iceberg";

/// What the endpoints share.
#[derive(Debug, Clone)]
pub struct RestCatalog {
    /// The catalogs that clients may name; the first is that of clients which name none.
    pub catalogs: Vec<Arc<dyn Catalog>>,
    /// Who may connect.
    pub authentication: Authentication,
    /// Whether clients get the S3 credentials of the configuration together with a table.
    pub gives_credentials: bool,
}

/// The endpoints as `GET v1/config` lists them: what is not here, clients do not try.
const ENDPOINTS: [&str; 26] = [
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/unregister",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "POST /v1/{prefix}/tables/rename",
    "POST /v1/{prefix}/transactions/commit",
    "GET /v1/{prefix}/namespaces/{namespace}/views",
    "POST /v1/{prefix}/namespaces/{namespace}/views",
    "GET /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/views/rename",
    "GET /v1/config",
    "POST /v1/oauth/tokens",
];

/// All endpoints, to be nested below [`BASE_PATH`].
pub fn router(rest: RestCatalog) -> Router {
    let rest = Arc::new(rest);
    let checked = Router::new()
        .route("/v1/config", get(config::get))
        .route(
            "/v1/{prefix}/namespaces",
            get(namespaces::list).post(namespaces::create),
        )
        .route(
            "/v1/{prefix}/namespaces/{namespace}",
            get(namespaces::load)
                .head(namespaces::exists)
                .delete(namespaces::drop),
        )
        .route(
            "/v1/{prefix}/namespaces/{namespace}/properties",
            post(namespaces::change_properties),
        )
        .route(
            "/v1/{prefix}/namespaces/{namespace}/tables",
            get(tables::list).post(tables::create),
        )
        .route(
            "/v1/{prefix}/namespaces/{namespace}/tables/{table}",
            get(tables::load)
                .head(tables::exists)
                .post(table_commits::commit)
                .delete(tables::drop),
        )
        .route(
            "/v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
            post(tables::report_metrics),
        )
        .route(
            "/v1/{prefix}/namespaces/{namespace}/tables/{table}/unregister",
            post(tables::unregister),
        )
        .route(
            "/v1/{prefix}/namespaces/{namespace}/register",
            post(tables::register),
        )
        .route("/v1/{prefix}/tables/rename", post(tables::rename))
        .route(
            "/v1/{prefix}/transactions/commit",
            post(table_commits::commit_transaction),
        )
        .route(
            "/v1/{prefix}/namespaces/{namespace}/views",
            get(views::list).post(views::create),
        )
        .route(
            "/v1/{prefix}/namespaces/{namespace}/views/{view}",
            get(views::load)
                .head(views::exists)
                .post(views::replace)
                .delete(views::drop),
        )
        .route("/v1/{prefix}/views/rename", post(views::rename))
        .fallback(unknown_endpoint)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&rest),
            authentication::check,
        ));
    Router::new()
        .route("/v1/oauth/tokens", post(oauth::issue_token))
        .merge(checked)
        .method_not_allowed_fallback(unsupported_method)
        .layer(middleware::from_fn(run_to_the_end))
        .with_state(rest)
}

/// Runs a request on a task of its own: a client that goes away does not leave a change half done,
/// and a panic is an answer.
async fn run_to_the_end(request: Request, next: Next) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(request = %what, %error, "a request of the rest catalog panicked");
            RestError::internal(format!("{what} failed inside of the server")).into_response()
        }
    }
}

async fn unknown_endpoint(request: Request) -> RestError {
    RestError::unknown_endpoint(request.method(), request.uri().path())
}

async fn unsupported_method(request: Request) -> RestError {
    RestError::unsupported(format!("{} {}", request.method(), request.uri().path()))
}
