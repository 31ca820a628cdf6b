//! HTTP: health, metrics, the status page, and the port of the REST catalog.

mod metrics;
mod page;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::queries::{QueryRecord, QueryTotals};
use crate::rest::{self, RestCatalog};

/// One worker as the page shows it.
#[derive(Debug, Clone)]
pub struct WorkerView {
    pub id: String,
    pub address: String,
    pub slots: usize,
    pub free_slots: usize,
    pub heartbeat_age_seconds: f64,
}

/// One pipeline run as the page shows it.
#[derive(Debug, Clone)]
pub struct RunView {
    pub started_at: String,
    pub pipeline: String,
    pub state: String,
    pub trigger: String,
    pub seconds: Option<f64>,
    pub error: Option<String>,
}

/// What the coordinator shows of itself at one moment.
#[derive(Debug, Clone)]
pub struct StatusView {
    pub version: &'static str,
    pub uptime_seconds: u64,
    pub flight_address: String,
    pub workers: Vec<WorkerView>,
    pub queries: Vec<QueryRecord>,
    pub running_queries: usize,
    pub totals: QueryTotals,
    pub runs: Vec<RunView>,
}

/// Where the status comes from.
#[async_trait]
pub trait StatusSource: Send + Sync + 'static {
    /// The state of everything now.
    async fn status(&self) -> StatusView;

    /// Whether statements can be served: catalog and storage answer. The error says what does not.
    async fn ready(&self) -> Result<(), String>;
}

/// Serves until the shutdown future ends. `listener` is bound by the caller, so that a port
/// in use is an error at start.
pub async fn serve(
    listener: tokio::net::TcpListener,
    source: Arc<dyn StatusSource>,
    rest: Option<RestCatalog>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(source, rest))
        .with_graceful_shutdown(shutdown)
        .await
}

/// All routes; those of the REST catalog if there is one.
pub fn router(source: Arc<dyn StatusSource>, rest: Option<RestCatalog>) -> Router {
    let own = Router::new()
        .route("/", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(prometheus))
        .with_state(source);
    match rest {
        Some(rest) => own.nest(rest::BASE_PATH, rest::router(rest)),
        None => own,
    }
}

async fn status(State(source): State<Arc<dyn StatusSource>>) -> Html<String> {
    Html(page::status_page(&source.status().await).into_string())
}

async fn ready(State(source): State<Arc<dyn StatusSource>>) -> Response {
    match source.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn prometheus(State(source): State<Arc<dyn StatusSource>>) -> Response {
    match metrics::encode(&source.status().await) {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
