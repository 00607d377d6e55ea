//! Desired state and host facts in, plan out.
//!
//! This is where the thinking is: which plane serves which path of which publication, which
//! elements the kernel plane needs, which source address the target sees, and why. No I/O; the
//! planes execute what is written here, and `wharf ports` prints it, so that what Wharf says is
//! what it does.

pub mod compile;
pub mod ebpf;
pub mod explain;
pub mod firewall;
pub mod nft;
pub mod path;
pub mod share;

pub use compile::{
    Desired, HostFacts, NetworkPolicy, Plan, SubnetMode, compile, compile_one, refuse,
};
pub use path::{Path, PathPlan, Plane, PublicationPlan, SourceSeen};
pub use share::Share;
