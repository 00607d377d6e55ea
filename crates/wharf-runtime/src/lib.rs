//! Containers without Docker: images, bundles, and a shim process per container.
//!
//! The daemon loads images into an [`image::ImageStore`], describes a container as a
//! [`spec::ContainerSpec`] and starts a shim for it with [`client::Shim`]. The shim owns the
//! container's network namespace, mounts, log and exit code, and outlives the daemon. Networks
//! and published ports are other crates' business.

pub mod capability;
pub mod cgroup;
pub mod client;
pub mod command;
pub mod copy;
pub mod crash;
pub mod digest;
pub mod error;
pub mod exit;
pub mod health;
pub mod image;
pub mod log;
pub mod seccomp;
pub mod shim;
pub mod signal;
pub mod spec;
pub mod whoami;

mod bundle;
mod durable;
mod inroot;
mod tree;
mod user;

pub use bundle::devices::check as check_devices;
pub use digest::Digest;
pub use error::{Error, Result};
pub use tree::remove_tree;
