//! Keys and values of the maps as bytes; `bpf/types.h` is the other side.
//!
//! Numbers are in the machine's order, ports and addresses in network order, IPv4 addresses as
//! `::ffff:a.b.c.d`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use wharf_spec::Proto;

use crate::front::{Front, PortPrefix, mapped, prefixes};

/// Every hash table costs sixteen bytes per entry it may hold, used or not; 65,536 make 1 MB.
/// Prefix tables cost nothing for what is not in them.
pub(crate) const PUBLISHED_LIMIT: u32 = 262_144;
/// One for each entry of a plan: as many as there are ports.
pub(crate) const TARGETS_LIMIT: u32 = 65_536;
/// One for each network of each list.
pub(crate) const ALLOWED_LIMIT: u32 = 262_144;
/// One for each publication; those with families and addresses of their own share one.
pub(crate) const ACCOUNTS_LIMIT: u32 = 16_384;
/// More than a host can have connections to one target, for want of source ports.
pub(crate) const SOCKETS_LIMIT: usize = 32_768;
/// The host's addresses.
pub(crate) const LOCAL_LIMIT: u32 = 4096;
/// At most 60 for each floor.
pub(crate) const STEERED_LIMIT: u32 = 65_536;
/// One for each range, protocol, family and address that is steered.
pub(crate) const FLOORS_LIMIT: u32 = 256;
/// One for each port, roughly; counts that have fallen to nothing stay until they are swept.
pub(crate) const BUSY_LIMIT: u32 = 65_536;
/// One for each socket of others in steered ranges: as many as a host's own port range has ports,
/// about half of it in use at a time.
pub(crate) const BOUND_LIMIT: u32 = 16_384;

/// The longest identity of a publication.
pub(crate) const ID_LENGTH: usize = 64;

pub(crate) const TARGET_KEEPS_HOST: u32 = 1;
pub(crate) const MARK_BOUND: u32 = 1;
pub(crate) const MARK_RECEIVING: u32 = 2;
pub(crate) const MARK_DUAL: u32 = 4;
pub(crate) const MARK_OF_RELAY: u32 = 8;

const SPOT: usize = 20;
/// The bits of an address, a scope and a protocol.
const BEFORE_PORT: u32 = 144;
const LIST_BITS: u32 = 32;
const FAMILY_BITS: u8 = 96;

/// A key of a prefix table: how many bits count, and the bits.
pub(crate) type Prefix = (u32, [u8; SPOT]);
pub(crate) type SpotBytes = [u8; SPOT];
pub(crate) type TargetBytes = [u8; 32];
pub(crate) type AccountBytes = [u8; 88];
pub(crate) type FloorBytes = [u8; 68];
pub(crate) type RewrittenBytes = [u8; 44];
pub(crate) type BoundBytes = [u8; 24];

/// What a port can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// At this very address.
    Address = 0,
    /// At any address of the family, of which the address is the wildcard.
    Any = 1,
    /// Whether a socket of others is bound there.
    Bound = 2,
    /// Whether a socket of others gets what comes in there.
    Receiving = 3,
}

/// Where traffic to some host ports goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    pub(crate) account: u32,
    pub(crate) list: u32,
    pub(crate) first_host: u16,
    pub(crate) first_target: u16,
    pub(crate) keeps_host: bool,
}

/// What one account has counted, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) connections: u64,
    pub(crate) open: u64,
    pub(crate) datagrams: u64,
    pub(crate) id: String,
}

struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

/// The key of one port, or of the ports that share a prefix.
pub(crate) fn spot_prefix(front: &Front, scope: Scope, ports: PortPrefix) -> Prefix {
    (BEFORE_PORT + ports.bits, spot(front.address, scope, front.proto, ports.first))
}

/// The keys of all ports of `front`.
pub(crate) fn spot_prefixes(front: &Front, scope: Scope) -> Vec<Prefix> {
    prefixes(front.ports).into_iter().map(|ports| spot_prefix(front, scope, ports)).collect()
}

/// An address and a port.
pub(crate) fn spot(address: Ipv6Addr, scope: Scope, proto: Proto, port: u16) -> SpotBytes {
    Writer::new()
        .put(&address.octets())
        .put(&[scope.number(), proto.number()])
        .put(&port.to_be_bytes())
        .bytes
}

