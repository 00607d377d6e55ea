//! The two questions a plan has for other people's rules, and what to tell of the answers.

use std::net::IpAddr;

use wharf_spec::{PortRange, Proto};

use super::judge::Walk;
use super::obstacle::{Obstacle, Owner};
use super::packet::{FlowState, Packet};
use super::ruleset::{Family, Hook, Ruleset};

/// Packets the kernel would rewrite and forward to one of our bridges. What is `None` is not known
/// or not the same for all; the fewer, the more rules count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The family.
    pub family: Family,
    /// The bridge.
    pub bridge: &'a str,
    /// The interface clients come by.
    pub arrives_by: Option<&'a str>,
    /// The client, if one is asked about.
    pub client: Option<IpAddr>,
    /// The protocol.
    pub proto: Option<Proto>,
    /// The host address clients ask for.
    pub host: Option<IpAddr>,
    /// The host ports clients ask for.
    pub host_ports: Option<PortRange>,
    /// The container's address.
    pub target: Option<IpAddr>,
    /// The container's ports.
    pub target_ports: Option<PortRange>,
}

/// Packets to a socket of this host. What is `None` is not known or not the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// The family.
    pub family: Family,
    /// The protocol.
    pub proto: Proto,
    /// The ports.
    pub ports: PortRange,
    /// The host address; `None` for all of them.
    pub address: Option<IpAddr>,
    /// The interface clients come by.
    pub arrives_by: Option<&'a str>,
    /// The client, if one is asked about.
    pub client: Option<IpAddr>,
}

// === impl Forwarded ===

impl<'a> Forwarded<'a> {
    /// All packets of `family` to `bridge`.
    pub fn to_bridge(family: Family, bridge: &'a str) -> Self {
        Self {
            family,
            bridge,
            arrives_by: None,
            client: None,
            proto: None,
            host: None,
            host_ports: None,
            target: None,
            target_ports: None,
        }
    }

    fn request(&self, state: FlowState) -> Packet {
        Packet {
            proto: self.proto,
            in_interface: self.arrives_by.map(str::to_owned),
            out_interface: Some(self.bridge.to_owned()),
            source: self.client,
            destination: self.target,
            destination_ports: self.target_ports,
            asked_address: self.host,
            asked_ports: self.host_ports,
            state,
            destination_rewritten: true,
            ..Packet::new(self.family)
        }
    }

    fn answer(&self) -> Packet {
        Packet {
            proto: self.proto,
            in_interface: Some(self.bridge.to_owned()),
            out_interface: self.arrives_by.map(str::to_owned),
            source: self.target,
            source_ports: self.target_ports,
            destination: self.client,
            asked_address: self.host,
            asked_ports: self.host_ports,
            state: FlowState::Established,
            is_reply: true,
            destination_rewritten: true,
            ..Packet::new(self.family)
        }
    }
}

/// What would keep packets from being forwarded to one of our bridges, or their answers from
/// coming back; `None` if nothing does. Then the relay has to serve.
pub fn forward_obstacle(ruleset: &Ruleset, asked: Forwarded<'_>) -> Option<Obstacle> {
    let hooks = [Hook::Prerouting, Hook::Forward, Hook::Postrouting];
    let packets =
        [asked.request(FlowState::New), asked.request(FlowState::Established), asked.answer()];
    packets.iter().find_map(|packet| meets(ruleset, packet, &hooks))
}

/// What would keep packets from a socket of this host; `None` if nothing does. What is published
/// through the relay is then blocked, and what is published through the kernel walks past it.
pub fn input_obstacle(ruleset: &Ruleset, asked: Incoming<'_>) -> Option<Obstacle> {
    let packet = Packet {
        proto: Some(asked.proto),
        in_interface: asked.arrives_by.map(str::to_owned),
        source: asked.client,
        destination: asked.address,
        destination_ports: Some(asked.ports),
        asked_address: asked.address,
        asked_ports: Some(asked.ports),
        ..Packet::new(asked.family)
    };
    meets(ruleset, &packet, &[Hook::Prerouting, Hook::Input])
}

/// One line about a port that is published through the kernel although `obstacle` would keep
/// people from a socket with that number.
pub fn exposure(obstacle: &Obstacle, proto: Proto, ports: PortRange) -> String {
    let firewall = match obstacle.owner {
        Owner::Nftables | Owner::IptablesNft | Owner::IptablesLegacy => "the host's firewall",
        Owner::Ufw => "ufw",
        Owner::Firewalld => "firewalld",
        Owner::Docker => "docker",
        Owner::Podman => "podman",
    };
    format!(
        "{firewall} blocks {ports}/{proto} for this host, but not for forwarded packets: the \
         port is open to other hosts; --via relay obeys {firewall}, --allow names who may connect"
    )
}

fn meets(ruleset: &Ruleset, packet: &Packet, hooks: &[Hook]) -> Option<Obstacle> {
    let mut walk = Walk::new(ruleset, packet);
    hooks.iter().find_map(|hook| walk.through(*hook).obstacle())
}
