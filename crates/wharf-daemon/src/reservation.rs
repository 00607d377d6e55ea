//! From what is wanted to what is held: bound sockets and the publications they stand for.
//!
//! All or nothing: whatever fails, every socket bound so far is closed again, and the error names
//! who is in the way.

use std::net::{IpAddr, SocketAddr};

use wharf_host::reserve::{
    Bound, Clash, NoFreePorts, Reservation, Transport, ephemeral_range, pick_free, reserve,
    reserve_steered, sockets_needed,
};
use wharf_spec::{HostPorts, HostSide, PortRange, Proto, Publication, PublicationId, Target};

use crate::error::{Error, Result};
use crate::resolve::Wanted;

/// Descriptors that neither the daemon nor the relay may spend on listening sockets: they carry
/// connections, log readers, shims, files.
const HEADROOM: u64 = 1_024;

/// A publication and the sockets that hold its host ports behind their drop filter.
#[derive(Debug)]
pub(crate) struct Held {
    /// The publication.
    pub publication: Publication,
    /// Its sockets; none when it has no host port.
    pub sockets: Vec<Bound>,
    /// The specs it was made from.
    pub specs: Vec<String>,
    /// Whether it outlasts a stop of its container.
    pub lasting: bool,
}

/// What reserving has to know of everything that is published already.
#[derive(Clone, Copy)]
pub(crate) struct Present<'a> {
    /// Who has published what a clash is about, of those in the ledger.
    pub holder: &'a dyn Fn(Proto, &Clash) -> Option<String>,
    /// Sockets held for them.
    pub sockets: usize,
    /// Descriptors a process of ours may have.
    pub descriptor_limit: u64,
    /// What is published already and clashes, where no socket tells.
    pub taken: &'a dyn Fn(Proto, &HostSide) -> Option<Clash>,
    /// The number of ports from which on a range is listened on by one socket.
    pub steer_from: usize,
}

/// Reserves the ports of every publication wanted, for `target`.
pub(crate) fn reserve_all(
    wanted: Vec<Wanted>,
    target: &Target,
    present: Present<'_>,
) -> Result<Vec<Held>> {
    present.check_room(&wanted)?;
    let mut held: Vec<Held> = Vec::new();
    for one in wanted {
        let more = Reserving { wanted: &one, target, present, earlier: &held }.run()?;
        held.extend(more);
    }
    Ok(held)
}

/// The transport of a protocol that can be bound.
pub(crate) fn transport(proto: Proto) -> Result<Transport> {
    match proto {
        Proto::Tcp => Ok(Transport::Tcp),
        Proto::Udp => Ok(Transport::Udp),
        Proto::Sctp => Err(Error::Invalid(
            "sctp cannot be published: no plane of this version carries it".into(),
        )),
    }
}

/// Binds the ports of a publication that is in force already, after its sockets were lost; where it
/// is `steered`, one socket for each address.
pub(crate) fn rebind(publication: &Publication, steered: bool) -> Result<Vec<Bound>, Clash> {
    let ports = publication.host.ports;
    let transport = transport(publication.proto).unwrap_or(Transport::Tcp);
    let reserve = if steered { reserve_steered } else { reserve };
    let found = reserve(transport, &publication.host.addresses, (ports.first(), ports.last()))?;
    Ok(found.sockets)
}

// === impl Present ===

impl Present<'_> {
    /// Refuses before anything is bound what could not be held.
    fn check_room(self, wanted: &[Wanted]) -> Result<()> {
        let needed: usize = wanted.iter().map(|one| self.sockets_of(one)).sum();
        let total = u64::try_from(needed.saturating_add(self.sockets)).unwrap_or(u64::MAX);
        let room = self.descriptor_limit.saturating_sub(HEADROOM);
        if total <= room {
            return Ok(());
        }
        Err(Error::Limit(format!(
            "publishing this takes {needed} sockets, {} are held already, and a process here may \
             have {} descriptors, {HEADROOM} of which are kept for connections: publish fewer \
             ports, name one address in place of several, or raise the limit (LimitNOFILE= in \
             wharf.service, or `ulimit -Hn`)",
            self.sockets, self.descriptor_limit
        )))
    }

    fn sockets_of(self, wanted: &Wanted) -> usize {
        let ports = match wanted.host_ports {
            HostPorts::Exact(ports) if self.steers(ports) => (1, 1),
            HostPorts::Exact(ports) => (ports.first(), ports.last()),
            HostPorts::AnyOf(_) => (1, 1),
            HostPorts::Ephemeral => (wanted.container_ports.first(), wanted.container_ports.last()),
        };
        sockets_needed(&wanted.addresses, ports)
    }

    fn steers(self, ports: PortRange) -> bool {
        ports.count() >= self.steer_from
    }
}

