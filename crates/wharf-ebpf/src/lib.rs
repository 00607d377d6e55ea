//! The eBPF plane: processes of the host are connected straight to targets, and one socket can
//! listen on every port of a range.
//!
//! [`EbpfPlane::open`] loads the programs, or adopts what an earlier process left pinned.
//! [`EbpfPlane::apply`] makes their maps hold what an [`EbpfPlan`] says and attaches them; from then
//! on they work without us. A change of a publication changes entries of maps: one entry where only
//! the target changes, and no program is attached or detached for it. Dropping the plane leaves
//! everything in force; [`EbpfPlane::dismantle`] leaves nothing.
//!
//! The programs are attached at the root of the cgroup hierarchy, so they see every process of the
//! machine, and touch only those in the network namespace that the plane was opened in.
//!
//! Which program does what, and what is left to the other planes: `docs/internals/ebpf.md`.

#[cfg(not(feature = "programs"))]
mod absent;
#[cfg(feature = "programs")]
mod accounts;
#[cfg(feature = "programs")]
mod book;
#[cfg(feature = "programs")]
mod census;
mod cgroup;
#[cfg(feature = "programs")]
mod decode;
mod error;
#[cfg(feature = "programs")]
mod front;
#[cfg(feature = "programs")]
mod hooks;
#[cfg(feature = "programs")]
mod layout;
#[cfg(feature = "programs")]
mod maps;
#[cfg(feature = "programs")]
mod mirror;
#[cfg(feature = "programs")]
mod numbers;
#[cfg(feature = "programs")]
mod object;
mod obstacle;
mod place;
#[cfg(feature = "programs")]
mod plane;
#[cfg(feature = "programs")]
mod release;
#[cfg(feature = "programs")]
mod sockets;

use std::path::Path;

pub use wharf_host::transparent::RELAY_MARK;
#[cfg(doc)]
use wharf_plan::ebpf::EbpfPlan;

#[cfg(not(feature = "programs"))]
pub use self::absent::{EbpfPlane, probe};
pub use self::error::{Error, Result};
pub use self::obstacle::Obstacle;
#[cfg(feature = "programs")]
pub use self::obstacle::probe;
#[cfg(feature = "programs")]
pub use self::plane::EbpfPlane;

/// How many sockets one floor may have: one for each thread that serves it.
pub const FLOOR_WIDTH: usize = 16;

/// What one application of a plan changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries of the plan that came or were changed.
    pub added: usize,
    /// Entries of the plan that went.
    pub removed: usize,
    /// Programs that were attached.
    pub attached: usize,
}

/// What one publication has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were led to the target.
    pub connections: u64,
    /// Sockets of such connections that are still open.
    pub open: u64,
    /// Datagrams that were led to the target.
    pub datagrams: u64,
}

/// What was left to the other planes because a table was full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overflow {
    /// Connections, because too many that were led to a target are open.
    pub sockets: u64,
    /// Sockets of others inside a steered range that could not be noted.
    pub busy: u64,
}

/// Takes down whatever is pinned at `place`, by this release or another, without opening the plane;
/// it is no error if there is nothing.
///
/// # Errors
/// Everything that could not be taken down; what could be, is.
pub fn dismantle(place: &Path) -> Result<(), Vec<Error>> {
    place::clear(place)
}
