//! What other container engines say of their containers, and of what happens to them.
//!
//! Docker and Podman are asked through their API sockets, in the part of Docker's API that both
//! speak and that has not changed since its version 1.24, so that no version is negotiated. What
//! Podman does otherwise is said where it matters; it was tried with Docker 20.10 and Podman 4.3.
//!
//! An engine is a stranger: every answer has a size it may not pass and a time to arrive in, and
//! nothing in one is trusted to be what it should be.

mod connection;
mod container;
mod error;
mod event;
mod lines;
mod mailbox;
mod published;
mod sandbox;
mod sockets;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
pub use wharf_spec::Engine;

use crate::connection::{Connection, Part};
pub use crate::container::{Found, Network};
use crate::container::{Inspected, NetworkEntry};
pub use crate::error::{Error, Result};
pub use crate::event::Event;
pub use crate::published::PublishedPort;
pub use crate::sockets::Sockets;
pub use crate::watch::Watch;

/// Docker keeps a container locked, also against questions, while it starts it, which takes
/// seconds with hundreds of ports; whoever asked is told again when it has started.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// After a restart of an engine everything is looked at again: not with a connection for each.
const ASKING_AT_ONCE: usize = 4;

/// The longest name of a container that either engine takes, with room to spare.
const NAME_LIMIT: usize = 512;

/// The engines of this host; clones share their limits.
#[derive(Debug, Clone)]
pub struct Engines {
    sockets: Arc<Sockets>,
    limit: Duration,
    docker: Arc<Semaphore>,
    podman: Arc<Semaphore>,
}

// === impl Engines ===

impl Engines {
    /// Engines that listen on `sockets`; none is asked anything yet.
    pub fn new(sockets: Sockets) -> Self {
        let turns = || Arc::new(Semaphore::new(ASKING_AT_ONCE));
        let (docker, podman) = (turns(), turns());
        Self { sockets: Arc::new(sockets), limit: ANSWER_LIMIT, docker, podman }
    }

    /// The same engines with another limit for an answer; it is ten seconds otherwise.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The container of `engine` whose name is, or whose id begins with, `name`.
    ///
    /// # Errors
    /// [`Error::NoContainer`] when there is none; otherwise as [`Error`] lists.
    pub async fn find(&self, engine: Engine, name: &str) -> Result<Found> {
        if name.is_empty() || name.len() > NAME_LIMIT {
            return Err(Error::NoContainer { engine, name: error::brief(name) });
        }
        self.in_turn(engine, self.look(engine, name)).await
    }

    /// The host ports that the running containers of `engine` publish.
    ///
    /// # Errors
    /// As [`Error`] lists.
    pub async fn published(&self, engine: Engine) -> Result<Vec<PublishedPort>> {
        let ask = async { published::list(&mut self.open(engine).await?, engine).await };
        self.in_turn(engine, ask).await
    }

    /// Follows the events of `engine`, from now on and over its restarts, until the [`Watch`] is
    /// dropped. Must be called within a tokio runtime; one watch serves a whole daemon.
    pub fn watch(&self, engine: Engine) -> Watch {
        Watch::start(engine, self.sockets.of(engine).to_owned(), self.limit)
    }

    async fn look(&self, engine: Engine, name: &str) -> Result<Found> {
        let mut connection = self.open(engine).await?;
        let path = format!("/containers/{}/json", Part(name));
        let inspected: Inspected = connection.get(&path).await.map_err(|error| match error {
            // Docker takes a name with slashes or dots for another path and points to that.
            Error::Refused { status: 300..=399 | 404, .. } => {
                Error::NoContainer { engine, name: error::brief(name) }
            }
            other => other,
        })?;
        let drivers = match inspected.has_own_networks() {
            true => drivers(&mut connection).await?,
            false => Vec::new(),
        };
        let sandbox = sandbox::of(inspected.id(), inspected.sandbox_key(), inspected.pid()).await;
        inspected.found(engine, connection.is_rootless(), &drivers, sandbox)
    }

    async fn open(&self, engine: Engine) -> Result<Connection> {
        Connection::open(engine, self.sockets.of(engine)).await
    }

    /// The limit counts from when the turn has come.
    async fn in_turn<T>(&self, engine: Engine, work: impl Future<Output = Result<T>>) -> Result<T> {
        let turns = match engine {
            Engine::Docker => &self.docker,
            Engine::Podman => &self.podman,
        };
        // It is never closed.
        let _turn = turns.acquire().await.ok();
        let limit = self.limit;
        timeout(limit, work).await.map_err(|_| Error::Timeout { engine, limit })?
    }
}

/// A proxy in front of the socket may let through questions about containers only; then networks
/// are taken for the usual kind.
async fn drivers(connection: &mut Connection) -> Result<Vec<NetworkEntry>> {
    match connection.get("/networks").await {
        Err(Error::Refused { .. }) => Ok(Vec::new()),
        other => other,
    }
}
