//! The way back for sockets that are bound to the address of somebody else.
//!
//! A proxy that keeps its client's address towards a target (`IP_TRANSPARENT`) sends packets that
//! seem to come from the client. The target's answers are addressed to the client, too, so this
//! host would send them on instead of giving them to the proxy. What brings them back:
//!
//! 1. a rule of nftables finds that an arrived packet is for a transparent socket and marks it
//!    ([`MARK`]; `Rule::to_transparent_socket`, made by whoever knows which packets to look at);
//! 2. a policy rule sends marked packets to a routing table of their own ([`TABLE`]);
//! 3. in that table every address is local.
//!
//! [`lay_way_back`] does 2 and 3. A namespace that the proxy opens its sockets in, and whose
//! servers answer within it, needs something else: [`lay_way_back_inside`].

mod inside;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};

use socket2::{Domain, Socket, Type};

pub use self::inside::{lay_way_back_inside, take_up_way_back_inside};
use crate::error::{Error, Result};
use crate::nftables::{Mark, probe_sockets};
use crate::probe::has_ipv6;
use crate::route::{MAIN_TABLE, Route, Routes, Rule};

/// What marks packets for the way back: a value in the lower half of the mark.
///
/// The upper half is Calico's, Tailscale's (`0x40000`, `0x80000`) and Weave's, and is left as it
/// is. In the lower half the value has none of the bits of Kubernetes (`0x4000`, `0x8000`), CNI and
/// netavark (`0x2000`), Cilium (`0x0f00`), Istio (`0x0400`, `0x0539`), OVN (`0x03f0`) and the AWS
/// CNI plugin (`0x0080`), and it is no number others use whole: Docker swarm counts from `0x0100`,
/// WireGuard's wg-quick takes `0xca6c`.
pub const MARK: Mark = Mark { value: 0x1057, mask: 0xffff };

/// What marks sockets as the relay's to eBPF programs: it may bind ports of a steered range, and is
/// never led anywhere. It is looked at when a socket binds, listens or connects, and when a client
/// asks who has a port; a socket that is bound to one address keeps it. The lower half of a mark
/// is left to [`MARK`].
pub const RELAY_MARK: Mark = Mark { value: 0x1057_0000, mask: 0xffff_0000 };

/// The routing table in which every address is local; the mark in decimal, so that who finds one
/// finds the other. Tailscale has 52, Cilium 2004 and 2005, wg-quick 51820, cloud agents the first
/// few numbers.
pub const TABLE: u32 = 4183;

/// The place of the second rule, where nobody else has one so far in front.
const PRIORITY: u32 = 81;
/// `lo` has this number in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Whether a way back can be laid in the calling thread's network namespace, as far as it can be
/// told without changing anything: nftables finds sockets, there are policy rules, and sockets may
/// have foreign addresses.
pub fn is_possible() -> bool {
    let may_bind = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None);
        socket.and_then(|socket| socket.set_ip_transparent_v4(true)).is_ok()
    };
    let has_rules = || Routes::open().and_then(|mut routes| routes.rules()).is_ok();
    may_bind() && has_rules() && probe_sockets()
}

/// Lays the way back in the calling thread's network namespace, for IPv4 and, where the host has
/// it, IPv6, ahead of the rules of all others. What is right already stays; rules of ours that
/// others have got in front of move. Answers whether anything had to be done.
///
/// # Errors
/// When the kernel refuses, or [`TABLE`] has a default route that is not ours; what was laid
/// before that stays until [`take_up_way_back`].
pub fn lay_way_back() -> Result<bool> {
    let mut routes = Routes::open()?;
    let mut changed = false;
    let there = routes.rules()?;
    for ipv6 in families() {
        let fresh = added(routes.add(&everything_local(ipv6)))?;
        changed |= fresh;
        // There are no rules of ours before the route is known to be ours; a list of all routes
        // can be long.
        let known = fresh || there.iter().any(|rule| is_ours(rule) && rule.ipv6 == ipv6);
        if !known && !routes.list()?.contains(&everything_local(ipv6)) {
            return Err(table_is_taken());
        }
        let wanted = rules(ipv6, first_place(&mut routes, ipv6)?);
        for rule in wanted.iter().filter(|rule| !there.contains(rule)) {
            changed |= added(routes.add_rule(rule))?;
        }
        // Only now, so that no packet finds itself without.
        let ours = there.iter().filter(|rule| is_ours(rule) && rule.ipv6 == ipv6);
        for rule in ours.filter(|rule| !wanted.contains(rule)) {
            routes.delete_rule(rule)?;
        }
    }
    Ok(changed)
}

