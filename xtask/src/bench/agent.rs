//! The program at both ends: `cargo xtask bench-agent serve | load | hold | pace | knock`.
//!
//! Both are processes of their own, one in the container's namespace and one, for each window, in
//! the client's, so that they are scheduled as real peers are. Threads block: with as few cores as
//! connections an event loop of ours would measure itself.

mod cpu;
mod hold;
mod knock;
mod order;
mod pace;
mod serve;
mod slices;
mod tcp;
mod udp;
mod window;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::column::{Column, Load, Service};

pub(crate) use self::cpu::busy_seconds;
pub(crate) use self::knock::Knocked;
pub(crate) use self::pace::Paced;
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
    /// Exchange 64 bytes at a fixed pace until standard input ends; write what was seen as JSON.
    Pace {
        /// Where to.
        #[arg(long)]
        to: SocketAddr,
        /// The pace, in microseconds.
        #[arg(long)]
        interval: u64,
    },
    /// Connect again and again, and write the times as JSON.
    Knock {
        /// Where to, in turn.
        #[arg(long, required = true, value_delimiter = ',')]
        to: Vec<SocketAddr>,
        /// How often.
        #[arg(long)]
        times: usize,
    },
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
    /// Another end, which has a window of its own: a slice here and a slice there, in turn. For
    /// single streams and exchanges.
    #[arg(long)]
    pub(crate) beside: Option<SocketAddr>,
    /// Keep a single stream steady: its ends on processors of their own, and as many bytes under
    /// way as it is given, not as the kernel's tuning happens to find.
    #[arg(long)]
    pub(crate) steady: bool,
}

/// Does what one end has to do, in a session of its own as the proxies have.
pub(crate) fn run(agent: &Agent) -> Result<()> {
    rustix::process::setsid().context("begin a session")?;
    match agent {
        Agent::Serve { at } => serve::run(*at),
        Agent::Hold { to, connections } => hold::run(*to, *connections),
        Agent::Load(target) => tell(&load(target)?),
        Agent::Pace { to, interval } => tell(&pace::run(*to, Duration::from_micros(*interval))?),
        Agent::Knock { to, times } => tell(&knock::run(to, *times)?),
    }
}

fn tell(found: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(found)?);
    Ok(())
}

/// The windows of `to` and of what is beside it.
fn load(target: &Target) -> Result<Vec<Window>> {
    let lasting = Duration::try_from_secs_f64(target.seconds)?;
    let load = target.column.load();
    let single = matches!(load, Load::Upload { streams: 1 } | Load::Download { streams: 1 });
    let steady = target.steady && single;
    if steady {
        cpu::keep_apart(cpu::End::Client)?;
    }
    let in_slices = single || matches!(load, Load::Exchange { .. });
    let window = |to, lasting| put(load, to, target.count, lasting, steady);
    match target.beside {
        None => Ok(vec![window(target.to, lasting)?]),
        Some(_) if !in_slices => bail!("only single streams and exchanges go in slices"),
        Some(beside) => slices::alternate([target.to, beside], lasting, window).map(Vec::from),
    }
}

fn put(
    load: Load,
    to: SocketAddr,
    count: SocketAddr,
    lasting: Duration,
    steady: bool,
) -> Result<Window> {
    match load {
        Load::Upload { streams } => tcp::upload(to, streams, lasting, steady),
        Load::Download { streams } => tcp::download(to, streams, lasting, steady),
        Load::Exchange { connections } => tcp::exchange(to, connections, lasting),
        Load::Connect { workers } => tcp::connect(to, workers, lasting),
        Load::Flood => udp::flood(to, count, lasting),
        Load::Clean => udp::clean(to, count, lasting),
        Load::Echo { flows } => udp::echo(to, flows, lasting),
        Load::Ask => udp::ask(to, lasting),
    }
}

/// Asks a service for one answer; the counting service gives none, so that it passes.
pub(crate) fn answers(service: Service, at: SocketAddr) -> io::Result<()> {
    match service {
        Service::Stream => say(at, &order::Order::Echo.encode(false)),
        Service::Held => say(at, &[]),
        Service::Short => tcp::visit(at),
        Service::Sink | Service::Count => Ok(()),
        Service::Echo if udp::Flow::connected(at)?.exchange()? => Ok(()),
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
