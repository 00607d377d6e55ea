//! What the daemon refuses or fails at, and how the API says so.

use std::path::PathBuf;

use wharf_api::{ApiError, ErrorCode};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong in itself.
    #[error("{0}")]
    Invalid(String),
    /// A thing of that name does not exist.
    #[error("no such {kind}: {name}")]
    NotFound {
        /// `container`, `image` or `network`.
        kind: &'static str,
        /// The name as it was given.
        name: String,
    },
    /// A short id or name fits several things.
    #[error("{name:?} fits several {kind}s: use more of the id, or the name")]
    Ambiguous {
        /// `container`, `image` or `network`.
        kind: &'static str,
        /// The name as it was given.
        name: String,
    },
    /// The state of things forbids it.
    #[error("{0}")]
    Conflict(String),
    /// A host port cannot be had.
    #[error("{0}")]
    Port(String),
    /// A limit would be passed.
    #[error("{0}")]
    Limit(String),
    /// The container's command cannot be executed (126) or was not found (127).
    #[error("{message}")]
    Command {
        /// 126 or 127.
        code: u8,
        /// What the runtime said.
        message: String,
    },
    /// The ledger cannot be read or written.
    #[error("the ledger {path}: {detail}", path = .path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// A file of ours cannot be handled.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refused.
    #[error(transparent)]
    Host(#[from] wharf_host::Error),
    /// A network operation failed.
    #[error(transparent)]
    Network(#[from] wharf_network::Error),
    /// The kernel NAT plane failed.
    #[error(transparent)]
    Nft(#[from] wharf_nft::Error),
    /// The eBPF plane failed.
    #[error(transparent)]
    Ebpf(#[from] wharf_ebpf::Error),
    /// The relay failed or cannot be reached.
    #[error(transparent)]
    Relay(#[from] wharf_relay::Error),
    /// Another container engine could not be asked, or does not have what was asked for.
    #[error(transparent)]
    Engine(#[from] wharf_engine::Error),
    /// Names cannot be served.
    #[error(transparent)]
    Names(#[from] wharf_names::Error),
    /// An image or container operation failed.
    #[error(transparent)]
    Runtime(#[from] wharf_runtime::Error),
    /// Another daemon serves this run directory.
    #[error("another daemon (pid {pid}) already serves {path}", path = .path.display())]
    AlreadyRunning {
        /// The run directory.
        path: PathBuf,
        /// Its process id, as far as it is known.
        pid: String,
    },
}

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

// === impl Error ===

impl Error {
    /// Wraps an I/O error with what was being done.
    pub fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) | Self::Command { .. } => ErrorCode::Invalid,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Ambiguous { .. } | Self::Conflict(_) | Self::AlreadyRunning { .. } => {
                ErrorCode::Conflict
            }
            Self::Port(_) => ErrorCode::PortInUse,
            Self::Limit(_) => ErrorCode::Limit,
            Self::Network(error) => network_code(error),
            Self::Engine(wharf_engine::Error::NoContainer { .. }) => ErrorCode::NotFound,
            Self::Engine(_) => ErrorCode::Conflict,
            Self::Runtime(error) => runtime_code(error),
            _ => ErrorCode::Internal,
        }
    }
}

fn network_code(error: &wharf_network::Error) -> ErrorCode {
    use wharf_network::Error as E;
    match error {
        E::Kernel(_) | E::BridgeMissing { .. } => ErrorCode::Internal,
        E::PoolsExhausted { .. } | E::SubnetFull { .. } | E::TooManyNetworks(_) => ErrorCode::Limit,
        E::Overlap { .. }
        | E::InUse { .. }
        | E::SecondLease { .. }
        | E::NameTaken(_)
        | E::ForeignLink { .. } => ErrorCode::Conflict,
        _ => ErrorCode::Invalid,
    }
}

fn runtime_code(error: &wharf_runtime::Error) -> ErrorCode {
    use wharf_runtime::Error as E;
    match error {
        E::NoSuchImage { .. } | E::Denied { .. } | E::NoManifest { .. } => ErrorCode::NotFound,
        E::ImageInUse { .. } | E::AmbiguousId { .. } => ErrorCode::Conflict,
        E::Reference { .. } | E::Archive { .. } | E::Layer(_) | E::Spec(_) | E::Command { .. } => {
            ErrorCode::Invalid
        }
        _ => ErrorCode::Internal,
    }
}

impl From<&Error> for ApiError {
    fn from(error: &Error) -> Self {
        let exit_code = match error {
            Error::Command { code, .. } => Some(*code),
            _ => None,
        };
        Self { code: error.code(), message: error.to_string(), exit_code }
    }
}
