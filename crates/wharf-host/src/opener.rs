//! Sockets opened inside another network namespace, for a process that may not enter one.
//!
//! Entering a network namespace takes `CAP_SYS_ADMIN`, which is close to being root, and a process
//! that reads what strangers send must not have it. So before it is confined it starts a helper
//! that has, does nothing else, and reads nothing but requests of a few bytes. Whoever takes over
//! the confined process gets from the helper what it could ask for anyway: internet sockets in
//! namespaces whose descriptors it was given.
//!
//! They share a pair of seqpacket sockets, which keep messages apart. Each end notices when the
//! other is gone; that is also how the helper is told to end.

mod serve;
#[cfg(test)]
mod tests;
mod turn;
mod wire;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::error::{Context, Result};
use crate::process::{Detached, spawn_detached};

pub use serve::serve;

/// Opening takes microseconds; a helper that needs longer is stopped or starved, and whoever waits
/// for it has others to look after.
const OPEN_LIMIT: Duration = Duration::from_millis(250);
/// How long a helper that let a request wait is asked for nothing, unless it answers that.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);
/// Executing a program on a machine that is busy with something else.
const START_LIMIT: Duration = Duration::from_secs(5);

/// The address family of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What a socket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// A running helper; it ends with this value.
#[derive(Debug)]
pub struct Opener {
    socket: OwnedFd,
    turns: turn::Turns,
    /// Since when a request has not been answered.
    silent: Mutex<Option<Instant>>,
    pid: Option<u32>,
}

// === impl Opener ===

impl Opener {
    /// Starts the helper and waits until it is confined and ready, at most 5 s. `program` called
    /// with `args` has to call [`serve`] with its standard input; its standard error is ours, which
    /// it keeps as long as it lives.
    ///
    /// # Errors
    /// When the program cannot be executed, ends, or is not ready in time. Without
    /// `CAP_SYS_ADMIN` it does start, and every [`Opener::open`] fails with `EPERM`.
    pub fn start<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        Self::start_logging(program, args, Stdio::inherit())
    }

    /// The same with another standard error, for a helper that outlives this process.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_logging<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
        stderr: Stdio,
    ) -> Result<Self> {
        let what = || "start the helper that opens sockets";
        let flags = SocketFlags::CLOEXEC;
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).during(what)?;
        let stdin = Stdio::from(theirs);
        let start = Detached { stdin, stderr, ..Detached::new(program, args) };
        let pid = spawn_detached(start)?;
        let opener = Self { pid: Some(pid), ..Self::over(socket) };
        opener.answer(wire::READY, Instant::now() + START_LIMIT).during(what)?;
        Ok(opener)
    }

    /// The helper at the other end of `socket`, which another process has started and passed on
    /// (see [`AsFd`]). It lives until every copy is closed.
    pub fn over(socket: OwnedFd) -> Self {
        Self { socket, turns: turn::Turns::new(), silent: Mutex::default(), pid: None }
    }

    /// Opens a socket inside `namespace`, non-blocking and close-on-exec. Any number of threads
    /// may ask; each waits at most 250 ms. A helper that let one wait so long is not waited for
    /// again until it has answered that, or 20 s have passed: it fails at once. There may be only
    /// one value for one connection in a process, for the answers to one may reach another.
    ///
    /// # Errors
    /// The errno the helper got from the kernel: `EINVAL` when `namespace` is no network
    /// namespace, `EPERM` when it may not be entered, `EAFNOSUPPORT` when it has no IPv6; `EMFILE`
    /// when this process can hold no more descriptors. Without an errno: `TimedOut`, or
    /// `BrokenPipe` when the helper is gone.
    pub fn open(
        &self,
        namespace: BorrowedFd<'_>,
        domain: Domain,
        kind: Kind,
    ) -> io::Result<OwnedFd> {
        let deadline = Instant::now() + OPEN_LIMIT;
        let turn = self.turns.take(deadline).ok_or_else(too_late)?;
        if self.is_silent() {
            return Err(too_late());
        }
        let request = wire::Request { number: turn.number(), domain, kind };
        match wire::send(self.socket.as_fd(), &request.to_bytes(), Some(namespace)) {
            Ok(()) => {}
            // The queue is full of requests that nobody reads.
            Err(Errno::AGAIN) => return Err(self.give_up()),
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(gone()),
            Err(errno) => return Err(errno.into()),
        }
        let socket = self.answer(request.number, deadline).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => self.give_up(),
            _ => error,
        })?;
        // The kernel drops what comes along when the receiver has no number left to give it.
        socket.ok_or_else(|| Errno::MFILE.into())
    }

    /// The helper's process number, for logs; `None` when another process has started it.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether the helper has not ended; else another one is needed. One that is stopped has not.
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        let polled = poll(&mut fds, Some(&Timespec::default()));
        let [socket] = fds;
        polled.is_ok() && !socket.revents().intersects(PollFlags::HUP | PollFlags::RDHUP)
    }

    /// Whether there is no sign of life since a request was given up. For whoever has the turn.
    fn is_silent(&self) -> bool {
        let mut silent = self.silent();
        let Some(since) = *silent else { return false };
        // Whatever comes, a late answer or the end, is a sign.
        let nothing =
            matches!(wire::receive::<{ wire::ANSWER }>(self.socket.as_fd()), Err(Errno::AGAIN));
        if nothing && since.elapsed() < SILENCE_LIMIT {
            return true;
        }
        *silent = None;
        false
    }

    fn give_up(&self) -> io::Error {
        *self.silent() = Some(Instant::now());
        too_late()
    }

    fn silent(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to request `number`. Answers to earlier requests, which their askers no longer
    /// waited for, are thrown away.
    fn answer(&self, number: u32, deadline: Instant) -> io::Result<Option<OwnedFd>> {
        loop {
            self.readable(deadline)?;
            match wire::receive::<{ wire::ANSWER }>(self.socket.as_fd()) {
                Ok(Some(message)) => {
                    let answer = wire::Answer::from_bytes(message.payload()?);
                    match answer.errno {
                        _ if answer.number != number => {}
                        0 => return Ok(message.descriptor),
                        errno => return Err(io::Error::from_raw_os_error(errno)),
                    }
                }
                Ok(None) | Err(Errno::CONNRESET) => return Err(gone()),
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn readable(&self, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or_default();
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Err(too_late()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Opener {
    /// The connection to the helper, to be passed on to the process that will ask.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the helper that opens sockets does not answer")
}

fn gone() -> io::Error {
    let text = "the helper that opens sockets has ended; another one must be started";
    io::Error::new(io::ErrorKind::BrokenPipe, text)
}
