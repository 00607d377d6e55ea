//! Containers without Docker: images, bundles, and a shim process per container.
//!
//! The daemon loads images into an [`image::ImageStore`], describes a container as a
//! [`spec::ContainerSpec`] and starts a shim for it with [`client::Shim`]. The shim owns the
//! container's network namespace, mounts, logs and exit code and outlives the daemon. Networks
//! and published ports are other crates' business.

pub mod digest;
pub mod error;
pub mod image;

mod durable;
mod inroot;

pub use digest::Digest;
pub use error::{Error, Result};
