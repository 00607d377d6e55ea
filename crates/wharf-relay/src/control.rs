//! The relay's side of the control socket.
//!
//! Connections that say nothing cost a descriptor each and no thread: docker-proxy keeps one for
//! every port it has leased. A request is served on a thread of its own, and answered before the
//! next of the same connection is read. Only root and the relay's own user are heard.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::time::{Duration, Instant};

use wharf_host::fdpass::{self, recv_frame, send_frame};

use crate::control::answer::{Answer, Answers};
use crate::control::readings::Readings;
use crate::error::{Error, Result};
use crate::limits::{Budget, Share};
use crate::poller::{Events, Poller};
use crate::predecessor::Predecessor;
use crate::protocol::{MAX_REQUEST, Refusal, Request, Response};
use crate::table::Owner;

pub(crate) mod answer;
mod readings;

/// Within a frame a peer of this machine has no reason to pause.
const FRAME_LIMIT: Duration = Duration::from_secs(10);
/// Requests served at the same time; the next one waits for the thread that accepts.
const THREADS: usize = 16;
/// Connections: 16,384 leased ports are more than a host has ephemeral ones left for.
const CONNECTIONS: usize = 16_384;
/// Connections that need no share of the descriptors: a daemon's, and a few curious commands'.
const FREE: usize = 64;
const LISTENER: u64 = 0;
/// How long the end of the relay waits for requests that are being answered, which takes
/// milliseconds; one that waits for a predecessor that hangs is not worth more.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// How often leases without a tenant are looked for while there are any.
const ORPHAN_LOOK: Duration = Duration::from_millis(250);

/// The control socket and what it commands.
#[derive(Debug)]
pub(crate) struct Control {
    /// Until a successor has it.
    listener: Mutex<Option<UnixListener>>,
    poller: Poller,
    answers: Answers,
    descriptors: Arc<Budget>,
    /// Connections that say nothing just now.
    quiet: Mutex<HashMap<u64, Peer>>,
    connections: AtomicUsize,
    threads: AtomicUsize,
    stop: AtomicBool,
    /// The successor's connection, while it is taking over. Requests hold it for reading, so that
    /// none is half done when the successor learns what there is.
    successor: RwLock<Option<Owner>>,
    /// Connections that were ended for a successor.
    cut: Mutex<Vec<Owner>>,
    /// What was read of the counters, for the end of this relay.
    pub(crate) readings: Readings,
}

/// One connection.
#[derive(Debug)]
struct Peer {
    stream: UnixStream,
    pid: u32,
    _share: Option<Share>,
}

// === impl Control ===

