//! Sockets of others: those that were led to a target, and those inside steered ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use aya::maps::MapError;
use wharf_host::diag::{self, Bound};
use wharf_host::netlink::{Family, Netlink};
use wharf_host::netns::Netns;
use wharf_host::reserve::Transport;
use wharf_spec::Proto;

use crate::error::Result;
use crate::front::{Front, mapped};
use crate::layout::{
    BOUND_LIMIT, BUSY_LIMIT, BoundBytes, MARK_BOUND, MARK_DUAL, MARK_OF_RELAY, MARK_RECEIVING,
    Rewritten, SOCKETS_LIMIT, Scope, SpotBytes, at_every_v4, at_scope, bound as bound_bytes,
    read_bound, read_rewritten, spot,
};
use crate::maps::Maps;
use crate::mirror::{errno, is_gone, refused};

/// `BPF_NOEXIST`: an entry that is there stays as it is.
const ONLY_IF_NEW: u64 = 1;
/// What the kernel answers when it is there (`EEXIST`).
const EEXIST: i32 = 17;

/// Ends the open connections of these accounts whose clients `from` means, as lists know them; returns
/// how many there were.
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
        let Rewritten { account, asked, target } = read_rewritten(&bytes);
        if accounts.contains(&account) && from(client_of(asked)) {
            meant.insert(cookie, target);
        }
    }
    if meant.is_empty() {
        return Ok(0);
    }
    let (cookies, peers) = (meant.keys().copied().collect(), meant.values().copied().collect());
    let mut netlink = netns.open_netlink(Family::SockDiag)?;
    Ok(diag::destroy_tcp(&mut netlink, &peers, &cookies)?)
}

/// Every socket that was led to a target, by its cookie; `None` if so many come and go meanwhile that
/// some may have been missed.
pub(crate) fn led(maps: &Maps) -> Result<Option<BTreeMap<u64, Rewritten>>> {
    let mut found = BTreeMap::new();
    // A walk begins anew when the entry it stands on is deleted.
    for (step, entry) in maps.sockets.iter().enumerate() {
        if step == 2 * SOCKETS_LIMIT {
            return Ok(None);
        }
        let (cookie, bytes) = entry.map_err(refused("read", "sockets", 0))?;
        found.insert(cookie, read_rewritten(&bytes));
    }
    Ok(Some(found))
}

