//! Why names cannot be served.

/// What went wrong between a container and the server of names.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error(transparent)]
    Host(#[from] wharf_host::Error),
    /// A socket cannot be had inside the container's namespace.
    #[error("listen on {address} for a container's questions: {source}")]
    Listen {
        /// The address inside.
        address: std::net::SocketAddr,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Nothing may be served outside a runtime.
    #[error("names are served from within the daemon only")]
    NoRuntime,
}

/// The result of serving names.
pub type Result<T, E = Error> = std::result::Result<T, E>;
