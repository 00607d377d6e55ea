//! `/v1/explain` and `/v1/doctor`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use utoipa::OpenApi;
use wharf_api::{Check, ExplainRequest, Explanation};

use super::{Answer, Shared, json};
use crate::daemon::Daemon;

#[derive(OpenApi)]
#[openapi(paths(explain, doctor))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new().route("/v1/explain", post(explain)).route("/v1/doctor", get(doctor))
}

/// Tells the way a packet takes to what is published at a port, each hop checked now.
#[utoipa::path(post, path = "/v1/explain", request_body = ExplainRequest,
    responses((status = 200, body = [Explanation])))]
async fn explain(
    State(daemon): Shared,
    Json(request): Json<ExplainRequest>,
) -> Answer<Vec<Explanation>> {
    json(daemon, move |daemon| daemon.explain(&request)).await
}

/// Tells what this host can do, what gets in the way of published ports, and the remedies.
#[utoipa::path(get, path = "/v1/doctor", responses((status = 200, body = [Check])))]
async fn doctor(State(daemon): Shared) -> Answer<Vec<Check>> {
    json(daemon, |daemon| Ok(daemon.examine())).await
}
