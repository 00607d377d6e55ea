//! What a person asks for when making a network, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{DEFAULT_BRIDGE, DEFAULT_NETWORK, Driver, Network, Subnet};
use crate::error::{Error, Result};
use crate::host_view::HostView;
use crate::ipam::Leases;
use crate::mode::GatewayMode;
use crate::pool::AddressPools;
use crate::span::overlap;

/// Names that mean something else where a network is named.
const RESERVED: [&str; 4] = ["host", "none", "default", "container"];
const NAME_LIMIT: usize = 64;
/// What IPv4 (RFC 791) and IPv6 (RFC 8200) ask of a link.
const LEAST_MTU: [u32; 2] = [68, 1280];

/// A network as asked for; what is left out is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// What is to carry it; empty means `bridge`.
    pub driver: String,
    /// Its subnets, at most one of each family.
    pub subnets: Vec<IpNet>,
    /// The gateways' addresses, each in one of the subnets.
    pub gateways: Vec<IpAddr>,
    /// The parts of the subnets that addresses are taken from.
    pub ranges: Vec<IpNet>,
    /// Whether it has IPv4.
    pub ipv4: bool,
    /// Whether it has IPv6, even if no IPv6 subnet is named.
    pub ipv6: bool,
    /// Nothing is to be forwarded into or out of it.
    pub internal: bool,
    /// How its IPv4 side meets the outside.
    pub gateway_mode_ipv4: GatewayMode,
    /// How its IPv6 side meets the outside.
    pub gateway_mode_ipv6: GatewayMode,
    /// The MTU.
    pub mtu: Option<u32>,
    /// The bridge's interface name, if it is to have a particular one.
    pub bridge: Option<String>,
    /// Host interfaces from which container addresses may be reached directly.
    pub trusted_interfaces: BTreeSet<String>,
    /// Notes.
    pub labels: BTreeMap<String, String>,
}

// === impl NetworkRequest ===

impl Default for NetworkRequest {
    fn default() -> Self {
        Self {
            name: String::new(),
            driver: String::new(),
            subnets: Vec::new(),
            gateways: Vec::new(),
            ranges: Vec::new(),
            ipv4: true,
            ipv6: false,
            internal: false,
            gateway_mode_ipv4: GatewayMode::default(),
            gateway_mode_ipv6: GatewayMode::default(),
            mtu: None,
            bridge: None,
            trusted_interfaces: BTreeSet::new(),
            labels: BTreeMap::new(),
        }
    }
}

impl NetworkRequest {
    /// A network called `name` with everything else chosen.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Checks the request against the networks there are and what the host uses, chooses what was
    /// left open, and makes the network; the kernel is not touched.
    pub fn resolve(
        self,
        pools: &AddressPools,
        existing: &[&Network],
        host: &HostView,
        created: impl Into<String>,
    ) -> Result<Network> {
        self.check_name(existing)?;
        self.check_driver()?;
        let [subnet4, subnet6] = self.choose_subnets(pools, existing, host)?;
        self.check_strays(subnet4, subnet6)?;
        self.check_mtu(subnet6.is_some())?;
        let id = fresh_id();
        let bridge = self.choose_bridge(&id, existing)?;
        Ok(Network {
            bridge,
            driver: Driver::Bridge,
            ipv4: self.side(subnet4, self.gateway_mode_ipv4)?,
            ipv6: self.side(subnet6, self.gateway_mode_ipv6)?,
            id,
            name: self.name,
            internal: self.internal,
            mtu: self.mtu,
            trusted_interfaces: self.trusted_interfaces,
            labels: self.labels,
            created: created.into(),
        })
    }

    fn check_name(&self, existing: &[&Network]) -> Result<()> {
        let name = &self.name;
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let valid = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(inner)
            && name.len() <= NAME_LIMIT;
        if !valid {
            return Err(Error::NameInvalid(name.clone()));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(Error::NameReserved(name.clone()));
        }
        if existing.iter().any(|network| network.name == *name) {
            return Err(Error::NameTaken(name.clone()));
        }
        self.trusted_interfaces.iter().try_for_each(|name| check_interface(name))
    }

    fn check_driver(&self) -> Result<()> {
        match self.driver.as_str() {
            "" | "bridge" => Ok(()),
            _ => Err(Error::Driver(self.driver.clone())),
        }
    }

    fn check_mtu(&self, ipv6: bool) -> Result<()> {
        let [least4, least6] = LEAST_MTU;
        let least = if ipv6 { least6 } else { least4 };
        match self.mtu {
            Some(mtu) if !(least..=65_535).contains(&mtu) => Err(Error::Mtu { mtu, least }),
            _ => Ok(()),
        }
    }

