//! Plugging a container into its network, and pulling the plug.
//!
//! Plugging in is one write on the host, one question and two writes in the container, and a
//! question for each interface that has to come to life; nothing is listed, so its cost does not
//! grow with the number of containers. When it returns, packets pass.

use std::net::Ipv6Addr;

use wharf_host::link::{Change, Links, Veth, introduce_neighbour, settle_ipv6};
use wharf_host::netns::Netns;
use wharf_host::route::Route;
use wharf_host::sysctl;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::leftovers::alias_of;

#[cfg(test)]
mod tests;

/// Joins `netns` to the endpoint's bridge by a veth pair and gives the end inside its addresses
/// and routes. A pair of the same name, left over from before, is replaced.
///
/// # Errors
/// Nothing is left behind then, on the host or inside.
pub fn plug(endpoint: &Endpoint, netns: &Netns) -> Result<()> {
    let mut links = Links::open()?;
    let bridge = bridge_index(&mut links, endpoint)?;
    let done = join(&mut links, endpoint, netns, bridge);
    if done.is_err()
        && let Err(error) = links.delete(&endpoint.host_veth)
    {
        tracing::warn!(%error, "could not delete a half-made veth pair");
    }
    done
}

/// Gives the end inside its default routes, which another of the container's networks had before;
/// those that are there already stay.
pub fn lead_out(endpoint: &Endpoint, netns: &Netns) -> Result<()> {
    netns.run(|| {
        let mut links = Links::open()?;
        let link = links.index(&endpoint.interface)?;
        for gateway in endpoint.gateways() {
            match links.apply(&[Change::Route(Route::default_via(gateway, link))]) {
                Err(error) if error.is_exists() => {}
                added => added?,
            }
        }
        Ok(())
    })?
}

/// Deletes the endpoint's veth pair, both ends with it; `false` when it was gone, as it is when
/// the container's namespace has ended.
pub fn unplug(endpoint: &Endpoint) -> Result<bool> {
    Ok(Links::open()?.delete(&endpoint.host_veth)?)
}

/// Whether the host's end is there, up, and a port of the right bridge.
pub fn is_plugged(endpoint: &Endpoint) -> Result<bool> {
    let mut links = Links::open()?;
    let Some(bridge) = links.find(&endpoint.bridge)? else { return Ok(false) };
    let veth = links.find(&endpoint.host_veth)?;
    Ok(veth.is_some_and(|veth| veth.up && veth.master == Some(bridge.index)))
}

/// Makes the host's end a port of the bridge again, after the bridge was lost and made anew;
/// the end inside has kept all it had, and whoever asked for it meanwhile need not ask again.
/// `false` when the pair is gone.
pub fn rejoin(endpoint: &Endpoint) -> Result<bool> {
    let mut links = Links::open()?;
    let master = bridge_index(&mut links, endpoint)?;
    let name = endpoint.host_veth.as_str();
    let joined = [Change::Master { name, master }, Change::Hairpin(name), Change::Up(name)];
    match links.apply(&joined) {
        Ok(()) => settle(&mut links, &[name, &endpoint.bridge])?,
        Err(e) if e.is_not_found() => return Ok(false),
        Err(e) => return Err(e.into()),
    }
    for net in endpoint.addresses() {
        // It saves a second; a full table of neighbours must not keep the container off its network.
        if let Err(error) = introduce_neighbour(master, net.addr(), endpoint.mac) {
            tracing::debug!(%error, "a neighbour is asked for instead");
        }
    }
    Ok(true)
}

fn join(links: &mut Links, endpoint: &Endpoint, netns: &Netns, bridge: u32) -> Result<()> {
    match create_pair(links, endpoint, netns, bridge) {
        Err(e) if e.is_exists() && links.delete(&endpoint.host_veth)? => {
            create_pair(links, endpoint, netns, bridge)?;
        }
        made => made?,
    }
    netns.run(|| set_up_inside(endpoint))??;
    settle(links, &[&endpoint.host_veth, &endpoint.bridge])
}

fn bridge_index(links: &mut Links, endpoint: &Endpoint) -> Result<u32> {
    let link = links.find(&endpoint.bridge)?;
    let missing = || Error::BridgeMissing { bridge: endpoint.bridge.clone() };
    link.map(|link| link.index).ok_or_else(missing)
}

fn create_pair(
    links: &mut Links,
    endpoint: &Endpoint,
    netns: &Netns,
    bridge: u32,
) -> wharf_host::Result<()> {
    let name = endpoint.host_veth.as_str();
    let alias = alias_of(&endpoint.container);
    let mut changes = vec![
        Change::AddVeth(Veth {
            name,
            peer_name: &endpoint.interface,
            peer_netns: netns,
            peer_mac: Some(endpoint.mac),
            mtu: endpoint.mtu,
            master: Some(bridge),
        }),
        Change::Alias { name, alias: &alias },
        // Where br_netfilter is on, a container that asks for its own published port is led back
        // to itself within the bridge, out by the port the frame came in.
        Change::Hairpin(name),
    ];
    // A bridge's port needs no address of its own; a kernel without IPv6 refuses the setting.
    if sysctl::exists("net/ipv6") {
        changes.push(Change::NoLinkLocal(name));
    }
    changes.push(Change::Up(name));
    links.apply(&changes)
}

fn set_up_inside(endpoint: &Endpoint) -> Result<()> {
    set_up_ipv6(endpoint)?;
    let name = endpoint.interface.as_str();
    let mut links = Links::open()?;
    let link = links.index(name)?;
    let mut changes = vec![Change::Up("lo"), Change::Up(name)];
    changes.extend(endpoint.addresses().map(|net| Change::Address { link, net }));
    changes.extend(endpoint.gateways().map(|by| Change::Route(Route::default_via(by, link))));
    links.apply(&changes)?;
    settle(&mut links, &[name])?;
    endpoint.ipv6.map_or(Ok(()), |ipv6| settle_address(name, ipv6.addr()))
}

/// Without an IPv6 subnet the interface gets no IPv6 at all, as Docker does; the loopback
/// interface keeps ::1. With one, nothing is probed for duplicates, which would take a second,
/// and no neighbour can change the routes by an advertisement.
fn set_up_ipv6(endpoint: &Endpoint) -> Result<()> {
    let setting = |name: &str| format!("net/ipv6/conf/{}/{name}", endpoint.interface);
    if !sysctl::exists(&setting("disable_ipv6")) {
        return if endpoint.ipv6.is_some() { Err(Error::NoIpv6) } else { Ok(()) };
    }
    if endpoint.ipv6.is_none() {
        sysctl::change(&setting("disable_ipv6"), "1")?;
        return Ok(());
    }
    sysctl::change(&setting("accept_ra"), "0")?;
    sysctl::change(&setting("accept_dad"), "0")?;
    sysctl::change(&setting("disable_ipv6"), "0")?;
    Ok(())
}

/// A link that takes its time is not an error: it only costs the first packet.
fn settle(links: &mut Links, names: &[&str]) -> Result<()> {
    for name in names {
        if !links.settle(name)? {
            tracing::warn!(interface = %name, "interface is not carrying packets yet");
        }
    }
    Ok(())
}

pub(crate) fn settle_address(interface: &str, address: Ipv6Addr) -> Result<()> {
    if !settle_ipv6(interface, address)? {
        tracing::warn!(%interface, %address, "address cannot be found by neighbours yet");
    }
    Ok(())
}
