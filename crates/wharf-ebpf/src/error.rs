//! What can go wrong.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use wharf_plan::ebpf::{Connect, Steer};

use crate::obstacle::Obstacle;

/// What other crates' errors become: theirs are of no use to callers but as a text.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the plane cannot be had, or a plan could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plane cannot be had on this host.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// The kernel refused.
    #[error(transparent)]
    Host(#[from] wharf_host::Error),
    /// A file or directory could not be made, read or removed.
    #[error("{action} {}", .place.display())]
    Place {
        /// What was being done.
        action: &'static str,
        /// Where.
        place: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A map could not be read or written.
    #[error("{action} map {map} of the ebpf plane")]
    Map {
        /// What was being done.
        action: &'static str,
        /// The map.
        map: &'static str,
        /// Why not.
        source: Source,
    },
    /// A map has no room for more.
    #[error(
        "map {map} of the ebpf plane is full ({limit} entries); publish fewer ports one by one, or \
         ranges in their place"
    )]
    Full {
        /// The map.
        map: &'static str,
        /// How many entries it can hold.
        limit: u32,
    },
    /// A program could not be attached, pinned or found.
    #[error("{action} program {program} of the ebpf plane")]
    Program {
        /// What was being done.
        action: &'static str,
        /// The program.
        program: &'static str,
        /// Why not.
        source: Source,
    },
    /// Two entries of the plan want the same host ports.
    #[error(
        "{}/{} at {} is to go to both {} and {}",
        .one.ports, .one.proto, .one.host_address(), .one.target, .other
    )]
    Conflict {
        /// One of them.
        one: Box<Connect>,
        /// Where the other wants them.
        other: IpAddr,
    },
    /// An entry of the plan asks for what these programs cannot do.
    #[error("{}/{} cannot be led to {}: {reason}", .entry.ports, .entry.proto, .entry.target)]
    Impossible {
        /// The entry.
        entry: Box<Connect>,
        /// What stands in the way.
        reason: &'static str,
    },
    /// Ports are to be steered that cannot be.
    #[error("{}/{} at {} cannot be steered: {reason}", .entry.ports, .entry.proto, .entry.host)]
    Unsteerable {
        /// The entry.
        entry: Box<Steer>,
        /// What stands in the way.
        reason: &'static str,
    },
    /// A change was asked for before any plan was applied.
    #[error("nothing is known of the ebpf plane yet: apply a whole plan before changing it")]
    NotApplied,
}

/// The result of an operation on the plane.
pub type Result<T, E = Error> = std::result::Result<T, E>;

// === impl Error ===

impl Error {
    pub(crate) fn place(
        action: &'static str,
        place: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let place = place.into();
        move |source| Self::Place { action, place, source }
    }
}
