//! The verbs about what containers use.

use clap::Args;

use super::Format;
use super::options::LimitOptions;

/// `wharf pause` and `wharf unpause`.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wharf update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) limits: LimitOptions,
    /// When to start it again: no, on-failure, on-failure:MAX, always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wharf stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Show containers that do not run, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show the numbers once and end
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Print everything at full length
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// How to print; JSON is an array for each round
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Names or ids; all running containers when absent
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wharf top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Name or id
    pub(crate) container: String,
    /// Refused with a reason: no ps is run
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) ps_options: Vec<String>,
}