/// What [`spot_prefix`] was made of, but for the scope.
pub(crate) fn read_spot_prefix(key: &Prefix) -> Option<(Ipv6Addr, Proto, PortPrefix)> {
    let (length, bytes) = key;
    let proto = [Proto::Tcp, Proto::Udp];
    let proto = proto.into_iter().find(|proto| proto.number() == part::<1>(bytes, 17)[0])?;
    let first = u16::from_be_bytes(part(bytes, 18));
    let bits = length.checked_sub(BEFORE_PORT)?;
    Some((Ipv6Addr::from(part::<16>(bytes, 0)), proto, PortPrefix { first, bits }))
}

/// The scope of a key.
pub(crate) fn scope_of(key: &SpotBytes) -> u8 {
    part::<1>(key, 16)[0]
}

/// The key of a network on list `list`.
pub(crate) fn allowed_prefix(list: u32, net: IpNet) -> Prefix {
    let bits = match net {
        IpNet::V4(v4) => FAMILY_BITS + v4.prefix_len(),
        IpNet::V6(v6) => v6.prefix_len(),
    };
    let address = mapped(net.network()).octets();
    let bytes = Writer::new().put(&list.to_be_bytes()).put(&address).bytes;
    (LIST_BITS + u32::from(bits), bytes)
}

/// What [`allowed_prefix`] was made of.
pub(crate) fn read_allowed_prefix(key: &Prefix) -> Option<(u32, IpNet)> {
    let (length, bytes) = key;
    let list = u32::from_be_bytes(part(bytes, 0));
    let bits = u8::try_from(length.checked_sub(LIST_BITS)?).ok()?;
    let address = Ipv6Addr::from(part::<16>(bytes, 4));
    let net = match address.to_ipv4_mapped() {
        Some(v4) => IpNet::new(v4.into(), bits.checked_sub(FAMILY_BITS)?),
        None => IpNet::new(address.into(), bits),
    };
    Some((list, net.ok()?))
}

/// A socket of others, as the programs note them.
pub(crate) fn bound(spot: &SpotBytes, marks: u32) -> BoundBytes {
    Writer::new().put(spot).put(&marks.to_ne_bytes()).bytes
}

/// What [`bound`] was made of.
pub(crate) fn read_bound(bytes: &BoundBytes) -> (SpotBytes, u32) {
    (part(bytes, 0), u32::from_ne_bytes(part(bytes, 20)))
}

/// The same address and port with another scope.
pub(crate) fn at_scope(mut spot: SpotBytes, scope: Scope) -> SpotBytes {
    if let Some(place) = spot.get_mut(16) {
        *place = scope.number();
    }
    spot
}

/// The same port at the wildcard address of IPv4.
pub(crate) fn at_every_v4(spot: SpotBytes) -> SpotBytes {
    let address = std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets();
    Writer::new().put(&address).put(&part::<4>(&spot, 16)).bytes
}

/// The sockets of a floor: how many, and of which publication.
pub(crate) fn floor(count: u32, id: &str) -> FloorBytes {
    Writer::new().put(&count.to_ne_bytes()).put(id.as_bytes()).bytes
}

/// What [`floor`] was made of.
pub(crate) fn read_floor(bytes: &FloorBytes) -> (u32, String) {
    (u32::from_ne_bytes(part(bytes, 0)), text(bytes.get(4..)))
}

/// A socket that was led to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// To whose account it goes.
    pub(crate) account: u32,
    /// What its program asked for.
    pub(crate) asked: IpAddr,
    /// Where it was led.
    pub(crate) target: SocketAddr,
}

pub(crate) fn read_rewritten(bytes: &RewrittenBytes) -> Rewritten {
    let address = |at| IpAddr::from(Ipv6Addr::from(part::<16>(bytes, at))).to_canonical();
    let port = u16::from_be_bytes(part(bytes, 34));
    Rewritten {
        account: u32::from_ne_bytes(part(bytes, 36)),
        asked: address(0),
        target: SocketAddr::new(address(16), port),
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..at.saturating_add(N)).and_then(|bytes| bytes.try_into().ok());
    found.unwrap_or([0; N])
}

/// A text that ends with its bytes, or with the first zero among them.
fn text(bytes: Option<&[u8]>) -> String {
    let used = bytes.unwrap_or_default().split(|byte| *byte == 0).next();
    String::from_utf8_lossy(used.unwrap_or_default()).into_owned()
}

// === impl Scope ===

impl Scope {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Address => 0,
            Self::Any => 1,
            Self::Bound => 2,
            Self::Receiving => 3,
        }
    }
}

// === impl Target ===

