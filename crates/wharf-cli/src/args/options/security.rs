//! Flags of `run` and `create`: what it may do.

use clap::Args;
use wharf_api::options::Security;

use crate::failure::Exit;

/// What a new container is told of what it may do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Privileges")]
pub(crate) struct SecurityOptions {}

// === impl SecurityOptions ===

impl SecurityOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Security, Exit> {
        let Self {} = self;
        Ok(Security {})
    }
}