/// One publication being reserved.
struct Reserving<'a> {
    wanted: &'a Wanted,
    target: &'a Target,
    present: Present<'a>,
    earlier: &'a [Held],
}

// === impl Reserving ===

impl Reserving<'_> {
    fn run(&self) -> Result<Vec<Held>> {
        if self.wanted.addresses.is_empty() {
            let ports = self.wanted.container_ports;
            return Ok(vec![self.held(ports, ports, Vec::new())]);
        }
        match self.wanted.host_ports {
            HostPorts::Exact(ports) => {
                let found = self.bind(ports).map_err(|clash| self.refusal(&clash))?;
                Ok(vec![self.held(ports, self.wanted.container_ports, found.sockets)])
            }
            HostPorts::AnyOf(choice) => self.any_of(choice).map(|held| vec![held]),
            HostPorts::Ephemeral => self.ephemeral(),
        }
    }

    fn bind(&self, ports: PortRange) -> Result<Reservation, Clash> {
        let transport = transport(self.wanted.proto).unwrap_or(Transport::Tcp);
        if self.present.steers(ports) {
            let host = HostSide { addresses: self.wanted.addresses.clone(), ports };
            if let Some(clash) = (self.present.taken)(self.wanted.proto, &host) {
                return Err(clash);
            }
            let range = (ports.first(), ports.last());
            return reserve_steered(transport, &self.wanted.addresses, range);
        }
        reserve(transport, &self.wanted.addresses, (ports.first(), ports.last()))
    }

    fn any_of(&self, choice: PortRange) -> Result<Held> {
        for port in choice.iter() {
            match self.bind(PortRange::single(port)) {
                Ok(found) => {
                    let ports = PortRange::single(port);
                    return Ok(self.held(ports, self.wanted.container_ports, found.sockets));
                }
                Err(clash) if clash.is_in_use() => {}
                Err(clash) => return Err(self.refusal(&clash)),
            }
        }
        Err(Error::Port(format!(
            "all ports are allocated: every port of {choice}/{} is taken; name another range",
            self.wanted.proto
        )))
    }

    /// A container range gets consecutive host ports where there is such a run, so that it stays
    /// one publication; otherwise each port finds its own.
    fn ephemeral(&self) -> Result<Vec<Held>> {
        let ports = self.wanted.container_ports;
        match self.pick(ports) {
            Err(NoFreePorts::Exhausted { .. }) if !ports.is_single() => ports
                .iter()
                .map(|port| {
                    let port = PortRange::single(port);
                    self.pick(port).map(|found| (port, found)).map_err(|e| self.no_free(e))
                })
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .map(|(port, found)| self.picked(port, found))
                .collect(),
            Err(error) => Err(self.no_free(error)),
            Ok(found) => Ok(vec![self.picked(ports, found)?]),
        }
    }

    fn pick(&self, ports: PortRange) -> Result<Reservation, NoFreePorts> {
        let range = ephemeral_range()?;
        let transport = transport(self.wanted.proto).unwrap_or(Transport::Tcp);
        let count = u16::try_from(ports.count()).unwrap_or(u16::MAX);
        // A random start, so that a port just given up is not the next one given out (moby#34310).
        let start = rand::random_range(range.0..=range.1);
        pick_free(transport, &self.wanted.addresses, count, range, start)
    }

    fn picked(&self, container_ports: PortRange, found: Reservation) -> Result<Held> {
        let (first, last) = found.ports().unwrap_or_default();
        let ports = PortRange::new(first, last)
            .filter(|ports| ports.count() == container_ports.count())
            .ok_or_else(|| Error::Port(format!("no consecutive ports for {container_ports}")))?;
        Ok(self.held(ports, container_ports, found.sockets))
    }

    fn held(&self, ports: PortRange, target_ports: PortRange, sockets: Vec<Bound>) -> Held {
        let id = PublicationId(format!("{:012x}", rand::random::<u64>() >> 16));
        let addresses = self.wanted.addresses.clone();
        let publication = Publication {
            id,
            proto: self.wanted.proto,
            host: HostSide { addresses, ports },
            target: self.target.clone(),
            target_ports,
            options: self.wanted.options.clone(),
        };
        let (specs, lasting) = (self.wanted.specs.clone(), self.wanted.lasting);
        Held { publication, sockets, specs, lasting }
    }

    fn no_free(&self, error: NoFreePorts) -> Error {
        match error {
            NoFreePorts::Clash(clash) => self.refusal(&clash),
            other => Error::Port(other.to_string()),
        }
    }

    fn refusal(&self, clash: &Clash) -> Error {
        let at = SocketAddr::new(clash.address, clash.port);
        let proto = self.wanted.proto;
        if clash.is_in_use() {
            let holder = self.holder(clash);
            return Error::Port(format!(
                "Bind for {at} failed: port is already allocated ({holder})"
            ));
        }
        let remedy = match clash.source.kind() {
            std::io::ErrorKind::AddrNotAvailable => {
                "; this host has no such address: use one it has, or leave the address out"
            }
            std::io::ErrorKind::PermissionDenied => "; binding this port takes root",
            std::io::ErrorKind::InvalidInput if is_link_local(clash.address) => {
                "; a link-local address means nothing without an interface, which a port spec \
                 cannot name: use [::] or another address"
            }
            _ => "",
        };
        Error::Port(format!("failed to bind host port {at}/{proto}: {}{remedy}", clash.source))
    }

    /// Names who is in the way: a container of ours by name, anything else by process.
    fn holder(&self, clash: &Clash) -> String {
        if self.earlier.iter().any(|held| holds(&held.publication, self.wanted.proto, clash)) {
            return "asked for twice for this container".to_owned();
        }
        if let Some(holder) = (self.present.holder)(self.wanted.proto, clash) {
            return holder;
        }
        let transport = transport(self.wanted.proto).unwrap_or(Transport::Tcp);
        match wharf_host::diag::holder(transport, clash.address, clash.port) {
            Ok(Some(holder)) if holder.pid.is_some_and(is_ours) => {
                "a container that is being started or removed".to_owned()
            }
            Ok(Some(holder)) => match (holder.name, holder.pid) {
                (Some(name), Some(pid)) => format!("{name}, pid {pid}"),
                (_, Some(pid)) => format!("pid {pid}"),
                _ => "a process that cannot be seen from here".to_owned(),
            },
            _ => "by a process that has let go in the meantime; try again".to_owned(),
        }
    }
}

