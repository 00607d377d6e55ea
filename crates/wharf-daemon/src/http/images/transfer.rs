//! Images on their way in and out: from registries, from and to archives.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use utoipa::IntoParams;
use wharf_api::{Loaded, LoginRequest, PullEvent, PullRequest, SaveRequest};
use wharf_runtime::image::Import;

use super::super::{Answer, Failure, Shared, blocking, upload};
use crate::daemon::Daemon;
use crate::error::{Error, Result};

/// Each load unpacks with a thread of its own and writes to the disk; more at a time are no faster.
static LOADS: Semaphore = Semaphore::const_new(4);
/// Pieces of an archive that nobody has read yet.
const PIECES: usize = 16;
const PIECE: usize = 1 << 18;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ImportQuery {
    /// The image's name.
    name: Option<String>,
    /// For which platform it is, as `linux/arm64`; this machine's when absent.
    platform: Option<String>,
    /// A remark in its history.
    message: String,
    /// Lines of a Dockerfile, with line breaks between.
    changes: String,
}

/// The writing end of an answer's body.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

/// Does `work` with the body of a request.
pub(super) async fn read<T, F>(daemon: Arc<Daemon>, body: Body, work: F) -> Answer<T>
where
    T: Send + 'static,
    F: FnOnce(&Arc<Daemon>, &mut dyn Read) -> Result<T> + Send + 'static,
{
    // Whoever waits here holds no thread.
    let _turn = LOADS.acquire().await;
    upload::read(daemon, body, work).await
}

/// Pulls an image from a registry and tells how it goes, a JSON object on a line each.
#[utoipa::path(post, path = "/v1/images/pull", request_body = PullRequest,
    responses((status = 200, body = PullEvent, content_type = "application/x-ndjson")))]
pub(super) async fn pull(
    State(daemon): Shared,
    Json(request): Json<PullRequest>,
) -> Result<Response, Failure> {
    let events = daemon.pull(request)?;
    let stream = futures_util::stream::unfold(events, |mut events| async move {
        let event: PullEvent = events.recv().await?;
        let mut line = serde_json::to_vec(&event).ok()?;
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), events))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Makes an image of the tar of a root file system, which is the body of the request.
#[utoipa::path(post, path = "/v1/images/import", params(ImportQuery),
    responses((status = 200, body = Loaded)))]
pub(super) async fn import(
    State(daemon): Shared,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Answer<Loaded> {
    let lines = query.changes.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    let name = query.name.as_deref().filter(|name| !name.is_empty());
    let platform = query.platform.as_deref().filter(|platform| !platform.is_empty());
    let import = || -> Result<Import> {
        let platform = platform.map(str::parse).transpose()?;
        Ok(Import::new(name, &lines)?.for_platform(platform).with_message(&query.message))
    };
    let import = import();
    read(daemon, body, move |daemon, tar| daemon.import_image(tar, &import?)).await
}

/// Writes images into one archive, which is the answer.
#[utoipa::path(post, path = "/v1/images/save", request_body = SaveRequest,
    responses((status = 200, body = Vec<u8>, content_type = "application/x-tar")))]
pub(super) async fn save(
    State(daemon): Shared,
    Json(request): Json<SaveRequest>,
) -> Result<Response, Failure> {
    let names = request.images;
    if names.is_empty() {
        return Err(Error::Invalid("name at least one image to save".to_owned()).into());
    }
    let images = Arc::clone(&daemon.images);
    let save = blocking(daemon, move |daemon| daemon.prepare_save(&names)).await?;
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let out = io::BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        if let Err(error) = images.save(&save, out) {
            tracing::warn!(%error, "save failed");
            // The broken end of the body is how the client learns of it.
            let _told = sender.blocking_send(Err(io::Error::other(error.to_string())));
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-tar")];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Asks a registry whether it takes a credential; nothing is kept.
#[utoipa::path(post, path = "/v1/login", request_body = LoginRequest,
    responses((status = 200)))]
pub(super) async fn login(State(daemon): Shared, Json(request): Json<LoginRequest>) -> Answer<()> {
    daemon.try_login(request).await?;
    Ok(Json(()))
}

// === impl Pieces ===

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Ok(Bytes::copy_from_slice(bytes));
        self.0.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
