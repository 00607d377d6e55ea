//! The plane: programs, maps, and what is known of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{debug, warn};
use wharf_host::netns::Netns;
use wharf_plan::ebpf::{EbpfPlan, Steer};
use wharf_spec::PublicationId;

use crate::book::check;
use crate::census::Census;
use crate::error::{Error, Result};
use crate::front::mapped;
use crate::hooks::{HOOKS, Hook, Hooks, Purpose};
use crate::layout::FLOORS_LIMIT;
use crate::maps::Maps;
use crate::mirror::{is_gone, refused};
use crate::release::Release;
use crate::{Applied, Counters, FLOOR_WIDTH, Overflow, cgroup, object, place, sockets};

/// The programs of one network namespace, as long as this value lives; dropping it leaves them in
/// force, to be adopted by the next.
#[derive(Debug)]
pub struct EbpfPlane {
    place: PathBuf,
    netns: Netns,
    hooks: Hooks,
    maps: Maps,
    /// Purposes whose programs are attached, as far as we know.
    leading: bool,
    steering: bool,
    /// Whether maps may hold something else than we think.
    in_doubt: bool,
    /// What was whole when a change failed half way, until what else it has left is removed.
    whole: Option<EbpfPlan>,
    /// Whether a whole plan has been applied.
    applied: bool,
    /// What other releases left, in force until they are replaced.
    others: Vec<PathBuf>,
    census: Census,
}

// === impl EbpfPlane ===

impl EbpfPlane {
    /// Opens the plane of the calling thread's network namespace, pinned at the directory `place`,
    /// which nobody else uses; a bpf file system is mounted there. What an earlier process of this
    /// release pinned is adopted as it is; what one of another release did stays in force until
    /// [`EbpfPlane::replace_others`].
    ///
    /// # Errors
    /// An [`crate::Obstacle`] where the plane cannot be had; nothing is left then.
    pub fn open(place: &Path) -> Result<Self> {
        let cgroup = cgroup::open_root()?;
        let netns = Netns::current()?;
        let release = Release::new(place, object::cookie()?);
        place::prepare(place)?;
        if !release.is_whole() {
            release.load()?;
        }
        let own = netns.try_clone()?;
        let mut maps = Maps::open(release.maps())?;
        maps.local.reload()?;
        Ok(Self {
            place: place.to_owned(),
            netns,
            hooks: Hooks::new(release.programs(), release.links(), cgroup, own),
            maps,
            leading: false,
            steering: false,
            in_doubt: true,
            whole: None,
            applied: false,
            others: release.others()?,
            census: Census::default(),
        })
    }

    /// Makes the maps hold what `plan` says, and attaches the programs that it needs. A plan that
    /// is in force changes nothing.
    ///
    /// # Errors
    /// The plan contradicts itself or asks for what cannot be done, before anything has changed; or
    /// the kernel refuses something, and the next call looks at what it holds and goes on from
    /// there.
    pub fn apply(&mut self, plan: &EbpfPlan) -> Result<Applied> {
        self.settle()?;
        let (now, plan) = (self.maps.book.plan(), plan.canonical());
        let (removed, added) = (now.without(&plan), plan.without(&now));
        let applied = self.bring_about(&removed, &added)?;
        if !self.applied {
            self.maps.book.tidy()?;
            self.applied = true;
        }
        Ok(applied)
    }

    /// Takes entries out and puts others in, at a cost that does not depend on what else is there.
    /// An entry that takes the place of another with the same host ports does so in one step. What
    /// is to go and is not there, or is to come and is there, is passed over.
    ///
    /// # Errors
    /// As of [`EbpfPlane::apply`]; besides, no plan was applied before.
    pub fn change(&mut self, removed: &EbpfPlan, added: &EbpfPlan) -> Result<Applied> {
        if !self.applied {
            return Err(Error::NotApplied);
        }
        self.settle()?;
        self.bring_about(&removed.canonical(), &added.canonical())
    }

