//! The verbs for networks.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::{ArgAction, Args, Subcommand};

use super::{InspectArgs, Layout, PruneArgs};

/// `wharf network …`.
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Make a network
    Create(NetworkCreateArgs),
    /// List networks
    Ls(NetworkListArgs),
    /// Show everything about networks, as JSON
    Inspect(InspectArgs),
    /// Give a container a place on a network, at once if it runs
    Connect(NetworkConnectArgs),
    /// Take a container off a network
    Disconnect(NetworkDisconnectArgs),
    /// Remove networks
    Rm(NetworkRmArgs),
    /// Remove all networks that no container is on
    Prune(PruneArgs),
}

/// `wharf network create`.
#[derive(Debug, Args)]
pub(crate) struct NetworkCreateArgs {
    /// Subnet, at most one of each family; chosen from the pool when absent (repeatable)
    #[arg(long, value_name = "CIDR")]
    pub(crate) subnet: Vec<String>,
    /// Gateway of a subnet given; its first address when absent (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<String>,
    /// Give containers IPv6 addresses, too, from the pool when no IPv6 subnet is named
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false,
          default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) ipv6: bool,
    /// No way in or out but through published ports
    #[arg(long)]
    pub(crate) internal: bool,
    /// nat: closed but for published ports; nat-unprotected: container addresses are open; routed:
    /// no NAT, published ports are open on the container's own address; isolated: no gateway
    #[arg(long, value_name = "MODE",
          value_parser = ["nat", "nat-unprotected", "routed", "isolated"])]
    pub(crate) gateway_mode: Option<String>,
    /// Interface from which container addresses may be reached directly (repeatable)
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) trusted_interface: Vec<String>,
    /// Set a label (repeatable)
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Name of the network
    pub(crate) name: String,
}

/// `wharf network ls`.
#[derive(Debug, Args)]
pub(crate) struct NetworkListArgs {
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print ids at full length
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// How to print: table, json, or a template such as '{{.Name}}' [default: table]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Layout>,
}

/// `wharf network connect`.
#[derive(Debug, Args)]
pub(crate) struct NetworkConnectArgs {
    /// Another name for the container on the network (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Vec<String>,
    /// IPv4 address to take
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<Ipv4Addr>,
    /// IPv6 address to take
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<Ipv6Addr>,
    /// Name or id of the network
    pub(crate) network: String,
    /// Name or id of the container
    pub(crate) container: String,
}

/// `wharf network disconnect`.
#[derive(Debug, Args)]
pub(crate) struct NetworkDisconnectArgs {
    /// Name or id of the network
    pub(crate) network: String,
    /// Name or id of the container
    pub(crate) container: String,
}

/// `wharf network rm`.
#[derive(Debug, Args)]
pub(crate) struct NetworkRmArgs {
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
}