/// Whether a publication has what a clash is about.
pub(crate) fn holds(publication: &Publication, proto: Proto, clash: &Clash) -> bool {
    let overlaps = |address: &IpAddr| {
        let same_family = address.is_ipv4() == clash.address.is_ipv4();
        let wildcard = address.is_unspecified() || clash.address.is_unspecified();
        *address == clash.address || (same_family && wildcard)
    };
    publication.proto == proto
        && publication.host.ports.contains(clash.port)
        && publication.host.addresses.iter().any(overlaps)
}

/// Whether a process is this program: the daemon itself, one of its children on their way to
/// becoming something else, or the relay.
fn is_ours(pid: u32) -> bool {
    let own = std::fs::read_link("/proc/self/exe").ok();
    own.is_some() && std::fs::read_link(format!("/proc/{pid}/exe")).ok() == own
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_spec::PublishOptions;

    fn range(first: u16, last: u16, proto: Proto) -> Wanted {
        Wanted {
            proto,
            addresses: vec!["0.0.0.0".parse().unwrap(), "127.0.0.2".parse().unwrap()],
            host_ports: HostPorts::Exact(PortRange::new(first, last).unwrap()),
            container_ports: PortRange::new(first, last).unwrap(),
            options: PublishOptions::default(),
            specs: Vec::new(),
            lasting: false,
        }
    }

    #[test]
    fn a_range_that_would_not_fit_is_refused_with_the_figures() {
        let holder = |_: Proto, _: &Clash| None;
        let taken = |_: Proto, _: &HostSide| None;
        let present = Present {
            holder: &holder,
            sockets: 500,
            descriptor_limit: 20_000,
            taken: &taken,
            steer_from: usize::MAX,
        };
        let error = present.check_room(&[range(20_000, 29_999, Proto::Tcp)]).unwrap_err();
        let text = error.to_string();
        for figure in ["20000 sockets", "500 are held", "20000 descriptors", "LimitNOFILE"] {
            assert!(text.contains(figure), "{text}");
        }
        assert!(present.check_room(&[range(20_000, 24_999, Proto::Tcp)]).is_ok());
        let steered = Present { steer_from: 10_000, ..present };
        assert!(steered.check_room(&[range(20_000, 29_999, Proto::Tcp)]).is_ok());
    }
}
