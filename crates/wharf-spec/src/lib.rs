//! The words of Wharf as types: port specs, ranges, publications, targets and policies.
//!
//! Text is parsed once, at the edge, into values that are always valid; nothing in here does
//! I/O. The grammar and its error texts are Docker's, so that hands and scripts need not learn
//! anew; what Wharf adds to it is named in [`spec`]. The one format here that people do not type is
//! that of a container's streams, which all its ends have to agree on ([`frame`]).

pub mod duration;
pub mod expose;
pub mod frame;
pub mod mount;
pub mod name;
pub mod options;
pub mod ports;
pub mod proto;
pub mod publication;
pub mod render;
pub mod restart;
pub mod size;
pub mod spec;
pub mod target;
pub mod ulimit;

pub use expose::Expose;
pub use mount::{Mount, MountKind};
pub use name::{ContainerName, NetworkName};
pub use options::{ProxyProtocol, PublishOptions, SaidOptions, SourceMode, Via};
pub use ports::PortRange;
pub use proto::Proto;
pub use publication::{Clash, HostSide, Publication, PublicationId};
pub use render::PortLine;
pub use restart::RestartPolicy;
pub use size::Bytes;
pub use spec::{HostPorts, PortSpec, SpecError};
pub use target::{Engine, Target, TargetName};
pub use ulimit::Ulimit;
