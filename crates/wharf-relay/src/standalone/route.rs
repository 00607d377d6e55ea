//! The route of a port: which address the target sees, and for which clients that cannot be
//! their own.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use wharf_host::link::Links;
use wharf_host::route::{MAIN_TABLE, Route as HostRoute, RouteKind, Routes};
use wharf_spec::PortRange;

use super::port::{Forward, Port};
use crate::protocol::{Place, Route, Source};

/// The route of `port`, as the host's routing is now.
pub(super) fn of(port: &Port) -> Route {
    let Forward { proto, listen, target } = port.forward;
    let neighbours = neighbours(target.ip()).unwrap_or_else(|error| {
        tracing::warn!(%error, %target, "the target's network is not known");
        None
    });
    let (target_v4, target_v6) = match target {
        SocketAddr::V4(v4) => (Some(*v4.ip()), None),
        SocketAddr::V6(v6) => (None, Some(*v6.ip())),
    };
    Route {
        // The process is part of it: a lease that has not ended yet must not be in the way of the
        // next proxy of the same port.
        id: format!("docker-proxy/{proto}/{listen}/{}", std::process::id()),
        proto,
        listeners: vec![Place { address: listen.ip(), dual: port.dual }],
        target_v4,
        target_v6,
        host_ports: PortRange::single(listen.port()),
        target_ports: PortRange::single(target.port()),
        allow: Vec::new(),
        proxy_protocol: None,
        connect_timeout_ms: None,
        idle_timeout_seconds: None,
        // A client's address needs the way back through this host, and a rule that marks answers
        // for it. The daemon's marks what comes from its own bridges, and nothing of Docker's.
        source: Source::Gateway,
        inside: false,
        steered: false,
        on_host: neighbours.is_some(),
        neighbours: neighbours.unwrap_or_default(),
    }
}

/// The networks of the interface that leads to `target`; `None` when it is behind a router, so
/// that its neighbours are not known.
fn neighbours(target: IpAddr) -> wharf_host::Result<Option<Vec<IpNet>>> {
    let routes = Routes::open()?.list()?;
    let Some(link) = link_to(&routes, target) else { return Ok(None) };
    let addresses = Links::open()?.addresses(Some(link))?;
    Ok(Some(addresses.into_iter().map(|address| address.net.trunc()).collect()))
}

/// The interface on which `target` is a neighbour.
fn link_to(routes: &[HostRoute], target: IpAddr) -> Option<u32> {
    let leads = |route: &&HostRoute| {
        let usual = route.table == MAIN_TABLE && route.kind == RouteKind::Unicast;
        usual && route.destination.contains(&target)
    };
    let best = routes.iter().filter(leads).max_by_key(|route| route.destination.prefix_len())?;
    best.link.filter(|_| best.gateway.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(net: &str, link: u32) -> HostRoute {
        HostRoute::on_link(net.parse().unwrap(), link)
    }

    #[test]
    fn the_most_specific_route_leads_to_the_target() {
        let default = HostRoute::default_via("192.0.2.1".parse().unwrap(), 2);
        let behind =
            HostRoute { gateway: Some("192.0.2.7".parse().unwrap()), ..on("172.17.9.0/24", 2) };
        let other_table = HostRoute { table: 100, ..on("172.17.0.2/32", 9) };
        let routes = [default, on("172.17.0.0/16", 5), behind, other_table, on("fd00::/64", 6)];
        let link = |target: &str| link_to(&routes, target.parse().unwrap());
        assert_eq!(link("172.17.0.2"), Some(5));
        assert_eq!(link("172.17.9.2"), None);
        assert_eq!(link("198.51.100.1"), None);
        assert_eq!(link("fd00::2"), Some(6));
        assert_eq!(link("fd01::2"), None);
    }
}
