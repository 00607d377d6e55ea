//! The API of the Wharf daemon: the types that cross its socket, and a client.
//!
//! HTTP/1.1 and JSON on a unix socket, under `/v1`. The types here are the contract: the daemon
//! serves them, its OpenAPI document is generated from them, and `--format json` prints them.

pub mod client;
pub mod container;
pub mod doctor;
pub mod error;
pub mod event;
pub mod explain;
pub mod image;
pub mod network;
pub mod options;
pub mod port;
pub mod stats;
pub mod system;
pub mod volume;

pub use client::Client;
pub use container::{
    ContainerCreate, ContainerCreated, ContainerState, ContainerSummary, ExecRequest, FileStat,
    Started, Waited,
};
pub use doctor::Check;
pub use error::{ApiError, ErrorCode};
pub use event::Event;
pub use explain::{ExplainRequest, Explanation, HopEntry};
pub use image::{
    HistoryEntry, ImageRemoved, ImageSummary, LayerState, LoadRequest, Loaded, LoginRequest,
    PullEvent, PullRequest, RegistryCredential, SaveRequest, TagRequest,
};
pub use network::{NetworkCreate, NetworkSubnet, NetworkSummary};
pub use options::{ContainerUpdate, Updated};
pub use port::{
    AddressesAndPorts, PortEntry, PublishRequest, Published, PublishedPort, UnpublishRequest,
    Unpublished,
};
pub use stats::{ContainerStats, ContainerTop};
pub use system::{Pruned, Shutdown, ShutdownRequest, Version};
pub use volume::{VolumeCreate, VolumePrune, VolumeSummary, VolumesPruned};
pub use wharf_spec::frame;
