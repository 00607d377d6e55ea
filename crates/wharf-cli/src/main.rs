//! The `wharf` program: parse, do, exit code.
//!
//! Exit codes: 125 for our own failures at `run`, `create` and `exec`, 126 and 127 when the command
//! cannot be executed or is not found, the command's own otherwise; 1 for every other failure; 2
//! for a command line that cannot be understood.

mod args;
mod attach;
mod connect;
mod containers;
mod cp;
mod create;
mod docker_proxy;
mod doctor;
mod env_file;
mod events;
mod exec;
mod explain;
mod failure;
mod images;
mod joining;
mod listing;
mod misread;
mod networks;
mod ports;
mod processes;
mod prune;
mod publish;
mod shell;
mod stats;
mod template;
mod volumes;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, ContainerCommand, SystemCommand};
use crate::connect::Session;
use crate::failure::{Exit, Outcome};

fn main() -> ExitCode {
    if let Some(args) = docker_proxy::arguments(std::env::args_os()) {
        return docker_proxy::run(&args);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread::report(&error),
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(exit) => exit.report(),
    }
}

/// The processes of ours run on their own; everything else is a conversation with the daemon.
fn dispatch(command: Command) -> Outcome {
    let command = match command {
        Command::Container(long) => long.short(),
        other => other,
    };
    match command {
        Command::Daemon(args) => processes::daemon(&args),
        Command::Relay(args) => processes::relay(args),
        Command::RelayOpener => processes::relay_opener(),
        Command::Shim(args) => processes::shim(&args),
        Command::ShimExec(args) => processes::shim_exec(&args),
        Command::ShimCopy(args) => processes::shim_copy(&args),
        Command::Whoami(args) => processes::whoami(&args),
        Command::DockerProxy(args) => Ok(docker_proxy::run(&args.rest)),
        Command::Completion(args) => shell::completion(&args),
        Command::Man(args) => shell::man(&args),
        other => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| Exit::failed(format!("cannot start: {e}")))?;
            let outcome = runtime.block_on(converse(other));
            // Somebody may still read from a terminal where nobody types.
            runtime.shutdown_background();
            outcome
        }
    }
}

async fn converse(command: Command) -> Outcome {
    let session = Session::new();
    match command {
        Command::Run(args) => create::run(&session, args).await,
        Command::Create(args) => create::create(&session, args).await,
        Command::Start(args) => containers::start(&session, args).await,
        Command::Attach(args) => attach::attach(&session, args).await,
        Command::Stop(args) => containers::stop(&session, args).await,
        Command::Kill(args) => containers::kill(&session, args).await,
        Command::Restart(args) => containers::restart(&session, args).await,
        Command::Pause(args) => stats::pause(&session, args).await,
        Command::Unpause(args) => stats::unpause(&session, args).await,
        Command::Update(args) => stats::update(&session, args).await,
        Command::Stats(args) => stats::stats(&session, args).await,
        Command::Top(args) => stats::top(&session, args).await,
        Command::Volume(command) => volumes::volume(&session, command).await,
        Command::Rm(args) => containers::rm(&session, args).await,
        Command::Wait(args) => containers::wait(&session, args).await,
        Command::Rename(args) => containers::rename(&session, args).await,
        Command::Cp(args) => cp::cp(&session, args).await,
        Command::Ps(args) => listing::ps(&session, args).await,
        Command::Container(ContainerCommand::Prune(args)) => {
            prune::prune(&session, &args, &[prune::CONTAINERS]).await
        }
        Command::System(SystemCommand::Prune(args)) => {
            let images = if args.all { prune::ALL_IMAGES } else { prune::IMAGES };
            let kinds = [prune::CONTAINERS, prune::NETWORKS, images];
            prune::prune(&session, &args.prune, &kinds).await
        }
        Command::Logs(args) => attach::logs(&session, args).await,
        Command::Exec(args) => exec::exec(&session, args).await,
        Command::Inspect(args) => listing::inspect(&session, args).await,
        Command::Port(args) => ports::port(&session, args).await,
        Command::Publish(args) => publish::publish(&session, args).await,
        Command::Unpublish(args) => publish::unpublish(&session, args).await,
        Command::Ports(args) => ports::ports(&session, args).await,
        Command::Explain(args) => explain::explain(&session, args).await,
        Command::Doctor(args) => doctor::doctor(&session, args).await,
        Command::Events(args) => events::events(&session, args).await,
        Command::Images(args) => images::images(&session, args).await,
        Command::Load(args) => images::load(&session, args).await,
        Command::Rmi(args) => images::rmi(&session, args).await,
        Command::Pull(args) => images::pull::pull(&session, args).await,
        Command::Tag(args) => images::tag(&session, args).await,
        Command::History(args) => images::history::history(&session, args).await,
        Command::Save(args) => images::archive::save(&session, args).await,
        Command::Import(args) => images::archive::import(&session, args).await,
        Command::Image(command) => images::image(&session, command).await,
        Command::Login(args) => images::login::login(&session, args).await,
        Command::Logout(args) => images::login::logout(args).await,
        Command::Network(command) => networks::network(&session, command).await,
        Command::Shutdown(args) => containers::shutdown(&session, args).await,
        Command::Version(args) => listing::version(&session, args).await,
        _ => Err(Exit::failed("this verb runs on its own")),
    }
}
