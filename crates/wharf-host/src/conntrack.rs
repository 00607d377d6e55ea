//! Conntrack entries: find and delete.
//!
//! A flow that exists keeps its address translation (or its lack of one) whatever the rules say
//! afterwards, so every change of a publication has to end the flows it is about. Flows are named
//! by their original tuple, the one the client uses: host address and host port, never the
//! container's.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::{
    DecodeError, DefaultNla, NLA_F_NESTED, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, Nla,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol,
    Tuple as TupleAttribute,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use crate::error::Result;
use crate::netlink::Netlink;
use crate::nftables::IpFamily;

/// How many flows are tracked in a network namespace.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
// The kernel's names for how far a TCP connection is; what comes later is its end.
const TCP_SYN_SENT: u8 = 1;
const TCP_ESTABLISHED: u8 = 3;
/// `struct nfgenmsg`.
const GENERAL_HEADER: usize = 4;
/// `NFPROTO_UNSPEC`.
const EVERY_FAMILY: u8 = 0;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_IP_DST: u32 = 1 << 1;
const FILTER_PROTO: u32 = 1 << 3;
const FILTER_DST_PORT: u32 = 1 << 5;

/// Which flows are meant; what is `None` does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowFilter {
    /// The IP family.
    pub family: Option<IpFamily>,
    /// The transport protocol's number.
    pub proto: u8,
    /// The address the client asked for.
    pub orig_dst: Option<IpAddr>,
    /// The ports the client asked for, both ends included.
    pub orig_dport: Option<(u16, u16)>,
    /// The address that answers (the target's, when the flow was translated).
    pub reply_src: Option<IpAddr>,
}

/// Addresses and ports of one direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// The source address.
    pub src: IpAddr,
    /// The destination address.
    pub dst: IpAddr,
    /// The source port.
    pub sport: u16,
    /// The destination port.
    pub dport: u16,
}

/// A tracked flow of a protocol with ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The transport protocol's number.
    pub proto: u8,
    /// As the first packet was sent.
    pub orig: Tuple,
    /// As answers are expected; differs from the original, turned round, where an address was
    /// translated.
    pub reply: Tuple,
    /// Whether it goes on: not so a TCP connection that is being closed, or has been.
    pub open: bool,
    /// The kernel's number for this flow, so that a later one with the same tuple is spared.
    id: Option<[u8; 4]>,
    /// The zone, where the host uses zones; part of the flow's identity then.
    zone: Option<[u8; 2]>,
}

/// A message to or from the kernel. Listed entries are boiled down as they are read: a full table
/// has hundreds of thousands, and as trees of attributes they would take over a kilobyte each.
#[derive(Debug)]
enum Wire {
    Request(NetfilterMessage),
    Listed(Option<Flow>),
}

// === impl FlowFilter ===

impl FlowFilter {
    /// Every flow of one transport protocol.
    pub fn of_protocol(proto: u8) -> Self {
        Self { family: None, proto, orig_dst: None, orig_dport: None, reply_src: None }
    }

    /// Whether `flow` is meant.
    pub fn matches(&self, flow: &Flow) -> bool {
        let ports = |(first, last)| (first..=last).contains(&flow.orig.dport);
        flow.proto == self.proto
            && self.family.is_none_or(|family| family == IpFamily::of(flow.orig.dst))
            && self.orig_dst.is_none_or(|address| address == flow.orig.dst)
            && self.orig_dport.is_none_or(ports)
            && self.reply_src.is_none_or(|address| address == flow.reply.src)
    }

    /// The only family flows can be of, if any part of the filter says so.
    fn only_family(&self) -> Option<IpFamily> {
        self.family.or(self.orig_dst.or(self.reply_src).map(IpFamily::of))
    }

    /// The same filter for the kernel to apply (5.8; older ones list everything, which
    /// [`FlowFilter::matches`] sifts), except that it takes one port and no range.
    fn attributes(&self) -> Vec<ConntrackAttribute> {
        let mut orig = vec![ProtoTuple::Protocol(Protocol::from(self.proto))];
        let mut orig_flags = FILTER_PROTO;
        if let Some((port, _)) = self.orig_dport.filter(|(first, last)| first == last) {
            orig.push(ProtoTuple::DestinationPort(port));
            orig_flags |= FILTER_DST_PORT;
        }
        let mut orig = vec![TupleAttribute::Proto(orig)];
        if let Some(address) = self.orig_dst {
            orig.insert(0, TupleAttribute::Ip(vec![IPTuple::DestinationAddress(address)]));
            orig_flags |= FILTER_IP_DST;
        }
        let tuple = ConntrackAttribute::CtaTupleOrig(orig);
        // What is asked of the answer is sifted here: with an IPv6 address there the kernel (6.18)
        // finds nothing at all.
        let flags = attribute(CTA_FILTER_ORIG_FLAGS, orig_flags);
        let filter = DefaultNla::new(CTA_FILTER, flags);
        vec![tuple, ConntrackAttribute::Other(filter)]
    }
}

