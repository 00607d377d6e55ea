//! The verbs for containers.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::options::{
    NamesOptions, ResourcesOptions, SecurityOptions, StorageOptions, SupervisionOptions,
    TerminalOptions,
};
use super::{Format, Layout, PullOptions};

/// `wharf run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) attaching: AttachingOptions,
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// What can be told where somebody stays attached.
#[derive(Debug, Args)]
pub(crate) struct AttachingOptions {
    /// Keys that detach from a terminal: single characters, ctrl-X or DEL, with commas between
    /// [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Pass signals on to the program; on a terminal, Ctrl-C is a key and the others are not passed
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    pub(crate) sig_proxy: bool,
}

/// `wharf attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    pub(crate) attaching: AttachingOptions,
    /// Do not attach to its standard input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `wharf create`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) options: ContainerOptions,
    /// A name (pulled when it is not here), or oci-archive:FILE, docker-archive:FILE, dir:ROOTFS
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
        value_name = "[SOURCE:]PATH[:OPTIONS]",
        help = "Bind a host path or a named volume: SOURCE:PATH[:ro,nocopy]; PATH alone is a volume \
                  without a name (repeatable)"
    )]
    pub(crate) volumes: Vec<String>,
    /// Set environment variables from a file of NAME=VALUE lines (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
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
    /// Set labels from a file of KEY=VALUE lines (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) label_file: Vec<PathBuf>,
    /// Write the container's id to a file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pull: PullOptions,
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
    /// Stay attached to its standard input, too
    #[arg(short, long)]
    pub(crate) interactive: bool,
    #[command(flatten)]
    pub(crate) attaching: AttachingOptions,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wharf stop` and `wharf restart`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Seconds to wait before SIGKILL [default: what --stop-timeout said, or 10]
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) time: Option<u32>,
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
    /// Remove their volumes that have no name, too
    #[arg(short, long)]
    pub(crate) volumes: bool,
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
    /// Only containers that fit: name=, id=, status=, exited=, label=, network=, ancestor=
    /// (repeatable)
    #[arg(short, long, value_name = "CONDITION")]
    pub(crate) filter: Vec<String>,
    /// Only the so many that were made last, whether they run or not
    #[arg(short = 'n', long, value_name = "COUNT", conflicts_with = "latest")]
    pub(crate) last: Option<usize>,
    /// Only the one that was made last
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print everything at full length
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// How to print: table, json, or a template such as '{{.Names}} {{.Status}}' [default: table]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Layout>,
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
    /// Only what was written since: 10m (ago), 2026-01-02T15:04:05, 2026-01-02, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only what was written until then
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Name or id
    pub(crate) container: String,
}

/// `wharf cp`.
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// Keep owner and group
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Copy what a link at SOURCE leads to
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// CONTAINER:PATH, a path here, or - for a tar stream on standard input
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// CONTAINER:PATH, a path here, or - for a tar stream on standard output
    #[arg(value_name = "DESTINATION", allow_hyphen_values = true)]
    pub(crate) destination: String,
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
    /// Give it every capability
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Feed its standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Make its standard streams a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Keys that detach from a terminal: single characters, ctrl-X or DEL, with commas between
    /// [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Name or id
    pub(crate) container: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `wharf inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// How to print: json, or a template such as '{{.State.Status}}' [default: json]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<Layout>,
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
