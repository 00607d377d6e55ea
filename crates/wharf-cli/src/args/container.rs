//! The verbs for containers.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::{ArgAction, Args};

use super::Format;
use super::options::{
    NamesOptions, ResourcesOptions, SecurityOptions, StorageOptions, SupervisionOptions,
    TerminalOptions,
};

/// `wharf run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// `wharf create`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) options: ContainerOptions,
    /// A name, or oci-archive:FILE, docker-archive:FILE, dir:ROOTFS
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The command and its arguments, in place of the image's own
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// What a container can be told at creation.
#[derive(Debug, Args)]
pub(crate) struct ContainerOptions {
    /// Name of the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Port specs to publish
    #[arg(
        short = 'p',
        long = "publish",
        value_name = "SPEC",
        allow_hyphen_values = true,
        help = "Publish ports: [ADDRESS:][HOST-PORTS:]PORTS[/PROTO][,via=…,source=…,allow=…] \
                  (repeatable)"
    )]
    pub(crate) publish: Vec<String>,
    /// Publish every exposed port to a free host port
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Expose a port or range, for -P (repeatable)
    #[arg(long, value_name = "PORTS[/PROTO]")]
    pub(crate) expose: Vec<String>,
    /// Network to join: a name, none, host, container:NAME, or name=…,alias=…,ip=… (repeatable)
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub(crate) network: Vec<String>,
    /// IPv4 address to take
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<Ipv4Addr>,
    /// IPv6 address to take
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<Ipv6Addr>,
    /// Host name inside the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Set an environment variable; NAME alone takes the value it has here (repeatable)
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Binds and volumes
    #[arg(
        short = 'v',
        long = "volume",
        value_name = "[SOURCE:]PATH[:ro]",
        help = "Bind a host path or a named volume: SOURCE:PATH[:ro]; PATH alone is a volume that \
                  goes with the container (repeatable)"
    )]
    pub(crate) volumes: Vec<String>,
    /// Working directory of the command
    #[arg(short = 'w', long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short = 'u', long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Entrypoint in place of the image's own; empty for none
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Set a label (repeatable)
    #[arg(short = 'l', long = "label", value_name = "KEY[=VALUE]")]
    pub(crate) labels: Vec<String>,
    /// Refused with a reason: terminals come later
    #[arg(short, long, hide = true)]
    pub(crate) interactive: bool,
    /// Refused with a reason: terminals come later
    #[arg(short, long, hide = true)]
    pub(crate) tty: bool,
    #[command(flatten)]
    pub(crate) terminal: TerminalOptions,
    #[command(flatten)]
    pub(crate) resources: ResourcesOptions,
    #[command(flatten)]
    pub(crate) security: SecurityOptions,
    #[command(flatten)]
    pub(crate) storage: StorageOptions,
    #[command(flatten)]
    pub(crate) names: NamesOptions,
    #[command(flatten)]
    pub(crate) supervision: SupervisionOptions,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// `wharf start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Stay attached: show its output, pass signals on, end with its exit code
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wharf stop` and `wharf restart`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Seconds to wait before SIGKILL
    #[arg(short, long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) time: u32,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wharf kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    pub(crate) signal: String,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wharf rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Kill running containers first, and do not mind missing ones
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wharf rename`.
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// Name or id
    pub(crate) container: String,
    /// The new name
    #[arg(value_name = "NEW-NAME")]
    pub(crate) name: String,
}

/// `wharf ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show containers that do not run, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print everything at full length
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `wharf logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on until the container exits
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, default_value = "all", value_name = "LINES")]
    pub(crate) tail: String,
    /// Put the time in front of each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Name or id
    pub(crate) container: String,
}

/// `wharf exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Do not wait for the command
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Set an environment variable (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Working directory of the command
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Refused with a reason: terminals come later
    #[arg(short, long, hide = true)]
    pub(crate) interactive: bool,
    /// Refused with a reason: terminals come later
    #[arg(short, long, hide = true)]
    pub(crate) tty: bool,
    /// Name or id
    pub(crate) container: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `wharf inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Always JSON; for scripts that say so
    #[arg(long, value_parser = ["json"], default_value = "json", hide = true)]
    pub(crate) format: String,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// `wharf wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wharf port`.
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Name or id
    pub(crate) container: String,
    /// One container port, as PORT[/PROTO]
    #[arg(value_name = "PORT[/PROTO]")]
    pub(crate) port: Option<String>,
}
