//! Publishing on what runs, changing it, and taking it down again.

mod alter;
mod follow;
mod found;
mod said;
mod selection;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use wharf_api::{PublishRequest, Published, UnpublishRequest, Unpublished};
use wharf_host::reserve::Clash;
use wharf_plan::{HostFacts, NetworkPolicy};
use wharf_spec::{
    HostPorts, HostSide, PortRange, Proto, Publication, PublicationId, SpecError, Target,
    TargetName, Via,
};

use self::alter::{Alteration, forget};
use self::found::Found;
use self::selection::select;
use crate::crash;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::flows;
use crate::record::{Owner, PublicationRecord};
use crate::reservation::{Held, Present, holds, reserve_all};
use crate::resolve::{Wanted, resolve};

/// A drain that takes longer is none.
const DRAIN_MAX: u32 = 24 * 3600;

// === impl Daemon ===

impl Daemon {
    /// Publishes ports of something that runs, or changes how they are published.
    ///
    /// What the target has published already at the same host addresses and ports gets the new
    /// options, without a gap; so does what `replace` has published there, and leads to the target
    /// from then on.
    pub fn publish(self: &Arc<Self>, request: &PublishRequest) -> Result<Published> {
        if request.specs.is_empty() {
            return Err(Error::Invalid("nothing to publish: give a port spec, as 8080:80".into()));
        }
        let name = target_name(&request.target)?;
        self.in_turn(&self.turn_of(&name)?, || self.publish_in_turn(request, name))
    }

    fn publish_in_turn(
        self: &Arc<Self>,
        request: &PublishRequest,
        name: TargetName,
    ) -> Result<Published> {
        let mut warnings = Vec::new();
        let found = self.find_target(name)?;
        let mut wanted =
            resolve(&[], &request.specs, &[], found.circumstances(self), &mut warnings)?;
        let replaced = request.replace.as_deref().map(target_name).transpose()?;
        let replaced = replaced.map(|name| self.owner_of(&name)).transpose()?;
        let there = self.to_be_altered(&wanted, &found, replaced.as_ref());
        said::settle(&mut wanted, &request.options, there.iter().map(Option::as_ref))?;
        let others = self.leading_to_addresses(&there);
        wanted.iter().try_for_each(|one| found.refuse_loop(one, &others))?;
        self.refuse_impossible(&wanted, &found.target, &found.networks())?;
        let (altered, fresh) = self.sort_out(wanted, there, &found, replaced.as_ref())?;
        let asked = fresh.clone();
        let held = self.reserve(fresh, &found.target).map_err(|error| match error {
            Error::Port(text) => Error::Port(match self.rival(&asked) {
                Some(name) => format!("{text}; `--replace {name}` takes it over without a gap"),
                None => text,
            }),
            error => error,
        })?;
        let mut ids: Vec<PublicationId> =
            held.iter().map(|held| held.publication.id.clone()).collect();
        ids.extend(altered.iter().map(|it| it.after.publication.id.clone()));
        self.alter_all(&altered)?;
        self.put_fresh_in_force(&found.owner, held)?;
        self.told_of("publish", &found.name, &ids);
        Ok(self.published(&ids, warnings))
    }

