//! The verbs for volumes.

use clap::{Args, Subcommand};

use super::{InspectArgs, Layout};

/// `wharf volume …`.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Make a volume
    Create(VolumeCreateArgs),
    /// List volumes
    Ls(VolumeListArgs),
    /// Show everything about volumes, as JSON
    Inspect(InspectArgs),
    /// Remove volumes that no container uses
    Rm(VolumeRmArgs),
    /// Remove all volumes without a name that no container uses
    Prune(VolumePruneArgs),
}

/// `wharf volume create`.
#[derive(Debug, Args)]
pub(crate) struct VolumeCreateArgs {
    /// Set a label (repeatable)
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Its name; one is made up when absent
    pub(crate) name: Option<String>,
}

/// `wharf volume ls`.
#[derive(Debug, Args)]
pub(crate) struct VolumeListArgs {
    /// Print names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How to print: table, json, or a template such as '{{.Name}}' [default: table]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Layout>,
}

/// `wharf volume rm`.
#[derive(Debug, Args)]
pub(crate) struct VolumeRmArgs {
    /// Do not mind missing ones
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) volumes: Vec<String>,
}

/// `wharf volume prune`.
#[derive(Debug, Args)]
pub(crate) struct VolumePruneArgs {
    /// Remove those with names, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask first
    #[arg(short, long)]
    pub(crate) force: bool,
}
