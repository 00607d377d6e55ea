//! What carries one publication at this moment.

use std::net::IpAddr;

use wharf_host::sysctl;
use wharf_host::transparent;
use wharf_network::Network;
use wharf_plan::ebpf::EbpfPlan;
use wharf_plan::explain::{
    Answers, Bridge, Kernel, Led, Listening, Origin, Question, Relay, RelayState, Served, Setting,
    TargetState, Veth, path_from,
};
use wharf_plan::nft::NftPlan;
use wharf_plan::{NetworkPolicy, PathPlan, Plane, PublicationPlan, Share, SourceSeen, compile_one};
use wharf_spec::{HostSide, Publication, Target};

use super::host::{HostView, is_link_local};
use super::inside::{self, Found};
use crate::daemon::Daemon;
use crate::flows;
use crate::planes::{DesiredState, TABLE};
use crate::record::PublicationRecord;

/// What the kernel counts dropped packets of allow-lists under.
const NOT_ALLOWED: &str = "not on the allow-list";

/// A publication with everything that is seen of it.
#[derive(Debug)]
pub(super) struct Carriage {
    publication: Publication,
    name: String,
    plan: Option<PathPlan>,
    suspended: Option<String>,
    lost: Option<String>,
    relay: Relay,
    kernel: Kernel,
    led: Led,
    forwarding: Vec<Setting>,
    bridge: Option<Bridge>,
    veth: Option<Veth>,
    target: TargetState,
    listening: Listening,
    answers: Answers,
}

/// What is looked at, and from where.
struct Look<'a> {
    daemon: &'a Daemon,
    publication: &'a Publication,
    question: Question,
    network: Option<NetworkPolicy>,
    /// The network, if it is one of ours.
    own: Option<Network>,
}

// === impl Carriage ===

impl Carriage {
    pub(super) fn look(
        daemon: &Daemon,
        name: &str,
        record: &PublicationRecord,
        question: Question,
        host: &mut HostView,
    ) -> Self {
        let publication = &record.publication;
        let look = Look::new(daemon, publication, question);
        let (share, served) = look.plan();
        let (_, lost) = daemon.planes.served(&publication.id);
        let plan = look.path(&served, host);
        let found = match &record.suspended {
            Some(why) => Found::away(why.clone(), Vec::new()),
            None => inside::look(daemon, name, publication, question, host),
        };
        let relayed = plan.as_ref().is_some_and(|plan| plan.plane == Plane::Relay);
        Self {
            suspended: record.suspended.clone(),
            // A namespace that is gone is told of where the target is.
            lost: lost.filter(|_| relayed && matches!(found.target, TargetState::There(_))),
            relay: look.relay(),
            kernel: if relayed { look.refusals() } else { look.kernel(&share.nft) },
            led: look.led(&share.ebpf),
            forwarding: look.forwarding(host),
            bridge: look.bridge(host),
            veth: look.veth(host),
            target: found.target,
            listening: found.listening,
            answers: Answers {
                next_hop: found.next_hop,
                reachable: found.reachable,
                way_back: transparent::is_laid().ok(),
            },
            publication: publication.clone(),
            name: name.to_owned(),
            plan,
        }
    }

    pub(super) fn served(&self) -> Served<'_> {
        Served {
            publication: &self.publication,
            name: &self.name,
            plan: self.plan.as_ref(),
            suspended: self.suspended.clone(),
            lost: self.lost.clone(),
            relay: self.relay.clone(),
            kernel: self.kernel.clone(),
            led: self.led.clone(),
            forwarding: self.forwarding.clone(),
            bridge: self.bridge.clone(),
            veth: self.veth.clone(),
            target: self.target.clone(),
            listening: self.listening.clone(),
            answers: self.answers,
        }
    }
}

// === impl Look ===

impl<'a> Look<'a> {
    fn new(daemon: &'a Daemon, publication: &'a Publication, question: Question) -> Self {
        let name = publication.target.network().unwrap_or_default();
        let mut networks = daemon.networks();
        networks.retain(|name, network| network.foreign || daemon.planes.is_up(name));
        let own = daemon.ledger.read(|state| state.networks.get(name).cloned());
        Self { daemon, publication, question, network: networks.remove(name), own }
    }

    /// The plan for the family asked about: paths within the host bear one name for both.
    fn plan(&self) -> (Share, PublicationPlan) {
        let v4 = self.question.address.is_ipv4();
        let HostSide { addresses, ports } = &self.publication.host;
        let addresses = addresses.iter().copied().filter(|it| it.is_ipv4() == v4).collect();
        let host = HostSide { addresses, ports: *ports };
        let part = Publication { host, ..self.publication.clone() };
        let name = self.publication.target.network().unwrap_or_default().to_owned();
        let networks = self.network.clone().map(|network| (name, network)).into_iter().collect();
        compile_one(&part, &networks, &self.daemon.planes.facts())
    }

    fn path(&self, served: &PublicationPlan, host: &HostView) -> Option<PathPlan> {
        let origin = self.question.origin;
        let is_neighbour = match origin {
            Origin::Address(client) => self.has_in_its_network(client) && !host.is_own(origin),
            _ => false,
        };
        if self.asks_the_target() {
            return served.paths.iter().find(|plan| plan.plane == Plane::Routed).cloned();
        }
        let plan = path_from(served, &self.question, host.is_own(origin), is_neighbour)?.clone();
        let is_on_link = is_link_local(self.question.address)
            || matches!(origin, Origin::Address(client) if is_link_local(client));
        if is_on_link && plan.plane == Plane::Nft {
            let reason = Some("link-local addresses mean nothing beyond their link".to_owned());
            let (plane, source) = (Plane::Relay, SourceSeen::Gateway);
            return Some(PathPlan { plane, source, reason, ..plan });
        }
        Some(plan)
    }

