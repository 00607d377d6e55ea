//! What containers use, and how that is changed: below `/v1/containers/{name}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use utoipa::OpenApi;
use wharf_api::{ContainerStats, ContainerTop, ContainerUpdate, Updated};

use super::{Answer, Shared, json};
use crate::daemon::Daemon;

#[derive(OpenApi)]
#[openapi(paths(pause, unpause, update, stats, top))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/containers/{name}/pause", post(pause))
        .route("/v1/containers/{name}/unpause", post(unpause))
        .route("/v1/containers/{name}/update", post(update))
        .route("/v1/containers/{name}/stats", get(stats))
        .route("/v1/containers/{name}/top", get(top))
}

/// Stops every process of a container where it is.
#[utoipa::path(post, path = "/v1/containers/{name}/pause", params(("name" = String, Path)),
    responses((status = 200)))]
async fn pause(State(daemon): Shared, Path(name): Path<String>) -> Answer<()> {
    json(daemon, move |daemon| daemon.pause(&name)).await
}

/// Lets a paused container go on.
#[utoipa::path(post, path = "/v1/containers/{name}/unpause", params(("name" = String, Path)),
    responses((status = 200)))]
async fn unpause(State(daemon): Shared, Path(name): Path<String>) -> Answer<()> {
    json(daemon, move |daemon| daemon.unpause(&name)).await
}

/// Changes a container's limits.
#[utoipa::path(post, path = "/v1/containers/{name}/update", params(("name" = String, Path)),
    request_body = ContainerUpdate, responses((status = 200, body = Updated)))]
async fn update(
    State(daemon): Shared,
    Path(name): Path<String>,
    Json(request): Json<ContainerUpdate>,
) -> Answer<Updated> {
    json(daemon, move |daemon| daemon.update(&name, &request)).await
}

/// Tells what a container uses.
#[utoipa::path(get, path = "/v1/containers/{name}/stats", params(("name" = String, Path)),
    responses((status = 200, body = ContainerStats)))]
async fn stats(State(daemon): Shared, Path(name): Path<String>) -> Answer<ContainerStats> {
    json(daemon, move |daemon| daemon.stats(&name)).await
}

/// Lists the processes of a container.
#[utoipa::path(get, path = "/v1/containers/{name}/top", params(("name" = String, Path)),
    responses((status = 200, body = ContainerTop)))]
async fn top(State(daemon): Shared, Path(name): Path<String>) -> Answer<ContainerTop> {
    json(daemon, move |daemon| daemon.top(&name)).await
}
