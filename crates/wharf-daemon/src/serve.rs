//! The life of a daemon: lock, recover, serve, leave.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use wharf_spec::Engine;

use crate::config::Config;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::lock::Locks;
use crate::paths::Paths;
use crate::{http, lock, start, watch};

/// Requests in flight may take this long after the daemon was told to stop; streams that follow a
/// log would never end by themselves.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Clients that are attached are told, unless they take nothing.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// Threads that block: each start, stop or removal takes one. A stop may wait for minutes, so there
/// are many; more than this at a time wait in line.
const BLOCKING_THREADS: usize = 512;
const WORKERS: usize = 2;
/// Docker's; what is secret has a mode of its own.
const UMASK: u32 = 0o022;
/// Whoever is in this group may use the socket.
const GROUP: &str = "wharf";

/// Runs a daemon until it is told to stop (SIGTERM, SIGINT, or the API).
///
/// # Errors
/// When another daemon serves the same directories, or these cannot be used.
pub fn run(config: Config) -> Result<()> {
    // What containers are given must be readable inside, whoever's umask a verb brought along.
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    let paths = config.paths.clone();
    let served = make_dirs(&paths).and_then(|()| {
        let _locks = Locks::take(&paths)?;
        serve(config)
    });
    // When another daemon answers, whoever started this one has what it wanted.
    if let Err(error) = &served
        && !lock::is_served(&paths)
    {
        start::leave_word(&paths, &error.to_string());
    }
    served
}

fn serve(config: Config) -> Result<()> {
    let paths = config.paths.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(Error::io("start the runtime"))?;
    let guard = runtime.enter();
    let daemon = Arc::new(Daemon::open(&config)?);
    daemon.recover()?;
    let given = wharf_host::activation::unix_listener();
    let is_ours = given.is_none();
    let listener = listen(&paths, given)?;
    start::forget_failure(&paths);
    tracing::info!(socket = %paths.socket().display(), pid = std::process::id(), "ready");
    // Without systemd there is nobody to notify.
    let _notified = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    runtime.block_on(until_stopped(Arc::clone(&daemon), listener));
    daemon.leave();
    // A socket that systemd made stays: the next connection starts the next daemon.
    if is_ours {
        let _gone = std::fs::remove_file(paths.socket());
    }
    drop(guard);
    runtime.shutdown_timeout(DRAIN_LIMIT);
    Ok(())
}

async fn until_stopped(daemon: Arc<Daemon>, listener: UnixListener) {
    let watchers = [
        tokio::spawn(watch::relay(Arc::clone(&daemon))),
        tokio::spawn(watch::host::rules(Arc::clone(&daemon))),
        tokio::spawn(watch::host::ruleset(Arc::clone(&daemon))),
        tokio::spawn(watch::host::links(Arc::clone(&daemon))),
        tokio::spawn(watch::host::tick(Arc::clone(&daemon))),
        tokio::spawn(watch::engines::follow(Arc::clone(&daemon), Engine::Docker)),
        tokio::spawn(watch::engines::follow(Arc::clone(&daemon), Engine::Podman)),
    ];
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut told = stopped.clone();
    let graceful = async move {
        // An error means that the sender is gone, which is a reason to stop, too.
        let _told = told.wait_for(|stop| *stop).await;
    };
    let router = http::router(Arc::clone(&daemon));
    let server = tokio::spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(graceful).await
    });
    stop_signal(&daemon).await;
    tracing::info!("stopping");
    let _notified = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let _told = stop.send(true);
    daemon.closing.send_replace(true);
    if tokio::time::timeout(DRAIN_LIMIT, server).await.is_err() {
        tracing::info!("some requests were still open and have been cut off");
    }
    // The server knows nothing of connections that have become ones of frames.
    let _told = tokio::time::timeout(FAREWELL_LIMIT, daemon.closing.closed()).await;
    watchers.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn stop_signal(daemon: &Daemon) {
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = daemon.stop.notified() => {}
        },
        _ => daemon.stop.notified().await,
    }
}

/// The upper directories may be passed through, to the socket; what lies in containers, images and
/// volumes is nobody's but root's: setuid programs of an image are not meant for this host's users.
pub(crate) fn make_dirs(paths: &Paths) -> Result<()> {
    let open = [paths.state_dir().to_owned(), paths.run_dir().to_owned()];
    let closed = [paths.containers(), paths.images(), paths.volumes(), paths.shims()];
    for dir in &open {
        make_dir(dir, 0o711)?;
    }
    for dir in &closed {
        make_dir(dir, 0o700)?;
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(dir, mode)
            .map_err(Error::io(format!("close {} to others", dir.display())))?;
    }
    Ok(())
}

fn make_dir(dir: &Path, mode: u32) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(mode);
    builder.create(dir).map_err(Error::io(format!("make {}", dir.display())))
}

/// The socket systemd opened for us, or our own.
fn listen(paths: &Paths, given: Option<StdListener>) -> Result<UnixListener> {
    let failed = || Error::io(format!("listen on {}", paths.socket().display()));
    let listener = match given {
        Some(given) => given,
        None => bind(&paths.socket())?,
    };
    listener.set_nonblocking(true).map_err(failed())?;
    UnixListener::from_std(listener).map_err(failed())
}

fn bind(path: &Path) -> Result<StdListener> {
    // We hold the lock, so a socket that lies there is a dead daemon's.
    let _stale = std::fs::remove_file(path);
    let failed = || Error::io(format!("listen on {}", path.display()));
    let listener = StdListener::bind(path).map_err(failed())?;
    let mode = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(path, mode).map_err(failed())?;
    if let Some(group) = group_id(GROUP) {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(failed())?;
    }
    Ok(listener)
}

fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}
