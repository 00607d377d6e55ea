//! `/v1/ports`, `/v1/publish` and `/v1/unpublish`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use utoipa::OpenApi;
use wharf_api::{PortEntry, PublishRequest, Published, UnpublishRequest, Unpublished};

use super::{Answer, Shared, json};
use crate::daemon::Daemon;

#[derive(OpenApi)]
#[openapi(paths(list, publish, unpublish))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/ports", get(list))
        .route("/v1/publish", post(publish))
        .route("/v1/unpublish", post(unpublish))
}

/// Lists every publication.
#[utoipa::path(get, path = "/v1/ports", responses((status = 200, body = [PortEntry])))]
async fn list(State(daemon): Shared) -> Answer<Vec<PortEntry>> {
    json(daemon, |daemon| Ok(daemon.ports())).await
}

/// Publishes ports of something that runs, or changes how they are published.
#[utoipa::path(post, path = "/v1/publish", request_body = PublishRequest,
    responses((status = 200, body = Published)))]
async fn publish(State(daemon): Shared, Json(request): Json<PublishRequest>) -> Answer<Published> {
    json(daemon, move |daemon| daemon.publish(&request)).await
}

/// Takes publications down.
#[utoipa::path(post, path = "/v1/unpublish", request_body = UnpublishRequest,
    responses((status = 200, body = Unpublished)))]
async fn unpublish(
    State(daemon): Shared,
    Json(request): Json<UnpublishRequest>,
) -> Answer<Unpublished> {
    json(daemon, move |daemon| daemon.unpublish(&request)).await
}
