//! Watching what can go away under us: shims and the relay here, the host and other engines below.

pub(crate) mod engines;
pub(crate) mod host;
mod pause;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wharf_host::process::Pid;
use wharf_runtime::client::Shim;

use crate::daemon::Daemon;
use crate::error::{Error, Result};

/// A relay that dies at once, again and again, is not started faster than this.
const RELAY_PAUSE: Duration = Duration::from_millis(50);
const RELAY_PAUSE_MAX: Duration = Duration::from_secs(5);
const SETTLE_PAUSE: Duration = Duration::from_secs(1);
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(30);
const RELAY_POLL: Duration = Duration::from_millis(200);

/// Settles the container `id` once its shim has ended.
pub(crate) fn container(daemon: &Arc<Daemon>, id: &str, shim: &Shim) -> Result<()> {
    let pidfd = shim.pid().open()?;
    let (daemon, id) = (Arc::clone(daemon), id.to_owned());
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return Err(Error::Conflict("containers are watched from within the daemon only".into()));
    };
    runtime.spawn(async move {
        if let Some(pidfd) = pidfd {
            readable(pidfd).await;
        }
        settle(daemon, id).await;
    });
    Ok(())
}

/// Settles a container that has ended. What stands in the way, a full disk perhaps, may go away, so
/// this is tried until it is done.
async fn settle(daemon: Arc<Daemon>, id: String) {
    let mut pause = SETTLE_PAUSE;
    loop {
        let (shared, name) = (Arc::clone(&daemon), id.clone());
        // What fills the disk may be what has ended just now.
        let settle = move || shared.in_turn(&name, || shared.freeing(|| shared.settle(&name)));
        match tokio::task::spawn_blocking(settle).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(%error, id, "settling a container that has ended"),
            Err(error) => tracing::error!(%error, id, "settling a container stumbled"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SETTLE_PAUSE_MAX);
    }
}

/// Starts a relay anew whenever the one that serves has died. The listening sockets are held here,
/// too, so connections that arrive meanwhile wait in their queues.
pub(crate) async fn relay(daemon: Arc<Daemon>) {
    let mut pause = RELAY_PAUSE;
    loop {
        let served = daemon.planes.relay_pid();
        let Some(pid) = served else {
            tokio::time::sleep(RELAY_POLL.max(pause)).await;
            if daemon.planes.wants_relay() {
                start_relay(&daemon).await;
                pause = (pause * 2).min(RELAY_PAUSE_MAX);
            }
            continue;
        };
        let began = tokio::time::Instant::now();
        let shared = Arc::clone(&daemon);
        let line = tokio::task::spawn_blocking(move || shared.planes.relay_line());
        match line.await.ok().flatten().filter(|line| line.pid() == pid) {
            Some(line) => {
                if let Ok(line) = line.as_fd().try_clone_to_owned() {
                    readable(line).await;
                }
            }
            // Too busy to answer is not dead.
            None if Pid::of(pid).is_ok_and(|process| process.is_alive()) => {
                tokio::time::sleep(RELAY_POLL).await;
            }
            None => {}
        }
        if daemon.planes.relay_pid() != served {
            continue;
        }
        if began.elapsed() > RELAY_PAUSE_MAX {
            pause = RELAY_PAUSE;
        }
        let succeeded = start_relay(&daemon).await;
        let (verb, told) = match succeeded {
            // It has heard of a successor that failed.
            true if daemon.planes.relay_pid() == served => continue,
            true => ("upgrade", "the relay has given way to another"),
            false => ("restart", "the relay has died; another was started"),
        };
        tracing::warn!(pid, "{told}");
        daemon.events.tell("relay", verb, &pid.to_string(), None);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RELAY_PAUSE_MAX);
    }
}

/// Answers whether a successor serves already.
async fn start_relay(daemon: &Arc<Daemon>) -> bool {
    let shared = Arc::clone(daemon);
    let started = tokio::task::spawn_blocking(move || shared.planes.replace_relay(&*shared));
    let succeeded = started.await.unwrap_or_else(|error| {
        tracing::error!(%error, "starting a relay stumbled");
        false
    });
    if !succeeded {
        daemon.metrics.relay_restarts.inc();
    }
    succeeded
}

/// Waits until `fd` is readable: the process behind a pidfd has ended, a socket has something.
#[expect(
    deprecated,
    reason = "unsound only for types whose descriptor changes or closes under tokio; an OwnedFd \
              does neither, and the replacement is an unsafe function"
)]
pub(crate) async fn readable(fd: OwnedFd) {
    match AsyncFd::with_interest(fd, Interest::READABLE) {
        Ok(fd) => {
            let _ready = fd.readable().await;
        }
        Err(error) => tracing::error!(%error, "cannot watch a descriptor"),
    }
}
