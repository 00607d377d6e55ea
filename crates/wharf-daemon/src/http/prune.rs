//! `/v1/prune`: apart from the things themselves, whose names may be any word.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use utoipa::OpenApi;
use wharf_api::Pruned;

use super::{Answer, Shared, json};
use crate::daemon::Daemon;

#[derive(OpenApi)]
#[openapi(paths(containers, networks))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/prune/containers", post(containers))
        .route("/v1/prune/networks", post(networks))
}

/// Removes every container that does not run and is not about to be started again.
#[utoipa::path(post, path = "/v1/prune/containers", operation_id = "prune_containers",
    responses((status = 200, body = Pruned)))]
async fn containers(State(daemon): Shared) -> Answer<Pruned> {
    json(daemon, |daemon| daemon.prune_containers()).await
}

/// Removes every network that no container is on, but the default one.
#[utoipa::path(post, path = "/v1/prune/networks", operation_id = "prune_networks",
    responses((status = 200, body = Pruned)))]
async fn networks(State(daemon): Shared) -> Answer<Pruned> {
    json(daemon, |daemon| daemon.prune_networks()).await
}
