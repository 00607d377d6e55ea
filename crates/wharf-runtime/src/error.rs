//! One error type for images, bundles and shims.

use std::io;
use std::time::Duration;

/// What went wrong with an image or a container, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or system call failed.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, with the names involved.
        action: String,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The kernel refused something asked through `wharf-host`.
    #[error(transparent)]
    Host(#[from] wharf_host::Error),
    /// An image name that cannot be one.
    #[error("invalid reference format: {reason}: {text:?}")]
    Reference {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No image of that name or id is in the store.
    #[error(
        "no such image: {name}: it is not in the store; get it with `wharf pull NAME` or \
         `wharf load -i FILE`, or name a source: docker-archive:FILE, oci-archive:FILE, dir:ROOTFS, wharf/whoami"
    )]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// An id prefix that several images share.
    #[error("image id {prefix} is ambiguous: {count} images start with it; give more digits")]
    AmbiguousId {
        /// What was asked for.
        prefix: String,
        /// How many images match.
        count: usize,
    },
    /// An image that cannot be removed.
    #[error("conflict: unable to remove image {name}: {reason}")]
    ImageInUse {
        /// What was to be removed.
        name: String,
        /// Why it cannot be, and what to do.
        reason: String,
    },
    /// A registry that cannot be reached, refuses, or gives something else than it should.
    #[error("registry {registry}: {reason}")]
    Registry {
        /// Its host and port.
        registry: String,
        /// What went wrong, in its words where it has some.
        reason: String,
    },
    /// A repository that is not there, or not for everybody: registries do not say which.
    #[error(
        "pull access denied for {repository}, repository does not exist or may require \
         'wharf login {registry}': {said}"
    )]
    Denied {
        /// The repository, with its registry.
        repository: String,
        /// The registry.
        registry: String,
        /// What it said.
        said: String,
    },
    /// A repository without such a tag or digest.
    #[error("manifest for {name} not found: {said}")]
    NoManifest {
        /// The whole name.
        name: String,
        /// What the registry said.
        said: String,
    },
    /// An image archive that is not one, or is broken.
    #[error("{archive}: {reason}")]
    Archive {
        /// The file, or "archive" for a stream.
        archive: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer that is broken or tries to reach outside its own directory.
    #[error("layer refused: {0}")]
    Layer(String),
    /// A file of our own that cannot be understood.
    #[error("{file}: {source}")]
    Json {
        /// The file.
        file: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A container that cannot be had as it is described: no command, a bad user, a bad mount.
    #[error("{0}")]
    Spec(String),
    /// A container's command could not be made ready to run.
    #[error("{message}")]
    Command {
        /// 126 when it is there but cannot be executed, 127 when it is not there.
        code: u8,
        /// Docker's text.
        message: String,
    },
    /// A shim that did not do what it was asked.
    #[error("{action}: {reason}")]
    Shim {
        /// What was asked.
        action: String,
        /// What it said.
        reason: String,
    },
    /// A shim that did not answer in time.
    #[error("{action}: no answer within {} ms", limit.as_millis())]
    Timeout {
        /// What was asked.
        action: String,
        /// The limit that passed.
        limit: Duration,
    },
}

/// The result of working with images and containers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was being done to an `io::Result` or `rustix::io::Result`.
pub(crate) trait Context<T> {
    /// Names the action that failed; `action` is evaluated on failure only.
    fn during<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T>;
}

// === impl Error ===

impl Error {
    /// The exit code `run` and `exec` end with for this error: 126 and 127 as Docker's, 125 else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Command { code, .. } => *code,
            _ => 125,
        }
    }

    /// Whether the disk has no room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }

    pub(crate) fn archive(archive: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Archive { archive: archive.into(), reason: reason.into() }
    }

    pub(crate) fn json(file: impl Into<String>, source: serde_json::Error) -> Self {
        Self::Json { file: file.into(), source }
    }
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn during<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::Io { action: action().into(), source: e.into() })
    }
}
