//! The kernel, as the rest of Wharf sees it: netlink, nftables, namespaces, sockets, probes.
//!
//! This is the only crate that may contain `unsafe`. It knows nothing of publications or
//! containers: callers hand it addresses, names and descriptors, and get typed errors back.
//! Nothing here runs another program.

pub mod activation;
pub mod bpf;
pub mod confine;
pub mod conntrack;
pub mod datagram;
pub mod diag;
pub mod error;
pub mod fdpass;
pub mod link;
pub mod memory;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod opener;
pub mod outbox;
pub mod probe;
pub mod process;
pub mod reserve;
pub mod round_trip;
pub mod route;
pub mod sandbox;
pub mod signal;
mod sockopt;
pub mod sysctl;
pub mod transparent;
#[cfg(feature = "uring")]
pub mod uring;
pub mod watch;
pub mod window;
pub mod xtables;

pub use error::{Error, Result};
