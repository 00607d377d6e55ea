//! What can be typed: the one definition that help, completions and man pages are made from.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::template::{Template, TemplateError};

mod container;
mod explain;
mod image;
mod limits;
mod long;
mod network;
mod options;
mod prune;
mod publish;
mod volume;

pub(crate) use container::{
    AttachArgs, CpArgs, CreateArgs, ExecArgs, InspectArgs, KillArgs, LogsArgs, PortArgs, PsArgs,
    RenameArgs, RmArgs, RunArgs, StartArgs, StopArgs, WaitArgs,
};
pub(crate) use explain::{DoctorArgs, ExplainArgs};
pub(crate) use image::{
    HistoryArgs, ImageCommand, ImagesArgs, ImportArgs, LoadArgs, LoginArgs, LogoutArgs, PullArgs,
    PullOptions, PullWhen, RmiArgs, SaveArgs, TagArgs,
};
pub(crate) use limits::{PauseArgs, StatsArgs, TopArgs, UpdateArgs};
pub(crate) use long::ContainerCommand;
pub(crate) use network::{
    NetworkCommand, NetworkConnectArgs, NetworkCreateArgs, NetworkDisconnectArgs, NetworkListArgs,
};
pub(crate) use prune::{PruneArgs, SystemCommand};
pub(crate) use publish::{EventFormat, EventsArgs, PortsArgs, PublishArgs, UnpublishArgs};
pub(crate) use volume::{
    VolumeCommand, VolumeCreateArgs, VolumeListArgs, VolumePruneArgs, VolumeRmArgs,
};

/// Publishes container ports: runs containers and makes their ports reachable on this host.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
First steps:
  wharf run -d -p 8080:80 --name web wharf/whoami    publish a small web server on port 8080
  curl http://127.0.0.1:8080/                        see what it sees of you
  wharf ports                                        see what serves the port, and how
  wharf rm -f web                                    take it away

Environment:
  WHARF_STATE_DIR  where containers, images and the ledger are kept (default /var/lib/wharf)
  WHARF_RUN_DIR    where sockets and process files are kept (default /run/wharf)

Exit codes: 125 when `run`, `create` or `exec` itself fails, 126 when the command cannot be
executed, 127 when it is not found, otherwise the command's own; 1 for every other failure,
2 for a command line that cannot be understood.";

