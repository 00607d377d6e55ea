//! Verbs that take away what nothing uses, and Docker's longer names for verbs.

use clap::{Args, Subcommand};

use super::{InspectArgs, PsArgs, RmArgs};

/// `wharf … prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `wharf container …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// List containers, as `wharf ps`
    #[command(visible_alias = "list")]
    Ls(PsArgs),
    /// Show everything about containers
    Inspect(InspectArgs),
    /// Remove containers, as `wharf rm`
    Rm(RmArgs),
    /// Remove all containers that do not run
    Prune(PruneArgs),
}

/// `wharf system …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Remove all containers that do not run, all networks that no container is on, and all images
    /// without a name
    Prune(PruneArgs),
}
