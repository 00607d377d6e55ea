//! The relay whose place this one took: it carries its connections to their end, and what it
//! counts is counted here.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wharf_host::netns::Netns;

use crate::client::RelayClient;
use crate::error::{Error, Result};
use crate::protocol::{Listed, PassedFlow};
use crate::table::Table;

/// How often the predecessor's counters are read.
const LOOK: Duration = Duration::from_secs(1);

/// The connection to a relay that is leaving.
#[derive(Debug)]
pub(crate) struct Predecessor {
    client: Mutex<RelayClient>,
}

/// What a predecessor hands over at first.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) routes: Vec<(Listed, Vec<OwnedFd>)>,
    /// The control socket's listener.
    pub(crate) listener: OwnedFd,
    /// The lock of the run directory.
    pub(crate) lock: OwnedFd,
}

// === impl Predecessor ===

impl Predecessor {
    /// Asks the relay at `socket` for everything it has.
    pub(crate) fn succeed(socket: &Path) -> Result<(Self, Estate)> {
        let mut client = RelayClient::connect(socket)?;
        let (ours, theirs) = (Netns::current()?.identity()?, client.namespace());
        if ours != theirs {
            return Err(Error::Protocol(format!(
                "the relay serves network namespace {theirs}, this is {ours}: upgrade it there"
            )));
        }
        let (routes, mut rest) = client.hand_over()?;
        let (lock, listener) = (rest.pop(), rest.pop());
        let (Some(lock), Some(listener)) = (lock, listener) else {
            return Err(Error::Protocol("the lock or the listener did not come along".into()));
        };
        Ok((Self { client: Mutex::new(client) }, Estate { routes, listener, lock }))
    }

    /// Tells it that TCP is served; takes over the flows.
    pub(crate) fn dismiss(&self, drain_seconds: u32) -> Result<(Vec<PassedFlow>, Vec<OwnedFd>)> {
        self.client().leave(drain_seconds)
    }

    /// Brings `table` up to date until the predecessor has ended.
    pub(crate) fn watch(&self, table: &Table) {
        loop {
            // Not kept over the pause: others have something to say to it, too.
            let listed = self.client().list();
            let Ok(routes) = listed else { break };
            let stats: HashMap<_, _> = routes.into_iter().map(|l| (l.route.id, l.stats)).collect();
            table.inherit(stats);
            std::thread::sleep(LOOK);
        }
        table.inherit_no_more();
        tracing::info!("the predecessor has ended");
    }

    /// Cuts the connections of routes that are removed. Failure means that it has ended.
    pub(crate) fn remove(&self, ids: &[String], drain_seconds: Option<u32>) {
        let _removed = self.client().remove(ids, drain_seconds);
    }

    /// Ends it. Failure means that it has ended.
    pub(crate) fn shutdown(&self) {
        let _ended = self.client().end();
    }

    fn client(&self) -> MutexGuard<'_, RelayClient> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches on a thread of its own.
pub(crate) fn watch(predecessor: &Arc<Predecessor>, table: &Arc<Table>) -> Result<()> {
    let (predecessor, table) = (Arc::clone(predecessor), Arc::clone(table));
    let thread = std::thread::Builder::new().name("predecessor".to_owned());
    let body = move || predecessor.watch(&table);
    thread.spawn(body).map(|_| ()).map_err(|source| Error::Io {
        action: "start the thread that watches the predecessor".to_owned(),
        source,
    })
}
