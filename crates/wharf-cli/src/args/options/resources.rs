//! Flags of `run` and `create`: what it may use of the host.

use clap::Args;
use wharf_api::options::Resources;

use crate::failure::Exit;

/// What a new container is told of what it may use of the host.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct ResourcesOptions {}

// === impl ResourcesOptions ===

impl ResourcesOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Resources, Exit> {
        let Self {} = self;
        Ok(Resources {})
    }
}