/// Whether the way back is there, whole and ahead of the rules of others.
pub fn is_laid() -> Result<bool> {
    let mut routes = Routes::open()?;
    let there = routes.rules()?;
    for ipv6 in families() {
        let place = first_place(&mut routes, ipv6)?;
        if !rules(ipv6, place).iter().all(|rule| there.contains(rule)) {
            return Ok(false);
        }
    }
    let there = routes.list()?;
    Ok(families().all(|ipv6| there.contains(&everything_local(ipv6))))
}

/// Takes the way back up again; it is no error if there is none.
pub fn take_up_way_back() -> Result<()> {
    let mut routes = Routes::open()?;
    for rule in routes.rules()?.iter().filter(|rule| is_ours(rule)) {
        routes.delete_rule(rule)?;
    }
    // Not only the families the host has now: IPv6 may have been switched off meanwhile.
    for ipv6 in [false, true] {
        gone(routes.delete(&everything_local(ipv6)))?;
    }
    Ok(())
}

/// Packets for the way back are nobody else's. Most rules have a number above ours; but one that is
/// made without a number, as wg-quick's are, the kernel puts in front of all but its own.
fn first_place(routes: &mut Routes, ipv6: bool) -> Result<u32> {
    let taken = routes.first_priority(ipv6, is_ours)?;
    let ahead = taken.and_then(|taken| taken.checked_sub(1)).filter(|place| *place > 1);
    Ok(ahead.map_or(PRIORITY, |place| place.min(PRIORITY)))
}

fn is_ours(rule: &Rule) -> bool {
    (rule.mark, rule.mask) == (MARK.value, MARK.mask)
}

/// The kernel checks for arrived packets where it would send an answer (`rp_filter`, and whether
/// the source is one of its own addresses). With `src_valid_mark`, which wg-quick sets, it asks that
/// with the packet's mark: by the second rule alone the sender would be on this host, which no
/// sender on a wire can be. The first rule keeps such questions, and no arrived packets, to the
/// table that knows where the sender is.
fn rules(ipv6: bool, place: u32) -> [Rule; 2] {
    let to_table = to_table(ipv6, place);
    let ahead = Some(place.saturating_sub(1));
    [Rule { own: true, table: MAIN_TABLE, priority: ahead, ..to_table }, to_table]
}

fn to_table(ipv6: bool, place: u32) -> Rule {
    Rule {
        ipv6,
        mark: MARK.value,
        mask: MARK.mask,
        own: false,
        udp_source_ports: None,
        table: TABLE,
        priority: Some(place),
    }
}

fn everything_local(ipv6: bool) -> Route {
    let family = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    Route::everything_local(family, LOOPBACK, TABLE)
}

fn families() -> impl Iterator<Item = bool> {
    [false, true].into_iter().filter(|ipv6| !ipv6 || has_ipv6())
}

fn added(result: Result<()>) -> Result<bool> {
    match result {
        Err(error) if error.is_exists() => Ok(false),
        other => other.map(|()| true),
    }
}

/// A kernel without IPv6 has nothing to delete and says so.
fn gone(result: Result<bool>) -> Result<()> {
    match result {
        Err(e) if matches!(e.errno(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => Ok(()),
        other => other.map(drop),
    }
}

fn table_is_taken() -> Error {
    let action = format!("lay the way back for client addresses: routing table {TABLE}");
    let source = std::io::Error::new(
        std::io::ErrorKind::AlreadyExists,
        "others have a default route or rule there: delete it, or use source=gateway",
    );
    Error::kernel(action, source)
}
