//! `/v1/networks`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use utoipa::OpenApi;
use wharf_api::{NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkSummary};

use super::{Answer, Shared, json};
use crate::daemon::Daemon;

#[derive(OpenApi)]
#[openapi(paths(list, create, inspect, remove, connect, disconnect))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/networks", get(list).post(create))
        .route("/v1/networks/{name}", get(inspect).delete(remove))
        .route("/v1/networks/{name}/connect", post(connect))
        .route("/v1/networks/{name}/disconnect", post(disconnect))
}

/// Lists the networks.
#[utoipa::path(get, path = "/v1/networks", responses((status = 200, body = [NetworkSummary])))]
async fn list(State(daemon): Shared) -> Answer<Vec<NetworkSummary>> {
    json(daemon, |daemon| Ok(daemon.list_networks())).await
}

/// Makes a network.
#[utoipa::path(post, path = "/v1/networks", request_body = NetworkCreate,
    responses((status = 200, body = NetworkSummary)))]
async fn create(
    State(daemon): Shared,
    Json(request): Json<NetworkCreate>,
) -> Answer<NetworkSummary> {
    json(daemon, |daemon| daemon.create_network(request)).await
}

/// Tells everything about a network, with Docker's field names.
#[utoipa::path(get, path = "/v1/networks/{name}", params(("name" = String, Path)),
    responses((status = 200, body = serde_json::Value)))]
async fn inspect(State(daemon): Shared, Path(name): Path<String>) -> Answer<serde_json::Value> {
    json(daemon, move |daemon| daemon.inspect_network(&name)).await
}

/// Removes a network no container is on.
#[utoipa::path(delete, path = "/v1/networks/{name}", params(("name" = String, Path)),
    responses((status = 200)))]
async fn remove(State(daemon): Shared, Path(name): Path<String>) -> Answer<()> {
    json(daemon, move |daemon| daemon.remove_network(&name)).await
}

/// Gives a container a place on a network, at once if it runs.
#[utoipa::path(post, path = "/v1/networks/{name}/connect", params(("name" = String, Path)),
    request_body = NetworkConnect, responses((status = 200)))]
async fn connect(
    State(daemon): Shared,
    Path(name): Path<String>,
    Json(request): Json<NetworkConnect>,
) -> Answer<()> {
    json(daemon, move |daemon| daemon.connect(&name, request)).await
}

/// Takes a container off a network, at once if it runs.
#[utoipa::path(post, path = "/v1/networks/{name}/disconnect", params(("name" = String, Path)),
    request_body = NetworkDisconnect, responses((status = 200)))]
async fn disconnect(
    State(daemon): Shared,
    Path(name): Path<String>,
    Json(request): Json<NetworkDisconnect>,
) -> Answer<()> {
    json(daemon, move |daemon| daemon.disconnect(&name, &request)).await
}
