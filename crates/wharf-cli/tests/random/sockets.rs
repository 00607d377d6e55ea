//! The sockets a namespace listens on, as its kernel tells them.

use std::net::IpAddr;

use wharf_host::diag::waiting;
use wharf_host::netlink::Netlink;
use wharf_host::reserve::Transport;
use wharf_spec::Proto;

use super::model::Publication;

/// The sockets of the namespace that `netlink` belongs to. Not from `/proc/net/tcp`, for which the
/// kernel walks through all connections of the machine.
pub(super) fn listening(netlink: &mut Netlink) -> wharf_host::Result<Vec<String>> {
    let mut lines = Vec::new();
    for (proto, transport) in [(Proto::Tcp, Transport::Tcp), (Proto::Udp, Transport::Udp)] {
        let found = waiting(netlink, transport, 0)?;
        let dual = |address: IpAddr, v6_only: bool| address.is_ipv6() && !v6_only;
        lines.extend(
            found.iter().map(|it| line(proto, it.address, dual(it.address, it.v6_only), it.port)),
        );
    }
    Ok(lines)
}

/// The sockets a publication holds: one for both families where it is on all addresses of both.
pub(super) fn wanted(publication: &Publication) -> Vec<String> {
    let addresses = &publication.addresses;
    let dual = addresses.iter().filter(|it| it.is_unspecified()).count() == 2;
    let places = addresses.iter().filter(|it| !(dual && it.is_unspecified() && it.is_ipv4()));
    let places: Vec<&IpAddr> = places.collect();
    let ports = publication.ports.into_iter().flat_map(|ports| ports.iter());
    let line = |at: &IpAddr, port| line(publication.proto, *at, dual && at.is_unspecified(), port);
    ports.flat_map(|port| places.iter().map(move |at| line(at, port))).collect()
}

fn line(proto: Proto, address: IpAddr, dual: bool, port: u16) -> String {
    format!("{proto} {address}{} {port}", if dual { " and IPv4" } else { "" })
}