const DOCKER_PROXY_HELP: &str = "\
Dockerd calls it by a link named docker-proxy, once for each published port. When a relay of Wharf's
runs on the host (WHARF_RUN_DIR, /run/wharf by default), the port is handed to it; else this process
serves the port. `wharf docker-proxy -help` prints the flags.";

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a container and start it
    Run(RunArgs),
    /// Make a container without starting it
    Create(CreateArgs),
    /// Start containers that were made or have exited
    Start(StartArgs),
    /// Attach to a container that runs
    Attach(AttachArgs),
    /// Stop containers: their stop signal, then SIGKILL after a while
    Stop(StopArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Stop containers and start them again
    Restart(StopArgs),
    /// Stop every process of containers where it is
    Pause(PauseArgs),
    /// Let paused containers go on
    Unpause(PauseArgs),
    /// Change limits of containers
    Update(UpdateArgs),
    /// Remove containers
    Rm(RmArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// List containers
    Ps(PsArgs),
    /// Show what a container has written
    Logs(LogsArgs),
    /// Copy files between a container and this host
    Cp(CpArgs),
    /// Show what containers use, each second
    Stats(StatsArgs),
    /// List the processes of a container
    Top(TopArgs),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Show everything about containers, images or networks, as JSON
    Inspect(InspectArgs),
    /// Wait until containers have exited, and print their exit codes
    Wait(WaitArgs),
    /// List the published ports of one container
    Port(PortArgs),
    /// Publish ports of something that runs, or change how they are published
    Publish(PublishArgs),
    /// Take published ports down
    Unpublish(UnpublishArgs),
    /// List every publication: where it is reached, where it goes, which plane serves it
    Ports(PortsArgs),
    /// Tell the way a packet takes to a published port, hop by hop, and where it would fail
    Explain(ExplainArgs),
    /// Tell what this host can do, what gets in the way of published ports, and how to mend it
    Doctor(DoctorArgs),
    /// Tell what happens, as it happens
    Events(EventsArgs),
    /// List images
    Images(ImagesArgs),
    /// Load images from an archive
    Load(LoadArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// Get an image from a registry
    Pull(PullArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Show how an image was made
    History(HistoryArgs),
    /// Write images into an archive
    Save(SaveArgs),
    /// Make an image of the tar of a root file system
    Import(ImportArgs),
    /// Manage images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Keep a user and password for a registry
    Login(LoginArgs),
    /// Forget the user and password for a registry
    Logout(LogoutArgs),
    /// Manage networks
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Manage containers, with Docker's longer names for some verbs
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Manage everything together
    #[command(subcommand)]
    System(SystemCommand),
    /// Manage volumes
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Run the daemon in the foreground (verbs start it in the background when it is needed)
    Daemon(DaemonArgs),
    /// Run the user-space relay (the daemon starts it when it is needed)
    Relay(RelayArgs),
    /// Serve one port for Docker: the program that dockerd's --userland-proxy-path names
    #[command(disable_help_flag = true, after_help = DOCKER_PROXY_HELP)]
    DockerProxy(DockerProxyArgs),
    /// Stop the daemon; running containers and their ports go on without it
    Shutdown(ShutdownArgs),
    /// Show the version of the program and of the daemon
    Version(ListArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
    /// Write the man pages into a directory
    Man(ManArgs),
    /// The process that opens sockets in other network namespaces for the relay
    #[command(hide = true)]
    RelayOpener,
    /// The process that holds one container
    #[command(hide = true)]
    Shim(DirArgs),
    /// The process that runs one command in a container
    #[command(hide = true)]
    ShimExec(ShimExecArgs),
    /// The process that reads and writes files of a container
    #[command(hide = true)]
    ShimCopy(ShimExecArgs),
    /// The web server of the built-in image wharf/whoami
    #[command(hide = true)]
    Whoami(WhoamiArgs),
}

/// How a listing is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    #[default]
    Table,
    /// A JSON array for programs
    Json,
}

/// How a listing is printed that scripts written for Docker print in their own way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A table for people.
    #[default]
    Table,
    /// A JSON array for programs.
    Json,
    /// A line for each thing.
    Template(Template),
}

impl FromStr for Layout {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            template if template.contains("{{") => template.parse().map(Self::Template),
            other => Err(TemplateError::Unknown(other.to_owned())),
        }
    }
}

/// A listing with nothing else to choose.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `wharf daemon`.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Address pools networks take their subnets from, as BASE/PREFIX:SUBNET-PREFIX (repeatable)
    #[arg(long = "pool", env = "WHARF_POOLS", value_name = "POOL", value_delimiter = ',')]
    pub(crate) pools: Vec<String>,
    /// Let other programs change our nftables table, which is put back then; otherwise they cannot,
    /// on kernels since 6.9
    #[arg(long, env = "WHARF_SHARED_TABLE", num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) shared_table: bool,
    /// Do without eBPF; processes of this host are then served as others are
    #[arg(long, env = "WHARF_NO_EBPF", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, value_name = "BOOL")]
    pub(crate) no_ebpf: bool,
    /// Ranges of so many ports and more are listened on by one socket, by eBPF; 0: none is
    /// [default: 1024]
    #[arg(long, env = "WHARF_STEER_FROM", value_name = "PORTS")]
    pub(crate) steer_from: Option<usize>,
    /// Where Docker is asked about its containers (default: /var/run/docker.sock)
    #[arg(long, env = "WHARF_DOCKER_SOCKET", value_name = "PATH")]
    pub(crate) docker_socket: Option<PathBuf>,
    /// Where Podman is asked about its containers (default: /run/podman/podman.sock)
    #[arg(long, env = "WHARF_PODMAN_SOCKET", value_name = "PATH")]
    pub(crate) podman_socket: Option<PathBuf>,
    /// The file that names the host's resolvers, for what is no container's name
    /// (default: /etc/resolv.conf)
    #[arg(long, env = "WHARF_RESOLV_CONF", value_name = "PATH")]
    pub(crate) resolv_conf: Option<PathBuf>,
    /// Registries that may be spoken to over plain HTTP, as HOST, HOST:PORT or a network (repeatable);
    /// this machine always may
    #[arg(
        long = "insecure-registry",
        env = "WHARF_INSECURE_REGISTRIES",
        value_name = "REGISTRY",
        value_delimiter = ','
    )]
    pub(crate) insecure_registries: Vec<String>,
    /// How long a relayed connection may take to reach its container (default: 5s)
    #[arg(long, env = "WHARF_CONNECT_TIMEOUT", value_name = "TIME")]
    pub(crate) connect_timeout: Option<String>,
    /// How long a relayed connection may carry nothing before it is reset (default: for ever)
    #[arg(long, env = "WHARF_IDLE_TIMEOUT", value_name = "TIME")]
    pub(crate) idle_timeout: Option<String>,
}

