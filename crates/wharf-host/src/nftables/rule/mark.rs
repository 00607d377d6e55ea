//! What rules say of marks, of the direction of a flow, and of the sockets packets are for.

use netlink_packet_netfilter::nftables::{
    Bitwise, DataAttribute, Expressions, Meta, MetaKey, Operator,
};

use super::super::wire::number;
use super::{DESTINATION_REWRITTEN, FIRST, NFT_CT_STATUS, NFTA_CT_DREG, NFTA_CT_KEY, Rule};

const NFT_CT_DIRECTION: u32 = 1;
const NFT_CT_MARK: u32 = 3;
const NFTA_CT_SREG: u16 = 4;
const NFTA_SOCKET_KEY: u16 = 1;
const NFTA_SOCKET_DREG: u16 = 2;
const NFT_SOCKET_TRANSPARENT: u32 = 0;
/// `IP_CT_DIR_REPLY`.
const REPLY: u8 = 1;

/// A value in some of the bits of a mark; the other bits are somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The value.
    pub value: u32,
    /// The bits it lies in.
    pub mask: u32,
}

// === impl Rule ===

impl Rule {
    /// Matches packets that answer the one a flow began with.
    #[must_use]
    pub fn reply(self) -> Self {
        let key = vec![number(NFTA_CT_DREG, FIRST.into()), number(NFTA_CT_KEY, NFT_CT_DIRECTION)];
        self.other("ct", key).equals(&[REPLY])
    }

    /// Matches packets that do not answer the one a flow began with. Packets that conntrack does
    /// not know match neither this nor [`Rule::reply`].
    #[must_use]
    pub fn not_reply(self) -> Self {
        let key = vec![number(NFTA_CT_DREG, FIRST.into()), number(NFTA_CT_KEY, NFT_CT_DIRECTION)];
        self.other("ct", key).compare(Operator::NotEqual, &[REPLY])
    }

    /// Matches packets of a flow whose destination was not rewritten.
    #[must_use]
    pub fn destination_kept(self) -> Self {
        self.conntrack_bits(NFT_CT_STATUS, DESTINATION_REWRITTEN)
            .compare(Operator::Equal, &0u32.to_ne_bytes())
    }

    /// Matches TCP and UDP packets for a socket of this host that may have a foreign address
    /// (`IP_TRANSPARENT`), and ICMP errors about packets of such a socket.
    #[must_use]
    pub fn to_transparent_socket(self) -> Self {
        let attributes = vec![
            number(NFTA_SOCKET_KEY, NFT_SOCKET_TRANSPARENT),
            number(NFTA_SOCKET_DREG, FIRST.into()),
        ];
        self.other("socket", attributes).equals(&[1])
    }

    /// Matches marked packets.
    #[must_use]
    pub fn marked(self, mark: Mark) -> Self {
        self.meta(MetaKey::Mark, FIRST).bitwise(mark.mask, 0).equals(&mark.value.to_ne_bytes())
    }

    /// Matches packets of a marked flow.
    #[must_use]
    pub fn flow_marked(self, mark: Mark) -> Self {
        self.conntrack_bits(NFT_CT_MARK, mark.mask).equals(&mark.value.to_ne_bytes())
    }

    /// Marks the packet.
    #[must_use]
    pub fn set_mark(self, mark: Mark) -> Self {
        let set = vec![Meta::SourceRegister(FIRST), Meta::Key(MetaKey::Mark)];
        self.meta(MetaKey::Mark, FIRST).bitwise(!mark.mask, mark.value).with(Expressions::Meta(set))
    }

    /// Marks the flow the packet belongs to.
    #[must_use]
    pub fn set_flow_mark(self, mark: Mark) -> Self {
        let key = number(NFTA_CT_KEY, NFT_CT_MARK);
        self.other("ct", vec![number(NFTA_CT_DREG, FIRST.into()), key.clone()])
            .bitwise(!mark.mask, mark.value)
            .other("ct", vec![number(NFTA_CT_SREG, FIRST.into()), key])
    }

    fn bitwise(self, mask: u32, xor: u32) -> Self {
        self.with(Expressions::Bitwise(vec![
            Bitwise::SourceRegister(FIRST),
            Bitwise::DestinationRegister(FIRST),
            Bitwise::Length(4),
            Bitwise::Mask(DataAttribute::Value(mask.to_ne_bytes().to_vec())),
            Bitwise::Xor(DataAttribute::Value(xor.to_ne_bytes().to_vec())),
        ]))
    }
}
