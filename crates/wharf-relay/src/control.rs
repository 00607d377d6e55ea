//! The relay's side of the control socket.
//!
//! One thread accepts, one serves each connection; a request is answered before the next is
//! read. Only root and the relay's own user are heard.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;
use wharf_host::fdpass::{self, recv_frame, send_frame};

use crate::error::{Error, Result};
use crate::protocol::{MAX_REQUEST, Refusal, Request, Response, VERSION};
use crate::route::Served;
use crate::table::{Owner, Table};

/// A daemon, its predecessor and a few curious commands; more is a mistake.
const CONNECTIONS: usize = 16;
/// Within a frame a peer of this machine has no reason to pause.
const FRAME_LIMIT: Duration = Duration::from_secs(10);

/// The control socket and what it commands.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) listener: UnixListener,
    pub(crate) table: Arc<Table>,
    /// Asks the process to end.
    pub(crate) shutdown: mpsc::Sender<()>,
    /// Readable (its other end closed) when the process ends.
    pub(crate) ended: OwnedFd,
    pub(crate) connections: AtomicUsize,
    /// The network namespace served, by inode number.
    pub(crate) namespace: u64,
}

// === impl Control ===

impl Control {
    /// Serves until the process ends.
    pub(crate) fn run(self: Arc<Self>) {
        let mut owner: Owner = 0;
        while wait_readable(self.listener.as_fd(), self.ended.as_fd()) {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    tracing::warn!(%error, "control connection not accepted");
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            owner += 1;
            if let Err(error) = self.start(stream, owner) {
                tracing::warn!(%error, "control connection refused");
            }
        }
    }

    fn start(self: &Arc<Self>, stream: UnixStream, owner: Owner) -> Result<()> {
        let peer = fdpass::peer_credentials(&stream)?;
        if peer.uid != 0 && peer.uid != rustix::process::geteuid().as_raw() {
            return Err(Error::Protocol(format!("user {} may not control this relay", peer.uid)));
        }
        stream.set_read_timeout(Some(FRAME_LIMIT)).map_err(wrap)?;
        stream.set_write_timeout(Some(FRAME_LIMIT)).map_err(wrap)?;
        if self.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::Protocol(format!("more than {CONNECTIONS} control connections")));
        }
        let control = Arc::clone(self);
        let body = move || {
            if let Err(error) = control.serve(&stream, owner) {
                tracing::warn!(%error, pid = peer.pid, "control connection failed");
            }
            control.table.forget(owner);
            control.connections.fetch_sub(1, Ordering::Relaxed);
        };
        let spawned = std::thread::Builder::new().name("control".to_owned()).spawn(body);
        spawned.map(|_| ()).map_err(|e| {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            wrap(e)
        })
    }

    fn serve(&self, stream: &UnixStream, owner: Owner) -> Result<()> {
        while wait_readable(stream.as_fd(), self.ended.as_fd()) {
            let Some((payload, descriptors)) = recv_frame(stream, MAX_REQUEST)? else { break };
            let mut ends = false;
            let (response, sockets) = match serde_json::from_slice::<Request>(&payload) {
                Ok(request) => {
                    ends = request == Request::Shutdown;
                    self.answer(request, descriptors, owner)
                }
                Err(e) => {
                    let refusal = Refusal::Request { reason: e.to_string() };
                    (Response::Refused(refusal), Vec::new())
                }
            };
            let payload =
                serde_json::to_vec(&response).map_err(|e| Error::Protocol(e.to_string()))?;
            let borrowed: Vec<BorrowedFd<'_>> =
                sockets.iter().flat_map(|set| set.sockets().map(|(_, fd)| fd)).collect();
            let sent = send_frame(stream, &payload, &borrowed);
            if ends {
                // Full means that the process is being asked to end already.
                let _asked = self.shutdown.try_send(());
            }
            sent?;
        }
        Ok(())
    }

    fn answer(
        &self,
        request: Request,
        descriptors: Vec<OwnedFd>,
        owner: Owner,
    ) -> (Response, Vec<Arc<Served>>) {
        let response = match request {
            Request::Hello { .. } => self.hello(),
            Request::Add { routes } => done(self.table.add(routes, descriptors, owner)),
            Request::Open { ids, lease } => done(self.table.open(&ids, lease)),
            Request::Remove { ids, drain_seconds } => {
                let drain = drain_seconds.map(|seconds| Duration::from_secs(seconds.into()));
                Response::Removed { unknown: self.table.remove(&ids, drain) }
            }
            Request::List { with_sockets } => return self.list(with_sockets),
            Request::Stats => Response::Stats(self.table.stats()),
            Request::Shutdown => {
                // Closed here, so that the ports are free when the answer arrives.
                self.table.clear();
                Response::Done
            }
        };
        (response, Vec::new())
    }

    fn hello(&self) -> Response {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Response::Hello {
            version: VERSION,
            pid: std::process::id(),
            namespace: self.namespace,
            release,
        }
    }

    fn list(&self, with_sockets: bool) -> (Response, Vec<Arc<Served>>) {
        let (routes, mut sockets): (Vec<_>, Vec<_>) = self.table.list().into_iter().unzip();
        if !with_sockets {
            sockets.clear();
        }
        (Response::Listed { routes }, sockets)
    }
}

fn done(result: std::result::Result<(), Refusal>) -> Response {
    result.map_or_else(Response::Refused, |()| Response::Done)
}

fn wrap(source: io::Error) -> Error {
    Error::Io { action: "serve a control connection".to_owned(), source }
}

/// Waits until `fd` is readable; false when the process ends first.
fn wait_readable(fd: BorrowedFd<'_>, ended: BorrowedFd<'_>) -> bool {
    let mut fds = [
        PollFd::from_borrowed_fd(fd, PollFlags::IN),
        PollFd::from_borrowed_fd(ended, PollFlags::IN),
    ];
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => {
                let [_, ended] = fds;
                return ended.revents().is_empty();
            }
        }
    }
}
