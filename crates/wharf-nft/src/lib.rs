//! The kernel NAT plane: one nftables table, driven by a plan.
//!
//! [`NftPlane::apply`] makes the table hold what an [`NftPlan`] says. The first time after
//! [`NftPlane::open`] it replaces the whole table in one transaction, so no packet ever meets half
//! of it; from then on it sends the difference between the last plan and the new one, also in one
//! transaction, and nothing at all when there is none. [`NftPlane::change`] is told the difference
//! and costs what it changes, whatever else there is. The chains and rules are the same for every
//! plan on one host; everything that varies is an element of a set. No table but this one is
//! touched, and the kernel is never asked what it holds on the way of a change.
//!
//! What each chain and rule is for: `docs/internals/nftables.md`.

mod contents;
mod examine;
pub mod foreign;
mod observed;
mod plane;
mod table;

use std::net::IpAddr;

pub use wharf_host::nftables::{Counted, Ownership};
use wharf_plan::nft::Dnat;
#[cfg(doc)]
use wharf_plan::nft::NftPlan;
use wharf_spec::{PortRange, Proto};

pub use self::examine::{Examined, examine};
pub use self::observed::Observed;
pub use self::plane::{Applied, NftPlane};

/// Why a plan could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error(transparent)]
    Host(#[from] wharf_host::Error),
    /// Two entries of the plan want the same packets.
    #[error("{ports}/{proto} is to go to both {one} and {other}")]
    Conflict {
        /// The host ports of one of them.
        ports: PortRange,
        /// The protocol.
        proto: Proto,
        /// Where one wants them.
        one: IpAddr,
        /// Where the other wants them.
        other: IpAddr,
    },
    /// Two entries of the plan contradict each other in something else than the target.
    #[error("two entries of the plan overlap in set {set} and say different things")]
    Overlap {
        /// The set of the table.
        set: &'static str,
    },
    /// An entry of the plan asks for what a kernel rewrite cannot do.
    #[error("{}/{} cannot be rewritten to {}: {reason}", .entry.ports, .entry.proto, .entry.target)]
    Impossible {
        /// The entry.
        entry: Box<Dnat>,
        /// What stands in the way.
        reason: &'static str,
    },
    /// The table belongs to a socket of another program, or of another plane of this one.
    #[error(
        "nftables table inet {table} belongs to {owner}, and nobody else may change it: two \
         daemons cannot share a network namespace, stop the other one"
    )]
    OwnedByOther {
        /// The table.
        table: String,
        /// The process, as far as it can be found.
        owner: String,
    },
    /// A change was asked for before any plan was applied.
    #[error("nothing is known of table inet {0} yet: apply a whole plan before changing it")]
    NotApplied(String),
}

/// The result of an operation on the plane.
pub type Result<T, E = Error> = std::result::Result<T, E>;
