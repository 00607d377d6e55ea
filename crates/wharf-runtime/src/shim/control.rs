//! The shim's loop: requests, output, signals, and the end of the command.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::PollFlags;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cgroup::was_short_of_memory;
use crate::crash;
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::exit::{self, Exit};
use crate::shim::client::Client;
use crate::shim::container::Live;
use crate::shim::peer::Peer;
use crate::shim::report;
use crate::shim::streams::{self, Streams};
use crate::shim::wire::{Attach, Phase, Reply, Request, SOCKET, SocketDir, State};
use crate::signal::{self, Signal};
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
    streams: Option<Streams>,
    live: Option<Live>,
    started_at: Option<Timestamp>,
    /// When to give memory back that the last request took.
    slim_due: Option<Instant>,
    finished: bool,
}

/// What the loop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Listener,
    Signal,
    Peer(usize),
    Ended,
    Stream(streams::Token),
}

type Ready = Vec<(Token, PollFlags)>;

// === impl Control ===

impl Control {
    pub(super) fn listen(dir: PathBuf, spec: ContainerSpec) -> Result<Self> {
        let what = || format!("listen in {}", dir.display());
        let sockets = SocketDir::open(&dir).during(what)?;
        let listener = sockets.listen(SOCKET).during(what)?;
        let signals = signals().during(|| "watch for signals")?;
        Ok(Self {
            dir,
            spec,
            listener,
            signals,
            peers: Vec::new(),
            streams: None,
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
            let is_ready = |token| ready.iter().any(|(other, _)| *other == token);
            if let Some(streams) = &mut self.streams {
                let of_streams = ready.iter().filter_map(|(token, flags)| match token {
                    Token::Stream(token) => Some((*token, *flags)),
                    _ => None,
                });
                streams.serve(&of_streams.collect::<Vec<_>>());
            }
            if is_ready(Token::Listener) {
                self.accept();
            }
            if is_ready(Token::Signal) {
                self.on_signal();
            }
            self.serve_peers(&ready);
            if is_ready(Token::Ended) {
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
        let mut wanted = vec![
            (Token::Listener, self.listener.as_fd(), PollFlags::IN),
            (Token::Signal, self.signals.as_fd(), PollFlags::IN),
        ];
        let peers = self.peers.iter().enumerate();
        wanted.extend(peers.map(|(index, peer)| (Token::Peer(index), peer.fd(), PollFlags::IN)));
        wanted.extend(self.live.iter().map(|it| (Token::Ended, it.pidfd.as_fd(), PollFlags::IN)));
        let streams = self.streams.iter().flat_map(Streams::interests);
        wanted.extend(streams.map(|(token, fd, flags)| (Token::Stream(token), fd, flags)));
        let slim = self.slim_due.map(|due| due.saturating_duration_since(Instant::now()));
        let limit = self.streams.as_ref().and_then(Streams::timeout);
        let limit = limit.into_iter().chain(slim).min();
        streams::poll(wanted, limit).during(|| "wait for events")
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.peers.len() < PEERS_LIMIT {
                self.peers.extend(Peer::new(stream));
            }
        }
    }

    /// Peers are few; each request is answered before the next is read.
    fn serve_peers(&mut self, ready: &Ready) {
        let mut peers = std::mem::take(&mut self.peers);
        for (token, _) in ready {
            let Token::Peer(index) = token else { continue };
            let Some(peer) = peers.get_mut(*index) else { continue };
            for request in peer.requests() {
                let reply = self.answer(request);
                peer.send(&reply);
                if let (Request::Attach(wants), Reply::State(_)) = (request, reply) {
                    self.attach(peer, wants);
                }
            }
        }
        peers.retain(Peer::is_open);
        // Those accepted in this round are in `self` already.
        peers.append(&mut self.peers);
        self.peers = peers;
    }

    fn attach(&mut self, peer: &mut Peer, wants: Attach) {
        if let (Some(streams), Some(stream)) = (&mut self.streams, peer.take_stream()) {
            streams.admit(Client::new(stream, wants));
        }
    }

    fn answer(&mut self, request: Request) -> Reply {
        let done = match request {
            Request::Create => self.create(),
            Request::Start => self.start(),
            Request::Kill { signal } => self.kill(signal),
            Request::State => Ok(()),
            Request::Delete => self.delete(),
            Request::Attach(_) => self.admit(),
        };
        self.slim_due = Some(Instant::now() + SLIM_DELAY);
        match done {
            Ok(()) => Reply::State(self.state(None)),
            Err(e) => Reply::of(&e),
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
        let (live, ends) = Live::create(&self.spec, &self.dir)?;
        self.live = Some(live);
        // Without a log there is nobody to read, and the container would stop at a full pipe.
        match Streams::of_container(ends, &self.spec.terminal, &self.spec.dir) {
            Ok(streams) => self.streams = Some(streams),
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

    fn admit(&self) -> Result<()> {
        match &self.streams {
            Some(streams) => streams.admits(),
            None => Err(self.wrong("attach to the container")),
        }
    }

    fn kill(&self, signal: i32) -> Result<()> {
        let invalid = || Error::Spec(format!("invalid signal: {signal}"));
        let signal = Signal::of_number(signal).ok_or_else(invalid)?;
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
        self.streams = None;
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
        let code = live.reap().map_or(255, exit::code_of);
        crash::shim("shim.ended");
        let oom_killed = was_short_of_memory(&self.spec.cgroup);
        let exit = Exit { code, finished_at: Timestamp::now(), oom_killed };
        if let Err(error) = durable::write_json(&self.dir.join(exit::FILE), &exit) {
            report(&self.dir, &error);
        }
        crash::shim("shim.recorded");
        if let Some(mut streams) = self.streams.take() {
            streams.finish(code);
        }
        let state = self.state(Some(exit));
        self.remove(live);
        crash::shim("shim.removed");
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
