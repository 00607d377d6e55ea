//! Flags of `run` and `create`: how its program is watched, ended and started again.

use clap::Args;
use wharf_api::options::Supervision;

use crate::failure::Exit;

/// What a new container is told of how its program is watched, ended and started again.
#[derive(Debug, Args)]
#[command(next_help_heading = "Supervision")]
pub(crate) struct SupervisionOptions {}

// === impl SupervisionOptions ===

impl SupervisionOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Supervision, Exit> {
        let Self {} = self;
        Ok(Supervision {})
    }
}
