//! The process: `wharf relay`.
//!
//! One relay serves a run directory, held by a lock. It leads a session of its own, ignores
//! hang-ups, and ends on SIGTERM, SIGINT or the `Shutdown` request, taking its socket along.

use std::fs::{self, File, TryLockError};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use wharf_host::netns::Netns;
use wharf_host::process::{become_daemon_session, raise_descriptor_limit};
use wharf_host::sandbox::{CapabilitySet, Confinement, Profile};

use crate::context::Context;
use crate::control::Control;
use crate::control::answer::{Answers, End, Heirlooms};
use crate::engine::Engine;
use crate::error::{During, Error, Result};
use crate::limits::Limits;
use crate::predecessor::Predecessor;
use crate::protocol::Listed;
use crate::spawn::socket_path;
use crate::table::Table;

/// How long a relay without a socket may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Wishes for its end that may wait: to leave, to leave sooner, and to end at once.
const ENDS: usize = 4;
/// How often a relay that leaves looks whether its last connection has ended, and whether what it
/// counted has been read.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// How long it stays after that at most, for its successor to read the last counters: which it does
/// every second, on a machine that is not too busy.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What a relay needs to know.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Where its socket and lock are; the directory must exist.
    pub run_dir: PathBuf,
    /// What it allows itself.
    pub limits: Limits,
    /// Whether to take the place of the relay that serves the run directory, and how many seconds
    /// that one's connections may go on.
    pub take_over: Option<u32>,
}

/// A running relay; dropping it without [`Relay::stop`] leaves its threads to the process.
#[derive(Debug)]
pub struct Relay {
    engine: Engine,
    control: Arc<Control>,
    runtime: Runtime,
    threads: Vec<JoinHandle<()>>,
    end: mpsc::Receiver<End>,
    signals: Signals,
    socket: PathBuf,
    /// Until a successor has it.
    lock: Option<File>,
}

/// The signals that end a relay. They are listened for from the start to the end: one that came while
/// nobody does would be lost.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Having a handler is what keeps a hang-up from ending the process.
    _hangup: Signal,
}

/// A relay that has everything it needs, and no threads yet.
#[derive(Debug)]
struct Prepared {
    config: RelayConfig,
    base: Base,
    context: Context,
    namespace: u64,
}

/// Where a relay starts from: nothing, or what another one had.
#[derive(Debug)]
struct Base {
    listener: UnixListener,
    lock: File,
    predecessor: Option<Arc<Predecessor>>,
    routes: Vec<(Listed, Vec<OwnedFd>)>,
}

/// Runs a relay until it is told to end: the body of `wharf relay`.
///
/// # Errors
/// When another relay serves the run directory, or the socket cannot be made.
pub fn run(config: RelayConfig) -> Result<()> {
    become_daemon_session()?;
    let prepared = Prepared::new(config)?;
    confine(&prepared.config.run_dir)?;
    let mut relay = prepared.launch()?;
    if let End::Drained(limit) = relay.wait() {
        relay.drain(limit);
    }
    relay.stop();
    Ok(())
}

// === impl RelayConfig ===

impl RelayConfig {
    /// A relay for `run_dir` with the usual limits.
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        Self { run_dir: run_dir.into(), limits: Limits::default(), take_over: None }
    }
}

// === impl Base ===

impl Base {
    fn new(config: &RelayConfig) -> Result<Self> {
        let socket = socket_path(&config.run_dir);
        if config.take_over.is_none() {
            let lock = take_lock(&config.run_dir)?;
            let listener = listen(&socket)?;
            return Ok(Self { listener, lock, predecessor: None, routes: Vec::new() });
        }
        let (predecessor, estate) = Predecessor::succeed(&socket)?;
        Ok(Self {
            listener: estate.listener.into(),
            lock: estate.lock.into(),
            predecessor: Some(Arc::new(predecessor)),
            routes: estate.routes,
        })
    }
}

// === impl Signals ===

impl Signals {
    fn new() -> Result<Self> {
        let of = |kind| signal(kind).during(|| "wait for signals");
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            _hangup: of(SignalKind::hangup())?,
        })
    }

    /// Returns when one asks the process to end.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

// === impl Prepared ===

impl Prepared {
    /// Does what a confined process could not do any more.
    fn new(config: RelayConfig) -> Result<Self> {
        let base = Base::new(&config)?;
        let context = Context::new(config.limits.clone(), raise_descriptor_limit()?)?;
        let namespace = Netns::current()?.identity()?;
        Ok(Self { config, base, context, namespace })
    }