/// `wharf relay`.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// Where the control socket goes (default: the run directory)
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) run_dir: Option<PathBuf>,
    /// Take the place of the relay that runs; its connections may go on for so many seconds
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub(crate) take_over: Option<u32>,
    /// What to do with the relay that runs, instead of running one
    #[command(subcommand)]
    pub(crate) action: Option<RelayAction>,
}

/// What to do with the relay that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum RelayAction {
    /// Replace the relay by this program's, without a refused connection
    ///
    /// The new relay takes all ports, UDP flows and counters over; the old one carries its TCP
    /// connections to their end, or resets them when their time is over.
    Upgrade {
        /// How long connections of the old relay, and of any before it, may go on
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        drain_seconds: u32,
    },
}

/// `wharf shutdown`.
#[derive(Debug, Args)]
pub(crate) struct ShutdownArgs {
    /// Remove every container and network first, so that nothing of Wharf keeps running
    #[arg(long)]
    pub(crate) all: bool,
}

/// `wharf completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `wharf man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The directory; made when missing
    pub(crate) directory: PathBuf,
}

/// A process of ours that works in a directory.
#[derive(Debug, Args)]
pub(crate) struct DirArgs {
    /// The container's run directory
    #[arg(long)]
    pub(crate) dir: PathBuf,
}

/// `wharf shim-exec`.
#[derive(Debug, Args)]
pub(crate) struct ShimExecArgs {
    /// The container's run directory
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// The file that describes the command
    #[arg(long)]
    pub(crate) spec: PathBuf,
}

/// `wharf docker-proxy`.
#[derive(Debug, Args)]
pub(crate) struct DockerProxyArgs {
    /// Flags in Go's style: -proto, -host-ip, -host-port, -container-ip, -container-port
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    pub(crate) rest: Vec<OsString>,
}

/// `wharf whoami`.
#[derive(Debug, Args)]
pub(crate) struct WhoamiArgs {
    /// Arguments of the server
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_the_image_belongs_to_the_command() {
        let cli =
            Cli::try_parse_from(["wharf", "run", "-d", "-p", "80:80", "img", "sh", "-c", "x"]);
        let Command::Run(run) = cli.unwrap().command else { panic!("not run") };
        assert_eq!(run.create.command, ["sh", "-c", "x"]);
        assert_eq!(run.create.options.publish, ["80:80"]);
    }

    #[test]
    fn every_flag_of_docker_proxy_reaches_it() {
        let line = ["wharf", "docker-proxy", "-host-ip", "0.0.0.0", "-v", "--help", "-proto=tcp"];
        let Command::DockerProxy(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not docker-proxy")
        };
        assert_eq!(args.rest, line[2..]);
    }

    #[test]
    fn h_is_the_host_name_as_in_docker() {
        let cli = Cli::try_parse_from(["wharf", "create", "-h", "box", "img"]).unwrap();
        let Command::Create(create) = cli.command else { panic!("not create") };
        assert_eq!(create.options.hostname.as_deref(), Some("box"));
    }
}
