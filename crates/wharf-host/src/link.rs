//! Links and their addresses: bridges, veth pairs, and what is there already.
//!
//! Changes are values ([`Change`]); any number of them goes to the kernel in one write and is
//! carried out in order, so that plugging in a container costs a handful of messages. Nothing
//! here lists all links unless it is asked to by [`Links::list`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::NLM_F_ACK;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoPortData, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkInfo, LinkMessage, Prop,
};
use serde::{Deserialize, Serialize};

mod change;
mod mac;
mod neighbours;
mod solicited;
#[cfg(test)]
mod tests;

pub use self::change::{Change, Veth};
pub use self::mac::Mac;
pub use self::neighbours::introduce_neighbour;
pub use self::solicited::settle_ipv6;
use crate::error::{Error, Result};
use crate::netlink::{Family, Netlink};
use crate::netns::Netns;

/// The longest interface name, in bytes (`IFNAMSIZ` less the closing zero).
pub const NAME_LIMIT: usize = 15;

/// Older kernels look at carriers once a second at worst; on a host that is starting fifty
/// containers at once the kernel's work queues have been seen to be three seconds late.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(6);
const SETTLE_PAUSE: Duration = Duration::from_micros(250);

/// One network interface, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The driver's name for its kind: `bridge`, `veth`, `tun`; hardware and `lo` have none.
    pub kind: Option<String>,
    /// Its hardware address, if it is of Ethernet's length.
    pub mac: Option<Mac>,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it can carry packets now: it is up and so is the other end.
    pub running: bool,
    /// For a port of a bridge, whether the bridge passes its packets on now.
    pub forwarding: Option<bool>,
    /// The bridge, bond or VRF it belongs to.
    pub master: Option<u32>,
    /// The largest packet it carries.
    pub mtu: u32,
    /// The free text set on it.
    pub alias: Option<String>,
    /// Other names it answers to.
    pub alternative_names: Vec<String>,
}

/// One address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The interface's number.
    pub link: u32,
    /// The address and the length of its prefix.
    pub net: IpNet,
}

/// The links of one network namespace.
#[derive(Debug)]
pub struct Links {
    netlink: Netlink,
}

// === impl Link ===

