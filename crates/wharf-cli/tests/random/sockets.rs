//! The sockets a namespace listens on, as its kernel tells them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wharf_spec::Proto;

use super::model::Publication;

const LISTEN: &str = "0A";
/// What a UDP socket without a peer counts as.
const UNCONNECTED: &str = "07";

/// The sockets of the calling thread's namespace, sorted.
pub(super) fn listening() -> Vec<String> {
    let tables = [
        ("tcp", "tcp", LISTEN),
        ("tcp6", "tcp", LISTEN),
        ("udp", "udp", UNCONNECTED),
        ("udp6", "udp", UNCONNECTED),
    ];
    let mut found: Vec<String> =
        tables.iter().flat_map(|(file, proto, state)| of_table(file, proto, state)).collect();
    found.sort();
    found
}

/// The sockets a publication holds: one for both families where it is on all addresses of both.
pub(super) fn wanted(publication: &Publication) -> Vec<String> {
    let addresses = &publication.addresses;
    let dual = addresses.iter().filter(|it| it.is_unspecified()).count() == 2;
    let places = addresses.iter().filter(|it| !(dual && it.is_unspecified() && it.is_ipv4()));
    let places: Vec<&IpAddr> = places.collect();
    let ports = publication.ports.into_iter().flat_map(|ports| ports.iter());
    ports
        .flat_map(|port| places.iter().map(move |at| line(publication.proto, **at, port)))
        .collect()
}

fn line(proto: Proto, address: IpAddr, port: u16) -> String {
    format!("{proto} {address} {port}")
}

fn of_table(file: &str, proto: &str, state: &str) -> Vec<String> {
    // Not `/proc/net`, which is the main thread's namespace.
    let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        (fields.nth(1)? == state).then_some(())?;
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(format!("{proto} {} {port}", address_of(address)?))
    };
    text.lines().skip(1).filter_map(of_line).collect()
}

/// The kernel writes 32 bits at a time, in the machine's order.
fn address_of(text: &str) -> Option<IpAddr> {
    let words = (0..text.len() / 8).map(|at| u32::from_str_radix(&text[8 * at..8 * at + 8], 16));
    let bytes: Vec<u8> = words.filter_map(Result::ok).flat_map(u32::to_ne_bytes).collect();
    let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(|it| Ipv4Addr::from(it).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|it| Ipv6Addr::from(it).into())).ok()
}