impl Control {
    pub(crate) fn new(
        listener: UnixListener,
        answers: Answers,
        descriptors: Arc<Budget>,
    ) -> Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            listener: Mutex::new(Some(listener)),
            answers,
            descriptors,
            quiet: Mutex::default(),
            connections: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            successor: RwLock::default(),
            cut: Mutex::default(),
            readings: Readings::default(),
        })
    }

    /// Serves until told to stop.
    pub(crate) fn run(self: Arc<Self>) {
        let mut events = Events::new();
        self.watch_listener();
        let (mut last, mut looked): (Owner, _) = (0, Instant::now());
        while !self.stop.load(Ordering::Relaxed) {
            let orphans = self.answers.table.has_orphans();
            self.poller.wait(&mut events, orphans.then_some(ORPHAN_LOOK));
            if orphans && looked.elapsed() >= ORPHAN_LOOK {
                self.answers.drop_orphans();
                looked = Instant::now();
            }
            let ready = events.take();
            for event in &ready {
                match event.token {
                    LISTENER => self.accept(&mut last),
                    owner => self.hear(owner),
                }
            }
            events.give_back(ready);
        }
    }

    /// Ends [`Self::run`]. Nothing is answered any more after this, unless it takes too long.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.poller.wake();
        let began = Instant::now();
        while matches!(self.successor.try_write(), Err(TryLockError::WouldBlock))
            && began.elapsed() < STOP_LIMIT
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Leaves the listener to the successor at `owner` and closes all other connections: whoever
    /// calls again is heard by the successor, or by this relay once that one has given up.
    fn step_aside(&self, owner: Owner) -> bool {
        let mut successor = self.successor.write().unwrap_or_else(PoisonError::into_inner);
        if successor.is_some_and(|known| known != owner) {
            return false;
        }
        *successor = Some(owner);
        if let Some(listener) = &*self.listener() {
            self.poller.remove(listener);
        }
        self.answers.table.orphan_leases();
        let cut: Vec<(Owner, Peer)> = self.quiet().drain().collect();
        self.connections.fetch_sub(cut.len(), Ordering::Relaxed);
        self.cut().extend(cut.into_iter().map(|(owner, _)| owner));
        true
    }

    /// Takes the listener back if the successor at `owner` is gone without having taken over.
    fn step_forward(&self, owner: Owner) {
        let mut successor = self.successor.write().unwrap_or_else(PoisonError::into_inner);
        if *successor != Some(owner) {
            return;
        }
        if self.answers.table.has_left() {
            self.readings.end_all();
        } else {
            *successor = None;
            tracing::warn!("the successor is gone; this relay goes on");
            for owner in std::mem::take(&mut *self.cut()) {
                self.answers.forget(owner);
            }
            self.watch_listener();
        }
    }

    /// The relay whose place this one took.
    pub(crate) fn predecessor(&self) -> Option<Arc<Predecessor>> {
        self.answers.predecessor.clone()
    }

    /// Leaves the control socket and the run directory to the successor.
    pub(crate) fn let_go(&self) {
        *self.listener() = None;
        self.answers.heirlooms.let_go();
    }

    fn watch_listener(&self) {
        let listener = self.listener();
        let watched = listener.as_ref().map(|listener| self.poller.watch(listener, LISTENER));
        if let Some(Err(error)) = watched {
            tracing::error!(%error, "the control socket cannot be watched");
        }
    }

    fn listener(&self) -> MutexGuard<'_, Option<UnixListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) -> MutexGuard<'_, Vec<Owner>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn successor(&self) -> RwLockReadGuard<'_, Option<Owner>> {
        self.successor.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, last: &mut Owner) {
        let accepted = match &*self.listener() {
            Some(listener) => listener.accept(),
            None => return,
        };
        match accepted {
            Ok((stream, _)) => {
                *last += 1;
                if let Err(error) = self.welcome(stream, *last) {
                    tracing::warn!(%error, "control connection refused");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(%error, "control connection not accepted");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    fn welcome(&self, stream: UnixStream, owner: Owner) -> Result<()> {
        let peer = fdpass::peer_credentials(&stream)?;
        if peer.uid != 0 && peer.uid != rustix::process::geteuid().as_raw() {
            return Err(Error::Protocol(format!("user {} may not control this relay", peer.uid)));
        }
        stream.set_read_timeout(Some(FRAME_LIMIT)).map_err(wrap)?;
        stream.set_write_timeout(Some(FRAME_LIMIT)).map_err(wrap)?;
        let known = self.connections.load(Ordering::Relaxed);
        let share = if known < FREE { None } else { self.descriptors.take(1) };
        if known >= CONNECTIONS || (known >= FREE && share.is_none()) {
            return Err(Error::Protocol(format!("{known} control connections are open already")));
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.park(owner, Peer { stream, pid: peer.pid, _share: share });
        Ok(())
    }

    /// Waits for the next request of a connection.
    fn park(&self, owner: Owner, peer: Peer) {
        let mut quiet = self.quiet();
        let watched = self.poller.watch(&peer.stream, owner);
        quiet.insert(owner, peer);
        drop(quiet);
        match watched {
            Ok(()) => self.cut_late(owner),
            Err(error) => {
                tracing::warn!(%error, "control connection cannot be watched");
                self.part(owner);
            }
        }
    }

    /// Closes a connection that fell quiet only after this relay had stepped aside. Otherwise it
    /// would be open until the last client's connection has ended, and its leases lost meanwhile.
    fn cut_late(&self, owner: Owner) {
        let successor = self.successor();
        if successor.is_some_and(|successor| successor != owner)
            && self.quiet().remove(&owner).is_some()
        {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            self.cut().push(owner);
        }
    }

    /// Serves the request that a connection has begun to send, or its end.
    fn hear(self: &Arc<Self>, owner: Owner) {
        let Some(peer) = self.quiet().remove(&owner) else { return };
        self.poller.remove(&peer.stream);
        if self.threads.fetch_add(1, Ordering::Relaxed) >= THREADS {
            self.serve(owner, peer);
            return;
        }
        let control = Arc::clone(self);
        let body = move || control.serve(owner, peer);
        let thread = std::thread::Builder::new().name("control".to_owned());
        if let Err(error) = thread.spawn(body) {
            tracing::warn!(%error, "control connection dropped");
            self.threads.fetch_sub(1, Ordering::Relaxed);
            self.part(owner);
        }
    }

    fn serve(&self, owner: Owner, peer: Peer) {
        match self.converse(&peer.stream, owner) {
            Ok(true) => self.park(owner, peer),
            Ok(false) => {
                drop(peer);
                self.part(owner);
            }
            Err(error) => {
                tracing::warn!(%error, pid = peer.pid, "control connection failed");
                drop(peer);
                self.part(owner);
            }
        }
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whatever a connection leaves behind goes with it.
    fn part(&self, owner: Owner) {
        self.quiet().remove(&owner);
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.answers.forget(owner);
        self.step_forward(owner);
    }

    /// Serves one request; false when the connection is at its end.
    fn converse(&self, stream: &UnixStream, owner: Owner) -> Result<bool> {
        let Some((payload, descriptors)) = recv_frame(stream, MAX_REQUEST)? else {
            return Ok(false);
        };
        let request = serde_json::from_slice::<Request>(&payload);
        if matches!(request, Ok(Request::HandOver)) {
            // While those can still be heard who hold them.
            self.answers.table.await_none_held();
            if !self.step_aside(owner) {
                return Ok(false);
            }
        }
        let successor = self.successor();
        let ends = self.stop.load(Ordering::SeqCst);
        if ends || successor.is_some_and(|successor| successor != owner) {
            // Not answered, so not done: the client asks the successor.
            return Ok(false);
        }
        let reads = matches!(request, Ok(Request::List { .. }));
        if reads {
            self.readings.begin();
        }
        let answer = match request {
            Ok(request) => self.answers.answer(request, descriptors, owner),
            Err(e) => Response::Refused(Refusal::Request { reason: e.to_string() }).into(),
        };
        let sent = send(stream, &answer);
        answer.sent();
        if reads {
            self.readings.end();
        }
        sent.map(|()| true)
    }

    fn quiet(&self) -> MutexGuard<'_, HashMap<u64, Peer>> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send(stream: &UnixStream, answer: &Answer) -> Result<()> {
    let payload =
        serde_json::to_vec(&answer.response).map_err(|e| Error::Protocol(e.to_string()))?;
    let descriptors: Vec<BorrowedFd<'_>> = answer.descriptors().collect();
    Ok(send_frame(stream, &payload, &descriptors)?)
}

fn wrap(source: io::Error) -> Error {
    Error::Io { action: "serve a control connection".to_owned(), source }
}

#[cfg(test)]
mod tests;
