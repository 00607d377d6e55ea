//! Flags of `run` and `create`: its terminal and its standard input.

use clap::Args;
use wharf_api::options::Terminal;

use crate::failure::Exit;

/// What a new container is told of its terminal and its standard input.
#[derive(Debug, Args)]
#[command(next_help_heading = "Terminal and standard input")]
pub(crate) struct TerminalOptions {}

// === impl TerminalOptions ===

impl TerminalOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Terminal, Exit> {
        let Self {} = self;
        Ok(Terminal {})
    }
}
