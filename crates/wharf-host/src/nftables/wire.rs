//! Netlink attributes as bytes, for the parts the packet crate has no types for and for long
//! element lists, where a tree of typed attributes would cost more than the kernel's own work.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};

const HEADER: usize = 4;

/// Appends one attribute, padded to four bytes.
pub(super) fn put(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
    buffer.extend_from_slice(&length.to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(value);
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

/// Appends an attribute that holds the attributes `fill` writes.
pub(super) fn nest(buffer: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    fill(buffer);
    let length = u16::try_from(buffer.len() - start).unwrap_or(u16::MAX).to_ne_bytes();
    let kind = (kind | NLA_F_NESTED).to_ne_bytes();
    if let Some(header) = buffer.get_mut(start..start + HEADER) {
        header.copy_from_slice(&[length[0], length[1], kind[0], kind[1]]);
    }
}

/// A 32-bit attribute in network byte order, as nftables wants its numbers.
pub(super) fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}
