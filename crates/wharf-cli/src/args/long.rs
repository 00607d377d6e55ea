//! Docker's longer names for verbs: `wharf container run` for `wharf run`.

use clap::Subcommand;

use super::{
    AttachArgs, Command, CpArgs, CreateArgs, ExecArgs, InspectArgs, KillArgs, LogsArgs, PauseArgs,
    PortArgs, PruneArgs, PsArgs, RenameArgs, RmArgs, RunArgs, StartArgs, StatsArgs, StopArgs,
    TopArgs, UpdateArgs, WaitArgs,
};

/// `wharf container …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Attach to a container that runs
    Attach(AttachArgs),
    /// Copy files between a container and this host
    Cp(CpArgs),
    /// Make a container without starting it
    Create(CreateArgs),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Show everything about containers
    Inspect(InspectArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Show what a container has written
    Logs(LogsArgs),
    /// List containers, as `wharf ps`
    #[command(visible_aliases = ["list", "ps"])]
    Ls(PsArgs),
    /// Stop every process of containers where it is
    Pause(PauseArgs),
    /// List the published ports of one container
    Port(PortArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Stop containers and start them again
    Restart(StopArgs),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Make a container and start it
    Run(RunArgs),
    /// Start containers that were made or have exited
    Start(StartArgs),
    /// Show what containers use, each second
    Stats(StatsArgs),
    /// Stop containers: their stop signal, then SIGKILL after a while
    Stop(StopArgs),
    /// List the processes of a container
    Top(TopArgs),
    /// Let paused containers go on
    Unpause(PauseArgs),
    /// Change limits of containers
    Update(UpdateArgs),
    /// Wait until containers have exited, and print their exit codes
    Wait(WaitArgs),
    /// Remove all containers that do not run
    Prune(PruneArgs),
}

// === impl ContainerCommand ===

impl ContainerCommand {
    /// The short form of the same, where there is one.
    pub(crate) fn short(self) -> Command {
        match self {
            Self::Attach(args) => Command::Attach(args),
            Self::Cp(args) => Command::Cp(args),
            Self::Create(args) => Command::Create(args),
            Self::Exec(args) => Command::Exec(args),
            Self::Inspect(args) => Command::Inspect(args),
            Self::Kill(args) => Command::Kill(args),
            Self::Logs(args) => Command::Logs(args),
            Self::Ls(args) => Command::Ps(args),
            Self::Pause(args) => Command::Pause(args),
            Self::Port(args) => Command::Port(args),
            Self::Rename(args) => Command::Rename(args),
            Self::Restart(args) => Command::Restart(args),
            Self::Rm(args) => Command::Rm(args),
            Self::Run(args) => Command::Run(args),
            Self::Start(args) => Command::Start(args),
            Self::Stats(args) => Command::Stats(args),
            Self::Stop(args) => Command::Stop(args),
            Self::Top(args) => Command::Top(args),
            Self::Unpause(args) => Command::Unpause(args),
            Self::Update(args) => Command::Update(args),
            Self::Wait(args) => Command::Wait(args),
            Self::Prune(_) => Command::Container(self),
        }
    }
}