impl Link {
    fn read(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: None,
            mac: None,
            up: message.header.flags.contains(LinkFlags::Up),
            running: message.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
            forwarding: None,
            master: None,
            mtu: 0,
            alias: None,
            alternative_names: Vec::new(),
        };
        for attribute in message.attributes {
            link.note(attribute);
        }
        link
    }

    fn note(&mut self, attribute: LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name = name,
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::Controller(index) => self.master = Some(index),
            LinkAttribute::IfAlias(alias) => self.alias = Some(alias),
            LinkAttribute::Address(bytes) => {
                self.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::LinkInfo(parts) => {
                self.kind = parts.iter().find_map(kind_of);
                self.forwarding = parts.iter().find_map(is_forwarding);
            }
            LinkAttribute::PropList(properties) => {
                self.alternative_names.extend(properties.into_iter().filter_map(|p| match p {
                    Prop::AltIfName(name) => Some(name),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
}

fn kind_of(part: &LinkInfo) -> Option<String> {
    match part {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

fn is_forwarding(part: &LinkInfo) -> Option<bool> {
    let LinkInfo::PortData(InfoPortData::BridgePort(port)) = part else { return None };
    port.iter().find_map(|detail| match detail {
        InfoBridgePort::State(state) => Some(*state == BridgePortState::Forwarding),
        _ => None,
    })
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

// === impl Address ===

impl Address {
    fn read(message: &AddressMessage) -> Option<Self> {
        let mut own = None;
        let mut peer = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => own = Some(*address),
                AddressAttribute::Address(address) => peer = Some(*address),
                _ => {}
            }
        }
        // On a point-to-point link ADDRESS is the other end; elsewhere both are the same, and
        // IPv6 gives ADDRESS only.
        let net = IpNet::new(own.or(peer)?, message.header.prefix_len).ok()?;
        Some(Self { link: message.header.index, net })
    }
}

// === impl Links ===

impl Links {
    /// Opens the links of the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        Ok(Self { netlink: Netlink::open(Family::Route)? })
    }

    /// Opens the links of `netns`.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        Ok(Self { netlink: netns.open_netlink(Family::Route)? })
    }

    /// Every link; for inspection, not for the hot path.
    pub fn list(&mut self) -> Result<Vec<Link>> {
        let answers = self.netlink.dump("list links", Message::GetLink(question()))?;
        Ok(links_of(answers))
    }

    /// The link called `name`, if there is one.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>> {
        let mut message = question();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let action = format!("look up interface {name}");
        match self.netlink.query(&action, Message::GetLink(message), 0) {
            Ok(answers) => Ok(links_of(answers).pop()),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The index of the link called `name`.
    ///
    /// # Errors
    /// `ENODEV` when there is none.
    pub fn index(&mut self, name: &str) -> Result<u32> {
        let missing = || {
            let source = std::io::Error::from_raw_os_error(libc::ENODEV);
            Error::kernel(format!("look up interface {name}"), source)
        };
        self.find(name)?.map(|link| link.index).ok_or_else(missing)
    }

    /// Carries out `changes` in order and in one write.
    ///
    /// # Errors
    /// The first change the kernel refused, by name; the changes after it were still tried.
    pub fn apply(&mut self, changes: &[Change<'_>]) -> Result<()> {
        let messages = changes
            .iter()
            .map(|change| {
                let (message, flags) = change.message();
                (message, flags | NLM_F_ACK)
            })
            .collect();
        self.netlink.batch("change links", messages).map_err(|failure| {
            match (changes.get(failure.index), failure.error) {
                (Some(change), Error::Kernel { source, .. }) => {
                    Error::kernel(change.to_string(), source)
                }
                (_, error) => error,
            }
        })
    }

    /// Makes a bridge; without a fixed address a bridge changes it as ports come and go.
    pub fn add_bridge(&mut self, name: &str, mac: Option<Mac>, mtu: Option<u32>) -> Result<()> {
        self.apply(&[Change::AddBridge { name, mac, mtu }])
    }

    /// Makes a veth pair whose second end is born in another namespace.
    pub fn add_veth(&mut self, veth: Veth<'_>) -> Result<()> {
        self.apply(&[Change::AddVeth(veth)])
    }

    /// Makes `name` a port of the bridge with index `master`.
    pub fn set_master(&mut self, name: &str, master: u32) -> Result<()> {
        self.apply(&[Change::Master { name, master }])
    }

    /// Sets `name` up.
    pub fn set_up(&mut self, name: &str) -> Result<()> {
        self.apply(&[Change::Up(name)])
    }

    /// Sets `name` down.
    pub fn set_down(&mut self, name: &str) -> Result<()> {
        self.apply(&[Change::Down(name)])
    }

    /// Sets the free text of `name`.
    pub fn set_alias(&mut self, name: &str, alias: &str) -> Result<()> {
        self.apply(&[Change::Alias { name, alias }])
    }

    /// Waits until `name` carries packets and, if it is a port of a bridge, the bridge passes them
    /// on; `false` when that does not come about within [`SETTLE_LIMIT`] or there is no such link.
    ///
    /// A carrier that appears takes effect through a work queue. Who sends before loses the first
    /// packet, which costs a TCP client a second. Since 6.8 asking for the link makes the kernel
    /// finish that work first, so that this is one question there.
    pub fn settle(&mut self, name: &str) -> Result<bool> {
        let start = Instant::now();
        loop {
            let Some(link) = self.find(name)? else { return Ok(false) };
            if link.running && link.forwarding != Some(false) {
                return Ok(true);
            }
            if start.elapsed() > SETTLE_LIMIT {
                return Ok(false);
            }
            thread::sleep(SETTLE_PAUSE);
        }
    }

    /// Deletes `name`; `false` when it did not exist.
    pub fn delete(&mut self, name: &str) -> Result<bool> {
        match self.apply(&[Change::Delete(name)]) {
            Ok(()) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Gives a link an address, usable at once; it is no error if it has it.
    pub fn add_address(&mut self, link: u32, net: IpNet) -> Result<()> {
        self.apply(&[Change::Address { link, net }])
    }

    /// The addresses of `link`, or of every link.
    pub fn addresses(&mut self, link: Option<u32>) -> Result<Vec<Address>> {
        let message = Message::GetAddress(AddressMessage::default());
        let answers = self.netlink.dump("list addresses", message)?;
        let all = answers.iter().filter_map(|answer| match answer {
            Message::NewAddress(message) => Address::read(message),
            _ => None,
        });
        Ok(all.filter(|a| link.is_none_or(|wanted| wanted == a.link)).collect())
    }
}

/// The broadcast address of an IPv4 address's network; /31 and /32 have none (RFC 3021).
fn broadcast_of(net: Ipv4Net) -> Option<Ipv4Addr> {
    (net.prefix_len() < 31).then(|| net.broadcast())
}

/// Statistics make up most of an answer and are not wanted here.
fn question() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

fn links_of(answers: Vec<Message>) -> Vec<Link> {
    answers
        .into_iter()
        .filter_map(|answer| match answer {
            Message::NewLink(message) => Some(Link::read(message)),
            _ => None,
        })
        .collect()
}

/// The family of an address, as rtnetlink numbers it.
pub(crate) fn family_of(address: IpAddr) -> netlink_packet_route::AddressFamily {
    use netlink_packet_route::AddressFamily;
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
