//! Following containers of other engines: their publications go where they go, and with them.

use std::sync::Arc;
use std::time::Duration;

use wharf_engine::Event;
use wharf_spec::Engine;

use crate::daemon::Daemon;

/// How soon a first publication of an engine's container is noticed here. Nobody is connected to
/// an engine that has nothing published: an open connection keeps one alive that systemd would
/// end.
const LOOK: Duration = Duration::from_secs(1);

/// Follows the containers of `engine` for as long as something of theirs is published.
pub(crate) async fn follow(daemon: Arc<Daemon>, engine: Engine) {
    loop {
        if daemon.publishes_for(engine) {
            follow_while_needed(&daemon, engine).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn follow_while_needed(daemon: &Arc<Daemon>, engine: Engine) {
    let mut watch = daemon.engines.watch(engine);
    while daemon.publishes_for(engine) {
        let Ok(event) = tokio::time::timeout(LOOK, watch.next()).await else { continue };
        match event {
            None => return,
            Some(Event::Lost { reason }) => {
                tracing::warn!(%engine, reason, "containers are not followed");
            }
            Some(Event::Connected) => refresh(daemon, engine, None).await,
            Some(
                Event::Started { id }
                | Event::Stopped { id }
                | Event::Removed { id }
                | Event::Changed { id },
            ) => refresh(daemon, engine, Some(id)).await,
        }
    }
}

async fn refresh(daemon: &Arc<Daemon>, engine: Engine, id: Option<String>) {
    let shared = Arc::clone(daemon);
    let refreshed =
        tokio::task::spawn_blocking(move || shared.refresh_foreign(engine, id.as_deref())).await;
    if let Err(error) = refreshed {
        tracing::error!(%error, "following a container stumbled");
    }
}
