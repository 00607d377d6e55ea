//! Why a network, an address or an endpoint could not be had.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::mode::GatewayMode;

/// What went wrong, and what to do about it. The texts are Docker's where Docker has one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] wharf_host::Error),

    /// An address pool's text cannot be understood.
    #[error("invalid address pool {text:?}: {why} (an example: 10.201.0.0/16:24)")]
    PoolText {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No pool has a free subnet.
    #[error(
        "all predefined address pools have been fully subnetted: no {family} subnet is free in \
         {pools}; choose one with --subnet, or add a pool to the daemon's address pools"
    )]
    PoolsExhausted {
        /// IPv4 or IPv6.
        family: &'static str,
        /// The pools looked through.
        pools: String,
    },
    /// A subnet asked for is in use.
    #[error(
        "invalid pool request: Pool overlaps with other one on this address space: \
         {subnet} overlaps {other} ({holder})"
    )]
    Overlap {
        /// The subnet asked for.
        subnet: IpNet,
        /// What it overlaps.
        other: IpNet,
        /// Whose that is.
        holder: String,
    },
    /// An address with a prefix was given where a subnet is wanted.
    #[error("invalid subnet {given}: it should be {subnet}")]
    HostBits {
        /// What was given.
        given: IpNet,
        /// The subnet it lies in.
        subnet: IpNet,
    },
    /// A subnet that cannot be used for containers.
    #[error("invalid subnet {subnet}: {why}")]
    Subnet {
        /// The subnet.
        subnet: IpNet,
        /// What is wrong with it.
        why: &'static str,
    },

    /// An address that lies outside its subnet.
    #[error("invalid address {address}: it does not belong to the network's subnet {subnet}")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// An address that has a meaning of its own.
    #[error("invalid address {address}: it is the {role} of {subnet}")]
    Reserved {
        /// The address.
        address: IpAddr,
        /// What it means.
        role: &'static str,
        /// The subnet.
        subnet: IpNet,
    },
    /// An address that someone has.
    #[error("address already in use: {address} is held by {owner}")]
    InUse {
        /// The address.
        address: IpAddr,
        /// Who has it.
        owner: String,
    },
    /// An address of a family that the network does not have.
    #[error("address {address} cannot be used: network {network} has no subnet of its family")]
    FamilyMissing {
        /// The address.
        address: IpAddr,
        /// The network's name.
        network: String,
    },
    /// Someone who has an address asked for another one of the same subnet.
    #[error("{owner} has {held} already and cannot have {address} as well")]
    SecondLease {
        /// Who asked.
        owner: String,
        /// What they have.
        held: IpAddr,
        /// What they asked for.
        address: IpAddr,
    },
    /// Every address is held.
    #[error(
        "no available addresses in {subnet}: all {held} are held; remove a container, \
         or make a network with a larger --subnet"
    )]
    SubnetFull {
        /// Where addresses were to come from.
        subnet: IpNet,
        /// How many are held.
        held: usize,
    },

    /// A network's name is used.
    #[error("network with name {0} already exists")]
    NameTaken(String),
    /// A network's name has a fixed meaning.
    #[error("network name {0} is reserved: choose another one")]
    NameReserved(String),
    /// A network's name cannot be used.
    #[error(
        "invalid network name {0:?}: it must begin with a letter or digit and consist of \
         letters, digits, '_', '.' and '-', at most 64"
    )]
    NameInvalid(String),
    /// A driver we do not have.
    #[error("network driver {0:?} is not supported: use bridge")]
    Driver(String),
    /// Neither family was asked for.
    #[error("IPv4 or IPv6 must be enabled")]
    NoFamily,
    /// A subnet of a family that was switched off.
    #[error("subnet {0} is IPv4, but IPv4 is disabled for this network")]
    FamilyDisabled(IpNet),
    /// Two subnets of one family.
    #[error("a bridge network has one subnet of each family, but {0} and {1} were given")]
    TwoSubnets(IpNet, IpNet),
    /// A gateway outside every subnet.
    #[error("no matching subnet for gateway {0}")]
    StrayGateway(IpAddr),
    /// An address range outside every subnet.
    #[error("no matching subnet for range {0}")]
    StrayRange(IpNet),
    /// A gateway mode that only goes with internal networks.
    #[error("gateway mode {0} can only be used for an internal network: add --internal")]
    NeedsInternal(GatewayMode),
    /// A gateway mode's name that does not exist.
    #[error("unknown gateway mode {0:?}: use nat, nat-unprotected, routed or isolated")]
    Mode(String),
    /// An MTU no bridge can have.
    #[error("invalid MTU {mtu}: it must be {least} to 65535")]
    Mtu {
        /// What was asked for.
        mtu: u32,
        /// The least the network's families need.
        least: u32,
    },
    /// An interface name that cannot exist.
    #[error("invalid interface name {0:?}: 1 to 15 bytes, no '/', ':' or space")]
    InterfaceName(String),
    /// A container on more networks than it can have interface names for.
    #[error("a container can be on at most {0} networks")]
    TooManyNetworks(usize),
    /// The host has no IPv6.
    #[error(
        "IPv6 is not available on this host: create the network without --ipv6, or switch IPv6 \
         on (kernel parameter ipv6.disable=0, net.ipv6.conf.all.disable_ipv6=0)"
    )]
    NoIpv6,

    /// The bridge's name belongs to someone else's interface.
    #[error(
        "interface {name} exists and is not the bridge of network {network} ({found}): \
         rename or delete it"
    )]
    ForeignLink {
        /// The name.
        name: String,
        /// The network that wants it.
        network: String,
        /// What the interface says it is.
        found: String,
    },
    /// The network's bridge is not there.
    #[error("bridge {bridge} is missing: the network has not been set up, or someone deleted it")]
    BridgeMissing {
        /// Its name.
        bridge: String,
    },
}

/// The result of asking for a network, an address or an endpoint.
pub type Result<T, E = Error> = std::result::Result<T, E>;