    fn put_fresh_in_force(&self, owner: &Owner, held: Vec<Held>) -> Result<()> {
        if held.is_empty() {
            return Ok(());
        }
        let ids: Vec<PublicationId> = held.iter().map(|h| h.publication.id.clone()).collect();
        let done = self.put_in_force(owner, held, |_| Ok(()));
        if done.is_err() {
            let undone = self.ledger.transact(|draft| {
                ids.iter().for_each(|id| draft.delete_publication(id));
                Ok(())
            });
            for error in [undone, self.reconcile()].into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "undoing what could not be published");
            }
        }
        done
    }

    /// What leads to addresses, which may be this host's; but for what is about to lead elsewhere.
    fn leading_to_addresses(&self, altered: &[Option<PublicationRecord>]) -> Vec<Publication> {
        let stays = |publication: &Publication| {
            let mut ids = altered.iter().flatten().map(|record| &record.publication.id);
            !ids.any(|id| *id == publication.id)
        };
        self.ledger.read(|state| {
            let all = state.publications.values().filter(|record| record.suspended.is_none());
            let all = all.map(|record| &record.publication);
            let leading = all.filter(|it| matches!(it.target, Target::Address { .. }));
            leading.filter(|it| stays(it)).cloned().collect()
        })
    }

    /// For each of `wanted`, what the request may change: the target's own publication at that
    /// place, or that of whoever is `replaced`.
    fn to_be_altered(
        &self,
        wanted: &[Wanted],
        found: &Found,
        replaced: Option<&Owner>,
    ) -> Vec<Option<PublicationRecord>> {
        let may = |record: &PublicationRecord| {
            record.owner == found.owner || Some(&record.owner) == replaced
        };
        self.at_the_same_places(wanted).into_iter().map(|there| there.filter(may)).collect()
    }

    /// What is new and what changes something that is there.
    fn sort_out(
        &self,
        wanted: Vec<Wanted>,
        there: Vec<Option<PublicationRecord>>,
        found: &Found,
        replaced: Option<&Owner>,
    ) -> Result<(Vec<Alteration>, Vec<Wanted>)> {
        let (mut altered, mut fresh) = (Vec::new(), Vec::new());
        refuse_twice(&wanted, &there)?;
        for (one, there) in wanted.into_iter().zip(there) {
            match (there, replaced) {
                (Some(before), _) => altered.push(Alteration::new(before, &one, found)),
                (None, None) => fresh.push(one),
                (None, Some(owner)) => return Err(self.nothing_to_replace(&one, owner)),
            }
        }
        Ok((altered, fresh))
    }

    /// For each of `wanted`, what is published at exactly the same host addresses and ports.
    fn at_the_same_places(&self, wanted: &[Wanted]) -> Vec<Option<PublicationRecord>> {
        let mut places: HashMap<(Proto, PortRange), Vec<usize>> = HashMap::new();
        for (index, one) in wanted.iter().enumerate() {
            if let HostPorts::Exact(ports) = one.host_ports {
                places.entry((one.proto, ports)).or_default().push(index);
            }
        }
        let mut found: Vec<Option<PublicationRecord>> = vec![None; wanted.len()];
        self.ledger.read(|state| {
            // What rests is in nobody's way.
            let in_force = state.publications.values().filter(|r| r.suspended.is_none());
            for record in in_force {
                let key = (record.publication.proto, record.publication.host.ports);
                for index in places.get(&key).into_iter().flatten() {
                    if let (Some(one), Some(slot)) = (wanted.get(*index), found.get_mut(*index))
                        && same_addresses(&record.publication.host.addresses, &one.addresses)
                    {
                        *slot = Some(record.clone());
                    }
                }
            }
        });
        found
    }

    /// Who has published exactly what is wanted, of the first that somebody has.
    fn rival(&self, wanted: &[Wanted]) -> Option<String> {
        let record = self.at_the_same_places(wanted).into_iter().flatten().next()?;
        Some(self.ledger.read(|state| crate::describe::name_of(state, &record.owner)))
    }

    fn nothing_to_replace(&self, one: &Wanted, owner: &Owner) -> Error {
        let (name, has) = self.ledger.read(|state| {
            let has = state.published_by(owner).map(|r| selection::text(&r.publication));
            (crate::describe::name_of(state, owner), has.collect::<Vec<_>>())
        });
        let has = if has.is_empty() { "nothing".to_owned() } else { has.join(", ") };
        let wanted = one.specs.join(", ");
        Error::Conflict(format!(
            "{name} has not published what {wanted} would replace; it has published {has}: give \
             the same host addresses and ports"
        ))
    }

    /// Takes publications of a target down.
    pub fn unpublish(self: &Arc<Self>, request: &UnpublishRequest) -> Result<Unpublished> {
        if request.drain_seconds.is_some_and(|seconds| seconds > DRAIN_MAX) {
            return Err(Error::Invalid("a drain takes 24h at most".into()));
        }
        let name = target_name(&request.target)?;
        let owner = self.owner_of(&name)?;
        self.in_turn(&self.turn_of(&name)?, || self.unpublish_in_turn(request, &name, &owner))
    }

    fn unpublish_in_turn(
        self: &Arc<Self>,
        request: &UnpublishRequest,
        name: &TargetName,
        owner: &Owner,
    ) -> Result<Unpublished> {
        let records = self.ledger.transact(|draft| {
            let records = select(draft.before().published_by(owner), request)?;
            records.iter().for_each(|record| draft.delete_publication(&record.publication.id));
            forget(draft, owner, &records)?;
            Ok(records)
        })?;
        crash::point("unpublish.recorded");
        self.take_down_publications(&records, request.drain_seconds)?;
        if let Some(seconds) = request.drain_seconds {
            self.cut_later(&records, Duration::from_secs(seconds.into()));
        }
        let ids: Vec<PublicationId> = records.into_iter().map(|r| r.publication.id).collect();
        self.told_of("unpublish", name, &ids);
        Ok(Unpublished { ids: ids.into_iter().map(|id| id.0).collect() })
    }

    /// Ends what the kernel still carries of publications that were taken down, unless somebody
    /// has published the same anew meanwhile.
    fn cut_later(self: &Arc<Self>, records: &[PublicationRecord], limit: Duration) {
        let gone: Vec<Publication> = records.iter().map(|r| r.publication.clone()).collect();
        let daemon = Arc::clone(self);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(limit).await;
            let cut = tokio::task::spawn_blocking(move || {
                let again = |p: &Publication| {
                    daemon.ledger.read(|state| {
                        state.publications.values().any(|r| {
                            r.publication.proto == p.proto
                                && r.publication.host.clashes(&p.host).is_some()
                        })
                    })
                };
                let gone: Vec<Publication> = gone.into_iter().filter(|p| !again(p)).collect();
                let ids: Vec<PublicationId> = gone.iter().map(|p| p.id.clone()).collect();
                daemon.planes.sever(&*daemon, &ids);
                daemon.flows.forget(&gone, flows::Which::All)
            });
            if let Ok(Err(error)) = cut.await {
                tracing::warn!(%error, "ending connections after a drain");
            }
        });
    }

    /// Reserves the host ports of what is wanted.
    pub(crate) fn reserve(&self, wanted: Vec<Wanted>, target: &Target) -> Result<Vec<Held>> {
        let holder = |proto, clash: &_| {
            self.ledger.read(|state| {
                let has = |r: &&PublicationRecord| holds(&r.publication, proto, clash);
                let record = state.publications.values().find(has)?;
                let name = crate::describe::name_of(state, &record.owner);
                Some(match record.owner {
                    Owner::Container(_) => format!("container {name}"),
                    Owner::Target(_) => name,
                })
            })
        };
        let taken = |proto, host: &HostSide| {
            self.ledger.read(|state| {
                let in_force = state.publications.values().filter(|it| it.suspended.is_none());
                let mut others = in_force.map(|it| &it.publication).filter(|it| it.proto == proto);
                others.find_map(|other| in_use(other.host.clashes(host)?))
            })
        };
        let ranges = wanted.iter().filter_map(|one| match one.host_ports {
            HostPorts::Exact(ports) => Some(ports.count()),
            _ => None,
        });
        let present = Present {
            holder: &holder,
            sockets: self.planes.sockets(),
            descriptor_limit: self.descriptor_limit,
            taken: &taken,
            steer_from: self.planes.steers_from(ranges.max().unwrap_or(0)),
        };
        reserve_all(wanted, target, present)
    }

    /// Refuses what cannot be served as asked, before anything is bound.
    pub(crate) fn refuse_impossible(
        &self,
        wanted: &[Wanted],
        target: &Target,
        networks: &BTreeMap<String, NetworkPolicy>,
    ) -> Result<()> {
        if wanted.iter().any(|one| one.options.via == Via::Ebpf) {
            self.planes.look_for_local();
        }
        // Forwarding is switched on before anything is published.
        let facts = HostFacts { forwarding_v4: true, forwarding_v6: true, ..self.planes.facts() };
        for one in wanted {
            let sketch = one.sketch(target.clone());
            if let Some(reason) = wharf_plan::refuse(&sketch, networks, &facts) {
                return Err(Error::Invalid(reason));
            }
        }
        Ok(())
    }

    fn published(&self, ids: &[PublicationId], mut warnings: Vec<String>) -> Published {
        let publications: Vec<Publication> = self.ledger.read(|state| {
            let found = ids.iter().filter_map(|id| state.publications.get(id));
            found.map(|record| record.publication.clone()).collect()
        });
        warnings.extend(self.firewall_notes(&publications));
        let ports = self.port_entries_of(ids);
        Published { ports, warnings }
    }

    fn told_of(&self, action: &str, name: &TargetName, ids: &[PublicationId]) {
        for id in ids {
            self.events.tell("publication", action, &id.0, Some(&name.to_string()));
        }
    }
}

