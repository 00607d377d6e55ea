//! Attaching: the connection becomes one of frames, both ways.
//!
//! The client asks for `Upgrade: wharf-frames`; after the answer `101 Switching Protocols` it sends
//! and receives frames ([`wharf_api::frame`]) until the last one, which carries the exit code.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use wharf_api::client::{EXEC_HEADER, PROTOCOL};
use wharf_runtime::shim::Attach;

use super::{Failure, Shared, blocking};
use crate::attach::Attached;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::terminal;

#[derive(OpenApi)]
#[openapi(paths(attach, attach_to_command))]
pub(super) struct Paths;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/containers/{name}/attach", post(attach))
        .route("/v1/containers/{name}/exec/{id}/attach", post(attach_to_command))
}

/// What a client wants of the streams.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
struct AttachQuery {
    /// Start the container first, so that nothing it writes is missed.
    start: bool,
    /// Feed standard input.
    stdin: bool,
    /// Show standard output, which is all there is of a terminal.
    stdout: bool,
    /// Show standard error.
    stderr: bool,
    /// Lines of the client's terminal.
    rows: u16,
    /// Characters in a line of it.
    columns: u16,
}

/// The wish of a request to go on in frames, if it has it.
pub(super) struct Upgrade(Option<OnUpgrade>);

/// Attaches to a container; the connection becomes one of frames.
#[utoipa::path(post, path = "/v1/containers/{name}/attach",
    params(("name" = String, Path), AttachQuery), responses((status = 101)))]
async fn attach(
    State(daemon): Shared,
    Path(name): Path<String>,
    Query(query): Query<AttachQuery>,
    upgrade: Upgrade,
) -> Result<Response, Failure> {
    upgrade.expect()?;
    let (start, wants) = (query.start, query.wants());
    let attach = move |daemon: &Arc<Daemon>| match start {
        true => daemon.start_attached(&name, wants),
        false => daemon.attach(&name, wants),
    };
    let attached = blocking(daemon, attach).await?;
    Ok(upgrade.switch(attached, None)?)
}

/// Attaches to a command that was run with standard input or a terminal and still runs.
#[utoipa::path(post, path = "/v1/containers/{name}/exec/{id}/attach",
    params(("name" = String, Path), ("id" = String, Path), AttachQuery),
    responses((status = 101)))]
async fn attach_to_command(
    State(daemon): Shared,
    Path((name, id)): Path<(String, String)>,
    Query(query): Query<AttachQuery>,
    upgrade: Upgrade,
) -> Result<Response, Failure> {
    upgrade.expect()?;
    let wants = query.wants();
    let attach = move |daemon: &Arc<Daemon>| crate::exec::attach(daemon, &name, &id, wants);
    let attached = blocking(daemon, attach).await?;
    Ok(upgrade.switch(attached, None)?)
}

// === impl AttachQuery ===

impl AttachQuery {
    fn wants(&self) -> Attach {
        let size = terminal::size(self.rows, self.columns);
        Attach { stdin: self.stdin, stdout: self.stdout, stderr: self.stderr, size }
    }
}

// === impl Upgrade ===

impl Upgrade {
    /// Whether the request has asked for it.
    pub(super) fn is_asked(&self) -> bool {
        self.0.is_some()
    }

    /// Refuses a request that has not asked for it, before anything has happened.
    pub(super) fn expect(&self) -> Result<(), Error> {
        if self.is_asked() {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "this is spoken in frames: ask for it with `Connection: Upgrade` and `Upgrade: {PROTOCOL}`"
        )))
    }

    /// Answers, and carries frames from then on.
    pub(super) fn switch(
        self,
        attached: Attached,
        command: Option<&str>,
    ) -> Result<Response, Error> {
        self.expect()?;
        if let Some(coming) = self.0 {
            tokio::spawn(async move {
                match coming.await {
                    Ok(client) => attached.carry(TokioIo::new(client)).await,
                    Err(error) => tracing::debug!(%error, "a client left before it was attached"),
                }
            });
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        if let Some(id) = command.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(EXEC_HEADER, id);
        }
        Ok(response)
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let asked = parts.headers.get(header::UPGRADE).is_some_and(|it| it == PROTOCOL);
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        Ok(Self(upgrade.filter(|_| asked)))
    }
}
