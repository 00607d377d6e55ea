//! One port in a process of its own: the body of `wharf docker-proxy`.
//!
//! The process binds the port, or is handed it bound, and keeps a copy of the socket for as long
//! as it lives. While a relay runs for the same network namespace, that relay serves the port by
//! a lease, and this process only waits; else it runs an engine of its own. It changes from one
//! to the other and back as relays come and go, and the port is open all the while: connections
//! that come in between wait in the socket's queue.

mod error;
mod lease;
mod own;
mod port;
mod route;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use wharf_host::netns::Netns;

pub use wharf_host::activation::inherited;

pub use self::error::PortError;
use self::lease::Lease;
use self::own::Own;
pub use self::port::{Forward, Port};
use crate::error::{Error, Result};
use crate::limits::ORPHAN_LIMIT;
use crate::spawn::socket_path;

/// A relay that was killed or upgraded is back within a second; until then connections wait in
/// the socket's queue.
const RENEWAL_LIMIT: Duration = Duration::from_secs(1);
/// The same for one that is there and says nothing, as while it takes another's place: it serves the
/// port by the lease we had, as long as it keeps that, and all that it has accepted ends with it.
const SILENCE_LIMIT: Duration = ORPHAN_LIMIT;
/// The first pause between two tries of a renewal; it doubles, because a thousand processes may
/// have lost the same relay.
const RENEWAL_PAUSE: Duration = Duration::from_millis(10);
/// How often a process that serves by itself looks for a relay: one failing system call.
const LOOK: Duration = Duration::from_secs(2);
/// The same when a relay is there that is not for us: asking costs it something.
const LOOK_AT_STRANGER: Duration = Duration::from_secs(60);

/// A port being served.
#[derive(Debug)]
struct Service<'a> {
    port: &'a Port,
    /// The relay's control socket.
    relay: PathBuf,
    namespace: u64,
    stop: BorrowedFd<'a>,
    lease: Option<Lease>,
    /// Serves while there is no lease; afterwards it carries its connections to their end.
    own: Option<Own>,
    look: Duration,
}

/// What a relay says when it is asked to serve the port.
#[derive(Debug)]
enum Answer {
    /// It does from now on.
    Yes,
    /// It is not for us.
    No,
    /// Nothing: nobody is there.
    Absent,
    /// Nothing, though somebody is there.
    Silent(Error),
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Somebody wants the process to end.
    Stop,
    /// The relay ended.
    Lost,
    /// The time is up.
    Time,
}

// === impl Port ===

impl Port {
    /// Serves the port until `stop` becomes readable; calls `ready` once clients are answered.
    /// The port is free when this returns. `run_dir` is where a relay may be.
    ///
    /// # Errors
    /// When there is no relay and no engine can be started.
    pub fn serve(
        &self,
        run_dir: &Path,
        stop: BorrowedFd<'_>,
        ready: impl FnOnce(),
    ) -> Result<(), PortError> {
        let (relay, namespace) = (socket_path(run_dir), own_namespace()?);
        let (lease, own, look) = (None, None, LOOK);
        let mut service = Service { port: self, relay, namespace, stop, lease, own, look };
        if !service.take_lease().is_yes() {
            service.serve_here()?;
        }
        ready();
        while service.turn() {}
        service.end();
        Ok(())
    }
}

fn own_namespace() -> Result<u64> {
    Ok(Netns::current()?.identity()?)
}

// === impl Service ===