/// Deletes the flows any of `filters` means and returns how many there were.
///
/// The kernel walks its whole table for every listing, so this lists once for each protocol and
/// family however many filters there are, and not at all while nothing is tracked.
pub fn delete_matching_any(netlink: &mut Netlink, filters: &[FlowFilter]) -> Result<usize> {
    if filters.is_empty() || nothing_is_tracked() {
        return Ok(0);
    }
    let protocols: BTreeSet<u8> = filters.iter().map(|filter| filter.proto).collect();
    let mut deleted = 0;
    for proto in protocols {
        let filters: Vec<&FlowFilter> = filters.iter().filter(|f| f.proto == proto).collect();
        for flow in list(netlink, &span(proto, &filters))? {
            if filters.iter().any(|filter| filter.matches(&flow)) {
                deleted += usize::from(delete_unless_gone(netlink, &flow)?);
            }
        }
    }
    Ok(deleted)
}

/// A filter that means at least what all of `filters` mean: their family if it is one, and the
/// ports from the lowest to the highest.
fn span(proto: u8, filters: &[&FlowFilter]) -> FlowFilter {
    let ports: Option<Vec<(u16, u16)>> = filters.iter().map(|filter| filter.orig_dport).collect();
    let ports = ports.unwrap_or_default();
    let lowest = ports.iter().map(|(first, _)| *first).min();
    let highest = ports.iter().map(|(_, last)| *last).max();
    let mut families: Vec<_> = filters.iter().map(|filter| filter.family).collect();
    families.dedup();
    FlowFilter {
        family: families.first().copied().flatten().filter(|_| families.len() == 1),
        proto,
        orig_dst: None,
        orig_dport: lowest.zip(highest),
        reply_src: None,
    }
}

/// The count belongs to the network namespace of the calling thread, which is the one the socket
/// was opened in.
fn nothing_is_tracked() -> bool {
    std::fs::read_to_string(COUNT).is_ok_and(|count| count.trim() == "0")
}

/// Deletes the flows `filter` means and returns how many there were.
///
/// Flows that end by themselves meanwhile are not counted and no error.
pub fn delete_matching(netlink: &mut Netlink, filter: &FlowFilter) -> Result<usize> {
    delete_where(netlink, filter, |_| true)
}

/// Deletes the flows `filter` means of which `concerned` holds, and returns how many there were.
pub fn delete_where(
    netlink: &mut Netlink,
    filter: &FlowFilter,
    concerned: impl Fn(&Flow) -> bool,
) -> Result<usize> {
    let mut deleted = 0;
    for flow in list(netlink, filter)?.iter().filter(|flow| concerned(flow)) {
        deleted += usize::from(delete_unless_gone(netlink, flow)?);
    }
    Ok(deleted)
}

fn delete_unless_gone(netlink: &mut Netlink, flow: &Flow) -> Result<bool> {
    match delete(netlink, flow) {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lists the flows `filter` means.
pub fn list(netlink: &mut Netlink, filter: &FlowFilter) -> Result<Vec<Flow>> {
    let action = "list tracked connections";
    // The kernel walks hundreds of thousands of buckets for every listing, whatever is in them: one
    // walk for both families takes half as long as two.
    let family = filter.only_family().map_or(EVERY_FAMILY, IpFamily::number);
    let request = message(family, ConntrackMessage::Get(filter.attributes()));
    let answers = match netlink.dump(action, request) {
        // A kernel that knows the filter but not all of it refuses; then sift everything.
        Err(error) if matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            netlink.dump(action, message(family, ConntrackMessage::Get(Vec::new())))?
        }
        answers => answers?,
    };
    let listed = answers.into_iter().filter_map(|answer| match answer {
        Wire::Listed(flow) => flow,
        Wire::Request(_) => None,
    });
    Ok(listed.filter(|flow| filter.matches(flow)).collect())
}

fn delete(netlink: &mut Netlink, flow: &Flow) -> Result<()> {
    let mut attributes = vec![ConntrackAttribute::CtaTupleOrig(vec![
        TupleAttribute::Ip(vec![
            IPTuple::SourceAddress(flow.orig.src),
            IPTuple::DestinationAddress(flow.orig.dst),
        ]),
        TupleAttribute::Proto(vec![
            ProtoTuple::Protocol(Protocol::from(flow.proto)),
            ProtoTuple::SourcePort(flow.orig.sport),
            ProtoTuple::DestinationPort(flow.orig.dport),
        ]),
    ])];
    let id = flow.id.map(|id| DefaultNla::new(CTA_ID, id.to_vec()));
    let zone = flow.zone.map(|zone| DefaultNla::new(CTA_ZONE, zone.to_vec()));
    attributes.extend(id.into_iter().chain(zone).map(ConntrackAttribute::Other));
    let family = IpFamily::of(flow.orig.dst).number();
    let request = message(family, ConntrackMessage::Delete(attributes));
    netlink.request("delete a tracked connection", request, 0)
}

fn message(family: u8, inner: ConntrackMessage) -> Wire {
    let family = NetfilterProtoFamily::from(family);
    Wire::Request(NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner))
}