    /// The subnets to have, IPv4 and IPv6.
    fn choose_subnets(
        &self,
        pools: &AddressPools,
        existing: &[&Network],
        host: &HostView,
    ) -> Result<[Option<IpNet>; 2]> {
        let named4 = self.only_subnet(false)?;
        let named6 = self.only_subnet(true)?;
        if let (Some(subnet), false) = (named4, self.ipv4) {
            return Err(Error::FamilyDisabled(subnet));
        }
        let ipv6 = self.ipv6 || named6.is_some();
        if !self.ipv4 && !ipv6 {
            return Err(Error::NoFamily);
        }
        if ipv6 && !host.ipv6 {
            return Err(Error::NoIpv6);
        }
        for subnet in [named4, named6].into_iter().flatten() {
            check_subnet(subnet, existing, host)?;
        }
        let taken: Vec<IpNet> = taken(existing).map(|(net, _)| net).chain(host.nets()).collect();
        let subnet4 = match named4 {
            None if self.ipv4 => Some(pools.pick_ipv4(&taken)?),
            named => named,
        };
        let subnet6 = match named6 {
            None if ipv6 => Some(pools.pick_ipv6(&taken)?),
            named => named,
        };
        Ok([subnet4, subnet6])
    }

    fn only_subnet(&self, ipv6: bool) -> Result<Option<IpNet>> {
        let mut of_family = self.subnets.iter().copied().filter(|net| net.addr().is_ipv6() == ipv6);
        match (of_family.next(), of_family.next()) {
            (Some(first), Some(second)) => Err(Error::TwoSubnets(first, second)),
            (first, _) => Ok(first),
        }
    }

    fn check_strays(&self, subnet4: Option<IpNet>, subnet6: Option<IpNet>) -> Result<()> {
        let subnets = [subnet4, subnet6];
        let lies_in = |address: &IpAddr| subnets.iter().flatten().any(|net| net.contains(address));
        if let Some(stray) = self.gateways.iter().find(|gateway| !lies_in(gateway)) {
            return Err(Error::StrayGateway(*stray));
        }
        match self.ranges.iter().find(|range| !lies_in(&range.network())) {
            Some(stray) => Err(Error::StrayRange(*stray)),
            None => Ok(()),
        }
    }

    fn side(&self, subnet: Option<IpNet>, gateway_mode: GatewayMode) -> Result<Option<Subnet>> {
        let Some(subnet) = subnet else { return Ok(None) };
        if gateway_mode == GatewayMode::Isolated && !self.internal {
            return Err(Error::NeedsInternal(gateway_mode));
        }
        let gateway = self.gateways.iter().copied().find(|gateway| subnet.contains(gateway));
        let range = self.ranges.iter().copied().find(|range| subnet.contains(&range.network()));
        let leases = Leases::new(subnet, gateway, range)?;
        Ok(Some(Subnet { gateway_mode, leases }))
    }

    fn choose_bridge(&self, id: &str, existing: &[&Network]) -> Result<String> {
        let chosen = match &self.bridge {
            Some(name) => name.clone(),
            None if self.name == DEFAULT_NETWORK => DEFAULT_BRIDGE.to_owned(),
            None => format!("wh-{}", id.get(..12).unwrap_or(id)),
        };
        check_interface(&chosen)?;
        match existing.iter().find(|network| network.bridge == chosen) {
            Some(network) => Err(Error::ForeignLink {
                name: chosen,
                network: self.name.clone(),
                found: format!("the bridge of network {}", network.name),
            }),
            None => Ok(chosen),
        }
    }
}

/// The kernel's rules (`dev_valid_name`), and no name that would read as a path below /proc/sys.
fn check_interface(name: &str) -> Result<()> {
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let length = 1..=wharf_host::link::NAME_LIMIT;
    let reserved = matches!(name, "." | ".." | "all" | "default");
    if !length.contains(&name.len()) || name.contains(forbidden) || reserved {
        return Err(Error::InterfaceName(name.to_owned()));
    }
    Ok(())
}

fn taken<'a>(existing: &'a [&Network]) -> impl Iterator<Item = (IpNet, &'a str)> {
    existing
        .iter()
        .flat_map(|network| network.subnets().map(|side| (side.subnet(), network.name.as_str())))
}

fn check_subnet(subnet: IpNet, existing: &[&Network], host: &HostView) -> Result<()> {
    if subnet.trunc() != subnet {
        return Err(Error::HostBits { given: subnet, subnet: subnet.trunc() });
    }
    if let Some((_, why)) = special_blocks().into_iter().find(|(net, _)| overlap(*net, subnet)) {
        return Err(Error::Subnet { subnet, why });
    }
    if let Some((other, name)) = taken(existing).find(|(other, _)| overlap(*other, subnet)) {
        return Err(Error::Overlap { subnet, other, holder: format!("network {name}") });
    }
    match host.obstacle(subnet) {
        Some(taken) => {
            Err(Error::Overlap { subnet, other: taken.net, holder: taken.holder.clone() })
        }
        None => Ok(()),
    }
}

/// Blocks that no container can have an address in.
fn special_blocks() -> [(IpNet, &'static str); 7] {
    let v4 = |a, length| IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(a, 0, 0, 0), length));
    let v6 =
        |a, length| IpNet::from(Ipv6Net::new_assert(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0), length));
    [
        (v4(0, 8), "0.0.0.0/8 means this host"),
        (v4(127, 8), "127.0.0.0/8 is the loopback network"),
        (v4(224, 4), "224.0.0.0/4 is for multicast"),
        (v4(240, 4), "240.0.0.0/4 is reserved"),
        (v6(0, 8), "::/8 holds the loopback and mapped addresses"),
        (v6(0xfe80, 10), "fe80::/10 is for link-local addresses"),
        (v6(0xff00, 8), "ff00::/8 is for multicast"),
    ]
}

fn fresh_id() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
