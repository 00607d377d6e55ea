//! `wharf explain`: what is asked, what is seen of the host at that moment, and what that means.
//!
//! What it means is the plan's business (`wharf_plan::explain`); here the kernel, the relay and
//! other engines are asked, nothing is changed, and everything that is asked has a limit.

mod asked;
mod host;
mod inside;
mod served;
mod told;

use std::net::IpAddr;

use wharf_api::{ContainerState, ExplainRequest, Explanation};
use wharf_network::Subnet;
use wharf_plan::explain::{Facts, Matter, Question, explain};
use wharf_plan::firewall::Ruleset;
use wharf_spec::{HostPorts, PortSpec, Proto, Publication};

use self::asked::Asked;
use self::host::HostView;
use self::served::Carriage;
use crate::daemon::Daemon;
use crate::describe::name_of;
use crate::error::Result;
use crate::ledger::State;
use crate::record::{ContainerRecord, PublicationRecord};

/// More publications of one number than this are not explained at once; a host has few addresses.
const WAYS: usize = 32;

// === impl Daemon ===

impl Daemon {
    /// Explains the way to what is published at a port: one way for each publication of that
    /// number, or, if there is none, why there is no way.
    pub fn explain(&self, request: &ExplainRequest) -> Result<Vec<Explanation>> {
        let asked = Asked::parse(request)?;
        let mut host = HostView::look()?;
        let found: Vec<Wanted> = self.ledger.read(|state| wanted(state, &asked));
        if found.is_empty() {
            return Ok(vec![self.explain_nothing(&asked, &mut host)]);
        }
        let firewall = wharf_nft::foreign::read(crate::planes::TABLE).ruleset;
        let ways = found.iter().take(WAYS).map(|wanted| {
            let question = host.question(&asked, &wanted.record.publication, &wanted.routed);
            self.explain_one(wanted, question, &mut host, &firewall)
        });
        Ok(ways.collect())
    }

    fn explain_one(
        &self,
        wanted: &Wanted,
        question: Question,
        host: &mut HostView,
        firewall: &Ruleset,
    ) -> Explanation {
        let Wanted { name, record, .. } = wanted;
        let carriage = Carriage::look(self, name, record, question, host);
        let ours = |inode| self.has_socket(inode);
        let mut sockets = host.sockets(question, &ours);
        let (served, _) = self.planes.served(&record.publication.id);
        if served.is_some_and(|served| served.steered) {
            let first = Question { port: record.publication.host.ports.first(), ..question };
            sockets.extend(host.sockets(first, &ours).into_iter().filter(|socket| socket.ours));
        }
        let facts = Facts {
            question,
            arrival: host.arrival(question),
            owner: host.owner(question.address),
            sockets,
            firewall,
            matter: Matter::Served(Box::new(carriage.served())),
        };
        told::explanation(question, Some((name, record)), &explain(&facts))
    }

    fn explain_nothing(&self, asked: &Asked, host: &mut HostView) -> Explanation {
        let question = host.question_of_nothing(asked);
        let ours = |inode| self.has_socket(inode);
        let firewall = Ruleset::default();
        let facts = Facts {
            question,
            arrival: host.arrival(question),
            owner: host.owner(question.address),
            sockets: host.sockets(question, &ours),
            firewall: &firewall,
            matter: self.ledger.read(|state| unserved(state, question)),
        };
        told::explanation(question, None, &explain(&facts))
    }

    /// The listening sockets are the relay's, and copies of them are held here.
    fn has_socket(&self, inode: u32) -> bool {
        let own = wharf_host::diag::has_open(std::process::id(), inode);
        own || self.planes.relay_pid().is_some_and(|pid| wharf_host::diag::has_open(pid, inode))
    }
}

/// A publication that is asked about.
struct Wanted {
    /// What it leads to.
    name: String,
    record: PublicationRecord,
    /// The addresses of its target that are asked directly.
    routed: Vec<IpAddr>,
}

fn wanted(state: &State, asked: &Asked) -> Vec<Wanted> {
    let all = state.publications.values().map(|record| Wanted {
        name: name_of(state, &record.owner),
        record: record.clone(),
        routed: routed(state, &record.publication),
    });
    all.filter(|it| asked.is_about(&it.record.publication, &it.routed)).collect()
}

fn routed(state: &State, publication: &Publication) -> Vec<IpAddr> {
    let target = &publication.target;
    let network = target.network().and_then(|name| state.networks.get(name));
    let own = [target.ipv4().map(IpAddr::V4), target.ipv6().map(IpAddr::V6)];
    let is_routed = |address: &IpAddr| {
        network.and_then(|network| network.subnet_of(*address)).is_some_and(Subnet::is_routed)
    };
    own.into_iter().flatten().filter(is_routed).collect()
}

/// Why nothing is in force where a client asks.
fn unserved(state: &State, question: Question) -> Matter<'static> {
    let stopped =
        |record: &&ContainerRecord| !record.state().is_alive() && publishes(record, question);
    if let Some(record) = state.containers.values().find(stopped) {
        let state = match (&record.exit, record.state()) {
            (Some(exit), _) => format!("exited with {}", exit.code),
            (None, ContainerState::Created) => "never started".to_owned(),
            (None, _) => "ended".to_owned(),
        };
        return Matter::Stopped { name: record.name.clone(), state };
    }
    let there = state
        .publications
        .values()
        .filter(|record| record.publication.host.ports.contains(question.port));
    let lines: Vec<String> = there.map(|record| at(state, record, question.port)).collect();
    if lines.is_empty() { Matter::Nothing } else { Matter::Elsewhere(lines) }
}

fn at(state: &State, record: &PublicationRecord, port: u16) -> String {
    let addresses = record.publication.host.addresses.iter();
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    let name = name_of(state, &record.owner);
    let proto = record.publication.proto;
    format!("{name} is at port {port}/{proto} of {}", addresses.join(" and "))
}

/// Whether a container asks for the port, as far as its specs say.
fn publishes(record: &ContainerRecord, question: Question) -> bool {
    let specs = record.request.publish.iter().filter_map(|text| text.parse::<PortSpec>().ok());
    let has = |spec: &PortSpec| match spec.host_ports {
        HostPorts::Exact(ports) | HostPorts::AnyOf(ports) => ports.contains(question.port),
        HostPorts::Ephemeral => false,
    };
    let proto = |spec: &PortSpec| spec.proto == question.proto;
    specs.into_iter().any(|spec| has(&spec) && proto(&spec))
}

/// The protocol that is meant where none is said and none is published.
const USUAL: Proto = Proto::Tcp;