    /// Where a network is routed, containers are asked by their own addresses.
    fn asks_the_target(&self) -> bool {
        let target = &self.publication.target;
        let own = [target.ipv4().map(IpAddr::V4), target.ipv6().map(IpAddr::V6)];
        self.own.is_some() && own.contains(&Some(self.question.address))
    }

    fn has_in_its_network(&self, client: IpAddr) -> bool {
        let subnets = self.network.iter().flat_map(|network| &network.subnets);
        subnets.into_iter().any(|(subnet, _)| subnet.contains(&client))
    }

    fn relay(&self) -> Relay {
        let pid = self.daemon.planes.relay_pid();
        let state = pid.map_or(RelayState::Gone, state_of);
        // One that is stopped does not answer either.
        let traffic = match state {
            RelayState::Alive => self.daemon.planes.traffic(),
            RelayState::Stopped | RelayState::Gone => Default::default(),
        };
        let counted = traffic.get(&self.publication.id).copied().unwrap_or_default();
        Relay {
            pid,
            state,
            open: counted.connections_open.saturating_add(counted.flows_open),
            total: counted.connections_total.saturating_add(counted.flows_total),
            refused: counted.refused_not_allowed,
        }
    }

    fn kernel(&self, share: &NftPlan) -> Kernel {
        let flows = flows::count(std::iter::once(self.publication));
        let flows = flows.get(&self.publication.id).copied().unwrap_or(0);
        match wharf_nft::examine(TABLE, share) {
            Ok(found) => Kernel {
                sets: found
                    .sets
                    .iter()
                    .filter(|set| leads_on(set))
                    .map(ToString::to_string)
                    .collect(),
                missing: found.missing,
                flows,
                refused: found.counters.get(NOT_ALLOWED).map_or(0, |counted| counted.packets),
            },
            Err(error) => Kernel { missing: vec![error.to_string()], flows, ..Kernel::default() },
        }
    }

    fn led(&self, share: &EbpfPlan) -> Led {
        let counted = self.daemon.planes.led();
        let counted = counted.get(&self.publication.id).copied().unwrap_or_default();
        Led {
            missing: self.daemon.planes.missing_locally(share),
            open: counted.open,
            total: counted.connections.saturating_add(counted.datagrams),
        }
    }

    /// Lists keep clients from the relay, too.
    fn refusals(&self) -> Kernel {
        let examined = wharf_nft::examine(TABLE, &NftPlan::default()).unwrap_or_default();
        let refused = examined.counters.get(NOT_ALLOWED).map_or(0, |counted| counted.packets);
        Kernel { refused, ..Kernel::default() }
    }

    /// IPv4 asks the interface a packet comes by, in both directions; IPv6 one setting for all.
    fn forwarding(&self, host: &mut HostView) -> Vec<Setting> {
        if !self.question.address.is_ipv4() {
            return vec![setting("net/ipv6/conf/all/forwarding")];
        }
        let arrival = host.arrival(self.question).interface.map(|interface| interface.name);
        let bridge = self.network.as_ref().map(|network| network.bridge.clone());
        let mut settings = vec![setting("net/ipv4/ip_forward")];
        let interfaces = arrival.into_iter().chain(bridge).filter(|name| name != "lo");
        let own = interfaces.map(|name| setting(&format!("net/ipv4/conf/{name}/forwarding")));
        // They follow the one for all, unless somebody has set them.
        settings.extend(own.filter(|setting| !setting.on));
        settings.dedup();
        settings
    }

    fn bridge(&self, host: &HostView) -> Option<Bridge> {
        let network = self.network.as_ref()?;
        let name = &network.bridge;
        let v4 = self.question.address.is_ipv4();
        let target = &self.publication.target;
        let v4 = if v4 { target.ipv4().is_some() } else { target.ipv6().is_none() };
        let addresses = self.own.iter().flat_map(Network::bridge_addresses);
        let mut addresses = addresses.map(|net| net.addr()).filter(|it| it.is_ipv4() == v4);
        let gateway = addresses.next();
        Some(Bridge {
            name: name.clone(),
            interface: host.link(name).map(HostView::interface),
            gateway,
            has_gateway: gateway.is_some_and(|address| host.has_on(name, address)),
            ours: !network.foreign,
        })
    }

    fn veth(&self, host: &HostView) -> Option<Veth> {
        let Target::Container { id, .. } = &self.publication.target else { return None };
        let endpoint = self
            .daemon
            .ledger
            .read(|state| state.containers.get(id).and_then(|record| record.endpoint.clone()))?;
        let (link, bridge) = (host.link(&endpoint.host_veth), host.link(&endpoint.bridge));
        let on_bridge = link.is_some_and(|link| link.master == bridge.map(|it| it.index));
        let name = endpoint.host_veth.clone();
        Some(Veth { name, interface: link.map(HostView::interface), on_bridge })
    }
}

fn leads_on(set: &str) -> bool {
    ["port", "open"].iter().any(|part| set.contains(part))
}

fn setting(path: &str) -> Setting {
    let on = sysctl::get(path).is_ok_and(|value| value != "0");
    // Dots separate for `sysctl`, unless a name has some of its own (eth0.100).
    let name = if path.contains('.') { path.to_owned() } else { path.replace('/', ".") };
    Setting { name, on }
}

/// The third field of `/proc/PID/stat`, behind a name that may itself have blanks and parentheses.
fn state_of(pid: u32) -> RelayState {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    match after.and_then(|rest| rest.chars().next()) {
        Some('T' | 't') => RelayState::Stopped,
        None | Some('Z' | 'X' | 'x') => RelayState::Gone,
        Some(_) => RelayState::Alive,
    }
}