/// What the kernel would say of it.
fn in_use(clash: wharf_spec::Clash) -> Option<Clash> {
    let source = rustix::io::Errno::ADDRINUSE.into();
    Some(Clash { address: clash.address, port: clash.ports.first(), source })
}

pub(crate) fn target_name(text: &str) -> Result<TargetName> {
    text.parse().map_err(invalid)
}

fn invalid(error: SpecError) -> Error {
    Error::Invalid(match error.hint() {
        Some(hint) => format!("{error}: {hint}"),
        None => error.to_string(),
    })
}

/// One publication cannot become two things at once.
fn refuse_twice(wanted: &[Wanted], there: &[Option<PublicationRecord>]) -> Result<()> {
    let mut seen = HashSet::new();
    for (one, record) in wanted.iter().zip(there) {
        if let Some(record) = record
            && !seen.insert(&record.publication.id)
        {
            return Err(Error::Invalid(format!(
                "{} asks for host addresses and ports that another spec of this request asks for: \
                 give each place once",
                one.specs.join(", ")
            )));
        }
    }
    Ok(())
}

/// Whether the same addresses are listened on, in whatever order; none are those of nobody.
fn same_addresses(some: &[IpAddr], others: &[IpAddr]) -> bool {
    let within = |some: &[IpAddr], others: &[IpAddr]| some.iter().all(|it| others.contains(it));
    !some.is_empty() && within(some, others) && within(others, some)
}
