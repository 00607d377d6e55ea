//! `/v1/images`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use utoipa::{IntoParams, OpenApi};
use wharf_api::{ImageRemoved, ImageSummary, Loaded};

use super::{Answer, Shared, blocking, json};
use crate::daemon::Daemon;
use crate::error::Error;

/// Each load unpacks with a thread of its own and writes to the disk; more at a time are no faster.
static LOADS: Semaphore = Semaphore::const_new(4);
/// A client that sends nothing for this long has lost interest.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

#[derive(OpenApi)]
#[openapi(paths(list, load, inspect, remove))]
pub(super) struct Paths;

/// Image names have slashes in them, so they are matched as the rest of the path.
pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/images", get(list))
        .route("/v1/images/load", post(load).layer(DefaultBodyLimit::disable()))
        .route("/v1/images/{*name}", get(inspect).delete(remove))
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
    // Whoever waits here holds no thread.
    let _turn = LOADS.acquire().await;
    let (reader, mut writer) = tokio::io::duplex(1 << 20);
    let feed = tokio::spawn(async move {
        let mut stream = body.into_data_stream();
        loop {
            let next = futures_util::StreamExt::next(&mut stream);
            let Some(piece) = tokio::time::timeout(IDLE_LIMIT, next).await? else { break };
            let piece = piece.map_err(std::io::Error::other)?;
            writer.write_all(&piece).await?;
        }
        writer.shutdown().await
    });
    let handle = tokio::runtime::Handle::current();
    let reader = tokio_util::io::SyncIoBridge::new_with_handle(reader, handle);
    let loaded = blocking(daemon, move |daemon| daemon.load_archive(reader)).await;
    feed.abort();
    loaded.map(axum::Json)
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
