//! The host's own processes: led straight to the target where the eBPF plane can.

use std::net::IpAddr;

use wharf_spec::{Proto, SourceMode, Target, Via};

use super::{Compiler, SubnetMode, first_hit, is_link_local, name_of};
use crate::ebpf::Connect;
use crate::path::{Path, PathPlan, Plane, PublicationPlan, SourceSeen};

/// A connected socket cannot be led to another target later; what does not connect is led datagram
/// by datagram.
const CONNECTED: &str =
    "connected UDP sockets take the slower plane, which can lead them elsewhere";

// === impl Compiler ===

impl Compiler<'_> {
    /// Why processes of the host are not led straight to the target; `None` when they are.
    pub(super) fn local_obstacle(self, v4: bool) -> Option<String> {
        let options = &self.publication.options;
        let checks = [
            (options.via == Via::Relay, "asked for the relay (via=relay)".to_owned()),
            (options.via == Via::Nft, "asked for kernel NAT (via=nft)".to_owned()),
            (
                options.proxy_protocol.is_some(),
                "only the relay can write a PROXY header".to_owned(),
            ),
            (self.facts.no_ebpf.is_some(), self.facts.no_ebpf.clone().unwrap_or_default()),
            (
                self.publication.target.inside().is_some(),
                "sockets are opened inside the target's network namespace".to_owned(),
            ),
            (
                self.mode(v4) == Some(SubnetMode::Isolated),
                "this host has no address on the network".to_owned(),
            ),
            self.cannot_be_led(),
            (self.target(v4).is_none(), format!("the target has no {} address", name_of(v4))),
        ];
        first_hit(checks)
    }

    /// What the eBPF plane is to hold for one family; nothing where there is an obstacle.
    pub(super) fn connects(self, v4: bool) -> Vec<Connect> {
        let Some(target) = self.target(v4).filter(|_| self.local_obstacle(v4).is_none()) else {
            return Vec::new();
        };
        self.family_addresses(v4)
            .filter(|address| !is_link_local(*address))
            .filter(|address| self.lets_in_own(*address))
            .map(|host| Connect {
                publication: self.publication.id.clone(),
                proto: self.publication.proto,
                host: (!host.is_unspecified()).then_some(host),
                ports: self.publication.host.ports,
                target,
                target_ports: self.publication.target_ports,
                from: self.allowed(host),
                keeps_host: self.keeps_host(),
            })
            .collect()
    }

    /// Whether anybody of the address's family is let in at all: an empty list means everyone.
    fn lets_in_own(self, address: IpAddr) -> bool {
        self.publication.options.allow.is_empty() || !self.allowed(address).is_empty()
    }

    /// Whether the target may see the host address that a process of the host asked for: its answer
    /// has to find the way here.
    fn keeps_host(self) -> bool {
        let answers_by_us =
            matches!(self.publication.target, Target::Container { .. } | Target::Foreign { .. });
        answers_by_us
            && !self.is_internal()
            && self.publication.options.source != SourceMode::Gateway
    }

    /// The paths of the host's own processes, by the eBPF plane or else by `plane`.
    pub(super) fn describe_local(
        self,
        v4: bool,
        slower: (Plane, SourceSeen, Option<String>),
        served: &mut PublicationPlan,
    ) {
        let obstacle = self.local_obstacle(v4);
        let mut add = |path, plane, source, reason| {
            served.paths.push(PathPlan { path, plane, source, reason });
        };
        let connected = (self.publication.proto == Proto::Udp).then(|| CONNECTED.to_owned());
        if self.external_addresses(v4).next().is_some() {
            let (plane, source, reason) = match &obstacle {
                None => {
                    let seen =
                        if self.keeps_host() { SourceSeen::Host } else { SourceSeen::Gateway };
                    (Plane::Ebpf, seen, connected.clone())
                }
                // Why not the faster of the two that could not serve either.
                Some(_) => slower,
            };
            add(Path::HostAddress, plane, source, reason);
        }
        let loopback = |address: IpAddr| address.is_loopback() || address.is_unspecified();
        if self.family_addresses(v4).any(loopback) {
            match obstacle {
                None => add(Path::HostLoopback, Plane::Ebpf, SourceSeen::Gateway, connected),
                other => add(Path::HostLoopback, Plane::Relay, SourceSeen::Gateway, other),
            }
        }
    }
}

/// Leaves one plan for each path; where the families differ, it says so.
pub(super) fn merge_families(paths: &mut Vec<PathPlan>) {
    paths.sort_by_key(|plan| plan.path);
    paths.dedup_by(|other, kept| {
        let same = other.path == kept.path;
        if same && other.plane != kept.plane && kept.reason.is_none() {
            let why = other.reason.as_deref().unwrap_or("it is the first choice there");
            kept.reason = Some(format!("by the {} over IPv6: {why}", other.plane));
        }
        same
    });
}

#[cfg(test)]
mod tests;
