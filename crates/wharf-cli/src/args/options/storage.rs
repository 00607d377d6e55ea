//! Flags of `run` and `create`: what it sees besides its image, and whether it may write.

use clap::Args;
use wharf_api::options::Storage;

use crate::failure::Exit;

/// What a new container is told of what it sees besides its image, and whether it may write.
#[derive(Debug, Args)]
#[command(next_help_heading = "Mounts")]
pub(crate) struct StorageOptions {}

// === impl StorageOptions ===

impl StorageOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Storage, Exit> {
        let Self {} = self;
        Ok(Storage {})
    }
}
