//! Watching the host: whatever of ours others change is put back, and what they change of theirs is
//! taken into account.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_host::nftables::RulesetWatch;
use wharf_host::watch::HostWatch;

use super::pause::Pauses;
use super::readable;
use crate::daemon::Daemon;
use crate::error::Result;
use crate::planes::TABLE;

/// How often what tells of no change is looked at: rules of iptables-legacy, kernel settings, ports
/// that others had, files that stand for namespaces.
const TICK: Duration = Duration::from_secs(2);

/// One kind of thing that is watched.
#[derive(Debug, Clone, Copy)]
struct Upkeep {
    /// What it is called in events.
    what: &'static str,
    /// Puts it right; answers what was wrong.
    mend: fn(&Daemon) -> Result<Vec<String>>,
}

/// Puts our table back when others have changed it, and has the plan fit other people's rules.
pub(crate) async fn ruleset(daemon: Arc<Daemon>) {
    let port = daemon.planes.nft_port();
    let opened = RulesetWatch::open(TABLE)
        .and_then(|mut watch| port.map_or(Ok(()), |port| watch.disregard(port)).map(|()| watch));
    let mut watch = match opened {
        Ok(watch) => watch,
        Err(error) => return tracing::warn!(%error, "changes of nftables are not noticed"),
    };
    let table = Upkeep { what: "nft", mend: Daemon::mend_table };
    let mut pauses = Pauses::new();
    while let Ok(told) = own(watch.as_fd()) {
        readable(told).await;
        let touches = watch.read().unwrap_or_default();
        let by: Vec<String> = touches.iter().map(ToString::to_string).collect();
        tokio::time::sleep(pauses.next()).await;
        drop(watch.read());
        table.keep(&daemon, &mut pauses, &by).await;
        look_at_firewalls(&daemon).await;
    }
}

/// Keeps the way back for clients' addresses ahead of the rules that others make.
pub(crate) async fn rules(daemon: Arc<Daemon>) {
    let rules = Upkeep { what: "policy rules", mend: Daemon::mend_way_back };
    keep_while_told(&daemon, HostWatch::rules(), rules).await;
}

/// Makes bridges anew that others delete, and takes ports of addresses that have come.
pub(crate) async fn links(daemon: Arc<Daemon>) {
    let links = Upkeep { what: "network", mend: Daemon::mend_links };
    keep_while_told(&daemon, HostWatch::links(), links).await;
}

/// Looks at what tells of no change.
pub(crate) async fn tick(daemon: Arc<Daemon>) {
    let settings = Upkeep { what: "settings", mend: Daemon::mend_settings };
    let mut pauses = Pauses::new();
    loop {
        tokio::time::sleep(TICK).await;
        settings.keep(&daemon, &mut pauses, &[]).await;
        look_at_firewalls(&daemon).await;
        tokio::time::sleep(pauses.next()).await;
    }
}

async fn keep_while_told(
    daemon: &Arc<Daemon>,
    watch: wharf_host::Result<HostWatch>,
    upkeep: Upkeep,
) {
    let mut watch = match watch {
        Ok(watch) => watch,
        Err(error) => {
            return tracing::warn!(%error, "changes of {} are not noticed", upkeep.what);
        }
    };
    let mut pauses = Pauses::new();
    while let Ok(told) = own(watch.as_fd()) {
        readable(told).await;
        tokio::time::sleep(pauses.next()).await;
        watch.clear();
        upkeep.keep(daemon, &mut pauses, &[]).await;
    }
}

async fn look_at_firewalls(daemon: &Arc<Daemon>) {
    let shared = Arc::clone(daemon);
    let looked = tokio::task::spawn_blocking(move || shared.look_at_firewalls()).await;
    match looked {
        Ok(Ok(true)) => daemon.events.tell("plane", "replan", "firewall", None),
        Ok(Err(error)) => tracing::warn!(%error, "fitting what is published to others' rules"),
        _ => {}
    }
}

fn own(watch: BorrowedFd<'_>) -> std::io::Result<std::os::fd::OwnedFd> {
    watch.try_clone_to_owned()
}

// === impl Upkeep ===

impl Upkeep {
    async fn keep(self, daemon: &Arc<Daemon>, pauses: &mut Pauses, by: &[String]) {
        let shared = Arc::clone(daemon);
        let mended = tokio::task::spawn_blocking(move || (self.mend)(&shared)).await;
        let wrong = match mended {
            Ok(Ok(wrong)) => wrong,
            Ok(Err(error)) => {
                return tracing::warn!(%error, what = self.what, "putting things right");
            }
            Err(error) => return tracing::error!(%error, what = self.what, "a repair stumbled"),
        };
        if wrong.is_empty() {
            return pauses.rested(Instant::now());
        }
        daemon.metrics.repaired(self.what);
        let by =
            if by.is_empty() { String::new() } else { format!(", changed by {}", by.join(", ")) };
        let detail = format!("{}{by}", wrong.join("; "));
        daemon.events.tell_more("plane", "repair", self.what, None, Some(&detail));
        if pauses.repaired(Instant::now()) {
            let detail = format!("somebody keeps changing it{by}: it is looked at less often now");
            daemon.events.tell_more("plane", "fight", self.what, None, Some(&detail));
        }
    }
}
