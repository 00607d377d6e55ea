//! What the target is like, seen from inside where that is possible.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use wharf_host::link::Links;
use wharf_host::netlink::Family;
use wharf_host::netns::Netns;
use wharf_host::route::{Routes, Way};
use wharf_plan::explain::{Inside, Listening, Origin, Question, Reach, TargetState, destination};
use wharf_runtime::client::Shim;
use wharf_spec::{Engine, Proto, Publication, Target};

use super::host::{HostView, sockets, somebody};
use crate::daemon::Daemon;

/// Another machine that takes longer than this to accept is as good as not there for whoever
/// waits for the answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// What was found of a target.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) target: TargetState,
    pub(super) listening: Listening,
    pub(super) next_hop: Option<IpAddr>,
    pub(super) reachable: Option<bool>,
}

pub(super) fn look(
    daemon: &Daemon,
    name: &str,
    publication: &Publication,
    question: Question,
    host: &mut HostView,
) -> Found {
    let seen = Seen { name, publication, question };
    match &publication.target {
        Target::Container { id, .. } => seen.container(daemon, id),
        Target::Namespace { path } => seen.namespace(path),
        Target::Address { address } => seen.machine(*address, host),
        Target::Foreign { engine, id, sandbox, .. } => {
            seen.foreign(daemon, *engine, id, sandbox.as_deref())
        }
    }
}

/// What is asked, about which publication.
#[derive(Clone, Copy)]
struct Seen<'a> {
    name: &'a str,
    publication: &'a Publication,
    question: Question,
}

// === impl Found ===

impl Found {
    pub(super) fn away(why: String, remedy: Vec<String>) -> Self {
        Self {
            target: TargetState::Away { why, remedy },
            listening: Listening::Unknown("the target is not there".to_owned()),
            next_hop: None,
            reachable: None,
        }
    }

    fn unknown(why: String) -> Self {
        let listening = Listening::Unknown("the target cannot be looked into".to_owned());
        Self { target: TargetState::Unknown(why), listening, next_hop: None, reachable: None }
    }
}

// === impl Seen ===

