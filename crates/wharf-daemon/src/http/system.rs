//! The daemon itself: version, events, metrics, the API's description, shutdown.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::broadcast::error::RecvError;
use utoipa::OpenApi;
use wharf_api::{Shutdown, ShutdownRequest, Version};

use super::{Answer, Shared, json};
use crate::daemon::Daemon;

#[derive(OpenApi)]
#[openapi(paths(version, events, metrics, document, shutdown))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/version", get(version))
        .route("/v1/events", get(events))
        .route("/v1/openapi.json", get(document))
        .route("/v1/shutdown", post(shutdown))
        .route("/metrics", get(metrics))
}

/// Tells who answers.
#[utoipa::path(get, path = "/v1/version", responses((status = 200, body = Version)))]
async fn version() -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        pid: std::process::id(),
    })
}

/// Sends events as they happen (server-sent events, the data being an event as JSON).
#[utoipa::path(get, path = "/v1/events", responses((status = 200, body = wharf_api::Event)))]
async fn events(State(daemon): Shared) -> impl IntoResponse {
    let sources = (daemon.events.listen(), daemon.closing.subscribe());
    let stream = futures_util::stream::unfold(sources, |(mut listener, mut closing)| async move {
        let told = tokio::select! {
            told = listener.recv() => told,
            _ = closing.wait_for(|closing| *closing) => return None,
        };
        let event = match told {
            Ok(event) => SseEvent::default().event(event.kind.clone()).json_data(&event).ok()?,
            Err(RecvError::Lagged(missed)) => {
                SseEvent::default().event("missed").data(missed.to_string())
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok::<_, Infallible>(event), (listener, closing)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// Tells Prometheus how things are (OpenMetrics text).
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
async fn metrics(State(daemon): Shared) -> impl IntoResponse {
    let text = tokio::task::spawn_blocking(move || daemon.metrics_text()).await.unwrap_or_default();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

/// Gives this document.
#[utoipa::path(get, path = "/v1/openapi.json",
    responses((status = 200, body = serde_json::Value)))]
async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], super::openapi())
}

/// Stops the daemon; running containers and their ports go on, unless all is to go.
#[utoipa::path(post, path = "/v1/shutdown", request_body = ShutdownRequest,
    responses((status = 200, body = Shutdown)))]
async fn shutdown(State(daemon): Shared, Json(request): Json<ShutdownRequest>) -> Answer<Shutdown> {
    json(daemon, move |daemon| daemon.shut_down(request.all)).await
}
