//! Flags of `run` and `create`: how it finds others, and how others find it.

use clap::Args;
use wharf_api::options::Names;

use crate::failure::Exit;

/// What a new container is told of how it finds others, and how others find it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names")]
pub(crate) struct NamesOptions {}

// === impl NamesOptions ===

impl NamesOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Names, Exit> {
        let Self {} = self;
        Ok(Names {})
    }
}
