//! Streams of output: attached starts, logs, commands.
//!
//! A stream is a sequence of frames: one byte of type (1 standard output, 2 standard error, 3 exit
//! code, 4 failure), four bytes of length (big-endian), then that many bytes.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use wharf_api::ExecRequest;

use super::{Failure, Shared, blocking, frames};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::logs::{self, LogQuery};

#[derive(OpenApi)]
#[openapi(paths(start, read_logs, exec))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/containers/{name}/start", post(start))
        .route("/v1/containers/{name}/logs", get(read_logs))
        .route("/v1/containers/{name}/exec", post(exec))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
struct StartQuery {
    /// Answer with the output from the beginning, up to the exit code.
    attach: bool,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
struct LogsQuery {
    /// Go on until the container exits.
    follow: bool,
    /// A number of lines, or `all`.
    tail: Option<String>,
    /// Put the time in front of each line.
    timestamps: bool,
}

/// Starts a container; attached, the answer is a stream of frames.
#[utoipa::path(post, path = "/v1/containers/{name}/start",
    params(("name" = String, Path), StartQuery),
    responses((status = 200, body = wharf_api::Started)))]
async fn start(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<StartQuery>,
) -> Result<Response, Failure> {
    let shared = Arc::clone(&daemon);
    if !query.attach {
        let started = blocking(shared, move |daemon| daemon.start(&name)).await?;
        return Ok(Json(started).into_response());
    }
    let (query, ending) = blocking(shared, move |daemon| daemon.start_attached(&name)).await?;
    Ok(frames(logs::stream(query, ending)))
}

/// Reads what a container has written, as a stream of frames.
#[utoipa::path(get, path = "/v1/containers/{name}/logs",
    params(("name" = String, Path), LogsQuery), responses((status = 200)))]
async fn read_logs(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Failure> {
    let tail = match query.tail.as_deref() {
        None | Some("all") => None,
        Some(number) => Some(number.parse().map_err(|_| {
            Error::Invalid(format!("invalid tail {number:?}: use a number or all"))
        })?),
    };
    let (file, ending) = daemon.log(&name)?;
    let query = LogQuery {
        file,
        skip: 0,
        follow: query.follow,
        tail,
        timestamps: query.timestamps,
        with_exit: false,
    };
    Ok(frames(logs::stream(query, ending)))
}

/// Runs a command in a running container; its output is a stream of frames.
#[utoipa::path(post, path = "/v1/containers/{name}/exec", params(("name" = String, Path)),
    request_body = ExecRequest, responses((status = 200)))]
async fn exec(
    State(daemon): Shared,
    Path(name): Path<String>,
    Json(request): Json<ExecRequest>,
) -> Result<Response, Failure> {
    Ok(frames(crate::exec::stream(&daemon, &name, request).await?))
}
