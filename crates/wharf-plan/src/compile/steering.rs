//! Ranges that one socket listens for: what that means for the planes.
//!
//! The kernel does not know that their ports are taken, and gives them out by itself. What comes to
//! such a port is for the program that was given it, so only the steering program, which asks who that
//! is, may lead it elsewhere; rules and connect entries that cannot ask are made for the other ports.

use wharf_spec::{PortRange, Proto};

use super::Compiler;
use crate::ebpf::Steer;
use crate::nft::Dnat;

// === impl Compiler ===

impl Compiler<'_> {
    /// Whether one socket listens for the whole range.
    pub(super) fn is_steered(self) -> bool {
        self.facts.steered.contains(&self.publication.id)
    }

    /// One entry for each address listened on.
    pub(super) fn steers(self) -> impl Iterator<Item = Steer> {
        self.publication.host.addresses.iter().map(move |host| Steer {
            publication: self.publication.id.clone(),
            proto: self.publication.proto,
            host: *host,
            ports: self.publication.host.ports,
        })
    }

    /// The ports that rules may rewrite: all, or of a steered range those that the kernel gives to
    /// nobody.
    pub(super) fn rewritable(self) -> Vec<PortRange> {
        let ports = self.publication.host.ports;
        match self.is_steered() {
            true => outside(ports, self.facts.given_out),
            false => vec![ports],
        }
    }

    /// Why the kernel rewrites a part of the range only.
    pub(super) fn spared(self) -> Option<String> {
        let given_out = self.facts.given_out.intersection(self.publication.host.ports);
        let spared = given_out.filter(|_| self.is_steered())?;
        Some(format!("{spared} by the relay: the kernel gives these ports to programs, too"))
    }

    /// A steered UDP range must not be led: a server of the host that answers a client of the host
    /// sends to a port that the kernel has given out.
    pub(super) fn cannot_be_led(self) -> (bool, String) {
        let is = self.is_steered() && self.publication.proto == Proto::Udp;
        (is, "servers of this host answer clients at ports of the range".to_owned())
    }
}

/// The part of a rewrite that is about `ports`.
pub(super) fn part(whole: &Dnat, ports: PortRange) -> Option<Dnat> {
    let first = whole.ports.map(ports.first(), whole.target_ports)?;
    let last = whole.ports.map(ports.last(), whole.target_ports)?;
    Some(Dnat { ports, target_ports: PortRange::new(first, last)?, ..whole.clone() })
}

/// What of `ports` is not in `hole`: nothing, one range or two.
fn outside(ports: PortRange, hole: PortRange) -> Vec<PortRange> {
    let below = hole.first().checked_sub(1).and_then(|last| PortRange::new(0, last));
    let above = hole.last().checked_add(1).and_then(|first| PortRange::new(first, u16::MAX));
    [below, above].into_iter().flatten().filter_map(|part| part.intersection(ports)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_range_is_below_and_above() {
        let range = |first, last| PortRange::new(first, last).unwrap();
        let left = |first, last| {
            let parts = outside(range(first, last), range(32_768, 60_999));
            parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left(1024, 60_999), "1024-32767");
        assert_eq!(left(1024, 65_535), "1024-32767 61000-65535");
        assert_eq!(left(40_000, 50_000), "");
        assert_eq!(left(8000, 9023), "8000-9023");
    }
}
