//! Where engines listen.

use std::path::{Path, PathBuf};

use wharf_spec::Engine;

/// Docker's own default; `/var/run` is a link to `/run` on every current distribution, and where
/// the socket is mounted into a container it is this path that is used.
const DOCKER: &str = "/var/run/docker.sock";
/// Where `podman.socket` of systemd puts it, for root.
const PODMAN: &str = "/run/podman/podman.sock";

/// The API sockets of the engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    /// Docker's.
    pub docker: PathBuf,
    /// Podman's.
    pub podman: PathBuf,
}

// === impl Sockets ===

impl Sockets {
    /// The socket of `engine`.
    pub fn of(&self, engine: Engine) -> &Path {
        match engine {
            Engine::Docker => &self.docker,
            Engine::Podman => &self.podman,
        }
    }
}

impl Default for Sockets {
    fn default() -> Self {
        Self { docker: DOCKER.into(), podman: PODMAN.into() }
    }
}
