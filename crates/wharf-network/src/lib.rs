//! Networks and endpoints: who gets which address, and the bridges and veth pairs that carry it.
//!
//! The first half is values without I/O: address pools ([`AddressPools`]), leases ([`Leases`]),
//! networks ([`Network`]) and endpoints ([`Endpoint`]), all of them made to be stored by the
//! caller; this crate stores nothing. The second half makes the kernel match them
//! ([`ensure_bridge`], [`plug`], [`unplug`], [`leftovers`]); it blocks, acts in the network
//! namespace of the calling thread, and may be repeated after a crash at any point.
//!
//! Firewall rules and kernel-wide settings such as forwarding are not made here.

mod bridge;
mod endpoint;
mod error;
mod host_view;
mod ipam;
mod leftovers;
mod mode;
mod network;
mod plug;
mod pool;
mod span;

pub use bridge::{ensure_bridge, ensure_routes, lost_address, remove_bridge};
pub use endpoint::Endpoint;
pub use error::{Error, Result};
pub use host_view::{HostView, Taken};
pub use ipam::Leases;
pub use leftovers::{Leftover, Owner, leftovers, remove_leftover, remove_stray_routes};
pub use mode::GatewayMode;
pub use network::{DEFAULT_NETWORK, Driver, Network, NetworkRequest, Requested, Subnet};
pub use plug::{is_plugged, lead_out, plug, rejoin, unplug};
pub use pool::{AddressPools, Pool};
