//! The shim's loop: requests, output, signals, and the end of the command.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::durable;
use crate::error::{Context, Error, Result};
use crate::exit::{self, Exit};
use crate::shim::container::Live;
use crate::shim::output::Output;
use crate::shim::peer::Peer;
use crate::shim::report;
use crate::shim::wire::{Phase, Reply, Request, SocketDir, State};
use crate::signal;
use crate::spec::ContainerSpec;

/// The daemon has one connection at a time, a person looking another.
const PEERS_LIMIT: usize = 32;
/// A request is often followed by another one; a shim that is left alone is slim.
const SLIM_DELAY: Duration = Duration::from_millis(500);

/// Everything a shim is.
#[derive(Debug)]
pub(super) struct Control {
    dir: PathBuf,
    spec: ContainerSpec,
    listener: UnixListener,
    signals: UnixStream,
    peers: Vec<Peer>,
    output: Option<Output>,
    live: Option<Live>,
    started_at: Option<Timestamp>,
    /// When to give memory back that the last request took.
    slim_due: Option<Instant>,
    finished: bool,
}

/// What the loop waits for, apart from the peers.
#[derive(Debug, Default)]
struct Ready {
    listener: bool,
    signal: bool,
    ended: bool,
    output: bool,
    peers: Vec<bool>,
}

// === impl Control ===

