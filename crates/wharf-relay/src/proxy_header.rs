//! The PROXY protocol header (haproxy.org, proxy-protocol.txt), versions 1 and 2.

use std::net::{IpAddr, SocketAddr};

use wharf_spec::ProxyProtocol;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_COMMAND: u8 = 0x21;
/// The upper half of the byte that says what carries the payload; the lower half is 1 for a
/// stream and 2 for datagrams.
const IPV4: u8 = 0x10;
const IPV6: u8 = 0x20;

/// What carries the payload.
#[derive(Debug, Clone, Copy)]
enum Transport {
    Stream = 1,
    Datagram = 2,
}

/// The header for a TCP connection from `client` to `asked`, the address the client used.
pub(crate) fn encode(version: ProxyProtocol, client: SocketAddr, asked: SocketAddr) -> Vec<u8> {
    match version {
        ProxyProtocol::V1 => text(client, asked),
        ProxyProtocol::V2 => binary(Transport::Stream, client, asked),
    }
}

/// The header, of version 2, for a UDP datagram from `client` to `asked`.
pub(crate) fn encode_datagram(client: SocketAddr, asked: SocketAddr) -> Vec<u8> {
    binary(Transport::Datagram, client, asked)
}

fn text(client: SocketAddr, asked: SocketAddr) -> Vec<u8> {
    let family = if both_v4(client, asked).is_some() { "TCP4" } else { "TCP6" };
    let show = |address: IpAddr| match address {
        // Both addresses of a header must be of one family.
        IpAddr::V4(v4) if family == "TCP6" => v4.to_ipv6_mapped().to_string(),
        other => other.to_string(),
    };
    let (from, to) = (show(client.ip()), show(asked.ip()));
    format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), asked.port()).into_bytes()
}

fn binary(transport: Transport, client: SocketAddr, asked: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.push(VERSION_COMMAND);
    match both_v4(client, asked) {
        Some((from, to)) => {
            header.extend([IPV4 | transport as u8, 0, 12]);
            header.extend(from);
            header.extend(to);
        }
        None => {
            header.extend([IPV6 | transport as u8, 0, 36]);
            header.extend(as_v6(client));
            header.extend(as_v6(asked));
        }
    }
    header.extend(client.port().to_be_bytes());
    header.extend(asked.port().to_be_bytes());
    header
}

fn both_v4(client: SocketAddr, asked: SocketAddr) -> Option<([u8; 4], [u8; 4])> {
    match (client.ip(), asked.ip()) {
        (IpAddr::V4(client), IpAddr::V4(asked)) => Some((client.octets(), asked.octets())),
        _ => None,
    }
}

fn as_v6(address: SocketAddr) -> [u8; 16] {
    match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn version_1_is_a_line() {
        let header = encode(ProxyProtocol::V1, at("192.0.2.1:4242"), at("198.51.100.7:80"));
        assert_eq!(header, b"PROXY TCP4 192.0.2.1 198.51.100.7 4242 80\r\n");
        let header = encode(ProxyProtocol::V1, at("[2001:db8::1]:4242"), at("[2001:db8::2]:80"));
        assert_eq!(header, b"PROXY TCP6 2001:db8::1 2001:db8::2 4242 80\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        let header = encode(ProxyProtocol::V2, at("192.0.2.1:258"), at("198.51.100.7:80"));
        assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
        assert_eq!(header[16..], [192, 0, 2, 1, 198, 51, 100, 7, 1, 2, 0, 80]);
        let header = encode(ProxyProtocol::V2, at("[2001:db8::1]:1"), at("[2001:db8::2]:80"));
        assert_eq!(header.len(), 52);
        assert_eq!(header[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(header[48..], [0, 1, 0, 80]);
        let header = encode_datagram(at("192.0.2.1:258"), at("198.51.100.7:80"));
        assert_eq!(header[12..16], [0x21, 0x12, 0, 12]);
        let header = encode_datagram(at("192.0.2.1:258"), at("[2001:db8::2]:80"));
        assert_eq!(header[12..16], [0x21, 0x22, 0, 36]);
    }
}
