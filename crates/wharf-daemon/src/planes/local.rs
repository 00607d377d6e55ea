//! The host's own processes: the eBPF plane, where it can be had.
//!
//! It only makes faster what the other planes do as well, so nothing fails for it: what goes wrong
//! is told, and tried again by and by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wharf_ebpf::{Counters, EbpfPlane, Overflow};
use wharf_host::link::Links;
use wharf_plan::Share;
use wharf_plan::ebpf::EbpfPlan;
use wharf_spec::{Publication, PublicationId};

use super::{DesiredState, Inner, Planes};
use crate::error::{Error, Result};

// === impl Planes ===

impl Planes {
    /// Tells the plane which addresses the host has now.
    pub(crate) fn note_addresses(&self) {
        self.lock().note_addresses();
    }

    /// Puts right what others have detached, and what could not be done before. Answers what was
    /// wrong.
    pub(crate) fn mend_local(&self) -> Vec<String> {
        let mut inner = self.lock();
        let in_doubt = inner.local_in_doubt;
        if in_doubt {
            inner.apply_local();
            inner.note_addresses();
        }
        let Some(plane) = &mut inner.ebpf else { return Vec::new() };
        let attached = match plane.repair() {
            Ok(attached) => attached,
            Err(error) => {
                tracing::warn!(%error, "attaching eBPF programs again");
                return Vec::new();
            }
        };
        let detached = attached.iter().map(|name| format!("program {name} was detached"));
        detached.chain(in_doubt.then(|| "maps were in doubt".to_owned())).collect()
    }

    /// Finds out whether the plane can be had, for whoever wants to know before there is anything for
    /// it to do.
    pub(crate) fn look_for_local(&self) {
        let mut inner = self.lock();
        if inner.ebpf.is_none() && inner.facts.no_ebpf.is_none() {
            inner.facts.no_ebpf = wharf_ebpf::probe().err().map(|obstacle| obstacle.to_string());
        }
    }

    /// Ends connections to where publications lead no more.
    pub(crate) fn cut(&self, ids: &[PublicationId]) {
        self.lock().sever(&ids.iter().cloned().collect());
    }

    /// What the plane has counted, by publication.
    pub(crate) fn led(&self) -> BTreeMap<PublicationId, Counters> {
        let inner = self.lock();
        let counted = inner.ebpf.as_ref().map(EbpfPlane::counters);
        counted.and_then(Result::ok).unwrap_or_default()
    }

    /// What of `share` the kernel has not got, a sentence each.
    pub(crate) fn missing_locally(&self, share: &EbpfPlan) -> Vec<String> {
        let inner = self.lock();
        let Some(plane) = inner.ebpf.as_ref().filter(|_| !share.is_empty()) else {
            return Vec::new();
        };
        let mut missing = Vec::new();
        match plane.observe() {
            Ok(held) if !share.without(&held).is_empty() => {
                missing.push("the maps do not lead there".to_owned());
            }
            Ok(_) => {}
            Err(error) => missing.push(error.to_string()),
        }
        if !plane.is_attached().unwrap_or(false) {
            missing.push("a program is not attached".to_owned());
        }
        missing
    }

    /// What keeps the plane from doing what the plan says, a sentence each; nothing where the plane
    /// is not there.
    pub(crate) fn local_troubles(&self) -> Vec<String> {
        let inner = self.lock();
        let Some(plane) = &inner.ebpf else { return Vec::new() };
        let mut troubles = Vec::new();
        if inner.local_in_doubt {
            troubles.push("the maps could not be written, and are tried again".to_owned());
        }
        match plane.is_attached() {
            Ok(true) => {}
            Ok(false) => troubles.push("a program is not attached".to_owned()),
            Err(error) => troubles.push(error.to_string()),
        }
        troubles
    }

    /// What the plane has left to the others for want of room, ever since its maps were made.
    pub(crate) fn local_overflow(&self) -> Overflow {
        let inner = self.lock();
        let counted = inner.ebpf.as_ref().map(EbpfPlane::overflow);
        counted.and_then(Result::ok).unwrap_or_default()
    }

    /// Ends connections of publications that were led straight to their targets, unless somebody
    /// has published the same again.
    pub(crate) fn sever(&self, state: &dyn DesiredState, gone: &[PublicationId]) {
        let mut inner = self.lock();
        let gone: BTreeSet<PublicationId> =
            gone.iter().filter(|id| state.publication(id).is_none()).cloned().collect();
        inner.sever(&gone);
    }
}

// === impl Inner ===