impl Control {
    pub(super) fn listen(dir: PathBuf, spec: ContainerSpec) -> Result<Self> {
        let what = || format!("listen in {}", dir.display());
        let sockets = SocketDir::open(&dir).during(what)?;
        let path = sockets.socket();
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).during(what),
            _ => {}
        }
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&path);
        rustix::process::umask(before);
        let listener = listener.during(what)?;
        listener.set_nonblocking(true).during(what)?;
        let signals = signals().during(|| "watch for signals")?;
        Ok(Self {
            dir,
            spec,
            listener,
            signals,
            peers: Vec::new(),
            output: None,
            live: None,
            started_at: None,
            slim_due: None,
            finished: false,
        })
    }

    /// Serves until the container has ended or was undone.
    pub(super) fn run(mut self) -> Result<()> {
        while !self.finished {
            let ready = self.wait()?;
            if let Some(output) = &mut self.output {
                if ready.output {
                    output.read();
                }
                output.flush_due();
            }
            if ready.listener {
                self.accept();
            }
            if ready.signal {
                self.on_signal();
            }
            self.serve_peers(&ready.peers);
            if ready.ended {
                self.on_exit();
            }
            if self.slim_due.is_some_and(|due| due <= Instant::now()) {
                self.slim_due = None;
                wharf_host::memory::release();
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<Ready> {
        let mut fds = vec![self.listener.as_fd(), self.signals.as_fd()];
        fds.extend(self.peers.iter().map(Peer::fd));
        fds.extend(self.live.iter().map(|live| live.pidfd.as_fd()));
        fds.extend(self.output.iter().flat_map(Output::fds));
        let mut polled: Vec<_> =
            fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let slim = self.slim_due.map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = self.output.as_ref().and_then(Output::timeout).into_iter().chain(slim).min();
        let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(Ready::default()),
            result => result.during(|| "wait for events")?,
        };
        let mut happened = polled.iter().map(|fd| !fd.revents().is_empty());
        let mut next = || happened.next().unwrap_or_default();
        Ok(Ready {
            listener: next(),
            signal: next(),
            peers: self.peers.iter().map(|_| next()).collect(),
            ended: self.live.is_some() && next(),
            output: happened.any(|yes| yes),
        })
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.peers.len() < PEERS_LIMIT {
                self.peers.extend(Peer::new(stream));
            }
        }
    }

    /// Peers are few; each request is answered before the next is read.
    fn serve_peers(&mut self, ready: &[bool]) {
        let mut peers = std::mem::take(&mut self.peers);
        for (peer, ready) in peers.iter_mut().zip(ready) {
            let requests = if *ready { peer.requests() } else { Vec::new() };
            for request in requests {
                let reply = self.answer(request);
                peer.send(&reply);
            }
        }
        peers.retain(Peer::is_open);
        // Those accepted in this round are in `self` already.
        peers.append(&mut self.peers);
        self.peers = peers;
    }

    fn answer(&mut self, request: Request) -> Reply {
        let done = match request {
            Request::Create => self.create(),
            Request::Start => self.start(),
            Request::Kill { signal } => self.kill(signal),
            Request::State => Ok(()),
            Request::Delete => self.delete(),
        };
        self.slim_due = Some(Instant::now() + SLIM_DELAY);
        match done {
            Ok(()) => Reply::State(self.state(None)),
            Err(e) => Reply::Error { code: e.exit_code(), message: e.to_string() },
        }
    }

    fn phase(&self) -> Phase {
        match (&self.live, self.started_at) {
            (None, _) => Phase::Ready,
            (Some(_), None) => Phase::Created,
            (Some(_), Some(_)) => Phase::Running,
        }
    }

    fn state(&self, exit: Option<Exit>) -> State {
        State {
            phase: if exit.is_some() { Phase::Exited } else { self.phase() },
            pid: self.live.as_ref().map(Live::pid),
            started_at: self.started_at,
            exit,
        }
    }

    fn create(&mut self) -> Result<()> {
        self.expect(Phase::Ready, "create the container")?;
        let (live, outputs) = Live::create(&self.spec, &self.dir)?;
        self.live = Some(live);
        // Without a log there is nobody to read, and the container would stop at a full pipe.
        match Output::open(&self.spec.dir, outputs) {
            Ok(output) => self.output = Some(output),
            Err(error) => {
                self.undo();
                return Err(error);
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        self.expect(Phase::Created, "start the container")?;
        if let Some(live) = &mut self.live {
            live.start()?;
        }
        self.started_at = Some(Timestamp::now());
        Ok(())
    }

    fn kill(&self, signal: i32) -> Result<()> {
        let invalid = || Error::Spec(format!("invalid signal: {signal}"));
        let signal = Signal::from_named_raw(signal).ok_or_else(invalid)?;
        match &self.live {
            Some(live) => live.signal(signal),
            None => Err(self.wrong("signal the container")),
        }
    }

    fn delete(&mut self) -> Result<()> {
        if self.phase() == Phase::Running {
            return Err(self.wrong("undo the container"));
        }
        self.undo();
        self.finished = true;
        Ok(())
    }

    fn expect(&self, phase: Phase, action: &str) -> Result<()> {
        if self.phase() == phase { Ok(()) } else { Err(self.wrong(action)) }
    }

    fn wrong(&self, action: &str) -> Error {
        let phase = format!("{:?}", self.phase()).to_lowercase();
        Error::Shim { action: action.to_owned(), reason: format!("it is {phase}") }
    }

    /// Takes back what `create` did.
    fn undo(&mut self) {
        let Some(live) = self.live.take() else { return };
        if let Err(error) = live.signal(Signal::KILL) {
            report(&self.dir, &error);
        }
        live.reap();
        self.output = None;
        self.remove(live);
    }

    /// One that runs is asked to end as its image wants; one that does not is undone.
    fn on_signal(&mut self) {
        use std::io::Read as _;
        let _only_the_event_counts = self.signals.read(&mut [0; 64]);
        if self.phase() != Phase::Running {
            self.undo();
            self.finished = true;
            return;
        }
        let wanted = self.spec.stop_signal.as_deref().and_then(|name| signal::parse(name).ok());
        if let Some(live) = &self.live
            && let Err(error) = live.signal(wanted.unwrap_or(Signal::TERM))
        {
            report(&self.dir, &error);
        }
    }

    /// The exit code is durable before anything else happens; the shim's own end says that
    /// everything else has happened, too.
    fn on_exit(&mut self) {
        let Some(live) = self.live.take() else { return };
        let code = live.reap().map_or(255, exit::code);
        let exit = Exit { code, finished_at: Timestamp::now() };
        if let Err(error) = durable::write_json(&self.dir.join(exit::FILE), &exit) {
            report(&self.dir, &error);
        }
        if let Some(mut output) = self.output.take() {
            output.drain();
        }
        let state = self.state(Some(exit));
        self.remove(live);
        for peer in &mut self.peers {
            peer.send(&Reply::State(state));
        }
        self.finished = true;
    }

    fn remove(&self, live: Live) {
        for failure in live.remove(&self.spec, &self.dir) {
            report(&self.dir, &failure);
        }
    }
}

/// A stream that becomes readable when the shim is asked to end.
fn signals() -> std::io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGTERM, theirs.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, theirs)?;
    Ok(ours)
}