    /// Reads back what the maps hold, in canonical form.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn observe(&self) -> Result<EbpfPlan> {
        self.maps.book.read()
    }

    /// Says which addresses the host has, besides those of loopback: a client that asks for another
    /// one is not led anywhere by a publication on every address.
    ///
    /// # Errors
    /// When the map cannot be written, or has no room for so many.
    pub fn set_local_addresses(
        &mut self,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<()> {
        let wanted = addresses.into_iter().map(|address| mapped(address).octets());
        let wanted: BTreeSet<[u8; 16]> = wanted.collect();
        let local = &mut self.maps.local;
        let held: Vec<[u8; 16]> = local.held().keys().copied().collect();
        // What is gone goes first: without room for the others, it would be led all the same.
        held.iter()
            .filter(|address| !wanted.contains(*address))
            .try_for_each(|it| local.remove(it))?;
        wanted.iter().try_for_each(|address| local.put(*address, 1))
    }

    /// Hands over the sockets that serve the steered ports of `steer`, in place of those that did;
    /// clients are spread over them. Without any, the ports answer as if nothing listened. They
    /// listen or, for UDP, are bound; the plane keeps no descriptor, and a socket that is closed
    /// everywhere is gone from here, too.
    ///
    /// # Errors
    /// When `steer` is not in force, there are more than [`FLOOR_WIDTH`], or the kernel does not
    /// take one.
    pub fn set_floor(&mut self, steer: &Steer, sockets: &[BorrowedFd<'_>]) -> Result<()> {
        let refuse = |reason| Error::Unsteerable { entry: Box::new(steer.clone()), reason };
        let slot = self.maps.book.floor_of(steer).ok_or_else(|| refuse("it is not in the plan"))?;
        if sockets.len() > FLOOR_WIDTH {
            return Err(refuse("it has more than 16 sockets"));
        }
        let written = refused("write", "floor_sockets", FLOORS_LIMIT);
        for (index, socket) in places(slot).zip(sockets) {
            self.maps.floor_sockets.0.set(index, socket, 0).map_err(&written)?;
        }
        let count = u32::try_from(sockets.len()).unwrap_or_default();
        self.maps.book.set_floor(steer, slot, count)?;
        self.empty(places(slot).skip(sockets.len()))?;
        sockets.iter().try_for_each(|socket| sockets::claim(&mut self.maps, *socket))
    }

    /// Takes down what other releases left in force. To be called once a plan is applied and its floors
    /// have their sockets: until then, those of the other release serve.
    pub fn replace_others(&mut self) {
        for directory in std::mem::take(&mut self.others) {
            debug!(directory = %directory.display(), "taking down what another release left");
            for error in place::remove_all(&directory) {
                warn!(%error, "what another release left stays");
            }
        }
    }

    /// What each publication has counted; one that is gone is listed until its last connection has
    /// ended.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<BTreeMap<PublicationId, Counters>> {
        self.maps.book.accounts.counters()
    }

    /// What was left to the other planes for want of room.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn overflow(&self) -> Result<Overflow> {
        let get = |kind| self.maps.overflow.0.get(&kind, 0).map_err(refused("read", "overflow", 2));
        Ok(Overflow { sockets: get(0)?, busy: get(1)? })
    }

    /// Ends the open TCP connections of `publications` that were led to a target by us; returns how
    /// many there were. Their clients get `ECONNABORTED`, the targets a reset.
    ///
    /// # Errors
    /// When the kernel cannot do this; connections then go on until an end closes them.
    pub fn sever(&mut self, publications: &BTreeSet<PublicationId>) -> Result<usize> {
        self.sever_where(publications, |_| true)
    }

    /// The same for those whose client, as a list knows it, is one that `from` means.
    ///
    /// # Errors
    /// As of [`EbpfPlane::sever`].
    pub fn sever_where(
        &mut self,
        publications: &BTreeSet<PublicationId>,
        from: impl Fn(IpAddr) -> bool,
    ) -> Result<usize> {
        let accounts = self.maps.book.accounts.numbers_of(publications);
        sockets::sever(&self.maps, &self.netns, &accounts, from)
    }

    /// Whether every program that the plan needs is attached: others can detach a link, or remove
    /// what pins it.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_attached(&self) -> Result<bool> {
        for hook in self.wanted() {
            if !self.hooks.is_attached(hook)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Attaches the programs that the plan needs and that are not attached, and forgets sockets that
    /// were led or are in steered ranges and were not seen to go; returns the names of the programs.
    /// To be called now and then.
    ///
    /// # Errors
    /// When the kernel refuses; the rest is tried by the next call.
    pub fn repair(&mut self) -> Result<Vec<&'static str>> {
        let mut attached = Vec::new();
        for hook in self.wanted().collect::<Vec<_>>() {
            if self.hooks.attach(hook)? {
                warn!(program = hook.name, "ebpf program was not attached, attached it again");
                attached.push(hook);
            }
        }
        if attached.iter().any(|hook| hook.purpose == Purpose::Steering) {
            self.survey()?;
        }
        if self.steering {
            sockets::forget_gone(&mut self.maps, &self.netns)?;
            sockets::sweep(&mut self.maps)?;
        }
        if self.leading {
            self.census.take(&mut self.maps, &self.netns)?;
        }
        Ok(attached.iter().map(|hook| hook.name).collect())
    }

    /// How long [`EbpfPlane::repair`] lets pass before it looks for led sockets that have gone once
    /// more; 30 seconds unless it is told.
    pub fn set_pace(&mut self, pace: Duration) {
        self.census.pace = pace;
    }

    /// Takes everything down: connections that were led to a target go on, and are what they are.
    ///
    /// # Errors
    /// Everything that could not be taken down; what could be, is.
    pub fn dismantle(self) -> Result<(), Vec<Error>> {
        let Self { place, .. } = self;
        place::clear(&place)
    }

    /// Looks at what the maps hold unless that is known, and removes what a change that failed has
    /// left: it would be in force with nobody to take it back, and in the way of the next try. What
    /// a process that was killed has left stays until a plan has been applied.
    fn settle(&mut self) -> Result<()> {
        let book = &mut self.maps.book;
        if self.in_doubt {
            book.reload()?;
            self.in_doubt = false;
        }
        if let Some(whole) = &self.whole {
            // The first prefixes of a range look like a shorter one.
            let strays = book.plan().without(whole);
            let removed = book.enact(&strays, &EbpfPlan::default()).and_then(|()| book.tidy());
            self.in_doubt = removed.is_err();
            removed?;
            self.whole = None;
        }
        Ok(())
    }

    fn bring_about(&mut self, removed: &EbpfPlan, added: &EbpfPlan) -> Result<Applied> {
        check(&self.maps.book.entries, removed, added)?;
        let freed: Vec<u32> =
            removed.steers.iter().filter_map(|steer| self.maps.book.floor_of(steer)).collect();
        let mut applied = Applied {
            added: added.connects.len() + added.steers.len(),
            removed: removed.connects.len() + removed.steers.len(),
            attached: 0,
        };
        let enacted = self.maps.book.enact(removed, added);
        // Only a look at the maps says how far it came.
        self.in_doubt = enacted.is_err();
        if enacted.is_err() {
            self.whole = Some(self.maps.book.plan());
        }
        enacted?;
        for slot in freed {
            if self.maps.book.floors.get(&slot).is_none() {
                self.empty(places(slot))?;
            }
        }
        applied.attached = self.attach(!added.steers.is_empty())?;
        debug!(?applied, "ebpf plane changed");
        Ok(applied)
    }

    /// Attaches what the plan needs. Programs that lead are kept when nothing is published any
    /// more: connections that are open need them.
    fn attach(&mut self, more_steered: bool) -> Result<usize> {
        let mut attached = 0;
        if !self.leading && !self.maps.book.is_empty() {
            attached += self.attach_all(Purpose::Leading)?;
            self.leading = true;
        }
        if self.maps.book.steers() {
            let fresh = if self.steering { 0 } else { self.attach_all(Purpose::Steering)? };
            self.steering = true;
            attached += fresh;
            if fresh > 0 || more_steered {
                self.survey()?;
            }
        } else if self.steering || !self.applied {
            of_purpose(Purpose::Steering).rev().try_for_each(|hook| self.hooks.detach(hook))?;
            self.steering = false;
        }
        Ok(attached)
    }

    fn attach_all(&self, purpose: Purpose) -> Result<usize> {
        of_purpose(purpose).try_fold(0, |n, hook| Ok(n + usize::from(self.hooks.attach(hook)?)))
    }

    fn survey(&mut self) -> Result<()> {
        let fronts: Vec<_> = self.maps.book.entries.steers().keys().copied().collect();
        sockets::survey(&mut self.maps, &self.netns, fronts.iter())
    }

    fn wanted(&self) -> impl Iterator<Item = &'static Hook> + use<> {
        let (leading, steering) = (self.leading, self.steering);
        HOOKS.iter().filter(move |hook| match hook.purpose {
            Purpose::Leading => leading,
            Purpose::Steering => steering,
        })
    }

    fn empty(&mut self, indices: impl Iterator<Item = u32>) -> Result<()> {
        for index in indices {
            match self.maps.floor_sockets.0.clear_index(&index) {
                // An empty place is no key (EINVAL) to the kernel.
                Err(error) if !is_gone(&error) && crate::mirror::errno(&error) != Some(EINVAL) => {
                    return Err(refused("delete from", "floor_sockets", FLOORS_LIMIT)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

const EINVAL: i32 = 22;

/// The places of a floor's sockets in their map.
fn places(slot: u32) -> impl Iterator<Item = u32> {
    let width = u32::try_from(FLOOR_WIDTH).unwrap_or_default();
    (0..width).map(move |n| slot.saturating_mul(width).saturating_add(n))
}

fn of_purpose(purpose: Purpose) -> impl DoubleEndedIterator<Item = &'static Hook> {
    HOOKS.iter().filter(move |hook| hook.purpose == purpose)
}
