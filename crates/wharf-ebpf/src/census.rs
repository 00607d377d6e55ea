//! Led sockets that have gone without being seen to go.
//!
//! Those of the kernel itself (it mounts a file system from a published port, say) connect through
//! our hooks and close without one; anybody's may close while that program is detached. Each would
//! keep its place among the led sockets for ever, and its account open.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::{Duration, Instant};

use tracing::debug;
use wharf_host::diag;
use wharf_host::netlink::{Family, Netlink};
use wharf_host::netns::Netns;
use wharf_host::reserve::Transport;

use crate::error::Result;
use crate::layout::{Rewritten, SOCKETS_LIMIT};
use crate::maps::Maps;
use crate::sockets;

/// For each port the kernel walks through all of its connections, and tells those to that port: a
/// matter of milliseconds, which what is looked for, a place or two of 32,768, is not worth often.
const PACE: Duration = Duration::from_secs(30);
/// How many targets' ports one look is for; the next goes on with others.
const PORTS: usize = 16;

type Led = BTreeMap<u64, Rewritten>;

/// What was seen last time. A socket that is not there twice has gone: once may mean that it was
/// just about to connect.
#[derive(Debug)]
pub(crate) struct Census {
    pub(crate) pace: Duration,
    last: Option<Instant>,
    /// The port that was looked at last.
    port: u16,
    /// Those that were not there when their ports were looked at.
    absent: BTreeSet<u64>,
    /// What each account had counted: connections, and those of them that are open.
    counted: BTreeMap<u32, (u64, u64)>,
}

/// Those of `asked` that are no sockets to `port`.
fn missing(
    netlink: &mut Netlink,
    port: u16,
    asked: &BTreeSet<u64>,
) -> wharf_host::Result<BTreeSet<u64>> {
    let mut missing = asked.clone();
    for transport in [Transport::Tcp, Transport::Udp] {
        if missing.is_empty() {
            break;
        }
        let there = diag::connected(netlink, transport, port, SOCKETS_LIMIT)?;
        missing.retain(|cookie| !there.contains(cookie));
    }
    Ok(missing)
}

// === impl Census ===

impl Census {
    /// Forgets led sockets that are gone, unless that was done a moment ago.
    pub(crate) fn take(&mut self, maps: &mut Maps, netns: &Netns) -> Result<()> {
        if self.last.is_some_and(|last| last.elapsed() < self.pace) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let Some(mut led) = sockets::led(maps)? else { return Ok(()) };
        let mut gone = BTreeSet::new();
        // Whoever has a kernel that does not tell, or so many connections to a port that it takes too
        // long, is served all the same.
        if let Err(error) = self.look(&led, netns, &mut gone) {
            debug!(%error, self.port, "which led sockets are gone is not known");
        }
        for cookie in gone {
            // It may have been seen to go just now.
            let _seen = maps.sockets.remove(&cookie);
            led.remove(&cookie);
        }
        self.settle(maps, &led)
    }

    /// Puts those of `led` that were not there twice in a row into `gone`.
    fn look(
        &mut self,
        led: &Led,
        netns: &Netns,
        gone: &mut BTreeSet<u64>,
    ) -> wharf_host::Result<()> {
        self.absent.retain(|cookie| led.contains_key(cookie));
        if led.is_empty() {
            return Ok(());
        }
        let mut netlink = netns.open_netlink(Family::SockDiag)?;
        for port in self.next_ports(led) {
            self.port = port;
            let led = led.iter().filter(|(_, it)| it.target.port() == port);
            let asked: BTreeSet<u64> = led.map(|(cookie, _)| *cookie).collect();
            let missing = missing(&mut netlink, port, &asked)?;
            gone.extend(missing.intersection(&self.absent).copied());
            self.absent.retain(|cookie| !asked.contains(cookie));
            self.absent.extend(missing);
        }
        Ok(())
    }

    /// The ports that have their turn.
    fn next_ports(&self, led: &Led) -> Vec<u16> {
        let ports: BTreeSet<u16> = led.values().map(|it| it.target.port()).collect();
        let after = ports.range((Excluded(self.port), Unbounded));
        after.chain(ports.range(..=self.port)).take(PORTS).copied().collect()
    }

    /// Lets accounts be open for the sockets that are left. One that counts meanwhile waits until it
    /// does not: it could not be written without losing what is counted in that moment.
    fn settle(&mut self, maps: &mut Maps, led: &Led) -> Result<()> {
        let mut open: BTreeMap<u32, u64> = BTreeMap::new();
        led.values().for_each(|it| *open.entry(it.account).or_default() += 1);
        let accounts = maps.book.accounts.read()?;
        for (number, account) in &accounts {
            let open = open.get(number).copied().unwrap_or_default();
            let quiet = self.counted.get(number) == Some(&(account.connections, account.open));
            if quiet && account.open != open {
                maps.book.accounts.recount(*number, account, open)?;
            }
        }
        let counted = accounts.into_iter().map(|(number, it)| (number, (it.connections, it.open)));
        self.counted = counted.collect();
        Ok(())
    }
}

impl Default for Census {
    fn default() -> Self {
        let (absent, counted) = (BTreeSet::new(), BTreeMap::new());
        Self { pace: PACE, last: None, port: 0, absent, counted }
    }
}
