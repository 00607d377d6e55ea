//! What was seen of the host, at one moment.

use std::net::IpAddr;

use wharf_spec::Publication;

use super::Question;
use crate::firewall::Ruleset;
use crate::path::{Path, PathPlan, Plane, PublicationPlan, SourceSeen};

/// Everything a way is told from.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// What is asked.
    pub question: Question,
    /// How the client's packets come.
    pub arrival: Arrival,
    /// The interface that has the host address asked for; `None` if none has.
    pub owner: Option<String>,
    /// The sockets of this host that wait on the port asked for, whatever their address.
    pub sockets: Vec<Socket>,
    /// The rules of others.
    pub firewall: &'a Ruleset,
    /// What is published there.
    pub matter: Matter<'a>,
}

/// How a client's packets come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The interface, where it can be told.
    pub interface: Option<Interface>,
    /// The client's address, where it is known.
    pub client: Option<IpAddr>,
    /// Where the answers' next hop is, if there is one.
    pub gateway: Option<IpAddr>,
    /// Whether there is a way to the client; `None` when nobody in particular is asked about.
    pub reachable: Option<bool>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it can carry packets now.
    pub running: bool,
}

/// A socket that waits for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Its address; the unspecified one waits on every address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether an unspecified IPv6 address takes IPv4, too.
    pub dual: bool,
    /// Its inode.
    pub inode: u32,
    /// The process that has it and its name, as far as it can be seen.
    pub process: Option<(u32, String)>,
    /// Whether it is one of Wharf's.
    pub ours: bool,
}

/// What is published at the address and port asked for.
#[derive(Debug, Clone)]
pub enum Matter<'a> {
    /// A publication.
    Served(Box<Served<'a>>),
    /// A container that publishes it when it runs, and does not run.
    Stopped {
        /// Its name.
        name: String,
        /// Its state, as `wharf ps` has it.
        state: String,
    },
    /// The port is published, on other addresses or to another protocol: a line each.
    Elsewhere(Vec<String>),
    /// Nothing.
    Nothing,
}

/// A publication, and what carries it at this moment.
#[derive(Debug, Clone)]
pub struct Served<'a> {
    /// The publication.
    pub publication: &'a Publication,
    /// What its target is called.
    pub name: &'a str,
    /// How the plan serves the path asked about; `None` when there is no such path.
    pub plan: Option<&'a PathPlan>,
    /// Why it is not in force, if it is not.
    pub suspended: Option<String>,
    /// Why its sockets are not there, if they are not.
    pub lost: Option<String>,
    /// The relay.
    pub relay: Relay,
    /// The kernel plane.
    pub kernel: Kernel,
    /// The eBPF plane.
    pub led: Led,
    /// The settings that decide whether packets are passed on.
    pub forwarding: Vec<Setting>,
    /// The bridge, where the target is behind one.
    pub bridge: Option<Bridge>,
    /// The cable between bridge and container, where it is known.
    pub veth: Option<Veth>,
    /// The target.
    pub target: TargetState,
    /// Who waits there.
    pub listening: Listening,
    /// How answers come back.
    pub answers: Answers,
}

/// What the relay does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Its process.
    pub pid: Option<u32>,
    /// How that is.
    pub state: RelayState,
    /// Connections and flows open for this publication.
    pub open: u64,
    /// Those there have been.
    pub total: u64,
    /// Clients turned away because the allow-list does not have them.
    pub refused: u64,
}

/// How the relay's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayState {
    /// It runs.
    Alive,
    /// Somebody has stopped it (SIGSTOP, a debugger, a frozen cgroup).
    Stopped,
    /// It has ended, or never ran.
    Gone,
}

/// What the kernel plane has for the publication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// The sets that hold it.
    pub sets: Vec<String>,
    /// What is missing, one sentence each.
    pub missing: Vec<String>,
    /// Flows it carries.
    pub flows: u64,
    /// Packets turned away by allow-lists, of all publications.
    pub refused: u64,
}

