//! Flows the kernel remembers: forgotten when the port they came to changes hands.
//!
//! A conntrack entry outlives the rule that made it, so a UDP client that never pauses would go on
//! talking to a container that is gone (moby#8795), or never reach the new one. Entries are matched
//! by what the client sent to: the host's address and port, never the container's (moby#53384).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use wharf_host::conntrack::{Flow, FlowFilter, delete_matching_any, delete_where, list};
use wharf_host::link::Links;
use wharf_host::netlink::{Family, Netlink};
use wharf_host::nftables::IpFamily;
use wharf_spec::{Proto, Publication, PublicationId};

use crate::error::Result;

/// Which flows are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Every one.
    All,
    /// Those that have no end of their own: a TCP connection may go on to where it went.
    Datagrams,
}

/// The flows of the host's network namespace.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    /// Kept open: closing one waits until everything that was deleted from nftables is really
    /// gone, which takes the kernel ten milliseconds or more.
    netlink: Mutex<Option<Netlink>>,
}

// === impl Flows ===

impl Flows {
    /// Forgets flows of `publications`.
    pub(crate) fn forget(&self, publications: &[Publication], which: Which) -> Result<()> {
        let concerned = |p: &&Publication| which == Which::All || p.proto == Proto::Udp;
        let publications: Vec<&Publication> = publications.iter().filter(concerned).collect();
        if publications.is_empty() {
            return Ok(());
        }
        let own = own_addresses()?;
        let filters = publications.into_iter().flat_map(|publication| filters(publication, &own));
        let filters: Vec<FlowFilter> = filters.collect();
        self.with_netlink(|netlink| delete_matching_any(netlink, &filters))?;
        Ok(())
    }

    /// Forgets UDP flows that the kernel leads to one of `subnets` and that none of `publications`
    /// leads there: a daemon that was killed between writing a change down and this may have left
    /// them. Answers how many there were.
    pub(crate) fn forget_stale(
        &self,
        publications: &[Publication],
        subnets: &[IpNet],
    ) -> Result<usize> {
        let own = own_addresses()?;
        let is_stale = |flow: &Flow| {
            flow.orig.dst != flow.reply.src
                && own.contains(&flow.orig.dst)
                && subnets.iter().any(|net| net.contains(&flow.reply.src))
                && !publications.iter().any(|publication| leads(publication, flow))
        };
        let datagrams = FlowFilter::of_protocol(Proto::Udp.number());
        self.with_netlink(|netlink| delete_where(netlink, &datagrams, is_stale))
    }

    fn with_netlink<T>(
        &self,
        work: impl FnOnce(&mut Netlink) -> wharf_host::Result<T>,
    ) -> Result<T> {
        let mut kept = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        let mut netlink = match kept.take() {
            Some(netlink) => netlink,
            None => Netlink::open(Family::Netfilter)?,
        };
        // After a failure the next one begins anew.
        let done = work(&mut netlink)?;
        *kept = Some(netlink);
        Ok(done)
    }
}

fn own_addresses() -> Result<Vec<IpAddr>> {
    let addresses = Links::open()?.addresses(None)?;
    let own = addresses.into_iter().map(|address| address.net.addr());
    Ok(own.filter(|address| !address.is_loopback()).collect())
}

/// How many flows the kernel carries to the target of each publication. What cannot be counted
/// counts as nothing.
pub(crate) fn count<'a>(
    publications: impl Iterator<Item = &'a Publication>,
) -> BTreeMap<PublicationId, u64> {
    let mut by_port: HashMap<(u8, u16), Vec<&Publication>> = HashMap::new();
    let mut ranges: Vec<&Publication> = Vec::new();
    for publication in publications {
        match publication.host.ports {
            ports if ports.is_single() => {
                let key = (publication.proto.number(), ports.first());
                by_port.entry(key).or_default().push(publication);
            }
            _ => ranges.push(publication),
        }
    }
    let mut counts = BTreeMap::new();
    for flow in tracked().unwrap_or_default().iter().filter(|flow| flow.open) {
        let single = by_port.get(&(flow.proto, flow.orig.dport)).into_iter().flatten();
        if let Some(publication) = single.chain(&ranges).find(|p| leads(p, flow)) {
            *counts.entry(publication.id.clone()).or_default() += 1;
        }
    }
    counts
}

fn tracked() -> Result<Vec<Flow>> {
    let mut netlink = Netlink::open(Family::Netfilter)?;
    let mut flows = Vec::new();
    for proto in [Proto::Tcp, Proto::Udp] {
        flows.extend(list(&mut netlink, &FlowFilter::of_protocol(proto.number()))?);
    }
    Ok(flows)
}

/// Whether the kernel rewrites a flow as a publication says.
fn leads(publication: &Publication, flow: &Flow) -> bool {
    let target = match flow.reply.src {
        IpAddr::V4(v4) => publication.target.ipv4() == Some(v4),
        IpAddr::V6(v6) => publication.target.ipv6() == Some(v6),
    };
    target
        && flow.orig.dst != flow.reply.src
        && publication.proto.number() == flow.proto
        && publication.target_port(flow.orig.dport) == Some(flow.reply.sport)
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