    fn launch(self) -> Result<Relay> {
        let Self { config, base, context, namespace } = self;
        let engine = Engine::launch(context)?;
        if let (Some(predecessor), Some(drain)) = (&base.predecessor, config.take_over) {
            engine.succeed(predecessor, base.routes, drain)?;
        }
        let (asked, end) = mpsc::channel(ENDS);
        let what = || "copy a descriptor";
        let listener = base.listener.try_clone().during(what)?.into();
        let answers = Answers {
            table: Arc::clone(&engine.table),
            end: asked,
            namespace,
            heirlooms: Heirlooms::new(listener, base.lock.try_clone().during(what)?.into()),
            predecessor: base.predecessor,
        };
        let control = Arc::new(Control::new(base.listener, answers, engine.descriptors())?);
        // Signals only; one thread is enough for those.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .during(|| "prepare for signals")?;
        let socket = socket_path(&config.run_dir);
        let signals = runtime.block_on(async { Signals::new() })?;
        let threads = Vec::new();
        let serving = Arc::clone(&control);
        let mut relay = Relay {
            engine,
            control,
            runtime,
            threads,
            end,
            signals,
            socket,
            lock: Some(base.lock),
        };
        relay.spawn("control", move || serving.run())?;
        tracing::info!(pid = std::process::id(), socket = %relay.socket.display(), "relay started");
        Ok(relay)
    }
}

/// Gives up all that carrying bytes does not need: whoever takes this process over through its
/// sockets can open no file and start no program.
fn confine(run_dir: &Path) -> Result<()> {
    let confinement = Confinement {
        // To bind a client's address, and its port where that is below 1024.
        capabilities: CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE,
        unlink_in: Some(run_dir.to_owned()),
        syscalls: Profile::Relay,
    };
    let entered = confinement.enter()?;
    let missing = entered.missing();
    if missing.is_empty() {
        tracing::info!("confined: {entered}");
    } else {
        tracing::warn!("confined: {entered}; this kernel lacks {}", missing.join(" and "));
    }
    Ok(())
}

// === impl Relay ===

impl Relay {
    /// Starts a relay in this process, in the network namespace of the calling thread.
    pub fn start(config: RelayConfig) -> Result<Self> {
        Prepared::new(config)?.launch()
    }

    /// Waits until a signal or a request asks the relay to end.
    pub(crate) fn wait(&mut self) -> End {
        let Self { runtime, end, signals, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                () = signals.received() => End::Now,
                end = end.recv() => end.unwrap_or(End::Now),
            }
        })
    }

    /// Waits until the last connection has ended, or ends those that are left after `limit`, and
    /// until the successor has read what was counted; unless a signal or a request does not want to
    /// wait.
    fn drain(&mut self, limit: Duration) {
        // Were they kept, nothing could take the successor's place if that is killed.
        self.control.let_go();
        self.lock = None;
        let Self { runtime, end, engine, control, signals, .. } = self;
        let mut deadline = Instant::now() + limit;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    () = signals.received() => break,
                    asked = end.recv() => match asked {
                        // Told so again by a successor that ends before this one's time is over.
                        Some(End::Drained(limit)) => deadline = deadline.min(Instant::now() + limit),
                        _ => break,
                    },
                    () = drained(&engine.table, control, deadline) => break,
                }
            }
        });
    }

    /// Closes all sockets, resets all connections and removes the control socket.
    pub fn stop(self) {
        // Nobody else could end what that one carries.
        if let Some(predecessor) = self.control.predecessor() {
            predecessor.cut();
        }
        // Still under the lock, so it is ours; unless a successor has both.
        if !self.engine.table.has_left()
            && let Err(error) = fs::remove_file(&self.socket)
        {
            tracing::warn!(%error, socket = %self.socket.display(), "socket not removed");
        }
        // First: what is cleared is not told to anybody as what there is.
        self.control.stop();
        self.engine.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the relay had panicked");
            }
        }
        tracing::info!("relay ended");
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        self.threads.push(thread.during(|| format!("start the {name} thread"))?);
        Ok(())
    }
}

/// Resolves when the last connection has ended, or was cut at `deadline`, and the successor has read
/// what was counted.
async fn drained(table: &Table, control: &Control, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    happens_within(left, || !table.is_busy()).await;
    let over = Instant::now();
    if table.is_busy() {
        if let Some(predecessor) = control.predecessor() {
            tokio::task::spawn_blocking(move || predecessor.cut());
        }
        table.cut_all();
        happens_within(LAST_WORDS, || !table.is_busy()).await;
    }
    let last = control.readings.next();
    let left = LAST_WORDS.saturating_sub(over.elapsed());
    happens_within(left, || control.readings.has_been(last)).await;
}

/// Waits for something, for `limit` at most.
async fn happens_within(limit: Duration, what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() && began.elapsed() < limit {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

fn take_lock(run_dir: &Path) -> Result<File> {
    let path = run_dir.join("relay.lock");
    let lock = File::create(&path).during(|| format!("create {}", path.display()))?;
    let deadline = Instant::now() + END_LIMIT;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io { action: format!("lock {}", path.display()), source });
            }
            // A relay without a socket is ending.
            Err(TryLockError::WouldBlock)
                if !socket_path(run_dir).exists() && Instant::now() < deadline => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::AlreadyRunning(run_dir.to_owned()));
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes the control socket; one left by a relay that was killed is replaced.
fn listen(path: &Path) -> Result<UnixListener> {
    let what = || format!("listen at {}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).during(what);
        }
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).during(what)?;
    socket.bind(&SockAddr::unix(path).during(what)?).during(what)?;
    // Before listen: until then nobody can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).during(what)?;
    // As many tenants as may come back at once; the kernel cuts it to net.core.somaxconn.
    socket.listen(4096).during(what)?;
    socket.set_nonblocking(true).during(what)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
