//! The program at both ends: `cargo xtask bench-agent serve | load | hold`.
//!
//! Both are processes of their own, one in the container's namespace and one, for each window, in
//! the client's, so that they are scheduled as real peers are. Threads block: with as few cores as
//! connections an event loop of ours would measure itself.

mod cpu;
mod hold;
mod order;
mod serve;
mod tcp;
mod udp;
mod window;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::column::{Column, Load, Service};

pub(crate) use self::cpu::busy_seconds;
pub(crate) use self::window::Window;

/// The two ends of a measurement.
#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// Serve everything the columns need, until standard input ends.
    Serve {
        /// The address to listen on.
        #[arg(long)]
        at: IpAddr,
    },
    /// Keep connections open until standard input ends.
    Hold {
        /// Where to.
        #[arg(long)]
        to: SocketAddr,
        /// How many.
        #[arg(long)]
        connections: usize,
    },
    /// Put one window of load on a service and write what happened as JSON.
    Load(Target),
}

/// Where a window's load goes.
#[derive(Debug, Args)]
pub(crate) struct Target {
    #[arg(long)]
    pub(crate) column: Column,
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// Where to ask how many datagrams arrived.
    #[arg(long)]
    pub(crate) count: SocketAddr,
    #[arg(long)]
    pub(crate) seconds: f64,
}

/// Does what one end has to do, in a session of its own as the proxies have.
pub(crate) fn run(agent: &Agent) -> Result<()> {
    rustix::process::setsid().context("begin a session")?;
    match agent {
        Agent::Serve { at } => serve::run(*at),
        Agent::Hold { to, connections } => hold::run(*to, *connections),
        Agent::Load(target) => {
            let window = load(target)?;
            println!("{}", serde_json::to_string(&window)?);
            Ok(())
        }
    }
}

fn load(target: &Target) -> Result<Window> {
    let Target { to, count, .. } = *target;
    let lasting = Duration::try_from_secs_f64(target.seconds)?;
    match target.column.load() {
        Load::Upload { streams } => tcp::upload(to, streams, lasting),
        Load::Download { streams } => tcp::download(to, streams, lasting),
        Load::Exchange { connections } => tcp::exchange(to, connections, lasting),
        Load::Connect { workers } => tcp::connect(to, workers, lasting),
        Load::Flood => udp::flood(to, count, lasting),
        Load::Clean => udp::clean(to, count, lasting),
        Load::Echo { flows } => udp::echo(to, flows, lasting),
    }
}

/// Asks a service for one answer; the counting service gives none, so that it passes.
pub(crate) fn answers(service: Service, at: SocketAddr) -> io::Result<()> {
    match service {
        Service::Stream => say(at, &order::Order::Echo.encode()),
        Service::Held => say(at, &[]),
        Service::Short => tcp::visit(at),
        Service::Sink | Service::Count => Ok(()),
        Service::Echo if udp::exchange(&udp::connected(at)?)? => Ok(()),
        Service::Echo => Err(ErrorKind::TimedOut.into()),
    }
}

fn say(at: SocketAddr, introduction: &[u8]) -> io::Result<()> {
    let mut stream = tcp::opened(at)?;
    let mut message = [0x5a; tcp::MESSAGE];
    stream.write_all(introduction)?;
    stream.write_all(&message)?;
    stream.read_exact(&mut message)
}
