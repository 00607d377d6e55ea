//! The relay whose place this one took: it carries its connections to their end, and what it
//! counts is counted here.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wharf_host::netns::Netns;

use crate::client::RelayClient;
use crate::error::{Error, Result};
use crate::protocol::{Listed, PassedFlow, Route};
use crate::table::Table;

/// How often the predecessor is asked for its connections in all.
const LOOK: Duration = Duration::from_secs(1);
/// How often for what it counts for each route, while nobody wants to know: the list of 10,000
/// routes takes both sides some 100 ms. What is lost if it is killed is not older than this.
const LIST: Duration = Duration::from_secs(20);
/// How long an answer may take once it has left. Whoever asks us waits ten seconds in all; a
/// predecessor that hangs must not make us look as if we did.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);

/// The connection to a relay that is leaving.
#[derive(Debug)]
pub(crate) struct Predecessor {
    client: Mutex<RelayClient>,
    /// When its routes were last read. Taken after `client`.
    read_at: Mutex<Option<Instant>>,
    /// Whether it gave no answer once, and is asked no more.
    given_up: AtomicBool,
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
        let mut client = RelayClient::connect_to_old(socket)?;
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
        let (client, read_at, given_up) =
            (Mutex::new(client), Mutex::default(), AtomicBool::new(false));
        let predecessor = Self { client, read_at, given_up };
        Ok((predecessor, Estate { routes, listener, lock }))
    }

    /// Tells it that TCP is served; takes over the flows.
    pub(crate) fn dismiss(&self, drain_seconds: u32) -> Result<(Vec<PassedFlow>, Vec<OwnedFd>)> {
        let mut client = self.client();
        let left = client.leave(drain_seconds)?;
        client.answer_within(ANSWER_LIMIT)?;
        Ok(left)
    }

    /// Ends what it still carries, and what its own predecessor does.
    pub(crate) fn cut(&self) {
        let _ended = self.ask(|client| client.leave(0));
    }

    /// Brings `table` up to date until the predecessor has ended. What it counts for each route is
    /// read seldom, for there may be thousands, but certainly at its end, and when somebody asks.
    pub(crate) fn watch(&self, table: &Table) {
        loop {
            // Not kept over the pause: others have something to say to it, too.
            let stats = self.ask(RelayClient::stats);
            let Ok(stats) = stats else { break };
            table.inherit_open(stats.connections_open);
            let due = if stats.connections_open == 0 { LOOK } else { LIST };
            if !self.is_read_within(due) && self.read(table).is_err() {
                break;
            }
            std::thread::sleep(LOOK);
        }
        table.inherit_no_more();
        if !self.given_up.load(Ordering::Relaxed) {
            tracing::info!("the predecessor has ended");
        }
    }

    /// Brings `table` up to date, unless that was done a moment ago or cannot be done any more.
    pub(crate) fn refresh(&self, table: &Table) {
        if !self.is_read_within(LOOK) {
            // It has ended, and whoever watches it will say so.
            let _read = self.read(table);
        }
    }

    /// Changes what it still carries. Failure means that it has ended.
    pub(crate) fn change(&self, routes: Vec<Route>, descriptors: &[OwnedFd]) {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let _changed = self.ask(|client| client.change_known(routes, &descriptors));
    }

    /// Ends the connections of routes that are removed. Failure means that it has ended.
    pub(crate) fn remove(&self, ids: &[String], drain_seconds: Option<u32>, table: &Table) {
        if self.ask(|client| client.remove(ids, drain_seconds)).is_ok() {
            // Some may be listed as leaving from now on.
            let _read = self.read(table);
        }
    }

    fn read(&self, table: &Table) -> Result<()> {
        self.ask(|client| {
            // Before the next one may ask, so that nothing older comes after it.
            table.inherit(client.list()?);
            *self.read_at() = Some(Instant::now());
            Ok(())
        })
    }

    /// Asks it, unless it was silent before.
    fn ask<T>(&self, question: impl FnOnce(&mut RelayClient) -> Result<T>) -> Result<T> {
        let answer = question(&mut self.client());
        if let Err(error @ Error::Silent { .. }) = &answer {
            self.given_up.store(true, Ordering::Relaxed);
            tracing::warn!(%error, "the predecessor is given up: what it carries is out of reach");
        }
        answer
    }

    fn is_read_within(&self, limit: Duration) -> bool {
        self.read_at().is_some_and(|at| at.elapsed() < limit)
    }

    /// Ends it. Failure means that it has ended.
    pub(crate) fn shutdown(&self) {
        let _ended = self.ask(RelayClient::end);
    }

    fn read_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.read_at.lock().unwrap_or_else(PoisonError::into_inner)
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
