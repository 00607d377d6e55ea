//! The way back within a namespace: client and server are both in it, and no packet arrives.
//!
//! The proxy opens its sockets in the namespace, binds them to the client's address, sets
//! [`MARK`] on them (`SO_MARK`) and connects to an address of the namespace. What the server sends
//! back would leave by the default route, or fail where there is none:
//!
//! - TCP: the answers of a connection carry the mark that its first packet had
//!   (`tcp_fwmark_accept`), those of a closed port do so, too (`fwmark_reflect`), and a rule sends
//!   marked packets to the table in which everything is local.
//! - UDP: sockets that are not connected answer without a mark. Where there is a route to the
//!   client, nftables marks the datagram by its flow and has it routed anew. Where there is none,
//!   sending fails before nftables sees anything; the last rule of all then leads datagrams from the
//!   published ports, and no others, to the table: a program that tries whether it has a network
//!   must go on being told that it has none.
//!
//! A UDP server that is bound to the wildcard address answers from the address the kernel would
//! take towards the client: loopback where there is no route to the client, else the one a UDP
//! socket has after connecting to the client without a mark. A proxy has to ask at that address; a
//! server bound to loopback alone in a namespace that has a route cannot answer a foreign address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{MARK, PRIORITY, TABLE, added, everything_local, families, gone, to_table};
use crate::error::{Error, Result};
use crate::netlink::{Family, Netlink};
use crate::netns::Netns;
use crate::nftables::{
    BaseHook, Batch, Chain, ChainKind, HookPoint, Ownership, Policy, Rule as Filter,
};
use crate::route::{Routes, Rule};
use crate::sysctl::{self, Changed};

/// Behind the last rule every namespace has.
const LAST: u32 = 32_768;
/// Not the name of the table on hosts: the host of one can be the target of another.
const NAME: &str = "wharf-inside";
/// Behind those of others who set marks, as on the host.
const BEHIND_MANGLE: i32 = -149;

const SETTINGS: [&str; 3] =
    ["net/ipv4/tcp_fwmark_accept", "net/ipv4/fwmark_reflect", "net/ipv6/fwmark_reflect"];

const CHAIN: Chain = Chain {
    name: "output",
    base: Some(BaseHook {
        kind: ChainKind::Route,
        hook: HookPoint::Output,
        priority: BEHIND_MANGLE,
        policy: Policy::Accept,
    }),
};

/// Lays the way back inside `netns`, for TCP and for UDP servers on `udp_ports` (first and last of
/// each range; none: TCP only). What is there already stays; more ports can be added later. Tells
/// which settings were changed, for [`take_up_way_back_inside`].
///
/// # Errors
/// When `netns` is the calling thread's own, which has the other way back; when the kernel
/// refuses. Settings are then as they were; what else was laid before that stays until
/// [`take_up_way_back_inside`].
pub fn lay_way_back_inside(netns: &Netns, udp_ports: &[(u16, u16)]) -> Result<Vec<Changed>> {
    refuse_own(netns)?;
    netns.run(|| {
        let mut changes = Vec::new();
        let laid = lay(udp_ports, &mut changes);
        if laid.is_err() {
            for error in sysctl::restore(&changes) {
                tracing::warn!(%error, "could not put a kernel setting back");
            }
        }
        laid.map(|()| changes)
    })?
}

/// Takes the way back inside `netns` up again and puts the settings back, as far as they are still
/// what [`lay_way_back_inside`] made them; it is no error if there is none.
pub fn take_up_way_back_inside(netns: &Netns, changes: &[Changed]) -> Result<()> {
    refuse_own(netns)?;
    netns.run(|| take_up(changes))?
}

fn refuse_own(netns: &Netns) -> Result<()> {
    if netns.identity()? != Netns::current()?.identity()? {
        return Ok(());
    }
    let source = std::io::Error::new(
        std::io::ErrorKind::InvalidInput,
        "this is the proxy's own namespace: use the gateway's address there",
    );
    Err(Error::kernel("change the way back inside a network namespace", source))
}

fn lay(udp_ports: &[(u16, u16)], changes: &mut Vec<Changed>) -> Result<()> {
    for name in SETTINGS.into_iter().filter(|name| sysctl::exists(name)) {
        changes.extend(sysctl::change(name, "1")?);
    }
    let mut routes = Routes::open()?;
    for ipv6 in families() {
        // What has no address of its own yet is sent from loopback, or it would be sent from the
        // client's address: the route is a local one.
        let source: IpAddr =
            if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        added(routes.add_from(&everything_local(ipv6), source))?;
        added(routes.add_rule(&to_table(ipv6, PRIORITY)))?;
        for ports in udp_ports {
            added(routes.add_rule(&of_ports(ipv6, *ports)))?;
        }
    }
    if udp_ports.is_empty() { Ok(()) } else { mark_by_flow() }
}

fn take_up(changes: &[Changed]) -> Result<()> {
    let mut routes = Routes::open()?;
    for rule in routes.rules()?.iter().filter(|rule| rule.table == TABLE) {
        routes.delete_rule(rule)?;
    }
    for ipv6 in [false, true] {
        gone(routes.delete(&everything_local(ipv6)))?;
    }
    let mut batch = Batch::new(NAME);
    batch.delete_table();
    match batch.commit(&mut Netlink::open(Family::Netfilter)?) {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    sysctl::restore(changes).into_iter().next().map_or(Ok(()), Err)
}

fn of_ports(ipv6: bool, ports: (u16, u16)) -> Rule {
    Rule { mark: 0, mask: 0, own: true, udp_source_ports: Some(ports), ..to_table(ipv6, LAST) }
}

/// The proxy's own packets mark their flow; whatever else belongs to it is marked in turn.
fn mark_by_flow() -> Result<()> {
    let mut batch = Batch::new(NAME);
    batch.add_table(Ownership::Shared);
    batch.add_chain(&CHAIN);
    batch.flush_rules();
    batch.add_rule(&CHAIN, &Filter::new().marked(MARK).set_flow_mark(MARK));
    batch.add_rule(&CHAIN, &Filter::new().flow_marked(MARK).set_mark(MARK));
    batch.commit(&mut Netlink::open(Family::Netfilter)?)
}
