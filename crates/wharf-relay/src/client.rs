//! The daemon's side of the control socket: blocking, one request at a time, 10 s at most each.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use wharf_host::fdpass::{recv_frame, send_frame};

use crate::error::{During, Error, Result};
use crate::protocol::{Listed, MAX_RESPONSE, PassedFlow, Phase, Request, Response, Route, VERSION};
use crate::stats::Stats;

/// The relay answers at once; a longer silence means that it hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The oldest version whose place this one can take: what is said for that has not changed since.
const OLDEST: u32 = 2;

/// A connection to a running relay.
///
/// Routes added through it and not opened vanish when it is dropped. After a failure it connects
/// anew for the next request.
#[derive(Debug)]
pub struct RelayClient {
    socket: PathBuf,
    stream: UnixStream,
    /// How long an answer may take.
    limit: Duration,
    pid: u32,
    namespace: u64,
    release: String,
    /// Whether a successor of the relay is asked when it has ended.
    faithful: bool,
    /// An answer may still be on its way, which would be taken for the next one's.
    broken: bool,
}

// === impl RelayClient ===

impl RelayClient {
    /// Connects to the relay that listens at `socket`.
    ///
    /// # Errors
    /// When nobody listens there, or a relay of another version.
    pub fn connect(socket: &Path) -> Result<Self> {
        Self::connect_within(socket, ANSWER_LIMIT)
    }

    /// The same with another limit for this and for each later answer.
    pub(crate) fn connect_within(socket: &Path, limit: Duration) -> Result<Self> {
        Self::connect_to(socket, limit, VERSION)
    }

    /// Connects to a relay to be replaced, which may be of an earlier version.
    pub(crate) fn connect_to_old(socket: &Path) -> Result<Self> {
        Self::connect_to(socket, ANSWER_LIMIT, OLDEST)
    }