/// The client that a list is asked about, of a socket that was not bound: who asks for a loopback
/// address comes from the first, any other address of the host asks itself.
fn client_of(asked: IpAddr) -> IpAddr {
    match asked {
        IpAddr::V4(v4) if v4.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        other => other,
    }
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

/// Notes a socket of a floor as none of others. It is bound before its range is steered, so that the
/// guard does not know it, and whoever looks round then takes it for a stranger's.
pub(crate) fn claim(maps: &mut Maps, socket: BorrowedFd<'_>) -> Result<()> {
    let cookie = rustix::net::sockopt::socket_cookie(socket)
        .map_err(|error| wharf_host::Error::kernel("read the cookie of a socket", error))?;
    if let Some((at, marks)) = noted(maps, cookie)? {
        if marks & MARK_OF_RELAY != 0 {
            return Ok(());
        }
        // Whoever deletes the entry takes it off the counts.
        if maps.bound.remove(&cookie).is_ok() {
            count_down(maps, &at, marks)?;
        }
    }
    let ours = bound_bytes(&[0; size_of::<SpotBytes>()], MARK_OF_RELAY);
    maps.bound.insert(cookie, ours, 0).map_err(refused("write", "bound", BOUND_LIMIT))
}

/// Forgets sockets in steered ranges that are gone and were not seen to go: those that the kernel
/// holds for somebody, as it does for every listener of multipath TCP, close without a hook.
pub(crate) fn forget_gone(maps: &mut Maps, netns: &Netns) -> Result<()> {
    let failed = |action| refused(action, "bound", BOUND_LIMIT);
    let limit = 2 * usize::try_from(BOUND_LIMIT).unwrap_or(usize::MAX);
    let noted: BTreeMap<u64, BoundBytes> =
        maps.bound.iter().take(limit).collect::<Result<_, MapError>>().map_err(failed("read"))?;
    let receiving = noted.into_iter().map(|(cookie, bytes)| (cookie, read_bound(&bytes)));
    let receiving: Vec<_> =
        receiving.filter(|(_, (_, marks))| marks & MARK_RECEIVING != 0).collect();
    if receiving.is_empty() {
        return Ok(());
    }
    // Looked at afterwards, so that whoever was noted and is still there is among them.
    let mut netlink = netns.open_netlink(Family::SockDiag)?;
    let mut there = BTreeSet::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        there.extend(found(&mut netlink, transport)?.into_iter().map(|socket| socket.cookie));
    }
    for (cookie, (at, marks)) in receiving {
        // Whoever deletes the entry takes it off the counts; the socket may just be closing.
        if !there.contains(&cookie) && maps.bound.remove(&cookie).is_ok() {
            count_down(maps, &at, marks)?;
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
    if noted(maps, socket.cookie)?.is_some() {
        return Ok(());
    }
    let at = spot(mapped(socket.address), Scope::Address, proto, socket.port);
    let dual = if is_dual(socket) { MARK_DUAL } else { 0 };
    let marks = MARK_BOUND | MARK_RECEIVING | dual;
    // Counted before it is noted: whoever closes a socket that is noted takes it off the counts.
    // One that closes before that is noted all the same, and forgotten as one that is gone.
    count_up(maps, &at, marks)?;
    let Err(error) = maps.bound.insert(socket.cookie, bound_bytes(&at, marks), ONLY_IF_NEW) else {
        return Ok(());
    };
    count_down(maps, &at, marks)?;
    match errno(&error) {
        Some(EEXIST) => Ok(()),
        _ => Err(refused("write", "bound", BOUND_LIMIT)(error)),
    }
}

/// Where a socket is, and how it is marked.
fn noted(maps: &Maps, cookie: u64) -> Result<Option<(SpotBytes, u32)>> {
    match maps.bound.get(&cookie, 0) {
        Ok(bytes) => Ok(Some(read_bound(&bytes))),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(refused("read", "bound", BOUND_LIMIT)(error)),
    }
}

/// Where a socket is counted, as its marks say.
fn counted_at(at: &SpotBytes, marks: u32) -> Vec<SpotBytes> {
    let scopes = [(MARK_BOUND, Scope::Bound), (MARK_RECEIVING, Scope::Receiving)];
    let scopes = scopes.into_iter().filter(|(mark, _)| marks & mark != 0);
    let dual = marks & MARK_DUAL != 0;
    let places = scopes.flat_map(|(_, scope)| {
        let own = at_scope(*at, scope);
        [Some(own), dual.then(|| at_every_v4(own))]
    });
    places.flatten().collect()
}

/// Counts a socket in all of its places, or in none.
fn count_up(maps: &mut Maps, at: &SpotBytes, marks: u32) -> Result<()> {
    let places = counted_at(at, marks);
    for (done, place) in places.iter().enumerate() {
        if let Err(error) = add(maps, place, 1) {
            places.iter().take(done).try_for_each(|place| add(maps, place, -1))?;
            return Err(error);
        }
    }
    Ok(())
}

fn count_down(maps: &mut Maps, at: &SpotBytes, marks: u32) -> Result<()> {
    counted_at(at, marks).iter().try_for_each(|place| add(maps, place, -1))
}

/// Not in one step: what another socket at this very spot, one that shares it, adds or takes off
/// between the two calls is lost. With one too few the floor gets what is that socket's; with one
/// too many nobody is steered there while these maps last.
fn add(maps: &mut Maps, key: &SpotBytes, change: i32) -> Result<()> {
    let count = match maps.busy.get(key, 0) {
        Err(error) if is_gone(&error) => 0,
        count => count.map_err(busy("read"))?,
    };
    maps.busy.insert(key, count.saturating_add_signed(change), 0).map_err(busy("write"))
}

fn busy(action: &'static str) -> impl Fn(MapError) -> crate::Error {
    refused(action, "busy", BUSY_LIMIT)
}
