//! `/v1/volumes`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use utoipa::OpenApi;
use wharf_api::{VolumeCreate, VolumePrune, VolumeSummary, VolumesPruned};

use super::{Answer, Shared, json};
use crate::daemon::Daemon;

#[derive(OpenApi)]
#[openapi(paths(list, create, inspect, remove, prune))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/volumes", get(list).post(create))
        .route("/v1/volumes/{name}", get(inspect).delete(remove))
        .route("/v1/volumes-prune", post(prune))
}

/// Lists the volumes.
#[utoipa::path(get, path = "/v1/volumes", responses((status = 200, body = [VolumeSummary])))]
async fn list(State(daemon): Shared) -> Answer<Vec<VolumeSummary>> {
    json(daemon, |daemon| Ok(daemon.list_volumes())).await
}

/// Makes a volume.
#[utoipa::path(post, path = "/v1/volumes", request_body = VolumeCreate,
    responses((status = 200, body = VolumeSummary)))]
async fn create(State(daemon): Shared, Json(request): Json<VolumeCreate>) -> Answer<VolumeSummary> {
    json(daemon, move |daemon| daemon.create_volume(&request)).await
}

/// Tells everything about a volume, with Docker's field names.
#[utoipa::path(get, path = "/v1/volumes/{name}", params(("name" = String, Path)),
    responses((status = 200, body = serde_json::Value)))]
async fn inspect(State(daemon): Shared, Path(name): Path<String>) -> Answer<serde_json::Value> {
    json(daemon, move |daemon| daemon.inspect_volume(&name)).await
}

/// Removes a volume no container uses.
#[utoipa::path(delete, path = "/v1/volumes/{name}", params(("name" = String, Path)),
    responses((status = 200)))]
async fn remove(State(daemon): Shared, Path(name): Path<String>) -> Answer<()> {
    json(daemon, move |daemon| daemon.remove_volume(&name)).await
}

/// Removes volumes no container uses.
#[utoipa::path(post, path = "/v1/volumes-prune", request_body = VolumePrune,
    responses((status = 200, body = VolumesPruned)))]
async fn prune(State(daemon): Shared, Json(request): Json<VolumePrune>) -> Answer<VolumesPruned> {
    json(daemon, move |daemon| daemon.prune_volumes(request.all)).await
}
