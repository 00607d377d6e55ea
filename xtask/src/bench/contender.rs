//! Those that are compared: the direct path, and proxies that run beside each other on the host.

mod ours;
mod peers;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wharf_lab::Host;

use self::ours::Ours;
pub(crate) use self::peers::{Programs, docker_proxy};
use super::agent::{self, Window};
use super::column::{Column, Service};
use super::ground::{CONTAINER, Ground, HOST};
use super::rounds::Way;

/// Each proxy has a block of ports that begins at a multiple of this; its sixth and later ports all
/// lead to [`Service::Short`].
const BLOCK: u16 = 2000;
const START_LIMIT: Duration = Duration::from_secs(30);
/// Much shorter than any start that is measured.
const STEP: Duration = Duration::from_micros(200);

/// What kind of thing carries the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No proxy: the host forwards.
    Direct,
    /// Our relay, from this program.
    Ours(PathBuf),
    /// One process for each port.
    DockerProxy,
    /// In TCP mode with splicing.
    Haproxy,
    /// Its stream module.
    Nginx,
    /// A process for each connection.
    Socat,
}

/// A name in the results, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Where its block of ports is.
    pub(crate) place: u16,
}

/// A contender that runs; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) contender: Contender,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Kernel,
    Ours(Ours),
    Programs(Programs),
}

/// The way through a contender on the ground.
#[derive(Debug)]
pub(crate) struct Through<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) running: Running,
}

/// One port of the host and the service it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) port: u16,
    pub(crate) service: Service,
}

// === impl Contender ===

impl Contender {
    /// Gives each kind a block of ports.
    pub(crate) fn number(kinds: Vec<(&str, Kind)>) -> Vec<Self> {
        let numbered = (0..).zip(kinds);
        numbered.map(|(place, (name, kind))| Self { name: name.to_owned(), kind, place }).collect()
    }

    /// Whether it can carry that column's load at all.
    pub(crate) fn supports(&self, column: Column) -> bool {
        // HAProxy relays TCP only.
        self.kind != Kind::Haproxy || !column.is_udp()
    }

    /// Where the client finds `service`.
    pub(crate) fn address(&self, service: Service) -> SocketAddr {
        match self.kind {
            Kind::Direct => SocketAddr::new(CONTAINER, service.port()),
            _ => SocketAddr::new(HOST, self.port(service.offset())),
        }
    }

    /// The port at `offset` of its block.
    pub(crate) fn port(&self, offset: u16) -> u16 {
        BLOCK * (self.place + 1) + offset
    }

    /// Its ports: one for each service, and `extra` that lead to [`Service::Short`].
    pub(crate) fn mappings(&self, extra: u16) -> Vec<Mapping> {
        let carried = |service: &Service| !service.is_udp() || self.kind != Kind::Haproxy;
        let services = Service::PROXIED.into_iter().filter(carried);
        let mut mappings: Vec<Mapping> = services
            .map(|service| Mapping { port: self.port(service.offset()), service })
            .collect();
        mappings.extend(self.extras(extra));
        mappings
    }

    /// `extra` ports that lead to [`Service::Short`].
    pub(crate) fn extras(&self, extra: u16) -> impl Iterator<Item = Mapping> {
        let first = self.port(Service::Count.offset());
        (first..first + extra).map(|port| Mapping { port, service: Service::Short })
    }

    /// Starts it with these ports; they may not answer yet.
    pub(crate) fn start(&self, ground: &Ground, mappings: &[Mapping]) -> Result<Running> {
        let engine = match &self.kind {
            Kind::Direct => Engine::Kernel,
            Kind::Ours(program) => {
                let mut ours = Ours::start(ground, &self.name, program)?;
                ours.publish(ground, mappings)?;
                Engine::Ours(ours)
            }
            _ => Engine::Programs(peers::start(self, ground, mappings)?),
        };
        Ok(Running { contender: self.clone(), engine })
    }
}

// === impl Running ===

impl Running {
    /// Starts a contender with a port for each service, and waits until all of them answer.
    pub(crate) fn ready(contender: &Contender, ground: &Ground) -> Result<Self> {
        let mappings = contender.mappings(0);
        let running = contender.start(ground, &mappings)?;
        if contender.kind != Kind::Direct {
            await_answers(&ground.host, HOST, &mappings)?;
        }
        Ok(running)
    }

    /// Gives a running contender more ports; `false` when it would have to be started anew.
    pub(crate) fn add(&mut self, ground: &Ground, mappings: &[Mapping]) -> Result<bool> {
        match &mut self.engine {
            Engine::Ours(ours) => ours.publish(ground, mappings).map(|()| true),
            Engine::Kernel | Engine::Programs(_) => Ok(false),
        }
    }

    /// Its processes now.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        match &self.engine {
            Engine::Kernel => Ok(Vec::new()),
            Engine::Ours(ours) => ours.processes(),
            Engine::Programs(programs) => programs.processes(),
        }
    }
}

// === impl Through ===

impl Way for Through<'_> {
    fn name(&self) -> &str {
        &self.running.contender.name
    }

    fn supports(&self, column: Column) -> bool {
        self.running.contender.supports(column)
    }

    fn window(&self, column: Column, lasting: Duration) -> Result<Window> {
        let to = self.running.contender.address(column.service());
        self.ground.client.window(column, to, lasting)
    }
}

/// Waits until every port answers at this address of `host`, each in its own way.
pub(crate) fn await_answers(host: &Host, at: IpAddr, mappings: &[Mapping]) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    host.run(|| {
        mappings.iter().try_for_each(|Mapping { port, service }| {
            await_answer(*service, SocketAddr::new(at, *port), deadline)
        })
    })?
}

fn await_answer(service: Service, at: SocketAddr, deadline: Instant) -> Result<()> {
    loop {
        match agent::answers(service, at) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("no answer from {at}"));
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}
