//! Flows the kernel remembers: forgotten when the port they came to changes hands.
//!
//! A conntrack entry outlives the rule that made it, so a UDP client that never pauses would go on
//! talking to a container that is gone (moby#8795), or never reach the new one. Entries are matched
//! by what the client sent to: the host's address and port, never the container's (moby#53384).

use std::net::IpAddr;

use wharf_host::conntrack::{FlowFilter, delete_matching_any};
use wharf_host::link::Links;
use wharf_host::netlink::{Family, Netlink};
use wharf_host::nftables::IpFamily;
use wharf_spec::Publication;

use crate::error::Result;

/// Forgets the flows of `publications`.
pub(crate) fn forget(publications: &[Publication]) -> Result<()> {
    if publications.is_empty() {
        return Ok(());
    }
    let addresses = Links::open()?.addresses(None)?;
    let own = addresses.into_iter().map(|address| address.net.addr());
    let own: Vec<IpAddr> = own.filter(|address| !address.is_loopback()).collect();
    let filters = publications.iter().flat_map(|publication| filters(publication, &own));
    let filters: Vec<FlowFilter> = filters.collect();
    delete_matching_any(&mut Netlink::open(Family::Netfilter)?, &filters)?;
    Ok(())
}

/// A wildcard stands for the addresses this host has, one by one: a flow of somebody's to the same
/// port elsewhere is not ours to end.
fn filters(publication: &Publication, own: &[IpAddr]) -> Vec<FlowFilter> {
    let ports = (publication.host.ports.first(), publication.host.ports.last());
    let asked = &publication.host.addresses;
    let stands = |own: &&IpAddr| {
        asked.iter().any(|a| a == *own || (a.is_unspecified() && a.is_ipv4() == own.is_ipv4()))
    };
    own.iter()
        .filter(stands)
        .map(|address| FlowFilter {
            family: Some(if address.is_ipv4() { IpFamily::V4 } else { IpFamily::V6 }),
            proto: publication.proto.number(),
            orig_dst: Some(*address),
            orig_dport: Some(ports),
            reply_src: None,
        })
        .collect()
}
