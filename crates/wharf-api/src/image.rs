//! Images.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A line of `wharf images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageSummary {
    /// The image's id, 64 hexadecimal digits.
    pub id: String,
    /// Its names, as `repository:tag`.
    pub names: Vec<String>,
    /// When it was made (RFC 3339), if it says so.
    pub created: Option<String>,
    /// The size of its layers in bytes.
    pub size: u64,
    /// Where it was pulled from, as `repository@digest`.
    #[serde(default)]
    pub digests: Vec<String>,
}

/// Where to load images from, when it is a file the daemon can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// An absolute path, or `oci-archive:PATH`, `docker-archive:PATH`.
    pub source: String,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Loaded {
    /// The image's id.
    pub id: String,
    /// The names it got.
    pub names: Vec<String>,
}

/// What removing an image did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageRemoved {
    /// Names taken away.
    pub untagged: Vec<String>,
    /// Images and layers deleted.
    pub deleted: Vec<String>,
}

/// Who somebody is to a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RegistryCredential {
    /// A user and a password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that is exchanged for others.
    IdentityToken(String),
}

/// What to pull.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PullRequest {
    /// The image's name, with a tag or digest.
    pub image: String,
    /// For which platform, as `linux/arm64`; this machine's when absent.
    pub platform: Option<String>,
    /// Who we are to the registry; nobody when absent.
    pub credential: Option<RegistryCredential>,
}

/// What a pull tells while it goes on, one object on a line each; the last is `done` or `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PullEvent {
    /// The registry knows the name.
    Resolved {
        /// The digest it stands for.
        digest: String,
    },
    /// Something about one layer.
    Layer {
        /// The layer: the first twelve digits of its digest.
        id: String,
        /// How far it is.
        state: LayerState,
        /// The bytes that are here.
        current: u64,
        /// All its bytes; 0 while nobody knows.
        total: u64,
        /// More in words, as why it is tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// The image is in the store.
    Done {
        /// The image's id.
        id: String,
        /// The whole name, as `docker.io/library/nginx:latest`.
        name: String,
        /// The digest the name stands for.
        digest: String,
        /// Whether anything is different from before.
        is_new: bool,
    },
    /// It came to nothing.
    Failed(crate::error::ApiError),
}

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayerState {
    /// It is needed.
    Waiting,
    /// It is coming.
    Downloading,
    /// The registry failed and is asked again.
    Retrying,
    /// All of it is here and has its digest.
    Downloaded,
    /// It is being unpacked.
    Extracting,
    /// It is in the store.
    Done,
    /// It was in the store before.
    Exists,
}

/// A name to give to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagRequest {
    /// The image, by name or id.
    pub image: String,
    /// The name it gets; whatever had it loses it.
    pub name: String,
}

/// The images to write into one archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveRequest {
    /// By name or id; a name is kept in the archive.
    pub images: Vec<String>,
}

/// A step in the making of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// The image's id, for the last step; earlier ones are no images of their own.
    pub id: Option<String>,
    /// When it was made (RFC 3339), if it says so.
    pub created: Option<String>,
    /// The command that made it.
    pub created_by: String,
    /// The bytes its layer added.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// A credential to be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The registry, `docker.io` for Docker's.
    pub registry: String,
    /// Who we say we are.
    pub credential: RegistryCredential,
}

// === impl RegistryCredential ===

impl std::fmt::Debug for RegistryCredential {
    /// Never the secret: what is debugged is logged sooner or later.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
        }
    }
}
