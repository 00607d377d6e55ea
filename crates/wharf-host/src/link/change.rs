//! Changes to links as values, and the message each one is.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressMessage,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData, InfoKind,
    InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::{Mac, broadcast_of, family_of};
use crate::netns::Netns;
use crate::route::Route;

/// One change to the links of a namespace.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Makes a bridge, down.
    AddBridge {
        /// Its name.
        name: &'a str,
        /// A fixed hardware address.
        mac: Option<Mac>,
        /// A fixed MTU; without one it follows its ports.
        mtu: Option<u32>,
    },
    /// Makes a veth pair.
    AddVeth(Veth<'a>),
    /// Makes a link a port of a bridge.
    Master {
        /// The link.
        name: &'a str,
        /// The bridge's index.
        master: u32,
    },
    /// Lets a bridge send a frame back through the port it came in by.
    Hairpin(&'a str),
    /// Sets a link up.
    Up(&'a str),
    /// Sets a link down.
    Down(&'a str),
    /// Sets a link's free text, at most 255 bytes.
    Alias {
        /// The link.
        name: &'a str,
        /// The text.
        alias: &'a str,
    },
    /// Keeps IPv6 from giving a link a link-local address by itself.
    NoLinkLocal(&'a str),
    /// Gives a link an address, or leaves it if it has it.
    Address {
        /// The link's index.
        link: u32,
        /// The address with the length of its prefix.
        net: IpNet,
    },
    /// Adds a route.
    Route(Route),
    /// Deletes a link.
    Delete(&'a str),
}

/// A veth pair to be made: one end here, down, and the other in another namespace, down.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// The name of the end in this namespace.
    pub name: &'a str,
    /// The name of the other end.
    pub peer_name: &'a str,
    /// Where the other end is made.
    pub peer_netns: &'a Netns,
    /// The other end's hardware address; random without one.
    pub peer_mac: Option<Mac>,
    /// The MTU of both ends.
    pub mtu: Option<u32>,
    /// The index of the bridge that the end in this namespace joins.
    pub master: Option<u32>,
}

// === impl Change ===

impl Change<'_> {
    /// The message, and its flags besides those every request has.
    pub(super) fn message(&self) -> (Message, u16) {
        match *self {
            Self::AddBridge { name, mac, mtu } => (bridge(name, mac, mtu), CREATE),
            Self::AddVeth(veth) => (veth.message(), CREATE),
            Self::Master { name, master } => {
                (set(name, vec![LinkAttribute::Controller(master)]), 0)
            }
            Self::Hairpin(name) => (hairpin(name), 0),
            Self::Up(name) => (set_flags(name, LinkFlags::Up), 0),
            Self::Down(name) => (set_flags(name, LinkFlags::empty()), 0),
            Self::Alias { name, alias } => {
                (set(name, vec![LinkAttribute::IfAlias(alias.to_owned())]), 0)
            }
            Self::NoLinkLocal(name) => (set(name, vec![no_link_local()]), 0),
            Self::Address { link, net } => (address(link, net), NLM_F_CREATE | NLM_F_REPLACE),
            Self::Route(route) => (Message::NewRoute(route.message()), CREATE),
            Self::Delete(name) => (Message::DelLink(named(name)), 0),
        }
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddBridge { name, .. } => write!(f, "create bridge {name}"),
            Self::AddVeth(veth) => {
                write!(f, "create veth pair {} and {}", veth.name, veth.peer_name)
            }
            Self::Master { name, master } => {
                write!(f, "make {name} a port of bridge number {master}")
            }
            Self::Hairpin(name) => write!(f, "let {name} send frames back where they came from"),
            Self::Up(name) => write!(f, "set {name} up"),
            Self::Down(name) => write!(f, "set {name} down"),
            Self::Alias { name, alias } => write!(f, "set the alias of {name} to {alias}"),
            Self::NoLinkLocal(name) => write!(f, "keep {name} without a link-local address"),
            Self::Address { link, net } => write!(f, "add address {net} to link number {link}"),
            Self::Route(route) => write!(f, "add route {route}"),
            Self::Delete(name) => write!(f, "delete {name}"),
        }
    }
}

const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

// === impl Veth ===

impl Veth<'_> {
    fn message(&self) -> Message {
        // The peer cannot be set up in this message: veth_open refuses while the two ends are not
        // joined yet (ENOTCONN).
        let mut peer = named(self.peer_name);
        peer.attributes.push(LinkAttribute::NetNsFd(self.peer_netns.as_fd().as_raw_fd()));
        peer.attributes.extend(self.peer_mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        peer.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        let mut message = named(self.name);
        message.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        message.attributes.extend(self.master.map(LinkAttribute::Controller));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        Message::NewLink(message)
    }
}

fn bridge(name: &str, mac: Option<Mac>, mtu: Option<u32>) -> Message {
    let mut message = named(name);
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    // With snooping a bridge sends a neighbour solicitation only to ports whose reports it has seen
    // and not yet forgotten; with few ports there is nothing to save and an answer to lose.
    let snooping = InfoBridge::MulticastSnooping(false);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![snooping])),
    ]));
    Message::NewLink(message)
}

fn address(link: u32, net: IpNet) -> Message {
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family: family_of(net.addr()),
        prefix_len: net.prefix_len(),
        index: link,
        ..AddressHeader::default()
    };
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    match net {
        IpNet::V4(net) => {
            message.attributes.extend(broadcast_of(net).map(AddressAttribute::Broadcast));
        }
        // Duplicate detection takes a second, during which nothing can use the address; we hand
        // addresses out ourselves and never twice.
        IpNet::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
    }
    Message::NewAddress(message)
}

/// The settings of a port are taken with `RTM_NEWLINK` only, on a link that exists.
fn hairpin(name: &str) -> Message {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
    ]));
    Message::NewLink(message)
}

fn no_link_local() -> LinkAttribute {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn set(name: &str, attributes: Vec<LinkAttribute>) -> Message {
    let mut message = named(name);
    message.attributes.extend(attributes);
    Message::SetLink(message)
}

fn set_flags(name: &str, flags: LinkFlags) -> Message {
    let mut message = named(name);
    message.header.flags = flags;
    message.header.change_mask = LinkFlags::Up;
    Message::SetLink(message)
}
