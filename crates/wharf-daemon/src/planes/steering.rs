//! Ranges that one socket listens for: the socket is the floor as everywhere, and the eBPF plane
//! leads what comes to any port of the range to it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use wharf_ebpf::EbpfPlane;
use wharf_host::reserve::Bound;
use wharf_plan::Plan;
use wharf_plan::ebpf::Steer;
use wharf_spec::{Publication, PublicationId};

use super::{Inner, Planes};
use crate::error::Result;

// === impl Planes ===

impl Planes {
    /// The number of ports from which on a range is steered, for a request whose largest range has
    /// `largest` ports; none is where the plane cannot be had.
    pub(crate) fn steers_from(&self, largest: usize) -> usize {
        let mut inner = self.lock();
        let can = largest >= inner.steer_from && inner.open_local();
        if can { inner.steer_from } else { usize::MAX }
    }
}

// === impl Inner ===

impl Inner {
    /// Whether a range that is to be bound anew is to be steered.
    pub(super) fn should_steer(&mut self, publication: &Publication) -> bool {
        publication.host.ports.count() >= self.steer_from && self.open_local()
    }

    /// Notes of a publication whether its sockets, which are held now, stand for a whole range.
    pub(super) fn note_steering(&mut self, publication: &Publication, sockets: &[Bound]) {
        let ports = publication.host.ports;
        let first = |bound: &Bound| bound.port == ports.first();
        if !ports.is_single() && !sockets.is_empty() && sockets.iter().all(first) {
            self.steered.insert(publication.id.clone());
        } else {
            self.steered.remove(&publication.id);
        }
    }

    /// Adds to a plan what steers the ranges that are steered.
    pub(super) fn with_steering(&self, mut plan: Plan, publications: &[Publication]) -> Plan {
        for publication in publications.iter().filter(|it| self.steered.contains(&it.id)) {
            let steers = steers(publication);
            plan.ebpf.steers.extend(steers.iter().cloned());
            plan.shares.entry(publication.id.clone()).or_default().ebpf.steers.extend(steers);
            if let Some(served) = plan.publications.get_mut(&publication.id) {
                served.steered = true;
            }
        }
        plan
    }

    /// Hands the plane the sockets of steered ranges. Doing it twice changes nothing.
    ///
    /// # Errors
    /// When the kernel takes one not; its ports are not listened on then.
    pub(super) fn set_floors(&mut self, ids: &BTreeSet<PublicationId>) -> Result<()> {
        let Some(plane) = &mut self.ebpf else { return Ok(()) };
        for id in ids.intersection(&self.steered) {
            let (Some(share), Some(sockets)) = (self.plan.shares.get(id), self.held.get(id)) else {
                continue;
            };
            for steer in &share.ebpf.steers {
                set_floor(plane, steer, sockets)?;
            }
        }
        Ok(())
    }

    /// The same for all, where a failure is told and tried again later.
    pub(super) fn set_all_floors(&mut self) {
        let all = self.steered.clone();
        if let Err(error) = self.set_floors(&all) {
            tracing::warn!(%error, "leading steered ranges to their sockets");
            self.local_in_doubt = true;
        }
    }
}

fn set_floor(plane: &mut EbpfPlane, steer: &Steer, sockets: &[Bound]) -> Result<()> {
    let serves = |bound: &&Bound| {
        let dual = bound.dual && steer.host.is_unspecified();
        bound.address == steer.host || (dual && bound.address == Ipv6Addr::UNSPECIFIED)
    };
    let floor: Vec<BorrowedFd<'_>> =
        sockets.iter().filter(serves).map(|bound| bound.socket.as_fd()).collect();
    Ok(plane.set_floor(steer, &floor)?)
}

/// One entry for each address listened on.
pub(super) fn steers(publication: &Publication) -> BTreeSet<Steer> {
    let of = |host: &IpAddr| Steer {
        publication: publication.id.clone(),
        proto: publication.proto,
        host: *host,
        ports: publication.host.ports,
    };
    publication.host.addresses.iter().map(of).collect()
}
