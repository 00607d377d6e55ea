//! `/v1/images`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use wharf_api::{HistoryEntry, ImageRemoved, ImageSummary, Loaded, TagRequest};

use super::{Answer, Shared, json};
use crate::daemon::Daemon;
use crate::error::Error;

mod transfer;

#[derive(OpenApi)]
#[openapi(paths(
    list,
    load,
    inspect,
    remove,
    transfer::pull,
    transfer::import,
    transfer::save,
    transfer::login,
    tag,
    history
))]
pub(super) struct Paths;

/// Image names have slashes in them, so they are matched as the rest of the path.
pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/images", get(list))
        .route("/v1/images/load", verb("load", post(load).layer(DefaultBodyLimit::disable())))
        .route(
            "/v1/images/import",
            verb("import", post(transfer::import).layer(DefaultBodyLimit::disable())),
        )
        .route("/v1/images/pull", verb("pull", post(transfer::pull)))
        .route("/v1/images/save", verb("save", post(transfer::save)))
        .route("/v1/images/tag", verb("tag", post(tag)))
        .route("/v1/images/{*name}", get(inspect).delete(remove))
        .route("/v1/history/{*name}", get(history))
        .route("/v1/login", post(transfer::login))
}

/// An image may be called as a verb is; then it is still an image to the other methods.
fn verb(name: &'static str, router: MethodRouter<Arc<Daemon>>) -> MethodRouter<Arc<Daemon>> {
    router.get(move |daemon: Shared| inspect(daemon, Path(name.to_owned()))).delete(
        move |daemon: Shared, query: Query<RemoveQuery>| {
            remove(daemon, Path(name.to_owned()), query)
        },
    )
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
struct RemoveQuery {
    /// Remove it although it has several names or stopped containers use it.
    force: bool,
}

/// Lists the images.
#[utoipa::path(get, path = "/v1/images", responses((status = 200, body = [ImageSummary])))]
async fn list(State(daemon): Shared) -> Answer<Vec<ImageSummary>> {
    json(daemon, |daemon| daemon.list_images()).await
}

/// Loads the images of an archive (docker save or OCI layout), which is the body of the request.
#[utoipa::path(post, path = "/v1/images/load", responses((status = 200, body = [Loaded])))]
async fn load(State(daemon): Shared, body: Body) -> Answer<Vec<Loaded>> {
    transfer::read(daemon, body, |daemon, archive| daemon.load_archive(archive)).await
}

/// Gives an image another name.
#[utoipa::path(post, path = "/v1/images/tag", request_body = TagRequest,
    responses((status = 200)))]
async fn tag(State(daemon): Shared, Json(request): Json<TagRequest>) -> Answer<()> {
    json(daemon, move |daemon| daemon.tag_image(&request)).await
}

/// Tells how an image was made, the last step first.
#[utoipa::path(get, path = "/v1/history/{name}", params(("name" = String, Path)),
    responses((status = 200, body = [HistoryEntry])))]
async fn history(State(daemon): Shared, Path(name): Path<String>) -> Answer<Vec<HistoryEntry>> {
    json(daemon, move |daemon| daemon.image_history(&name)).await
}

/// Tells everything about an image.
#[utoipa::path(get, path = "/v1/images/{name}", params(("name" = String, Path)),
    responses((status = 200, body = serde_json::Value)))]
async fn inspect(State(daemon): Shared, Path(name): Path<String>) -> Answer<serde_json::Value> {
    json(daemon, move |daemon| daemon.inspect_image(&name)).await
}

/// Removes an image, or one of its names.
#[utoipa::path(delete, path = "/v1/images/{name}",
    params(("name" = String, Path), RemoveQuery), responses((status = 200, body = ImageRemoved)))]
async fn remove(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Answer<ImageRemoved> {
    json(daemon, move |daemon| -> Result<_, Error> { daemon.remove_image(&name, query.force) })
        .await
}
