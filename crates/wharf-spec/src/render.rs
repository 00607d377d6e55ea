//! Publications as people read them: the PORTS column of `ps` and the lines of `port`.
//!
//! Both look as Docker's do, in Docker's order, with one difference: a range whose host and
//! container numbers differ stays a range (`0.0.0.0:8000-8002->80-82/tcp`) where Docker lists
//! each port. So the column takes as long as there are publications, not ports.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::expose::Expose;
use crate::ports::PortRange;
use crate::proto::Proto;
use crate::publication::Publication;

/// One published port at one host address: a line of `wharf port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortLine {
    /// The container's port.
    pub container_port: u16,
    /// The protocol.
    pub proto: Proto,
    /// The host address and port that lead there.
    pub host: SocketAddr,
}

/// An address as it stands before a colon: IPv6 in brackets.
pub(crate) struct Bracketed(pub(crate) IpAddr);

/// Where a mapping stands in Docker's order: container port, address (none first), host port,
/// protocol by its name.
type Place = (u16, Option<IpAddr>, u16, &'static str);

/// The PORTS column of `ps`: mappings that keep their numbers and ports that are only exposed,
/// joined into ranges, then mappings that change the number.
pub fn ports_column(publications: &[Publication], exposed: &[Expose]) -> String {
    let (kept, shifted): (Vec<_>, Vec<_>) =
        publications.iter().partition(|publication| publication.keeps_numbers());
    let mut runs: BTreeMap<(Option<IpAddr>, Proto), Vec<PortRange>> = BTreeMap::new();
    for publication in kept {
        for address in &publication.host.addresses {
            let key = (Some(*address), publication.proto);
            runs.entry(key).or_default().push(publication.host.ports);
        }
    }
    for (proto, ranges) in only_exposed(publications, exposed) {
        runs.entry((None, proto)).or_default().extend(ranges);
    }
    let mut texts = run_texts(runs);
    texts.extend(shifted_texts(&shifted));
    texts.join(", ")
}

/// The lines of `port`, one for each port and address, in natural order: container port,
/// protocol by its name, IPv4 before IPv6.
pub fn port_lines(publications: &[Publication]) -> Vec<PortLine> {
    let mut lines: Vec<PortLine> = publications.iter().flat_map(lines_of).collect();
    lines.sort_unstable_by_key(|line| (line.container_port, line.proto.as_str(), line.host));
    lines
}

fn lines_of(publication: &Publication) -> impl Iterator<Item = PortLine> {
    let ports = publication.host.ports.iter().zip(publication.target_ports.iter());
    ports.flat_map(move |(host_port, container_port)| {
        publication.host.addresses.iter().map(move |address| PortLine {
            container_port,
            proto: publication.proto,
            host: SocketAddr::new(*address, host_port),
        })
    })
}

/// The exposed ports that no publication leads to.
fn only_exposed(
    publications: &[Publication],
    exposed: &[Expose],
) -> impl Iterator<Item = (Proto, Vec<PortRange>)> {
    [Proto::Tcp, Proto::Udp, Proto::Sctp].into_iter().filter_map(move |proto| {
        let of_proto = publications.iter().filter(|publication| publication.proto == proto);
        let covered = of_proto.map(|publication| publication.target_ports).collect();
        let covered = PortRange::merged(covered);
        let wanted = exposed.iter().filter(|expose| expose.proto == proto);
        let wanted = PortRange::merged(wanted.map(|expose| expose.ports).collect());
        let left: Vec<_> = wanted.into_iter().flat_map(|range| range.without(&covered)).collect();
        (!left.is_empty()).then_some((proto, left))
    })
}

/// Docker goes through the ports in order and writes a run down when the next port of the same
/// address and protocol does not touch it; the last run of each comes at the end.
fn run_texts(runs: BTreeMap<(Option<IpAddr>, Proto), Vec<PortRange>>) -> Vec<String> {
    let mut closed: Vec<(Place, String)> = Vec::new();
    let mut open: Vec<(Place, String)> = Vec::new();
    for ((address, proto), ranges) in runs {
        let place = |port| (port, address, 0, proto.as_str());
        let ranges = PortRange::merged(ranges);
        for (run, next) in ranges.iter().zip(ranges.iter().skip(1)) {
            closed.push((place(next.first()), run_text(address, *run, proto)));
        }
        if let (Some(first), Some(last)) = (ranges.first(), ranges.last()) {
            open.push((place(first.first()), run_text(address, *last, proto)));
        }
    }
    closed.sort_unstable();
    open.sort_unstable();
    closed.into_iter().chain(open).map(|(_, text)| text).collect()
}

fn run_text(address: Option<IpAddr>, ports: PortRange, proto: Proto) -> String {
    match address {
        Some(address) => format!("{}:{ports}->{ports}/{proto}", Bracketed(address)),
        None => format!("{ports}/{proto}"),
    }
}

fn shifted_texts(publications: &[&Publication]) -> impl Iterator<Item = String> {
    let mut texts: Vec<(Place, String)> = Vec::new();
    for publication in publications {
        let (host, target, proto) =
            (publication.host.ports, publication.target_ports, publication.proto);
        for address in &publication.host.addresses {
            let place = (target.first(), Some(*address), host.first(), proto.as_str());
            texts.push((place, format!("{}:{host}->{target}/{proto}", Bracketed(*address))));
        }
    }
    texts.sort_unstable();
    texts.into_iter().map(|(_, text)| text)
}

// === impl PortLine ===

impl fmt::Display for PortLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} -> {}", self.container_port, self.proto, self.host)
    }
}

// === impl Bracketed ===

impl fmt::Display for Bracketed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests;
