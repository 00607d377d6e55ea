//! Flows the kernel remembers: forgotten when the port they came to changes hands.
//!
//! A conntrack entry outlives the rule that made it, so a UDP client that never pauses would go on
//! talking to a container that is gone (moby#8795), or never reach the new one. Entries are matched
//! by what the client sent to: the host's address and port, never the container's (moby#53384).

use std::net::IpAddr;

use wharf_host::conntrack::{FlowFilter, delete_matching_any};
use wharf_host::netlink::{Family, Netlink};
use wharf_host::nftables::IpFamily;
use wharf_spec::Publication;

use crate::error::Result;

/// Forgets the flows of `publications`.
pub(crate) fn forget(publications: &[Publication]) -> Result<()> {
    let filters: Vec<FlowFilter> = publications.iter().flat_map(filters).collect();
    if filters.is_empty() {
        return Ok(());
    }
    delete_matching_any(&mut Netlink::open(Family::Netfilter)?, &filters)?;
    Ok(())
}

fn filters(publication: &Publication) -> Vec<FlowFilter> {
    let ports = (publication.host.ports.first(), publication.host.ports.last());
    let external = |address: &&IpAddr| !address.is_loopback();
    let addresses = publication.host.addresses.iter().filter(external);
    addresses
        .map(|address| FlowFilter {
            family: Some(if address.is_ipv4() { IpFamily::V4 } else { IpFamily::V6 }),
            proto: publication.proto.number(),
            orig_dst: (!address.is_unspecified()).then_some(*address),
            orig_dport: Some(ports),
            reply_src: None,
        })
        .collect()
}
