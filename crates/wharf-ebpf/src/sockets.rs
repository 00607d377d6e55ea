//! Sockets of others: those that were led to a target, and those inside steered ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aya::maps::MapError;
use wharf_host::diag::{self, Bound};
use wharf_host::netlink::{Family, Netlink};
use wharf_host::netns::Netns;
use wharf_host::reserve::Transport;
use wharf_spec::Proto;

use crate::error::Result;
use crate::front::{Front, mapped};
use crate::layout::{
    BOUND_LIMIT, BUSY_LIMIT, MARK_BOUND, MARK_DUAL, MARK_RECEIVING, SOCKETS_LIMIT, Scope,
    SpotBytes, bound as bound_bytes, read_rewritten, spot,
};
use crate::maps::Maps;
use crate::mirror::{is_gone, refused};

/// `BPF_NOEXIST`: an entry that is there stays as it is.
const ONLY_IF_NEW: u64 = 1;
/// What the kernel answers when it is there (`EEXIST`).
const EEXIST: i32 = 17;

/// Ends the open connections of these accounts from addresses that `from` means; returns how many
/// there were.
pub(crate) fn sever(
    maps: &Maps,
    netns: &Netns,
    accounts: &BTreeSet<u32>,
    from: impl Fn(IpAddr) -> bool,
) -> Result<usize> {
    let mut meant: BTreeMap<u64, SocketAddr> = BTreeMap::new();
    // A walk begins anew when the entry it stands on is deleted; twice round sees them all.
    for entry in maps.sockets.iter().take(2 * SOCKETS_LIMIT) {
        let (cookie, bytes) = entry.map_err(refused("read", "sockets", 0))?;
        let (account, target) = read_rewritten(&bytes);
        if accounts.contains(&account) {
            meant.insert(cookie, target);
        }
    }
    if meant.is_empty() {
        return Ok(0);
    }
    let (cookies, peers) = (meant.keys().copied().collect(), meant.values().copied().collect());
    let mut netlink = netns.open_netlink(Family::SockDiag)?;
    Ok(diag::destroy_tcp(&mut netlink, &peers, &cookies, from)?)
}

/// Notes the sockets that were inside steered ranges before anybody watched. Those that are noted
/// already stay as they are.
pub(crate) fn survey<'a>(
    maps: &mut Maps,
    netns: &Netns,
    fronts: impl Iterator<Item = &'a Front> + Clone,
) -> Result<()> {
    let mut netlink = netns.open_netlink(Family::SockDiag)?;
    for (transport, proto) in [(Transport::Tcp, Proto::Tcp), (Transport::Udp, Proto::Udp)] {
        let fronts = fronts.clone().filter(|front| front.proto == proto);
        for socket in found(&mut netlink, transport)? {
            if fronts.clone().any(|front| concerns(&socket, front)) {
                note(maps, proto, &socket)?;
            }
        }
    }
    Ok(())
}

/// Makes room for ports of others if there is little left: those whose count has fallen to nothing
/// go.
pub(crate) fn sweep(maps: &mut Maps) -> Result<()> {
    let half = usize::try_from(BUSY_LIMIT / 2).unwrap_or(usize::MAX);
    let limit = 2 * usize::try_from(BUSY_LIMIT).unwrap_or(usize::MAX);
    let entries: Vec<(SpotBytes, u32)> =
        maps.busy.iter().take(limit).collect::<Result<_, MapError>>().map_err(busy("read"))?;
    if entries.len() < half {
        return Ok(());
    }
    for (key, _) in entries.iter().filter(|(_, count)| *count == 0) {
        // It may have been counted up since; then it is somebody's port again.
        if maps.busy.get(key, 0).is_ok_and(|count| count == 0) {
            match maps.busy.remove(key) {
                Err(error) if !is_gone(&error) => return Err(busy("delete from")(error)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn found(netlink: &mut Netlink, transport: Transport) -> Result<Vec<Bound>> {
    Ok(diag::bound(netlink, transport)?)
}

/// Whether a socket has a port of a steered range, in a family of its own.
fn concerns(socket: &Bound, front: &Front) -> bool {
    let same_family = socket.address.is_ipv4() == front.address.to_ipv4_mapped().is_some();
    front.ports.contains(socket.port) && (same_family || is_dual(socket))
}

fn is_dual(socket: &Bound) -> bool {
    socket.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !socket.v6_only
}

fn note(maps: &mut Maps, proto: Proto, socket: &Bound) -> Result<()> {
    let address = mapped(socket.address);
    let at = |address, scope| spot(address, scope, proto, socket.port);
    let dual = if is_dual(socket) { MARK_DUAL } else { 0 };
    let marks = MARK_BOUND | MARK_RECEIVING | dual;
    let entry = bound_bytes(&at(address, Scope::Address), marks);
    match maps.bound.insert(socket.cookie, entry, ONLY_IF_NEW) {
        Err(error) if crate::mirror::errno(&error) == Some(EEXIST) => return Ok(()),
        other => other.map_err(refused("write", "bound", BOUND_LIMIT))?,
    }
    for scope in [Scope::Bound, Scope::Receiving] {
        count_up(maps, &at(address, scope))?;
        if dual != 0 {
            count_up(maps, &at(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), scope))?;
        }
    }
    Ok(())
}

/// Not in one step: a socket at this very spot that opens or closes between the two calls is
/// miscounted, which at worst leaves the port to whoever really has it, or to the floor.
fn count_up(maps: &mut Maps, key: &SpotBytes) -> Result<()> {
    let count = match maps.busy.get(key, 0) {
        Err(error) if is_gone(&error) => 0,
        count => count.map_err(busy("read"))?,
    };
    maps.busy.insert(key, count.wrapping_add(1), 0).map_err(busy("write"))
}

fn busy(action: &'static str) -> impl Fn(MapError) -> crate::Error {
    refused(action, "busy", BUSY_LIMIT)
}
