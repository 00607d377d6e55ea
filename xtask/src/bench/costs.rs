//! What it costs to be there: time until ports answer, memory of ports, memory of idle connections.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::column::Service;
use super::contender::{Contender, Kind, Mapping, Running, await_answers};
use super::ground::{Ground, HOST, agent};
use super::memory::Memory;
use super::rounds::Interrupt;
use super::statistics::median;

/// How often a first port is timed.
const STARTS: usize = 5;
/// Enough that the processes' own memory does not matter.
const PORTS: u16 = 1000;
/// For those that take a process for each port.
const FEW_PORTS: u16 = 50;
const CONNECTIONS: usize = 2000;
/// For those that take a process for each connection.
const FEW_CONNECTIONS: usize = 200;
/// Lazily freed memory of what ended before is gone by then.
const REST: Duration = Duration::from_millis(500);
const HOLD_LIMIT: Duration = Duration::from_secs(60);

/// What one contender costs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Costs {
    pub(crate) name: String,
    /// From the start of the program until its only port answers.
    pub(crate) first_port: Duration,
    /// From the start of the program until many ports answer, for each of them.
    pub(crate) each_port: Duration,
    /// How many ports that was.
    pub(crate) ports: u16,
    /// For ours, from the request to a running relay until the new port answers.
    pub(crate) another_port: Option<Duration>,
    /// For each listening port.
    pub(crate) port: Memory,
    /// For each idle connection, without its ends in the client and the container.
    pub(crate) connection: Memory,
}

/// Measures one contender after the other, each alone.
pub(crate) fn measure(
    ground: &Ground,
    contenders: &[Contender],
    interrupt: &Interrupt,
) -> Result<Vec<Costs>> {
    let mut direct = None;
    let mut costs = Vec::new();
    for contender in contenders {
        interrupt.check()?;
        if contender.kind == Kind::Direct {
            direct = Some(idle(ground, contender, CONNECTIONS)?);
            continue;
        }
        eprintln!("start time and memory of {}", contender.name);
        let ends = direct.map_or(0.0, |memory: Memory| memory.kernel);
        costs.push(Costs::of(ground, contender, ends)?);
    }
    Ok(costs)
}

// === impl Costs ===

impl Costs {
    fn of(ground: &Ground, contender: &Contender, ends: f64) -> Result<Self> {
        let per_process = matches!(contender.kind, Kind::DockerProxy | Kind::Socat);
        let ports = if per_process { FEW_PORTS } else { PORTS };
        let connections = if contender.kind == Kind::Socat { FEW_CONNECTIONS } else { CONNECTIONS };
        let starts: Result<Vec<f64>> =
            (0..STARTS).map(|_| Ok(start(ground, contender, 1)?.as_secs_f64())).collect();
        let idle = idle(ground, contender, connections)?;
        Ok(Self {
            name: contender.name.clone(),
            first_port: Duration::from_secs_f64(median(starts?).unwrap_or_default()),
            each_port: start(ground, contender, ports)? / u32::from(ports),
            ports,
            another_port: another(ground, contender)?,
            port: listening(ground, contender, ports)?,
            connection: Memory { kernel: idle.kernel - ends, ..idle },
        })
    }
}

/// The time from the start until `ports` ports have answered.
fn start(ground: &Ground, contender: &Contender, ports: u16) -> Result<Duration> {
    let mappings: Vec<Mapping> = contender.extras(ports).collect();
    let begun = Instant::now();
    let running = contender.start(ground, &mappings)?;
    await_answers(&ground.host, HOST, &some(&mappings))?;
    let took = begun.elapsed();
    drop(running);
    Ok(took)
}

/// Some from all over, and the last: asking a thousand would take longer than starting them.
fn some(mappings: &[Mapping]) -> Vec<Mapping> {
    let step = mappings.len().div_ceil(usize::from(FEW_PORTS)).max(1);
    mappings.iter().rev().step_by(step).copied().collect()
}

/// The time until one more port of a running relay answers; others have to be started anew.
fn another(ground: &Ground, contender: &Contender) -> Result<Option<Duration>> {
    let mut times = Vec::new();
    let mappings: Vec<Mapping> = contender.extras(1 + u16::try_from(STARTS)?).collect();
    let Some((first, more)) = mappings.split_first() else { return Ok(None) };
    let mut running = contender.start(ground, std::slice::from_ref(first))?;
    for mapping in more {
        let begun = Instant::now();
        if !running.add(ground, std::slice::from_ref(mapping))? {
            return Ok(None);
        }
        await_answers(&ground.host, HOST, std::slice::from_ref(mapping))?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(median(times).map(Duration::from_secs_f64))
}

/// Memory for each of `ports` ports: the difference to a single port.
fn listening(ground: &Ground, contender: &Contender, ports: u16) -> Result<Memory> {
    let one = occupied(ground, contender, 1)?;
    let many = occupied(ground, contender, 1 + ports)?;
    Ok((many - one) / f64::from(ports))
}

fn occupied(ground: &Ground, contender: &Contender, ports: u16) -> Result<Memory> {
    std::thread::sleep(REST);
    let before = Memory::now(&[])?;
    let mappings: Vec<Mapping> = contender.extras(ports).collect();
    let running = contender.start(ground, &mappings)?;
    // Every answer would leave something behind in the kernel for a minute; where one process has
    // all ports the last one tells that all are there.
    let asked = match contender.kind {
        Kind::DockerProxy | Kind::Socat => mappings.as_slice(),
        _ => mappings.split_at_checked(mappings.len().saturating_sub(1)).unwrap_or_default().1,
    };
    await_answers(&ground.host, HOST, asked)?;
    std::thread::sleep(REST);
    Ok(Memory::now(&running.processes()?)? - before)
}

/// Memory for each of `connections` idle connections, with the kernel's for their ends.
fn idle(ground: &Ground, contender: &Contender, connections: usize) -> Result<Memory> {
    let running = Running::ready(contender, ground)?;
    std::thread::sleep(REST);
    let before = Memory::now(&running.processes()?)?;
    let mut command = agent("hold");
    command.args(["--to", &contender.address(Service::Held).to_string()]);
    command.args(["--connections", &connections.to_string()]).stdin(Stdio::piped());
    let mut holder = ground.client.host.spawn(command)?;
    holder.wait_for("ready", HOLD_LIMIT)?;
    std::thread::sleep(REST);
    let held = Memory::now(&running.processes()?)? - before;
    Ok(held / connections as f64)
}
