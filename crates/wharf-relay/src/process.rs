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
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use wharf_host::netns::Netns;
use wharf_host::process::become_daemon_session;

use crate::control::Control;
use crate::engine::Engine;
use crate::error::{During, Error, Result};
use crate::limits::Limits;
use crate::spawn::socket_path;

/// How long a relay without a socket may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(2);

/// What a relay needs to know.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Where its socket and lock are; the directory must exist.
    pub run_dir: PathBuf,
    /// What it allows itself.
    pub limits: Limits,
}

/// A running relay; dropping it without [`Relay::stop`] leaves its threads to the process.
#[derive(Debug)]
pub struct Relay {
    engine: Engine,
    runtime: Runtime,
    threads: Vec<JoinHandle<()>>,
    shutdown: mpsc::Receiver<()>,
    /// Closing it ends the control threads.
    ending: OwnedFd,
    socket: PathBuf,
    _lock: File,
}

/// Runs a relay until it is told to end: the body of `wharf relay`.
///
/// # Errors
/// When another relay serves the run directory, or the socket cannot be made.
pub fn run(config: RelayConfig) -> Result<()> {
    become_daemon_session()?;
    let mut relay = Relay::start(config)?;
    relay.wait()?;
    relay.stop();
    Ok(())
}

// === impl RelayConfig ===

impl RelayConfig {
    /// A relay for `run_dir` with the usual limits.
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        Self { run_dir: run_dir.into(), limits: Limits::default() }
    }
}

// === impl Relay ===

impl Relay {
    /// Starts a relay in this process, in the network namespace of the calling thread.
    pub fn start(config: RelayConfig) -> Result<Self> {
        let lock = take_lock(&config.run_dir)?;
        // Signals only; one thread is enough for those.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .during(|| "prepare for signals")?;
        let socket = socket_path(&config.run_dir);
        let listener = listen(&socket)?;
        let (ended, ending) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during(|| "create a pipe")?;
        let (shutdown_sender, shutdown) = mpsc::channel(1);
        let namespace = Netns::current()?.identity()?;
        let engine = Engine::start(config.limits)?;
        let control = Arc::new(Control {
            listener,
            table: Arc::clone(&engine.table),
            shutdown: shutdown_sender,
            ended,
            connections: AtomicUsize::new(0),
            namespace,
        });
        let threads = Vec::new();
        let mut relay = Self { engine, runtime, threads, shutdown, ending, socket, _lock: lock };
        relay.spawn("control", move || control.run())?;
        tracing::info!(pid = std::process::id(), socket = %relay.socket.display(), "relay started");
        Ok(relay)
    }

    /// Waits until a signal or a request asks the relay to end.
    pub fn wait(&mut self) -> Result<()> {
        let Self { runtime, shutdown, .. } = self;
        runtime.block_on(async {
            let what = || "wait for signals";
            // Having a handler is what keeps a hang-up from ending the process.
            let _hangup = signal(SignalKind::hangup()).during(what)?;
            let mut terminate = signal(SignalKind::terminate()).during(what)?;
            let mut interrupt = signal(SignalKind::interrupt()).during(what)?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = shutdown.recv() => {}
            }
            Ok(())
        })
    }

    /// Closes all sockets, resets all connections and removes the control socket.
    pub fn stop(self) {
        // Still under the lock, so it is ours and not a successor's.
        if let Err(error) = fs::remove_file(&self.socket) {
            tracing::warn!(%error, socket = %self.socket.display(), "socket not removed");
        }
        self.engine.stop();
        drop(self.ending);
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
    socket.listen(64).during(what)?;
    socket.set_nonblocking(true).during(what)?;
    Ok(socket.into())
}
