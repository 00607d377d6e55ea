//! Mounts, as after `--mount`, `--volume` and `--tmpfs`: three grammars for one kind of value.
//!
//! The grammars are Docker's. What cannot be honoured, such as propagation to the host, is refused
//! here with the reason, whoever asks.

mod fields;
mod tmpfs;
mod volume;

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::name::ContainerName;
use crate::spec::SpecError;

/// Something a container sees besides its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, in the container: an absolute path without `..`, and not `/`.
    pub target: String,
    /// The container cannot write to it.
    pub read_only: bool,
    /// What it is.
    pub kind: MountKind,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind {
        /// The path; absolute once it reaches the daemon.
        source: String,
        /// Make it, as a directory, when it is missing; `--mount` refuses instead.
        create: bool,
        /// Whether what is mounted below it is seen, too.
        recursive: bool,
        /// Whether `read_only` holds for what is mounted below it, too.
        deep: bool,
    },
    /// A volume: a directory kept by the daemon.
    Volume {
        /// Its name; one of its own for this container when absent.
        name: Option<String>,
        /// Fill it, when it is empty, with what the image has in its place.
        copy: bool,
        /// Labels for one that is made now.
        labels: BTreeMap<String, String>,
    },
    /// Memory.
    Tmpfs {
        /// Options of the file system, as `size=64m`; those that were not given are Docker's.
        options: Vec<String>,
    },
}

// === impl Mount ===

impl Mount {
    /// Reads what stands after `--mount`: `type=bind|volume|tmpfs,source=…,target=…,…`.
    pub fn from_fields(text: &str) -> Result<Self, SpecError> {
        fields::parse(text)
    }

    /// Reads what stands after `--volume`: `[SOURCE:]TARGET[:OPTIONS]`.
    pub fn from_volume(text: &str) -> Result<Self, SpecError> {
        volume::parse(text)
    }

    /// Reads what stands after `--tmpfs`: `TARGET[:OPTIONS]`.
    pub fn from_tmpfs(text: &str) -> Result<Self, SpecError> {
        tmpfs::parse(text)
    }
}

/// A target that libcontainer and the kernel take, or why not.
fn target(path: &str) -> Result<String, String> {
    let plain = Path::new(path)
        .components()
        .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.starts_with('/') || !plain || path.contains('\0') {
        return Err(format!(
            "invalid mount path: '{path}': the path in the container must be absolute, without `..`"
        ));
    }
    let path = Path::new(path);
    if path == Path::new("/") {
        return Err("invalid specification: destination can't be '/'".into());
    }
    if path.starts_with("/proc") {
        return Err("/proc belongs to the kernel: choose another path".into());
    }
    let clean: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy()).collect();
    Ok(format!("/{}", clean.get(1..).unwrap_or_default().join("/")))
}

/// A name that can be a volume's, or why not.
fn volume_name(name: &str) -> Result<String, String> {
    match name.parse::<ContainerName>() {
        Ok(name) => Ok(name.into()),
        Err(_) => Err(format!(
            "{name:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed: to mount a path of the host, use one that \
             begins with / or ."
        )),
    }
}

/// Whether the name of a propagation mode is one, and why others than private are not to be had:
/// the mounts of a container hang in a namespace that is cut off from the host's.
fn propagation(mode: &str) -> Result<(), String> {
    match mode {
        "private" | "rprivate" => Ok(()),
        "shared" | "rshared" | "slave" | "rslave" => Err(format!(
            "propagation {mode:?} is not available: containers are mounted in a namespace of \
             their own that no mount of the host reaches later; use rprivate"
        )),
        _ => Err(format!("invalid propagation {mode:?}: use rprivate or private")),
    }
}

#[cfg(test)]
mod tests;
