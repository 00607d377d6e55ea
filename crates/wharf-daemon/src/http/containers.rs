//! `/v1/containers`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use wharf_api::port::PortLine;
use wharf_api::{ContainerCreate, ContainerCreated, ContainerSummary, Started, Waited};

use super::{Answer, Shared, json};
use crate::daemon::Daemon;
use crate::removal::Removal;

/// A wait is answered after this long at the latest; whoever still waits asks again.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

#[derive(OpenApi)]
#[openapi(paths(list, create, inspect, remove, stop, restart, kill, wait, port))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/containers", get(list).post(create))
        .route("/v1/containers/{name}", get(inspect).delete(remove))
        .route("/v1/containers/{name}/stop", post(stop))
        .route("/v1/containers/{name}/restart", post(restart))
        .route("/v1/containers/{name}/kill", post(kill))
        .route("/v1/containers/{name}/wait", post(wait))
        .route("/v1/containers/{name}/port", get(port))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
struct StopQuery {
    /// Seconds to wait before SIGKILL; as the container was told, or 10, when absent.
    time: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
struct KillQuery {
    /// A signal by name or number.
    signal: String,
}

impl Default for KillQuery {
    fn default() -> Self {
        Self { signal: "KILL".into() }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
struct RemoveQuery {
    /// Kill it first if it runs.
    force: bool,
    /// Remove its volumes that have no name, too.
    volumes: bool,
}

/// Lists every container.
#[utoipa::path(get, path = "/v1/containers", responses((status = 200, body = [ContainerSummary])))]
async fn list(State(daemon): Shared) -> Answer<Vec<ContainerSummary>> {
    json(daemon, |daemon| Ok(daemon.list())).await
}

/// Makes a container.
#[utoipa::path(post, path = "/v1/containers", request_body = ContainerCreate,
    responses((status = 200, body = ContainerCreated)))]
async fn create(
    State(daemon): Shared,
    Json(request): Json<ContainerCreate>,
) -> Answer<ContainerCreated> {
    json(daemon, |daemon| daemon.create(request)).await
}

/// Tells everything about a container, with Docker's field names.
#[utoipa::path(get, path = "/v1/containers/{name}", params(("name" = String, Path)),
    responses((status = 200, body = serde_json::Value)))]
async fn inspect(State(daemon): Shared, Path(name): Path<String>) -> Answer<serde_json::Value> {
    json(daemon, move |daemon| daemon.inspect(&name)).await
}

/// Removes a container.
#[utoipa::path(delete, path = "/v1/containers/{name}",
    params(("name" = String, Path), RemoveQuery), responses((status = 200)))]
async fn remove(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Answer<()> {
    let how = Removal { force: query.force, volumes: query.volumes };
    json(daemon, move |daemon| daemon.remove(&name, how)).await
}

/// Stops a container.
#[utoipa::path(post, path = "/v1/containers/{name}/stop",
    params(("name" = String, Path), StopQuery), responses((status = 200)))]
async fn stop(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> Answer<()> {
    json(daemon, move |daemon| daemon.stop(&name, query.time.map(Duration::from_secs))).await
}

/// Stops a container and starts it again.
#[utoipa::path(post, path = "/v1/containers/{name}/restart",
    params(("name" = String, Path), StopQuery), responses((status = 200, body = Started)))]
async fn restart(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> Answer<Started> {
    json(daemon, move |daemon| daemon.restart(&name, query.time.map(Duration::from_secs))).await
}

/// Sends a signal to a running container.
#[utoipa::path(post, path = "/v1/containers/{name}/kill",
    params(("name" = String, Path), KillQuery), responses((status = 200)))]
async fn kill(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<KillQuery>,
) -> Answer<()> {
    json(daemon, move |daemon| daemon.kill(&name, &query.signal)).await
}

/// Waits up to 30 seconds for a container to exit.
#[utoipa::path(post, path = "/v1/containers/{name}/wait", params(("name" = String, Path)),
    responses((status = 200, body = Waited)))]
async fn wait(State(daemon): Shared, Path(name): Path<String>) -> Answer<Waited> {
    let mut ending = daemon.ending(&name)?;
    let ended = async { ending.wait_for(Option::is_some).await.map(|code| *code) };
    let exit_code = tokio::time::timeout(WAIT_LIMIT, ended).await.ok().and_then(Result::ok);
    Ok(Json(Waited { exit_code: exit_code.flatten() }))
}

/// Lists the published ports of a container, a line each.
#[utoipa::path(get, path = "/v1/containers/{name}/port", params(("name" = String, Path)),
    responses((status = 200, body = [PortLine])))]
async fn port(State(daemon): Shared, Path(name): Path<String>) -> Answer<Vec<PortLine>> {
    json(daemon, move |daemon| daemon.port_lines(&name)).await
}