/// What the eBPF plane has for the publication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Led {
    /// What is missing, one sentence each.
    pub missing: Vec<String>,
    /// Connections that were led to the target and are open.
    pub open: u64,
    /// Connections and datagrams that were led to the target.
    pub total: u64,
}

/// A kernel setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name, as `sysctl` writes it.
    pub name: String,
    /// Whether it is on.
    pub on: bool,
}

/// The interface of a target's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// What it is like; `None` when it is gone.
    pub interface: Option<Interface>,
    /// The address containers answer to, where it should have one.
    pub gateway: Option<IpAddr>,
    /// Whether it has that address.
    pub has_gateway: bool,
    /// Whether it is one of Wharf's.
    pub ours: bool,
}

/// The host's end of a container's cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veth {
    /// Its name.
    pub name: String,
    /// What it is like; `None` when it is gone.
    pub interface: Option<Interface>,
    /// Whether it is a port of the bridge.
    pub on_bridge: bool,
}

/// What the target is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetState {
    /// It is there; a few words of where.
    There(String),
    /// It is not; why, and what to do.
    Away {
        /// Why.
        why: String,
        /// What to do.
        remedy: Vec<String>,
    },
    /// That cannot be told.
    Unknown(String),
}

/// Who waits in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    /// These sockets, on the port the publication leads to; and the other ports somebody waits on.
    Inside(Inside),
    /// It was asked, as the relay would.
    Asked(Reach),
    /// That cannot be told, and why.
    Unknown(String),
}

/// Who waits in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inside {
    /// On the port.
    pub sockets: Vec<Socket>,
    /// Other ports that somebody waits on.
    pub others: Vec<u16>,
}

/// What a connection came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It was accepted.
    Accepted,
    /// It was not, and what the kernel said.
    Refused(String),
}

/// How answers come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// The next hop from inside the target towards the client.
    pub next_hop: Option<IpAddr>,
    /// Whether the target has a way to the client; `None` when it cannot be told.
    pub reachable: Option<bool>,
    /// Whether answers to clients' addresses come back to the relay; `None` when it cannot be told.
    pub way_back: Option<bool>,
}

// === impl Socket ===

impl Socket {
    /// Whether what is sent to `address` can come to it.
    pub fn takes(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && self.dual,
            (own, asked) => {
                own.is_ipv4() == asked.is_ipv4() && (own.is_unspecified() || own == asked)
            }
        }
    }

    /// `nginx (process 42)`.
    pub(super) fn holder(&self) -> String {
        match &self.process {
            Some((pid, name)) if !name.is_empty() => format!("{name} (process {pid})"),
            Some((pid, _)) => format!("process {pid}"),
            None => "a program that cannot be seen from here".to_owned(),
        }
    }
}

// === impl Served ===

impl Served<'_> {
    pub(super) fn path(&self) -> Option<Path> {
        self.plan.map(|plan| plan.path)
    }

    pub(super) fn plane(&self) -> Option<Plane> {
        self.plan.map(|plan| plan.plane)
    }

    pub(super) fn source(&self) -> Option<SourceSeen> {
        self.plan.map(|plan| plan.source)
    }
}

/// The path of `plan` from where a client is to the address it asks for. The plan has to be one of
/// the address's family alone: plans of both name the paths within the host by one word.
pub fn path_from<'a>(
    plan: &'a PublicationPlan,
    question: &Question,
    is_own: bool,
    is_neighbour: bool,
) -> Option<&'a PathPlan> {
    let wanted = match question.address {
        _ if is_neighbour => Path::SameBridge,
        address if is_own && address.is_loopback() => Path::HostLoopback,
        _ if is_own => Path::HostAddress,
        IpAddr::V4(_) => Path::ExternalV4,
        IpAddr::V6(_) => Path::ExternalV6,
    };
    plan.paths.iter().find(|plan| plan.path == wanted)
}
