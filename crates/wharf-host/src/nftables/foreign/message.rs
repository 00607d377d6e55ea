//! nftables messages whose attributes are left as they come.

use std::convert::Infallible;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};

use super::super::wire::put;
use super::attributes::Attributes;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
/// `struct nfgenmsg`.
const HEADER: usize = 4;

/// A message, not taken apart.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    kind: u8,
    pub(super) family: u8,
    pub(super) attributes: Vec<u8>,
}

/// A question about objects with these names.
pub(super) struct Request {
    pub(super) kind: u8,
    pub(super) family: u8,
    pub(super) names: Vec<(u16, String)>,
}

// === impl Request ===

impl Request {
    pub(super) fn raw(&self) -> Raw {
        let mut attributes = Vec::new();
        for (kind, name) in &self.names {
            put(&mut attributes, *kind, &[name.as_bytes(), &[0]].concat());
        }
        Raw { kind: self.kind, family: self.family, attributes }
    }
}

// === impl Raw ===

impl Raw {
    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes::new(&self.attributes)
    }
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        NFNL_SUBSYS_NFTABLES << 8 | u16::from(self.kind)
    }

    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let header = [self.family, 0, 0, 0];
        for (slot, byte) in buffer.iter_mut().zip(header.iter().chain(&self.attributes)) {
            *slot = *byte;
        }
    }
}

impl NetlinkDeserializable for Raw {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        let [kind, _] = header.message_type.to_le_bytes();
        let family = payload.first().copied().unwrap_or_default();
        let attributes = payload.get(HEADER..).unwrap_or_default().to_vec();
        Ok(Self { kind, family, attributes })
    }
}