impl Inner {
    /// Opens the plane, unless it is open. Where it cannot be had, the facts say why from then on,
    /// and the plan has to be made again.
    pub(super) fn open_local(&mut self) -> bool {
        if self.ebpf.is_some() || self.facts.no_ebpf.is_some() {
            return self.ebpf.is_some();
        }
        let opened = EbpfPlane::open(&self.place).map_err(|error| error.to_string());
        let opened = opened.and_then(|mut plane| {
            plane.set_local_addresses(own_addresses()?).map_err(|error| error.to_string())?;
            Ok(plane)
        });
        match opened {
            Ok(plane) => self.ebpf = Some(plane),
            Err(error) => {
                tracing::warn!(error, "processes of this host are served by slower planes");
                self.facts.no_ebpf = Some(error);
            }
        }
        self.ebpf.is_some()
    }

    /// Goes on with what an earlier daemon left in force, or takes that down where this one is to
    /// do without.
    pub(super) fn adopt_local(&mut self) {
        if !self.place.exists() {
            return;
        }
        if self.facts.no_ebpf.is_none() && self.open_local() {
            return;
        }
        for error in wharf_ebpf::dismantle(&self.place).err().unwrap_or_default() {
            tracing::warn!(%error, "taking the eBPF plane of an earlier daemon down");
        }
    }

    fn note_addresses(&mut self) {
        if let Some(plane) = &mut self.ebpf {
            let told = own_addresses()
                .and_then(|own| plane.set_local_addresses(own).map_err(|it| it.to_string()));
            self.local_in_doubt |= warned(told, "telling the host's addresses");
        }
    }

    /// Makes the plane hold what the plan in force says.
    pub(super) fn apply_local(&mut self) {
        if !self.adopted {
            return;
        }
        let plan = &self.plan.ebpf;
        let Some(plane) = &mut self.ebpf else { return };
        self.local_in_doubt = warned(plane.apply(plan).map(drop), "applying the eBPF plan");
        self.set_all_floors();
        // Ranges whose new sockets are not in place would answer nobody.
        if let Some(plane) = self.ebpf.as_mut().filter(|_| !self.local_in_doubt) {
            plane.replace_others();
        }
    }

    /// Fails where ranges are to be steered and cannot be: nobody would listen on their ports.
    pub(super) fn refuse_unsteered(&self, added: &Share) -> Result<()> {
        if added.ebpf.steers.is_empty() || !self.local_in_doubt {
            return Ok(());
        }
        Err(Error::Conflict(
            "the range cannot be listened on by one socket: the daemon's log says why; publish \
             fewer ports, or start the daemon with --steer-from 0"
                .to_owned(),
        ))
    }

    /// Takes entries out and puts others in, which the plan in force has already.
    pub(super) fn change_local(&mut self, removed: &EbpfPlan, added: &EbpfPlan) {
        if removed == added {
            return;
        }
        let Some(plane) = &mut self.ebpf else { return };
        let changed = match plane.change(removed, added) {
            Err(wharf_ebpf::Error::NotApplied) => plane.apply(&self.plan.ebpf),
            changed => changed,
        };
        self.local_in_doubt |= warned(changed.map(drop), "changing the eBPF plan");
        // The sockets of ranges that are new are handed over by whoever has published them.
    }

    /// Ends open connections of publications that were led straight to their targets.
    pub(super) fn sever(&mut self, gone: &BTreeSet<PublicationId>) {
        if let Some(plane) = self.ebpf.as_mut().filter(|_| !gone.is_empty()) {
            warned(plane.sever(gone).map(drop), "ending connections of this host");
        }
    }

    /// Ends those whose clients are not allowed any more.
    pub(super) fn sever_shut_out(&mut self, new: &Publication) {
        let allow = &new.options.allow;
        if allow.is_empty() {
            return;
        }
        let Some(plane) = &mut self.ebpf else { return };
        let id = BTreeSet::from([new.id.clone()]);
        let shut_out = |source: IpAddr| !allow.iter().any(|net| net.contains(&source));
        warned(plane.sever_where(&id, shut_out).map(drop), "ending connections of this host");
    }
}

/// Tells what went wrong; answers whether anything did.
fn warned<E: std::fmt::Display>(done: std::result::Result<(), E>, doing: &str) -> bool {
    if let Err(error) = &done {
        tracing::warn!(%error, "{doing}");
    }
    done.is_err()
}

fn own_addresses() -> std::result::Result<Vec<IpAddr>, String> {
    let addresses = Links::open().and_then(|mut links| links.addresses(None));
    let addresses = addresses.map_err(|error| error.to_string())?;
    let own = addresses.into_iter().map(|address| address.net.addr());
    Ok(own.filter(|address| !address.is_loopback()).collect())
}