    fn connect_to(socket: &Path, limit: Duration, oldest: u32) -> Result<Self> {
        let stream = dial(socket, limit)?;
        let socket = socket.to_owned();
        let (pid, namespace, release) = (0, 0, String::new());
        let (faithful, broken) = (true, false);
        let mut client = Self { socket, stream, limit, pid, namespace, release, faithful, broken };
        match client.ask(&Request::Hello { version: VERSION }, &[])?.0 {
            Response::Hello { version, pid, namespace, release }
                if (oldest..=VERSION).contains(&version) =>
            {
                Ok(Self { pid, namespace, release, ..client })
            }
            Response::Hello { version, pid, .. } => {
                Err(Error::Version { pid, theirs: version, ours: VERSION })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The relay's process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The inode number of the network namespace the relay serves.
    pub fn namespace(&self) -> u64 {
        self.namespace
    }

    /// The release of the relay's program.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Hands routes and their sockets over, all or none; they do not serve yet. The descriptors
    /// follow each other in the order of the routes (see [`Route`]); the caller's may be closed
    /// afterwards.
    pub fn add(&mut self, routes: Vec<Route>, sockets: &[BorrowedFd<'_>]) -> Result<()> {
        self.done(&Request::Add { routes }, sockets)
    }

    /// Detaches the drop filters of routes and serves them; doing it twice changes nothing.
    pub fn open(&mut self, ids: &[String]) -> Result<()> {
        self.done(&Request::Open { ids: ids.to_vec(), lease: false }, &[])
    }

    /// As [`Self::open`], but the routes vanish with this connection, however it ends.
    pub fn open_leased(&mut self, ids: &[String]) -> Result<()> {
        self.done(&Request::Open { ids: ids.to_vec(), lease: true }, &[])
    }

    /// Leads open routes elsewhere or gives them other options, all or none, while they serve: no
    /// listener is closed and no client refused. Protocol, addresses listened on and host ports
    /// must be those that were. `descriptors` are the helper and the namespace of each route that
    /// is [`Route::inside`], in the order of the routes.
    ///
    /// Connections accepted after this returns go by the changed route. Open TCP connections go on
    /// where they are, or are reset if their clients are not allowed any more; those that still
    /// wait for a target they would not be led to any more are led to the other one. UDP flows whose
    /// target, source or PROXY header changes, or whose clients are not allowed any more, end at
    /// once; the others go on. Counters are kept.
    ///
    /// # Errors
    /// [`Refusal`](crate::Refusal) when a route is unknown or does not serve yet, or would need
    /// other sockets.
    pub fn change(&mut self, routes: Vec<Route>, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        self.done(&Request::Change { routes, lenient: false }, descriptors)
    }

    /// The same for those of the routes that this relay has.
    pub(crate) fn change_known(
        &mut self,
        routes: Vec<Route>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<()> {
        self.done(&Request::Change { routes, lenient: true }, descriptors)
    }

    /// Closes routes and returns the identities that named none. Their ports are free when this
    /// returns, unless copies of the sockets are held elsewhere. Open TCP connections are reset
    /// after `drain_seconds`, or at once, and their route is listed as [`Phase::Leaving`] until the
    /// last of them has ended; UDP flows end at once. Removing such a route again can only make
    /// its end earlier.
    pub fn remove(&mut self, ids: &[String], drain_seconds: Option<u32>) -> Result<Vec<String>> {
        let request = Request::Remove { ids: ids.to_vec(), drain_seconds };
        match self.ask(&request, &[])?.0 {
            Response::Removed { unknown } => Ok(unknown),
            other => Err(unexpected(&other)),
        }
    }

    /// Every route with its counters; removed ones that still carry something come last, and may
    /// have the identity of another one.
    pub fn list(&mut self) -> Result<Vec<Listed>> {
        match self.ask(&Request::List { with_sockets: false }, &[])?.0 {
            Response::Listed { routes } => Ok(routes),
            other => Err(unexpected(&other)),
        }
    }

    /// Every route with copies of its descriptors in the order of [`Self::add`], for a daemon that
    /// adopts them; one that is [`Phase::Leaving`] has none.
    pub fn list_with_sockets(&mut self) -> Result<Vec<(Listed, Vec<OwnedFd>)>> {
        let (response, sockets) = self.ask(&Request::List { with_sockets: true }, &[])?;
        let Response::Listed { routes } = response else { return Err(unexpected(&response)) };
        Ok(deal(routes, sockets)?.0)
    }

    /// The identities of the routes that serve.
    pub fn open_routes(&mut self) -> Result<Vec<String>> {
        let routes = self.list()?.into_iter().filter(|listed| listed.phase == Phase::Open);
        Ok(routes.map(|listed| listed.route.id).collect())
    }

    /// Counts over all routes.
    pub fn stats(&mut self) -> Result<Stats> {
        match self.ask(&Request::Stats, &[])?.0 {
            Response::Stats(stats) => Ok(stats),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for everything, as the successor: each route with its sockets, and the descriptors
    /// that come after those.
    #[expect(clippy::type_complexity, reason = "what it is, once")]
    pub(crate) fn hand_over(&mut self) -> Result<(Vec<(Listed, Vec<OwnedFd>)>, Vec<OwnedFd>)> {
        // Whoever listens there next is the caller itself.
        self.faithful = false;
        let (response, sockets) = self.ask(&Request::HandOver, &[])?;
        let Response::HandedOver { routes } = response else { return Err(unexpected(&response)) };
        deal(routes, sockets)
    }

    /// Changes the limit for each later answer.
    pub(crate) fn answer_within(&mut self, limit: Duration) -> Result<()> {
        let what = || "bound how long an answer may take";
        self.stream.set_read_timeout(Some(limit)).during(what)?;
        self.stream.set_write_timeout(Some(limit)).during(what)?;
        self.limit = limit;
        Ok(())
    }

    /// Tells the relay that its successor serves, and takes its flows over. Telling it once more
    /// can only make its end earlier.
    pub(crate) fn leave(&mut self, drain_seconds: u32) -> Result<(Vec<PassedFlow>, Vec<OwnedFd>)> {
        match self.ask(&Request::Leave { drain_seconds }, &[])? {
            (Response::Left { flows }, sockets) => Ok((flows, sockets)),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Ends the relay. Its listeners are closed when this returns; the process ends soon after.
    pub fn shutdown(mut self) -> Result<()> {
        self.end()
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.done(&Request::Shutdown, &[])
    }

    fn done(&mut self, request: &Request, sockets: &[BorrowedFd<'_>]) -> Result<()> {
        match self.ask(request, sockets)?.0 {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(
        &mut self,
        request: &Request,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<(Response, Vec<OwnedFd>)> {
        if self.broken && !self.faithful {
            return Err(Error::Closed);
        }
        if self.broken {
            *self = self.again()?;
        }
        self.broken = true;
        let answer = match self.converse(request, sockets) {
            // A relay that gives way to a successor answers nothing any more, and does nothing it
            // has not answered: the successor is asked.
            Err(Error::Closed) if self.pid != 0 && self.faithful => {
                match self.again() {
                    Ok(successor) => *self = successor,
                    Err(Error::Io { .. }) => return Err(Error::Closed),
                    Err(other) => return Err(other),
                }
                self.broken = true;
                self.converse(request, sockets)?
            }
            other => other?,
        };
        self.broken = false;
        match answer {
            (Response::Refused(refusal), _) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    /// Connects to whoever listens there now.
    fn again(&self) -> Result<Self> {
        Self::connect_within(&self.socket, self.limit)
    }

    fn converse(
        &mut self,
        request: &Request,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<(Response, Vec<OwnedFd>)> {
        let payload = serde_json::to_vec(request).map_err(|e| Error::Protocol(e.to_string()))?;
        send_frame(&self.stream, &payload, sockets).map_err(|error| self.closed(error))?;
        let Some((payload, descriptors)) =
            recv_frame(&self.stream, MAX_RESPONSE).map_err(|error| self.closed(error))?
        else {
            return Err(Error::Closed);
        };
        let response =
            serde_json::from_slice(&payload).map_err(|e| Error::Protocol(e.to_string()))?;
        Ok((response, descriptors))
    }

    fn closed(&self, error: wharf_host::Error) -> Error {
        let errno = error.errno().map(rustix::io::Errno::from_raw_os_error);
        match errno {
            Some(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Error::Closed,
            Some(rustix::io::Errno::AGAIN) => Error::Silent { seconds: self.limit.as_secs() },
            _ => error.into(),
        }
    }
}

impl AsFd for RelayClient {
    /// The connection; it becomes readable when the relay ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Gives each route its sockets; what is left over comes with them.
#[expect(clippy::type_complexity, reason = "what it is, once")]
fn deal(
    routes: Vec<Listed>,
    sockets: Vec<OwnedFd>,
) -> Result<(Vec<(Listed, Vec<OwnedFd>)>, Vec<OwnedFd>)> {
    let holds = |listed: &Listed| match listed.phase {
        Phase::Leaving => 0,
        Phase::Held | Phase::Open => listed.route.descriptors(),
    };
    let needed: usize = routes.iter().map(holds).sum();
    if needed > sockets.len() {
        let text = format!("{} sockets came for routes of {needed}", sockets.len());
        return Err(Error::Protocol(text));
    }
    let mut rest = sockets.into_iter();
    let mut dealt = Vec::with_capacity(routes.len());
    for listed in routes {
        let set = rest.by_ref().take(holds(&listed)).collect();
        dealt.push((listed, set));
    }
    Ok((dealt, rest.collect()))
}

fn dial(socket: &Path, limit: Duration) -> Result<UnixStream> {
    let what = || format!("connect to the relay at {}", socket.display());
    let stream = Socket::new(Domain::UNIX, Type::STREAM, None).during(what)?;
    // Before connecting: a relay that does not accept would have us wait for ever.
    stream.set_write_timeout(Some(limit)).during(what)?;
    stream.set_read_timeout(Some(limit)).during(what)?;
    match stream.connect(&SockAddr::unix(socket).during(what)?) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(Error::Silent { seconds: limit.as_secs() })
        }
        connected => connected.during(what).map(|()| stream.into()),
    }
}

fn unexpected(response: &Response) -> Error {
    let text = serde_json::to_string(response).unwrap_or_default();
    let text: String = text.chars().take(200).collect();
    Error::Protocol(format!("unexpected answer {text}"))
}

#[cfg(test)]
mod tests;
