//! Streams of output: attached starts, logs, commands.
//!
//! A stream is a sequence of frames ([`wharf_api::frame`]).

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use wharf_api::ExecRequest;
use wharf_runtime::shim::Attach;

use super::attach::Upgrade;
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
    /// Only what was written at this time or later (RFC 3339, or seconds since 1970).
    since: Option<String>,
    /// Only what was written before this time (likewise).
    until: Option<String>,
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
    let wants = Attach { stdout: true, stderr: true, ..Attach::default() };
    let attached = blocking(shared, move |daemon| daemon.start_attached(&name, wants)).await?;
    Ok(frames(attached.output()))
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
    let (files, ending) = daemon.log(&name)?;
    let query = LogQuery {
        files,
        follow: query.follow,
        tail,
        timestamps: query.timestamps,
        since: query.since.as_deref().map(moment).transpose()?,
        until: query.until.as_deref().map(moment).transpose()?,
    };
    Ok(frames(logs::stream(query, ending)))
}

/// A moment, in either way of saying it.
fn moment(text: &str) -> Result<Timestamp, Error> {
    let invalid =
        || Error::Invalid(format!("invalid time {text:?}: use RFC 3339, or seconds since 1970"));
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let nanoseconds = format!("{fraction:0<9}").parse().ok().filter(|_| is_number);
    let seconds = seconds.parse().ok().filter(|seconds: &i64| *seconds >= 0);
    let (Some(seconds), Some(nanoseconds)) = (seconds, nanoseconds) else { return Err(invalid()) };
    Timestamp::new(seconds, nanoseconds).map_err(|_| invalid())
}

/// Runs a command in a running container; its output is a stream of frames. With standard input or
/// a terminal, the request asks for `Upgrade: wharf-frames`, and frames go both ways; any other may,
/// and can be attached to again.
#[utoipa::path(post, path = "/v1/containers/{name}/exec", params(("name" = String, Path)),
    request_body = ExecRequest, responses((status = 200), (status = 101)))]
async fn exec(
    State(daemon): Shared,
    Path(name): Path<String>,
    upgrade: Upgrade,
    Json(request): Json<ExecRequest>,
) -> Result<Response, Failure> {
    if !request.tty && request.detach {
        blocking(daemon, move |daemon| crate::exec::detach(daemon, &name, request)).await?;
        return Ok(frames(tokio::sync::mpsc::channel(1).1));
    }
    if !request.tty && !request.stdin && !upgrade.is_asked() {
        let run = move |daemon: &Arc<Daemon>| crate::exec::stream(daemon, &name, request);
        return Ok(frames(blocking(daemon, run).await?));
    }
    if !request.detach {
        upgrade.expect()?;
    }
    let run = move |daemon: &Arc<Daemon>| crate::exec::session(daemon, &name, request);
    let session = blocking(daemon, run).await?;
    Ok(match session.attached {
        Some(attached) => upgrade.switch(attached, Some(&session.id))?,
        None => frames(tokio::sync::mpsc::channel(1).1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_both_ways() {
        for (text, wanted) in [
            ("2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.5Z"),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1.5", "1970-01-01T00:00:01.5Z"),
            ("1136073600.000000001", "2006-01-01T00:00:00.000000001Z"),
        ] {
            assert_eq!(moment(text).unwrap().to_string(), wanted);
        }
        for text in ["", "now", "-1", "1.x", "1.0000000001", "1e9", "99999999999999999999"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