impl Service<'_> {
    /// Waits for something to happen and does what it asks for; false at the end.
    fn turn(&mut self) -> bool {
        match self.wait(self.patience()) {
            Event::Stop => return false,
            Event::Lost => {
                self.lease = None;
                return self.renew();
            }
            Event::Time if self.lease.is_some() => self.let_own_go(),
            Event::Time if self.take_lease().is_yes() => {}
            Event::Time => self.try_to_serve_here(),
        }
        true
    }

    /// How long there is nothing to do but to wait for events.
    fn patience(&self) -> Option<Duration> {
        match (&self.lease, &self.own) {
            (Some(_), None) => None,
            (Some(_), Some(_)) => Some(LOOK),
            (None, _) => Some(self.look),
        }
    }

    /// Hands the port to the next relay, or serves it here when none comes; false at the end.
    fn renew(&mut self) -> bool {
        let began = Instant::now();
        let (mut deadline, latest) = (began + RENEWAL_LIMIT, began + SILENCE_LIMIT);
        let mut pause = RENEWAL_PAUSE;
        loop {
            let answer = self.take_lease();
            let now = Instant::now();
            match answer {
                Answer::Yes => return true,
                Answer::Silent(_) if now < latest => deadline = latest.min(now + RENEWAL_LIMIT),
                Answer::Silent(error) => {
                    tracing::warn!(%error, port = %self.port, "the relay does not serve the port");
                }
                Answer::No | Answer::Absent => {}
            }
            if now >= deadline {
                break;
            }
            if self.wait(Some(pause)) == Event::Stop {
                return false;
            }
            pause = (pause * 2).min(RENEWAL_LIMIT);
        }
        self.try_to_serve_here();
        true
    }

    /// Hands the port to the relay, if there is one for us.
    fn take_lease(&mut self) -> Answer {
        self.look = LOOK;
        match Lease::take(self.port, &self.relay, self.namespace) {
            Ok(lease) => {
                tracing::info!(relay = lease.pid(), port = %self.port, "the relay serves the port");
                self.lease = Some(lease);
                if let Some(own) = &mut self.own {
                    own.withdraw();
                }
                Answer::Yes
            }
            Err(error @ Error::Silent { .. }) => Answer::Silent(error),
            Err(error) if is_absent(&error) => Answer::Absent,
            Err(error) => {
                tracing::warn!(%error, port = %self.port, "the relay does not serve the port");
                self.look = LOOK_AT_STRANGER;
                Answer::No
            }
        }
    }

    fn try_to_serve_here(&mut self) {
        if let Err(error) = self.serve_here() {
            tracing::error!(%error, port = %self.port, "nobody serves the port; trying again");
        }
    }

    fn serve_here(&mut self) -> Result<()> {
        let own = match self.own.take() {
            Some(own) => own,
            None => Own::start()?,
        };
        self.own.insert(own).serve(self.port)
    }

    fn let_own_go(&mut self) {
        if let Some(own) = self.own.take_if(|own| own.is_idle()) {
            own.stop();
        }
    }

    fn end(self) {
        if let Some(lease) = self.lease {
            lease.release();
        }
        if let Some(own) = self.own {
            own.stop();
        }
    }

    fn wait(&self, limit: Option<Duration>) -> Event {
        let limit = limit.map(|limit| Timespec::try_from(limit).unwrap_or_default());
        let watched = [Some(self.stop), self.lease.as_ref().map(AsFd::as_fd)];
        let mut fds: Vec<PollFd<'_>> = watched
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, limit.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Event::Time,
            Ok(_) => {}
            Err(error) => {
                // Out of memory at worst; without the pause it would be a busy loop.
                tracing::warn!(%error, "poll failed");
                std::thread::sleep(RENEWAL_PAUSE);
                return Event::Time;
            }
        }
        let stopped = fds.first().is_some_and(|fd| !fd.revents().is_empty());
        if stopped { Event::Stop } else { Event::Lost }
    }
}

// === impl Answer ===

impl Answer {
    fn is_yes(&self) -> bool {
        matches!(self, Self::Yes)
    }
}

/// Whether nobody listens, rather than somebody who is not for us.
fn is_absent(error: &Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
    match error {
        Error::Io { source, .. } => {
            matches!(source.kind(), NotFound | ConnectionRefused | ConnectionReset)
        }
        Error::Closed => true,
        _ => false,
    }
}
