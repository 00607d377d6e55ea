//! The HTTP API: what each path does is in the modules below; how errors look is here.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::mpsc;
use utoipa::OpenApi;
use wharf_api::{ApiError, ErrorCode};

use crate::daemon::Daemon;
use crate::error::Error;

mod attach;
mod containers;
mod explain;
mod files;
mod images;
mod networks;
mod output;
mod ports;
mod prune;
mod resources;
mod system;
mod upload;
mod volumes;

/// The framework's own refusals are a sentence each.
const REFUSAL_LIMIT: usize = 64 << 10;

/// A request that failed.
#[derive(Debug)]
pub struct Failure(ApiError);

/// What a handler gives.
pub type Answer<T> = Result<axum::Json<T>, Failure>;

type Shared = axum::extract::State<Arc<Daemon>>;

/// Every path of the API.
pub fn router(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .merge(containers::routes())
        .merge(output::routes())
        .merge(attach::routes())
        .merge(images::routes())
        .merge(networks::routes())
        .merge(ports::routes())
        .merge(prune::routes())
        .merge(files::routes())
        .merge(resources::routes())
        .merge(volumes::routes())
        .merge(explain::routes())
        .merge(system::routes())
        .fallback(async || {
            Failure(ApiError::new(ErrorCode::NotFound, "no such path: see /v1/openapi.json"))
        })
        .with_state(daemon)
        .layer(axum::middleware::map_response(worded))
}

/// Gives refusals of the framework (a query or body that cannot be read, a method a path does not
/// take) the form of ours.
async fn worded(response: Response) -> Response {
    let status = response.status();
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), REFUSAL_LIMIT).await.unwrap_or_default();
    let message = match String::from_utf8_lossy(&text).into_owned() {
        text if text.is_empty() => format!("{status}: see /v1/openapi.json"),
        text => text,
    };
    let code = if status.is_server_error() { ErrorCode::Internal } else { ErrorCode::Invalid };
    let failure = Failure(ApiError::new(code, message)).into_response();
    match status {
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::PAYLOAD_TOO_LARGE => {
            (status, failure).into_response()
        }
        _ => failure,
    }
}

/// The OpenAPI document, as JSON.
pub fn openapi() -> String {
    let mut document = Document::openapi();
    for part in [containers::Paths::openapi(), output::Paths::openapi(), images::Paths::openapi()] {
        document.merge(part);
    }
    for part in [networks::Paths::openapi(), ports::Paths::openapi(), system::Paths::openapi()] {
        document.merge(part);
    }
    document.merge(explain::Paths::openapi());
    document.merge(prune::Paths::openapi());
    document.merge(files::Paths::openapi());
    document.merge(attach::Paths::openapi());
    document.merge(resources::Paths::openapi());
    document.merge(volumes::Paths::openapi());
    document.to_pretty_json().unwrap_or_default()
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Wharf",
    description = "The API of the Wharf daemon, on a unix socket: HTTP/1.1 and JSON.",
    license(name = "Apache-2.0 OR MIT")
))]
struct Document;

/// Runs `work`, which may block, away from the threads that serve requests.
async fn blocking<T, F>(daemon: Arc<Daemon>, work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce(&Arc<Daemon>) -> Result<T, Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(move || work(&daemon)).await {
        Ok(result) => result.map_err(Failure::from),
        Err(_) => Err(Failure(ApiError::new(
            ErrorCode::Internal,
            "the daemon stumbled over a mistake of its own; its log says where",
        ))),
    }
}

/// As [`blocking`], answered as JSON.
async fn json<T, F>(daemon: Arc<Daemon>, work: F) -> Answer<T>
where
    T: Send + 'static,
    F: FnOnce(&Arc<Daemon>) -> Result<T, Error> + Send + 'static,
{
    blocking(daemon, work).await.map(axum::Json)
}

/// A stream of output frames.
fn frames(receiver: mpsc::Receiver<Bytes>) -> Response {
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), receiver))
    });
    let headers = [(header::CONTENT_TYPE, "application/vnd.wharf.frames")];
    (headers, Body::from_stream(stream)).into_response()
}

// === impl Failure ===

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let api = ApiError::from(&error);
        if api.code == ErrorCode::Internal {
            tracing::error!(error = %error, "request failed");
        }
        Self(api)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status());
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), axum::Json(self.0)).into_response()
    }
}
