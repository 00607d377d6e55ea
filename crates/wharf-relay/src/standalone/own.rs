//! The port served by this process.

use std::time::Duration;

use super::port::Port;
use super::route;
use crate::engine::Engine;
use crate::error::{During, Result};
use crate::limits::Limits;

/// What connections get to finish when a relay takes the port over; the rest is cut.
const DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The only owner of this engine's routes.
const OWNER: u64 = 0;

/// An engine in this process, for one route.
#[derive(Debug)]
pub(super) struct Own {
    engine: Engine,
    /// The route, while it is served.
    id: Option<String>,
}

// === impl Own ===

impl Own {
    /// Starts an engine that serves nothing yet. One loop is enough for one port, and a process
    /// for each port is many processes.
    pub(super) fn start() -> Result<Self> {
        let limits = Limits { loops: Some(1), ..Limits::default() };
        Ok(Self { engine: Engine::start(limits)?, id: None })
    }

    /// Serves the port; doing it twice changes nothing.
    pub(super) fn serve(&mut self, port: &Port) -> Result<()> {
        if self.id.is_some() {
            return Ok(());
        }
        let route = route::of(port);
        let id = route.id.clone();
        let socket = port.socket().try_clone_to_owned().during(|| "copy the socket")?;
        self.engine.table.add(vec![route], vec![socket], OWNER)?;
        if let Err(refusal) = self.engine.table.open(std::slice::from_ref(&id), None) {
            self.engine.table.remove(&[id], None);
            return Err(refusal.into());
        }
        self.id = Some(id);
        Ok(())
    }

    /// Accepts nothing more; TCP connections go on.
    pub(super) fn withdraw(&mut self) {
        let Some(id) = self.id.take() else { return };
        self.engine.table.remove(&[id], Some(DRAIN));
    }

    /// Whether nothing is served and no connection is left.
    pub(super) fn is_idle(&self) -> bool {
        self.id.is_none() && self.engine.table.stats().connections_open == 0
    }

    /// Ends the engine, and the connections that are left with it.
    pub(super) fn stop(self) {
        self.engine.stop();
    }
}
