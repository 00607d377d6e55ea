//! Images: what they are, and the store that keeps them unpacked.
//!
//! A layer is unpacked once and then serves every container as an overlayfs lower directory. All
//! changes to the store are atomic and durable: a crash leaves either the old state or the new
//! one, and at most a directory that the next start removes.

use std::path::PathBuf;

use crate::digest::Digest;

mod archive;
mod attributes;
mod budget;
mod builtin;
mod catalogue;
mod compression;
mod config;
mod docker;
mod downloads;
mod elf;
mod history;
mod import;
mod layers;
mod oci;
mod parts;
mod pins;
mod platform;
mod pull;
mod reference;
pub mod registry;
mod save;
mod scratch;
mod source;
mod store;
mod tape;
mod unpack;

pub use config::{ImageConfig, Step};
pub use history::Layered;
pub use import::Import;
pub use platform::Platform;
pub use pull::{LayerState, Progress, Pull, Pulled};
pub use reference::Reference;
pub use save::Save;
pub use source::ImageSource;
pub use store::ImageStore;
pub use unpack::{Unpacked, unpack};

/// An image that containers can be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// Its names, `repository:tag` each, sorted; `dir:PATH` for a directory.
    pub names: Vec<String>,
    /// What it says about containers made of it.
    pub config: ImageConfig,
    /// Directories to stack under a container's own, the topmost first.
    pub layers: Vec<PathBuf>,
    /// When it was made, RFC 3339, if it says.
    pub created: Option<String>,
    /// The bytes of its files.
    pub size: u64,
    /// Its architecture in Go's words, as `amd64`.
    pub architecture: String,
    /// The architecture's variant, as `v7`.
    pub variant: Option<String>,
    /// Where it was pulled from, as `repository@digest`.
    pub repo_digests: Vec<String>,
    /// The digests of its layers' tars, the lowest first.
    pub diff_ids: Vec<Digest>,
}

/// One image that a load has put in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// The names the load gave it.
    pub names: Vec<String>,
}

/// What a removal did, in Docker's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that no longer exist: `Untagged: …`.
    pub untagged: Vec<String>,
    /// Images and layers that no longer exist: `Deleted: …`.
    pub deleted: Vec<Digest>,
    /// The bytes of the layers that went.
    pub freed: u64,
}
