//! A registry's client: manifests and blobs by the OCI distribution specification.
//!
//! It talks to one registry on behalf of one pull. Whatever a registry says is bounded: the size of
//! manifests, the number of redirects and retries, and how long it may be silent. A password or
//! token goes to the registry and to the token server it names, over TLS or to hosts that plain
//! HTTP was allowed for, and nowhere else.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

mod blob;
mod challenge;
mod client;
mod hosts;
mod manifest;
mod place;
mod proxy;
mod retry;
mod token;
mod wire;

pub use challenge::Challenge;
pub use client::Registry;
pub use hosts::Hosts;
pub use manifest::{Described, Document, Manifest};

pub(crate) use blob::Watch;
pub(crate) use manifest::choose;

/// Who somebody is to a registry, as Docker's `config.json` keeps it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// A user and a password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that is exchanged for others (OAuth 2's refresh token).
    IdentityToken(String),
}

/// A blob as a manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobPlace {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

// === impl Credential ===

impl fmt::Debug for Credential {
    /// Never the secret: what is debugged is logged sooner or later.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
        }
    }
}
