//! What an archive yields for one image, before any of it is stored.

use crate::digest::Digest;
use crate::image::config::ConfigFile;

/// One image of an archive.
#[derive(Debug)]
pub(super) struct Parts {
    /// The digest of its configuration.
    pub(super) id: Digest,
    pub(super) config: ConfigFile,
    /// `repository:tag` each.
    pub(super) names: Vec<String>,
    /// Lowest first, as in the configuration.
    pub(super) layers: Vec<LayerBlob>,
    pub(super) manifest: Option<Digest>,
}

/// Where a layer is in its archive.
#[derive(Debug)]
pub(super) struct LayerBlob {
    pub(super) path: String,
    /// The digest of the blob as it is, compressed or not, where the archive says.
    pub(super) digest: Option<Digest>,
}
