//! Verbs that take away what nothing uses.

use clap::{Args, Subcommand};

/// `wharf … prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `wharf system prune`.
#[derive(Debug, Args)]
pub(crate) struct SystemPruneArgs {
    #[command(flatten)]
    pub(crate) prune: PruneArgs,
    /// Images with a name, too, unless a container was made of them
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// `wharf system …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Remove all containers that do not run, all networks that no container is on, and all images
    /// without a name; volumes stay, see `wharf volume prune`
    Prune(SystemPruneArgs),
}
