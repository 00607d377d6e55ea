//! What rules say of transport ports.

use netlink_packet_netfilter::nftables::{
    ChecksumType, DataAttribute, Expressions, Immediate, Payload,
};

use super::{FIRST, NFT_PAYLOAD_TRANSPORT_HEADER, Rule};

const SOURCE: u32 = 0;
const DESTINATION: u32 = 2;
const WIDTH: u32 = 2;
const UDP: u8 = 17;
/// Where in the transport header the checksum is.
const UDP_CHECKSUM: u32 = 6;
const TCP_CHECKSUM: u32 = 16;

// === impl Rule ===

impl Rule {
    /// Matches packets from a transport port.
    #[must_use]
    pub fn source_port(self, port: u16) -> Self {
        self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, SOURCE, WIDTH, FIRST).equals(&port.to_be_bytes())
    }

    /// Matches packets to a transport port.
    #[must_use]
    pub fn destination_port(self, port: u16) -> Self {
        self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION, WIDTH, FIRST)
            .equals(&port.to_be_bytes())
    }

    /// Writes another source port into packets of `protocol` (TCP or UDP), one by one: nothing is
    /// remembered of the flow.
    #[must_use]
    pub fn set_source_port(self, protocol: u8, port: u16) -> Self {
        self.set_port(protocol, SOURCE, port)
    }

    /// Writes another destination port into packets of `protocol` (TCP or UDP), one by one.
    #[must_use]
    pub fn set_destination_port(self, protocol: u8, port: u16) -> Self {
        self.set_port(protocol, DESTINATION, port)
    }

    fn set_port(self, protocol: u8, offset: u32, port: u16) -> Self {
        let checksum = if protocol == UDP { UDP_CHECKSUM } else { TCP_CHECKSUM };
        self.with(Expressions::Immediate(vec![
            Immediate::DestinationRegister(FIRST),
            Immediate::Data(DataAttribute::Value(port.to_be_bytes().to_vec())),
        ]))
        .with(Expressions::Payload(vec![
            Payload::SourceRegister(FIRST),
            Payload::Base(NFT_PAYLOAD_TRANSPORT_HEADER),
            Payload::Offset(offset),
            Payload::Len(WIDTH),
            Payload::CsumType(ChecksumType::Inet),
            Payload::CsumOffset(checksum),
        ]))
    }
}
