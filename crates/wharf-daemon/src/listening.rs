//! A moment for a program to begin to listen, before its start is reported.
//!
//! Most servers listen within milliseconds, and most people ask them at once: a script that starts
//! a container and then fetches its page should not have to sleep in between. Who takes longer is
//! not waited for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use wharf_host::diag::is_awaited;
use wharf_host::netlink::{Family, Netlink};
use wharf_host::netns::Netns;
use wharf_runtime::client::Shim;
use wharf_spec::{PortRange, Proto};

use crate::daemon::Daemon;
use crate::record::Phase;
use crate::reservation::transport;

/// A start that publishes takes at most this much longer. Much more would be felt; programs that
/// need more, need seconds.
const LIMIT: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(1);

/// Waits until something listens behind every publication of the container `id`, or the time is
/// over, or it has ended. What goes wrong here is no failure of the start.
pub(crate) fn give_time(daemon: &Daemon, id: &str) {
    let deadline = Instant::now() + LIMIT;
    let publications = daemon.published_by_container(id);
    if publications.is_empty() {
        return;
    }
    let Some(mut netlink) = inside(daemon, id) else { return };
    let targets: BTreeSet<(Proto, PortRange)> =
        publications.iter().map(|p| (p.proto, p.target_ports)).collect();
    while Instant::now() < deadline && !all_listen(&mut netlink, &targets) {
        let runs = daemon.ledger.container(id).is_ok_and(|c| c.phase == Phase::Running);
        if !runs {
            return;
        }
        std::thread::sleep(POLL);
    }
}

fn inside(daemon: &Daemon, id: &str) -> Option<Netlink> {
    let shim = Shim::adopt(&daemon.paths.shim(id)).ok().flatten()?;
    Netns::of_process(shim.pid().pid).ok()?.open_netlink(Family::SockDiag).ok()
}

fn all_listen(netlink: &mut Netlink, targets: &BTreeSet<(Proto, PortRange)>) -> bool {
    targets.iter().all(|(proto, ports)| {
        let ports = (ports.first(), ports.last());
        transport(*proto).is_ok_and(|proto| is_awaited(netlink, proto, ports).unwrap_or(true))
    })
}
