//! What cannot be served as asked, to be found out before anything changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use wharf_spec::{Proto, ProxyProtocol, Publication, SourceMode, Via};

use super::{Compiler, HostFacts, NetworkPolicy, network_of};
use crate::path::{PathPlan, SourceSeen};
use crate::share::Share;

/// Why a publication cannot be served as asked; `None` when it can. To be asked before anything
/// changes.
pub fn refuse(
    publication: &Publication,
    networks: &BTreeMap<String, NetworkPolicy>,
    facts: &HostFacts,
) -> Option<String> {
    if publication.proto == Proto::Sctp {
        return Some("sctp cannot be published: no plane of this version carries it".into());
    }
    let options = &publication.options;
    if options.proxy_protocol == Some(ProxyProtocol::V1) && publication.proto == Proto::Udp {
        return Some("version 1 of the PROXY protocol knows no udp: use proxy-protocol=v2".into());
    }
    if let Some(reason) = refuse_list(publication) {
        return Some(reason);
    }
    let compiler = Compiler { publication, network: network_of(publication, networks), facts };
    compiler.refuse_plane().or_else(|| compiler.refuse_source())
}

/// An allow-list with which nobody at all could connect.
fn refuse_list(publication: &Publication) -> Option<String> {
    let (host, allow) = (&publication.host.addresses, &publication.options.allow);
    let let_in = |address: &IpAddr| {
        let of_family = |net: &&IpNet| net.addr().is_ipv4() == address.is_ipv4();
        let loopback = address.is_loopback();
        allow.iter().filter(of_family).any(|net| !loopback || meets_loopback(*net))
    };
    let nobody = !allow.is_empty() && !host.is_empty() && !host.iter().any(let_in);
    nobody.then(|| {
        "nobody could connect: none of the networks in allow can reach the host address; add one \
         of the address's family, 127.0.0.0/8 or ::1 for a loopback address"
            .to_owned()
    })
}

fn meets_loopback(net: IpNet) -> bool {
    let loopback = match net {
        IpNet::V4(_) => IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        IpNet::V6(_) => IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
    };
    net.contains(&loopback) || loopback.contains(&net)
}

// === impl Compiler ===

impl Compiler<'_> {
    fn refuse_plane(self) -> Option<String> {
        let via = self.publication.options.via;
        let reasons = match via {
            Via::Nft => in_each_family(|v4| self.kernel_obstacle(v4))?,
            Via::Ebpf => in_each_family(|v4| self.local_obstacle(v4))?,
            Via::Auto | Via::Relay => return None,
        };
        Some(format!("via={via} cannot be honoured: {reasons}; use via=auto"))
    }

    /// One path from outside that keeps the address is enough, as one is for `via=nft`.
    fn refuse_source(self) -> Option<String> {
        let keeps = |seen: &PathPlan| seen.source == SourceSeen::Client;
        let asked = self.publication.options.source == SourceMode::Client;
        if !asked || self.run(&mut Share::default()).paths.iter().any(keeps) {
            return None;
        }
        let reasons = in_each_family(|v4| self.client_obstacle(v4))?;
        Some(format!(
            "source=client cannot be honoured: {reasons}; leave it out, or have proxy-protocol \
             tell the client's address"
        ))
    }
}

/// The reasons of both families, each once; `None` when one of the two has none.
fn in_each_family(obstacle: impl Fn(bool) -> Option<String>) -> Option<String> {
    let mut reasons: Vec<String> =
        [true, false].into_iter().map(obstacle).collect::<Option<_>>()?;
    reasons.dedup();
    Some(reasons.join("; "))
}
