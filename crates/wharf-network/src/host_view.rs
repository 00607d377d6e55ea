//! What of the address space the host uses already.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wharf_host::link::{Link, Links};
use wharf_host::probe;
use wharf_host::route::{LOCAL_TABLE, Route, RouteKind, Routes};

use crate::error::Result;
use crate::leftovers::is_ours;
use crate::span::overlap;

/// Routes wider than this stand for "everything else", however they are cut: default routes, the
/// two halves a VPN lays over one, 2000::/3.
const WIDEST: u8 = 8;

/// What the host uses, as seen at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostView {
    /// Whether IPv6 can be used.
    pub ipv6: bool,
    /// The addresses and routes there are.
    pub taken: Vec<Taken>,
}

/// One part of the address space in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The part.
    pub net: IpNet,
    /// Whether the host is on that network itself, rather than having a way to it.
    pub connected: bool,
    /// Who uses it, in words.
    pub holder: String,
}

// === impl HostView ===

impl HostView {
    /// Looks at the network namespace of the calling thread. Our own bridges are left out: their
    /// networks are known.
    pub fn observe() -> Result<Self> {
        let mut links = Links::open()?;
        let names: BTreeMap<u32, Link> =
            links.list()?.into_iter().map(|link| (link.index, link)).collect();
        let foreign = |index: u32| names.get(&index).filter(|link| !is_ours(link));
        let mut taken = Vec::new();
        for address in links.addresses(None)? {
            let Some(link) = foreign(address.link) else { continue };
            let holder = format!("address {} of {link}", address.net);
            taken.push(Taken { net: address.net.trunc(), connected: true, holder });
        }
        for route in Routes::open()?.list()? {
            let link = match route.link {
                Some(index) => match foreign(index) {
                    Some(link) => Some(link.name.as_str()),
                    None => continue,
                },
                None => None,
            };
            taken.extend(route_taken(&route, link));
        }
        taken.retain(|taken| !is_link_local(taken.net));
        Ok(Self { ipv6: probe::probe().ipv6, taken })
    }

    /// Everything in use, for choosing around it.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        self.taken.iter().map(|taken| taken.net)
    }

    /// What forbids a subnet that a person asked for by number: a network the host is on, or a
    /// route at least as narrow. A wider route to elsewhere does not; the person knows better.
    pub fn obstacle(&self, subnet: IpNet) -> Option<&Taken> {
        self.taken.iter().find(|taken| {
            overlap(taken.net, subnet) && (taken.connected || subnet.contains(&taken.net))
        })
    }
}

fn route_taken(route: &Route, link: Option<&str>) -> Option<Taken> {
    let everything = route.destination.prefix_len() < WIDEST;
    if everything || route.kind != RouteKind::Unicast || route.table == LOCAL_TABLE {
        return None;
    }
    let over = link.map(|link| format!(" over {link}")).unwrap_or_default();
    Some(Taken {
        net: route.destination,
        connected: route.gateway.is_none() && link.is_some(),
        holder: format!("route {}{over}", route.destination),
    })
}

fn is_link_local(net: IpNet) -> bool {
    match net {
        IpNet::V4(_) => false,
        IpNet::V6(net) => net.network().is_unicast_link_local(),
    }
}