/// A 32-bit attribute as bytes; unlike most of conntrack's, filter flags are in host order.
fn attribute(kind: u16, value: u32) -> Vec<u8> {
    let [length, kind] = [8u16.to_ne_bytes(), kind.to_ne_bytes()];
    [length.as_slice(), &kind, &value.to_ne_bytes()].concat()
}

/// What a listed entry says; `None` for protocols without ports.
fn read(message: NetfilterMessage) -> Option<Flow> {
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
        return None;
    };
    let (mut orig, mut reply, mut id, mut zone) = (None, None, None, None);
    let mut open = true;
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => orig = read_tuple(&tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = read_tuple(&tuple),
            ConntrackAttribute::CtaProtoInfo(infos) => open = is_open(&infos),
            ConntrackAttribute::Other(other) if other.kind() == CTA_ID => id = value(&other),
            ConntrackAttribute::Other(other) if other.kind() == CTA_ZONE => zone = value(&other),
            _ => {}
        }
    }
    let (proto, orig) = orig?;
    Some(Flow { proto, orig, reply: reply?.1, open, id, zone })
}

fn is_open(infos: &[ProtoInfo]) -> bool {
    let states = infos.iter().flat_map(|info| match info {
        ProtoInfo::TCP(parts) => parts.as_slice(),
        _ => &[],
    });
    states.into_iter().all(|part| match part {
        ProtoInfoTCP::State(state) => (TCP_SYN_SENT..=TCP_ESTABLISHED).contains(state),
        _ => true,
    })
}

fn value<const N: usize>(attribute: &DefaultNla) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (attribute.value_len() == N).then(|| attribute.emit_value(&mut bytes))?;
    Some(bytes)
}

fn read_tuple(attributes: &[TupleAttribute]) -> Option<(u8, Tuple)> {
    let (mut src, mut dst, mut proto, mut sport, mut dport) = (None, None, None, None, None);
    for attribute in attributes {
        match attribute {
            TupleAttribute::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(address) => src = Some(*address),
                        IPTuple::DestinationAddress(address) => dst = Some(*address),
                        _ => {}
                    }
                }
            }
            TupleAttribute::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(protocol) => proto = Some(u8::from(*protocol)),
                        ProtoTuple::SourcePort(port) => sport = Some(*port),
                        ProtoTuple::DestinationPort(port) => dport = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some((proto?, Tuple { src: src?, dst: dst?, sport: sport?, dport: dport? }))
}

// === impl Wire ===

impl NetlinkSerializable for Wire {
    fn message_type(&self) -> u16 {
        match self {
            Self::Request(message) => message.message_type(),
            Self::Listed(_) => 0,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::Request(message) => NetlinkSerializable::buffer_len(message),
            Self::Listed(_) => 0,
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Self::Request(message) = self {
            message.serialize(buffer);
            mark_filter(buffer);
        }
    }
}

/// Says of the filter that it is nested, which the kernel insists on; the library drops the flag of
/// attributes it does not know.
fn mark_filter(message: &mut [u8]) {
    let Some(mut rest) = message.get_mut(GENERAL_HEADER..) else { return };
    while let Some([l0, l1, k0, k1]) = rest.first_chunk_mut::<4>() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let kind = u16::from_ne_bytes([*k0, *k1]);
        if kind == CTA_FILTER {
            [*k0, *k1] = (kind | NLA_F_NESTED).to_ne_bytes();
        }
        let Some(next) = rest.get_mut(length.next_multiple_of(4).max(4)..) else { return };
        rest = next;
    }
}

impl NetlinkDeserializable for Wire {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        NetfilterMessage::deserialize(header, payload).map(|message| Self::Listed(read(message)))
    }
}

#[cfg(test)]
mod tests;
