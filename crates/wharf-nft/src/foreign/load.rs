//! What an expression loads, as a field a plan knows.

use wharf_plan::firewall::{Field, TableFamily};

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const FIB_ADDRTYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
const FIB_DESTINATION: u32 = 2;

/// Bytes from the beginning of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The field.
    pub(super) field: Field,
    /// How many of its bytes.
    pub(super) length: usize,
    /// How many it has.
    pub(super) width: usize,
    /// How its bytes make a number.
    pub(super) order: Order,
}

/// How bytes make a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Most significant first: addresses, ports, names.
    Network,
    /// As this machine has it: marks, states, interface numbers.
    Host,
    /// An interface's number, to be turned into its name.
    Index,
}

// === impl Piece ===

impl Piece {
    fn whole(field: Field, width: usize, order: Order) -> Self {
        Self { field, length: width, width, order }
    }
}

/// `NFT_META_*`.
pub(super) fn meta(key: u32) -> Option<Piece> {
    Some(match key {
        3 => Piece::whole(Field::Mark, 4, Order::Host),
        4 => Piece::whole(Field::InInterface, 4, Order::Index),
        5 => Piece::whole(Field::OutInterface, 4, Order::Index),
        6 => Piece::whole(Field::InInterface, 16, Order::Network),
        7 => Piece::whole(Field::OutInterface, 16, Order::Network),
        15 => Piece::whole(Field::Family, 1, Order::Host),
        16 => Piece::whole(Field::Protocol, 1, Order::Host),
        19 => Piece::whole(Field::PacketType, 1, Order::Host),
        _ => return None,
    })
}

/// `NFT_CT_*`.
pub(super) fn conntrack(key: u32, direction: Option<u8>, family: TableFamily) -> Option<Piece> {
    let asked = direction == Some(0);
    Some(match key {
        0 => Piece::whole(Field::State, 4, Order::Host),
        1 => Piece::whole(Field::Direction, 1, Order::Host),
        2 => Piece::whole(Field::Status, 4, Order::Host),
        3 => Piece::whole(Field::FlowMark, 4, Order::Host),
        9 if asked && family == TableFamily::Ip => {
            Piece::whole(Field::AskedAddress4, 4, Order::Network)
        }
        9 if asked && family == TableFamily::Ip6 => {
            Piece::whole(Field::AskedAddress6, 16, Order::Network)
        }
        10 => Piece::whole(Field::Protocol, 1, Order::Host),
        12 if asked => Piece::whole(Field::AskedPort, 2, Order::Network),
        20 if asked => Piece::whole(Field::AskedAddress4, 4, Order::Network),
        22 if asked => Piece::whole(Field::AskedAddress6, 16, Order::Network),
        _ => return None,
    })
}

/// What routing says of an address' kind; asked about one interface only, the answer is the same
/// for the packets that are judged.
pub(super) fn fib(result: u32, flags: u32) -> Option<Piece> {
    let field = match flags & (FIB_SOURCE | FIB_DESTINATION) {
        FIB_SOURCE => Field::SourceKind,
        FIB_DESTINATION => Field::DestinationKind,
        _ => return None,
    };
    (result == FIB_ADDRTYPE).then_some(Piece::whole(field, 4, Order::Host))
}

/// Fields of headers, by place. Two that are next to each other may be loaded at once, and of an
/// address only the first bytes.
pub(super) fn payload(
    base: u32,
    offset: u32,
    length: u32,
    family: TableFamily,
) -> Option<Vec<Piece>> {
    let fields: &[(usize, usize, Field)] = match (base, family) {
        (NETWORK_HEADER, TableFamily::Ip) => {
            &[(9, 1, Field::Protocol), (12, 4, Field::Source4), (16, 4, Field::Destination4)]
        }
        (NETWORK_HEADER, TableFamily::Ip6) => {
            &[(6, 1, Field::Protocol), (8, 16, Field::Source6), (24, 16, Field::Destination6)]
        }
        (TRANSPORT_HEADER, _) if (offset, length) == (0, 1) => &[(0, 1, Field::IcmpType)],
        (TRANSPORT_HEADER, _) => {
            &[(0, 2, Field::SourcePort), (2, 2, Field::DestinationPort), (13, 1, Field::TcpFlags)]
        }
        _ => return None,
    };
    let (mut at, mut left) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
    let mut pieces = Vec::new();
    while left > 0 {
        let (start, width, field) = *fields.iter().find(|(start, ..)| *start == at)?;
        let length = left.min(width);
        pieces.push(Piece { field, length, width, order: Order::Network });
        at = start + length;
        left -= length;
    }
    Some(pieces)
}