impl Seen<'_> {
    fn container(self, daemon: &Daemon, id: &str) -> Found {
        let name = self.name;
        let shim = Shim::adopt(&daemon.paths.shim(id)).ok().flatten().filter(Shim::is_alive);
        let netns = shim.as_ref().and_then(|shim| Netns::of_process(shim.pid().pid).ok());
        let (Some(shim), Some(netns)) = (shim, netns) else {
            let why = format!("container {name} has ended");
            return Found::away(why, vec![format!("wharf start {name}")]);
        };
        let pid = shim.state().ok().and_then(|state| state.pid);
        let who = match pid {
            Some(pid) => format!("container {name}, process {pid}"),
            None => format!("container {name}"),
        };
        let remedy = vec![format!("wharf restart {name}")];
        self.by_address(&netns, &who, remedy)
    }

    fn namespace(self, path: &Path) -> Found {
        match Netns::from_path(path) {
            Ok(netns) => self.entered(&netns, format!("namespace {}", path.display())),
            Err(error) => Found::away(
                format!("the namespace is gone: {error}"),
                vec![format!("make {} again; it is served at once then", path.display())],
            ),
        }
    }

    fn foreign(self, daemon: &Daemon, engine: Engine, id: &str, sandbox: Option<&Path>) -> Found {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return Found::unknown(format!("{engine} cannot be asked from here"));
        };
        let found = match runtime.block_on(daemon.engines.find(engine, id)) {
            Ok(found) => found,
            Err(error) => return Found::unknown(error.to_string()),
        };
        if !found.running {
            let why = format!("{engine} has stopped {}", found.name);
            return Found::away(why, vec![format!("{engine} start {}", found.name)]);
        }
        let path = sandbox.map(Path::to_owned).or(found.sandbox);
        let netns = path.and_then(|path| Netns::from_path(path).ok());
        let pid = found.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        let who = format!("{engine}'s container {}{pid}", found.name);
        match netns {
            Some(netns) if sandbox.is_some() => self.entered(&netns, who),
            Some(netns) => {
                self.by_address(&netns, &who, vec![format!("{engine} restart {}", found.name)])
            }
            None => Found::unknown(format!("{who}, runs")),
        }
    }

    fn machine(self, address: IpAddr, host: &mut HostView) -> Found {
        let Some(way) = host.way_to(address) else {
            let why = format!("this host has no route to {address}");
            return Found::away(why, vec![format!("ip route add {address} via GATEWAY")]);
        };
        let target = match (way.is_local, way.gateway) {
            (true, _) => format!("{address} is this host"),
            (_, Some(gateway)) => format!("{address} is reached by {gateway}"),
            (_, None) => format!("{address} is on a link of this host"),
        };
        Found {
            target: TargetState::There(target),
            listening: self.asked(),
            next_hop: None,
            reachable: None,
        }
    }

    fn asked(self) -> Listening {
        let Some(to) = destination(self.publication, &self.question) else {
            return Listening::Unknown("it has no port for this one".to_owned());
        };
        if self.publication.proto != Proto::Tcp {
            return Listening::Unknown(format!("who waits at {to} cannot be asked over udp"));
        }
        match TcpStream::connect_timeout(&to, CONNECT_LIMIT) {
            Ok(_) => Listening::Asked(Reach::Accepted),
            Err(error) => Listening::Asked(Reach::Refused(error.to_string())),
        }
    }

    /// A target that has an address on a network of this host.
    fn by_address(self, netns: &Netns, who: &str, remedy: Vec<String>) -> Found {
        let address = destination(self.publication, &self.question).map(|to| to.ip());
        let fault = address.and_then(|address| lacks(netns, address).err());
        let target = match (fault, address) {
            (Some(fault), _) => TargetState::Away { why: format!("{who}: {fault}"), remedy },
            (None, Some(address)) => TargetState::There(format!("{who}, has {address}")),
            (None, None) => TargetState::There(who.to_owned()),
        };
        let way = self.way_to_client(netns);
        let known = matches!(self.question.origin, Origin::Address(_));
        Found {
            target,
            listening: self.who_waits(netns),
            next_hop: way.and_then(|way| way.gateway),
            // Without a client, there may be a way to some.
            reachable: if known || way.is_some() { Some(way.is_some()) } else { None },
        }
    }

    /// A target in which sockets are opened.
    fn entered(self, netns: &Netns, who: String) -> Found {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let target = match lacks(netns, loopback) {
            Ok(()) => TargetState::There(format!("{who}, entered by the relay")),
            Err(fault) => TargetState::Away {
                why: format!("{who}: {fault}"),
                remedy: vec!["set the interface lo up inside".to_owned()],
            },
        };
        let listening = self.who_waits(netns);
        Found { target, listening, next_hop: None, reachable: None }
    }

    fn who_waits(self, netns: &Netns) -> Listening {
        let Some(to) = destination(self.publication, &self.question) else {
            return Listening::Unknown("it has no port for this one".to_owned());
        };
        let Ok(mut netlink) = netns.open_netlink(Family::SockDiag) else {
            return Listening::Unknown("its sockets cannot be listed".to_owned());
        };
        let proto = self.publication.proto;
        let found = sockets(&mut netlink, proto, to.port(), &|_| false);
        let mut others = Vec::new();
        if found.is_empty() {
            let all = sockets(&mut netlink, proto, 0, &|_| true);
            others = all.iter().map(|socket| socket.port).collect();
            others.sort_unstable();
            others.dedup();
        }
        Listening::Inside(Inside { sockets: found, others })
    }

    fn way_to_client(self, netns: &Netns) -> Option<Way> {
        let client = match self.question.origin {
            Origin::Address(client) => client,
            _ => somebody(self.question.address),
        };
        Routes::open_in(netns).ok()?.way_to(client).ok().flatten()
    }
}

/// What is wrong with the interface that ought to have `address`.
fn lacks(netns: &Netns, address: IpAddr) -> Result<(), String> {
    let mut links = Links::open_in(netns).map_err(|error| error.to_string())?;
    let addresses = links.addresses(None).map_err(|error| error.to_string())?;
    let Some(own) = addresses.iter().find(|it| it.net.addr() == address) else {
        // The kernel takes the address away from `lo` while that is down.
        return Err(format!("no interface inside has {address}"));
    };
    let links = links.list().map_err(|error| error.to_string())?;
    match links.iter().find(|link| link.index == own.link) {
        Some(link) if !link.up => Err(format!("{}, which has {address}, is down", link.name)),
        _ => Ok(()),
    }
}