impl Target {
    pub(crate) fn encode(&self) -> TargetBytes {
        let flags = if self.keeps_host { TARGET_KEEPS_HOST } else { 0 };
        Writer::new()
            .put(&mapped(self.address).octets())
            .put(&self.account.to_ne_bytes())
            .put(&self.list.to_ne_bytes())
            .put(&self.first_host.to_ne_bytes())
            .put(&self.first_target.to_ne_bytes())
            .put(&flags.to_ne_bytes())
            .bytes
    }

    pub(crate) fn decode(bytes: &TargetBytes) -> Self {
        Self {
            address: IpAddr::from(Ipv6Addr::from(part::<16>(bytes, 0))).to_canonical(),
            account: u32::from_ne_bytes(part(bytes, 16)),
            list: u32::from_ne_bytes(part(bytes, 20)),
            first_host: u16::from_ne_bytes(part(bytes, 24)),
            first_target: u16::from_ne_bytes(part(bytes, 26)),
            keeps_host: u32::from_ne_bytes(part(bytes, 28)) & TARGET_KEEPS_HOST != 0,
        }
    }
}

// === impl Account ===

impl Account {
    pub(crate) fn new(id: &str) -> Self {
        Self { connections: 0, open: 0, datagrams: 0, id: id.to_owned() }
    }

    pub(crate) fn encode(&self) -> AccountBytes {
        Writer::new()
            .put(&self.connections.to_ne_bytes())
            .put(&self.open.to_ne_bytes())
            .put(&self.datagrams.to_ne_bytes())
            .put(self.id.as_bytes())
            .bytes
    }

    pub(crate) fn decode(bytes: &AccountBytes) -> Self {
        Self {
            connections: u64::from_ne_bytes(part(bytes, 0)),
            open: u64::from_ne_bytes(part(bytes, 8)),
            datagrams: u64::from_ne_bytes(part(bytes, 16)),
            id: text(bytes.get(24..)),
        }
    }
}

// === impl Writer ===

impl<const N: usize> Writer<N> {
    fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    /// Puts `more` behind what is there, as far as there is room.
    fn put(mut self, more: &[u8]) -> Self {
        let end = self.at.saturating_add(more.len()).min(N);
        if let Some(place) = self.bytes.get_mut(self.at..end) {
            place.iter_mut().zip(more).for_each(|(to, from)| *to = *from);
        }
        self.at = end;
        self
    }
}

#[cfg(test)]
mod tests {
    use wharf_spec::PortRange;

    use super::*;

    #[test]
    fn spots_come_back_from_their_bytes() {
        for address in ["10.1.0.2", "0.0.0.0", "::", "fd01::2"] {
            let address = mapped(address.parse().unwrap());
            let ports = PortRange::new(1000, 1999).unwrap();
            let front = Front { proto: Proto::Udp, address, ports };
            for key in spot_prefixes(&front, Scope::Any) {
                let (found, proto, piece) = read_spot_prefix(&key).unwrap();
                assert_eq!((found, proto, scope_of(&key.1)), (address, Proto::Udp, 1));
                assert_eq!(key, spot_prefix(&front, Scope::Any, piece));
            }
        }
    }

    #[test]
    fn the_wildcards_of_the_families_are_two_addresses() {
        let key = |text: &str| spot(mapped(text.parse().unwrap()), Scope::Address, Proto::Tcp, 80);
        assert_ne!(key("0.0.0.0"), key("::"));
        assert_eq!(key("0.0.0.0")[..12], *b"\0\0\0\0\0\0\0\0\0\0\xff\xff");
        assert_eq!(key("::")[16..], [0, 6, 0, 80]);
    }

    #[test]
    fn networks_come_back_from_their_bytes() {
        for text in ["192.0.2.0/24", "0.0.0.0/0", "10.1.0.2/32", "fd01::/64", "::/0", "::1/128"] {
            let net: IpNet = text.parse().unwrap();
            assert_eq!(read_allowed_prefix(&allowed_prefix(7, net)), Some((7, net)));
        }
    }

    #[test]
    fn values_come_back_from_their_bytes() {
        let target = Target {
            address: "10.77.0.2".parse().unwrap(),
            account: 3,
            list: 4,
            first_host: 8080,
            first_target: 80,
            keeps_host: true,
        };
        assert_eq!(Target::decode(&target.encode()), target);
        let account = Account { connections: 9, open: 2, datagrams: 4, id: "0123456789ab".into() };
        assert_eq!(Account::decode(&account.encode()), account);
        assert_eq!(read_floor(&floor(4, "id")), (4, "id".to_owned()));
        let long = "x".repeat(ID_LENGTH);
        assert_eq!(Account::decode(&Account::new(&long).encode()).id, long);
    }
}
