//! `/v1/containers/{name}/files`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use utoipa::{IntoParams, OpenApi};
use wharf_api::FileStat;

use super::{Answer, Failure, Shared, blocking, upload};
use crate::daemon::Daemon;

/// Each copy is a process and a thread; more at a time are no faster.
static COPIES: Semaphore = Semaphore::const_new(8);
/// Pieces on their way to a slow reader; past that the copy waits, too.
const QUEUE: usize = 16;

#[derive(OpenApi)]
#[openapi(paths(stat, read, write))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route(
            "/v1/containers/{name}/files",
            get(read).put(write).layer(DefaultBodyLimit::disable()),
        )
        .route("/v1/containers/{name}/files/stat", get(stat))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct StatQuery {
    /// The path, from the container's root.
    path: String,
    /// Follow a link at its end.
    #[serde(default)]
    follow: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ReadQuery {
    /// The path, from the container's root.
    path: String,
    /// Follow a link at its end.
    #[serde(default)]
    follow: bool,
    /// What it is called in the stream, in place of the last part of the path.
    name: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct WriteQuery {
    /// A directory that exists, from the container's root.
    path: String,
    /// Keep the owners the stream names; everything is root's otherwise.
    #[serde(default)]
    owners: bool,
}

/// Tells what is at a path in a container.
#[utoipa::path(get, path = "/v1/containers/{name}/files/stat", operation_id = "stat_file",
    params(("name" = String, Path), StatQuery), responses((status = 200, body = FileStat)))]
async fn stat(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<StatQuery>,
) -> Answer<FileStat> {
    let _turn = COPIES.acquire().await;
    let found =
        blocking(daemon, move |daemon| daemon.stat_file(&name, &query.path, query.follow)).await?;
    Ok(axum::Json(FileStat {
        name: found.name,
        size: found.size,
        mode: found.mode,
        is_dir: found.is_dir,
        link_target: found.link_target,
    }))
}

/// Reads what is at a path in a container, as a tar stream whose entries begin with its name.
#[utoipa::path(get, path = "/v1/containers/{name}/files", operation_id = "read_files",
    params(("name" = String, Path), ReadQuery), responses((status = 200)))]
async fn read(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, Failure> {
    let turn = COPIES.acquire().await;
    let (shared, asked, path) = (Arc::clone(&daemon), name.clone(), query.path.clone());
    blocking(shared, move |daemon| daemon.stat_file(&asked, &path, query.follow)).await?;
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(QUEUE);
    tokio::task::spawn_blocking(move || {
        let _held = turn;
        let done = daemon.read_files(&name, &query.path, (query.follow, query.name), &sender);
        if let Err(error) = done {
            tracing::warn!(%error, name, "reading files of a container");
            // The end of the stream is missing then, which is how the reader learns of it.
            let _reader_has_left = sender.blocking_send(Err(std::io::Error::other(error)));
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-tar")];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Unpacks a tar stream, which is the body of the request, in a directory of a container.
#[utoipa::path(put, path = "/v1/containers/{name}/files", operation_id = "write_files",
    params(("name" = String, Path), WriteQuery), responses((status = 200)))]
async fn write(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<WriteQuery>,
    body: Body,
) -> Answer<()> {
    let _turn = COPIES.acquire().await;
    upload::read(daemon, body, move |daemon, tar| {
        daemon.write_files(&name, &query.path, query.owners, tar)
    })
    .await
}
