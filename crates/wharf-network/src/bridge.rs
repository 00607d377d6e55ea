//! A network's bridge on the host, made to match the network however it is found.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use wharf_host::link::{Change, Link, Links};
use wharf_host::route::{Route, Routes};
use wharf_host::sysctl;

use crate::endpoint::mac_of;
use crate::error::{Error, Result};
use crate::leftovers::alias_of;
use crate::network::Network;
use crate::plug::settle_address;

/// How long the kernel may take to make the route of an address that is new, or whose bridge has
/// just come up.
const SETTLING: Duration = Duration::from_millis(100);

/// Makes the network's bridge, or mends it: addresses, settings, up. Returns its index.
///
/// While the bridge is gone, packets for the network are dropped without a word: a client that is
/// connecting tries again, and does not give up as it would when told that there is no way.
///
/// # Errors
/// [`Error::ForeignLink`] when the name belongs to an interface that is not ours, which is left
/// alone; [`Error::NoIpv6`] when the network has IPv6 and the kernel has not.
pub fn ensure_bridge(network: &Network) -> Result<u32> {
    let mut links = Links::open()?;
    let link = match links.find(&network.bridge)? {
        Some(link) => link,
        None => create(&mut links, network)?,
    };
    check_ours(&link, network)?;
    set_up_ipv6(network)?;
    swallow_strays(network)?;
    let addresses = network.bridge_addresses();
    let mut changes: Vec<Change<'_>> =
        addresses.iter().map(|net| Change::Address { link: link.index, net: *net }).collect();
    changes.push(Change::Up(&network.bridge));
    links.apply(&changes)?;
    for net in addresses {
        if let IpAddr::V6(address) = net.addr() {
            settle_address(&network.bridge, address)?;
        }
    }
    Ok(link.index)
}

/// An address that the network's bridge had and has not any more, if there is one.
pub fn lost_address(network: &Network, bridge: u32) -> Result<Option<IpNet>> {
    let there = Links::open()?.addresses(Some(bridge))?;
    let lost = |net: &IpNet| !there.iter().any(|address| address.net.addr() == net.addr());
    Ok(network.bridge_addresses().into_iter().find(lost))
}

/// Makes the routes to the network's subnets anew that somebody has deleted: the kernel makes them
/// with the addresses, and never again. Answers which were gone; costs the same however many routes
/// the host has.
pub fn ensure_routes(network: &Network, bridge: u32) -> Result<Vec<IpNet>> {
    swallow_strays(network)?;
    let mut routes = Routes::open()?;
    let mut gone = Vec::new();
    for net in network.bridge_addresses() {
        if leads_to(&mut routes, net, bridge)? {
            continue;
        }
        // The kernel may be about to make it: it does so a moment after the address.
        std::thread::sleep(SETTLING);
        if leads_to(&mut routes, net, bridge)? {
            continue;
        }
        match routes.add(&Route::on_link(net.trunc(), bridge)) {
            Ok(()) => gone.push(net.trunc()),
            // It is there, and somebody's rule goes first; that is theirs to say.
            Err(error) if error.is_exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(gone)
}

/// Has packets for the network swallowed for as long as there is no bridge to send them to.
fn swallow_strays(network: &Network) -> Result<()> {
    let mut routes = Routes::open()?;
    for net in network.bridge_addresses() {
        routes.swallow(net.trunc())?;
    }
    Ok(())
}

/// Whether packets for the subnet of `net`, the bridge's own address in it, go to the bridge. Any
/// other address of the subnet tells, but for the first: of IPv6 that is anycast to routers.
fn leads_to(routes: &mut Routes, net: IpNet, bridge: u32) -> Result<bool> {
    let mut others = net.hosts().skip(1).filter(|address| *address != net.addr());
    let Some(other) = others.next() else { return Ok(true) };
    Ok(routes.way_to(other)?.is_some_and(|way| way.link == bridge))
}

/// Deletes the network's bridge and its routes; `false` when the bridge was gone.
///
/// # Errors
/// [`Error::ForeignLink`] when the name belongs to an interface that is not ours.
pub fn remove_bridge(network: &Network) -> Result<bool> {
    let mut routes = Routes::open()?;
    for net in network.bridge_addresses() {
        routes.stop_swallowing(net.trunc())?;
    }
    let mut links = Links::open()?;
    let Some(link) = links.find(&network.bridge)? else { return Ok(false) };
    check_ours(&link, network)?;
    Ok(links.delete(&network.bridge)?)
}

fn create(links: &mut Links, network: &Network) -> Result<Link> {
    let name = network.bridge.as_str();
    let gateway = network.subnets().next().map(|side| side.gateway());
    let alias = alias_of(&network.id);
    let made = links.apply(&[
        Change::AddBridge { name, mac: Some(mac_of(gateway)), mtu: network.mtu },
        Change::Alias { name, alias: &alias },
    ]);
    match made {
        // Someone was faster; the caller looks whose it is.
        Err(e) if e.is_exists() => {}
        made => made?,
    }
    links.find(name)?.ok_or_else(|| Error::BridgeMissing { bridge: name.to_owned() })
}

fn check_ours(link: &Link, network: &Network) -> Result<()> {
    let is_bridge = link.kind.as_deref() == Some("bridge");
    if is_bridge && link.alias.as_ref() == Some(&alias_of(&network.id)) {
        return Ok(());
    }
    let kind = link.kind.as_deref().unwrap_or("a device");
    let alias = link.alias.as_deref().unwrap_or("none");
    Err(Error::ForeignLink {
        name: link.name.clone(),
        network: network.name.clone(),
        found: format!("kind {kind}, alias {alias}"),
    })
}

/// The bridge is a router to containers, so it takes no router advertisements from them
/// (CVE-2020-13401), and its own addresses are not probed for duplicates. Without an IPv6 address
/// to have it gets none at all, link-local neither: that would be a way past isolation.
fn set_up_ipv6(network: &Network) -> Result<()> {
    let wanted = network.bridge_addresses().iter().any(|net| net.addr().is_ipv6());
    let setting = |name: &str| format!("net/ipv6/conf/{}/{name}", network.bridge);
    if !sysctl::exists(&setting("disable_ipv6")) {
        return if wanted { Err(Error::NoIpv6) } else { Ok(()) };
    }
    sysctl::change(&setting("accept_ra"), "0")?;
    sysctl::change(&setting("accept_dad"), "0")?;
    sysctl::change(&setting("disable_ipv6"), if wanted { "0" } else { "1" })?;
    Ok(())
}
