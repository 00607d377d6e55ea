//! `/v1/prune`: apart from the things themselves, whose names may be any word.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::post;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use wharf_api::Pruned;

use super::{Answer, Shared, json};
use crate::daemon::Daemon;

#[derive(OpenApi)]
#[openapi(paths(containers, networks, images))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/prune/containers", post(containers))
        .route("/v1/prune/networks", post(networks))
        .route("/v1/prune/images", post(images))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
struct ImagesQuery {
    /// Those with a name, too, unless a container was made of them.
    all: bool,
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

/// Removes every image that has no name and no container was made of, and what is left of downloads.
#[utoipa::path(post, path = "/v1/prune/images", operation_id = "prune_images",
    params(ImagesQuery), responses((status = 200, body = Pruned)))]
async fn images(State(daemon): Shared, Query(query): Query<ImagesQuery>) -> Answer<Pruned> {
    json(daemon, move |daemon| daemon.prune_images(query.all)).await
}
