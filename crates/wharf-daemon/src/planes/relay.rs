//! The relay's share: who serves the sockets, and what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use wharf_host::diag;
use wharf_host::netlink::{Family, Netlink};
use wharf_host::netns::Netns;
use wharf_host::process::Pid;
use wharf_host::reserve::{Bound, Clash};
use wharf_host::transparent::lay_way_back_inside;
use wharf_plan::NetworkPolicy;
use wharf_relay::{Error as RelayError, Phase, Place, RelayClient, Route, Source};
use wharf_spec::{Proto, Publication, PublicationId, SourceMode, Target};

use super::{Inner, Loss};
use crate::error::{Error, Result};
use crate::paths::Paths;
use crate::reservation::{Held, rebind, transport};

/// The relay sees a connection end as soon as its thread runs.
const NOTICE_LIMIT: Duration = Duration::from_secs(1);
/// Connections of a relay of another release go on for so many seconds.
const OLD_RELAY_DRAIN: u32 = 3600;
const NOTICE_POLL: Duration = Duration::from_millis(5);

/// What a route needs besides its sockets, when its target is reached from inside: a connection to
/// whoever opens sockets, and the namespace.
type Inside = Option<(OwnedFd, Netns)>;

// === impl Inner ===

impl Inner {
    fn relay(&mut self, paths: &Paths) -> Result<&mut RelayClient> {
        if self.relay.is_none() {
            let exe = wharf_host::process::current_exe();
            self.relay = Some(wharf_relay::ensure(paths.run_dir(), &exe)?);
        }
        self.relay.as_mut().ok_or_else(|| Error::Conflict("the relay is not running".into()))
    }

    pub(super) fn relay_is_gone(&self) -> bool {
        let pid = self.relay.as_ref().map(RelayClient::pid);
        pid.is_some_and(|pid| !Pid::of(pid).is_ok_and(|process| process.is_alive()))
    }

    /// Gives the relay new routes with their sockets, behind their drop filters.
    pub(super) fn hand_over(&mut self, paths: &Paths, fresh: &[Held]) -> Result<()> {
        let bound: Vec<&Held> = fresh.iter().filter(|held| !held.sockets.is_empty()).collect();
        if bound.is_empty() {
            return Ok(());
        }
        let mut routes = Vec::with_capacity(bound.len());
        let mut insides: Vec<Inside> = Vec::with_capacity(bound.len());
        for held in &bound {
            routes.push(self.route(&held.publication, places(&held.sockets)));
            insides.push(self.inside(paths, &held.publication)?);
        }
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
        for (held, inside) in bound.iter().zip(&insides) {
            descriptors.extend(held.sockets.iter().map(|bound| bound.socket.as_fd()));
            descriptors.extend(inside.iter().flat_map(|(o, n)| [o.as_fd(), n.as_fd()]));
        }
        Ok(self.relay(paths)?.add(routes, &descriptors)?)
    }

    pub(super) fn open(&mut self, ids: &[PublicationId]) -> Result<()> {
        match &mut self.relay {
            Some(relay) if !ids.is_empty() => Ok(relay.open(&names(ids))?),
            _ => Ok(()),
        }
    }

    /// Tells the relay what has changed about a publication it serves.
    pub(super) fn lead_elsewhere(&mut self, paths: &Paths, new: &Publication) -> Result<()> {
        let Some(sockets) = self.held.get(&new.id).filter(|sockets| !sockets.is_empty()) else {
            return Ok(());
        };
        let route = self.route(new, places(sockets));
        let inside = self.inside(paths, new)?;
        let descriptors: Vec<BorrowedFd<'_>> =
            inside.iter().flat_map(|(o, n)| [o.as_fd(), n.as_fd()]).collect();
        match self.relay(paths)?.change(vec![route], &descriptors) {
            // The next relay is told how it is then.
            Err(_) if self.relay_is_gone() => Ok(()),
            other => {
                self.routes_in_doubt |= other.is_err();
                Ok(other?)
            }
        }
    }

    /// Changes every route of the relay's that is not as the plan in force wants it: another
    /// address is to be used, or a change has failed that was asked for earlier.
    pub(super) fn correct_routes(
        &mut self,
        paths: &Paths,
        publications: &[Publication],
    ) -> Result<()> {
        let listed = match &mut self.relay {
            Some(relay) => relay.list(),
            None => return Ok(()),
        };
        let listed = match listed {
            // The next relay is told how everything is then.
            Err(_) if self.relay_is_gone() => return Ok(()),
            listed => listed?,
        };
        let serving = listed.into_iter().filter(|it| it.phase != Phase::Leaving && !it.leased);
        let known: BTreeMap<String, Route> =
            serving.map(|it| (it.route.id.clone(), it.route)).collect();
        for publication in publications {
            let Some(route) = known.get(&publication.id.0) else { continue };
            if self.route(publication, route.listeners.clone()) != *route {
                self.lead_elsewhere(paths, publication)?;
            }
        }
        self.routes_in_doubt = false;
        Ok(())
    }

    /// Closes the sockets of publications.
    pub(super) fn drop_routes(
        &mut self,
        gone: &[PublicationId],
        drain_seconds: Option<u32>,
    ) -> Result<()> {
        let had: Vec<PublicationId> =
            gone.iter().filter(|id| self.held.remove(id).is_some()).cloned().collect();
        let Some(relay) = &mut self.relay else { return Ok(()) };
        if had.is_empty() {
            return Ok(());
        }
        match relay.remove(&names(&had), drain_seconds) {
            Ok(_) => Ok(()),
            // Its sockets went with it; the next relay is not told of these.
            Err(_) if self.relay_is_gone() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Closes every socket that is held for nothing in `publications`.
    pub(super) fn drop_others(&mut self, publications: &[Publication]) -> Result<()> {
        let wanted: BTreeSet<&PublicationId> = publications.iter().map(|p| &p.id).collect();
        let gone: Vec<PublicationId> =
            self.held.keys().filter(|id| !wanted.contains(id)).cloned().collect();
        self.lost.retain(|id, _| wanted.contains(id));
        self.namespaces.retain(|id, _| wanted.contains(id));
        self.drop_routes(&gone, None)
    }

    /// Takes the relay of an earlier daemon over. Answers its routes.
    pub(super) fn adopt_relay(&mut self, paths: &Paths) -> Result<Vec<Route>> {
        let socket = wharf_relay::socket_path(paths.run_dir());
        let mut relay = match RelayClient::connect(&socket) {
            Ok(relay) => relay,
            // It serves as another release has told it; one that understands us takes its place.
            Err(RelayError::Version { .. }) => {
                wharf_relay::upgrade(paths.run_dir(), None, OLD_RELAY_DRAIN)?
            }
            // No relay, or none that answers: its ports are bound anew.
            Err(_) => return Ok(Vec::new()),
        };
        await_dead_daemon(&mut relay)?;
        let mut routes = Vec::new();
        let mut unsteered = Vec::new();
        for (listed, sockets) in relay.list_with_sockets()? {
            if listed.route.steered && self.ebpf.is_none() {
                // Nobody leads its clients to its one socket any more; it is bound port by port.
                unsteered.push(listed.route.id);
                continue;
            }
            if listed.leased || listed.phase == Phase::Leaving {
                // Another program's, who ends it himself; or removed, with connections that go on.
                continue;
            }
            if listed.route.steered {
                self.steered.insert(PublicationId(listed.route.id.clone()));
            }
            let bound = bound(&listed.route, sockets);
            self.held.insert(PublicationId(listed.route.id.clone()), bound);
            routes.push(listed.route);
        }
        if !unsteered.is_empty() {
            relay.remove(&unsteered, None)?;
        }
        self.relay = Some(relay);
        Ok(routes)
    }

    /// Tells an adopted relay what has changed since it was told the last time: whoever told it may
    /// have been killed between writing it down and saying it.
    pub(super) fn catch_up(
        &mut self,
        paths: &Paths,
        known: &[Route],
        publications: &[Publication],
    ) {
        let known: BTreeMap<&str, &Route> = known.iter().map(|r| (r.id.as_str(), r)).collect();
        for publication in publications {
            let Some(route) = known.get(publication.id.0.as_str()) else { continue };
            let wanted = self.route(publication, route.listeners.clone());
            // Sockets inside are opened by a helper of this daemon's from now on.
            if (wanted != **route || wanted.inside)
                && let Err(error) = self.lead_elsewhere(paths, publication)
            {
                self.lost.insert(publication.id.clone(), Loss::not_served(error));
            }
        }
    }

    /// Gives the relay every publication it does not have, from the sockets held here or newly
    /// bound ones. A port that someone else took meanwhile is noted, not fatal.
    pub(super) fn restore(&mut self, paths: &Paths, publications: &[Publication]) {
        let listed = match &mut self.relay {
            Some(relay) => relay.open_routes(),
            None => Ok(Vec::new()),
        };
        let known: BTreeSet<PublicationId> = match listed {
            Ok(ids) => ids.into_iter().map(PublicationId).collect(),
            Err(error) => return tracing::warn!(%error, "the relay does not say what it serves"),
        };
        let lacks = |publication: &&Publication| {
            !known.contains(&publication.id) && !publication.host.addresses.is_empty()
        };
        let missing: Vec<&Publication> = publications.iter().filter(lacks).collect();
        if !missing.is_empty()
            && let Err(error) = self.relay(paths)
        {
            // Each would wait as long for the same end.
            tracing::error!(%error, "no relay");
            let reasons = missing.iter().map(|lost| (lost.id.clone(), Loss::not_served(&error)));
            return self.lost.extend(reasons);
        }
        for publication in missing {
            self.restore_or_note(paths, publication);
        }
    }

    fn restore_or_note(&mut self, paths: &Paths, publication: &Publication) {
        let id = &publication.id;
        let before = match self.restore_one(paths, publication) {
            Ok(()) => self.lost.remove(id),
            Err(loss) => {
                if self.lost.get(id) != Some(&loss) {
                    tracing::warn!(publication = %id, loss.reason, "publication lost its host port");
                }
                self.lost.insert(id.clone(), loss)
            }
        };
        let taken = |loss: Option<&Loss>| loss.is_some_and(|loss| loss.taken);
        if taken(before.as_ref()) != taken(self.lost.get(id))
            && let Err(error) = self.reconsider(publication)
        {
            tracing::warn!(publication = %id, %error, "fitting the kernel plane to a lost port");
        }
    }

    fn restore_one(&mut self, paths: &Paths, publication: &Publication) -> Result<(), Loss> {
        let sockets = match self.held.remove(&publication.id) {
            Some(sockets) => sockets,
            None => {
                let steered = self.should_steer(publication);
                rebind(publication, steered).map_err(|clash| Loss::of(&clash, publication))?
            }
        };
        let was = self.steered.contains(&publication.id);
        self.note_steering(publication, &sockets);
        let planned = self.plan.shares.contains_key(&publication.id);
        if planned && was != self.steered.contains(&publication.id) {
            self.reconsider(publication).map_err(Loss::not_served)?;
        }
        let held =
            Held { publication: publication.clone(), sockets, specs: Vec::new(), lasting: false };
        let id = publication.id.clone();
        let handed = self.hand_over(paths, std::slice::from_ref(&held));
        self.held.insert(id.clone(), held.sockets);
        let floor = self.set_floors(&BTreeSet::from([id.clone()]));
        handed.and(floor).and_then(|()| self.open(&[id])).map_err(Loss::not_served)
    }

    /// What a publication's route needs when sockets are opened inside the target's namespace;
    /// with the way back laid there for clients' addresses.
    fn inside(&mut self, paths: &Paths, publication: &Publication) -> Result<Inside> {
        let Some(path) = publication.target.inside() else { return Ok(None) };
        let netns = Netns::from_path(path)?;
        self.namespaces.insert(publication.id.clone(), netns.identity()?);
        let udp = publication.proto == Proto::Udp;
        let ports = (publication.target_ports.first(), publication.target_ports.last());
        let udp_ports = if udp { vec![ports] } else { Vec::new() };
        let laid = lay_way_back_inside(&netns, &udp_ports);
        if let Err(error) = laid {
            tracing::warn!(%error, path = %path.display(), "clients' addresses are not kept inside");
        }
        let opener = match &mut self.opener {
            Some(opener) if opener.is_alive() => opener,
            none => none.insert(wharf_relay::start_opener(
                paths.run_dir(),
                &wharf_host::process::current_exe(),
            )?),
        };
        let opener = opener.as_fd().try_clone_to_owned().map_err(Error::io("share the opener"))?;
        Ok(Some((opener, netns)))
    }

    /// Looks whether targets that are reached from inside are where they were, and whether whoever
    /// opens sockets there is alive. Answers what was wrong.
    pub(super) fn mend_inside(
        &mut self,
        paths: &Paths,
        publications: &[Publication],
    ) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let opener_died = self.opener.as_ref().is_some_and(|opener| !opener.is_alive());
        for publication in publications {
            let known = self.namespaces.get(&publication.id).copied();
            let (Some(path), Some(before)) = (publication.target.inside(), known) else { continue };
            let now = Netns::from_path(path).and_then(|netns| netns.identity());
            match now {
                Ok(now) if now == before && !opener_died => {}
                Ok(_) => {
                    self.lead_elsewhere(paths, publication)?;
                    wrong.push(format!("{} was another namespace", path.display()));
                }
                Err(error) => {
                    self.namespaces.remove(&publication.id);
                    self.drop_routes(std::slice::from_ref(&publication.id), None)?;
                    let reason = format!("{} is gone: {error}", path.display());
                    wrong.push(reason.clone());
                    self.lost.insert(publication.id.clone(), Loss::not_served(reason));
                }
            }
        }
        Ok(wrong)
    }

    /// The order of sockets is the same on both sides: port by port, for each port place by place.
    fn route(&self, publication: &Publication, listeners: Vec<Place>) -> Route {
        let served = self.plan.publications.get(&publication.id);
        let network = publication.target.network().and_then(|name| self.networks.get(name));
        let subnets = |network: &NetworkPolicy| network.subnets.iter().map(|it| it.0).collect();
        let inside = publication.target.inside().is_some();
        let keeps_clients = served.is_some_and(|served| served.relay_keeps_clients);
        let source = match publication.options.source {
            _ if !keeps_clients => Source::Gateway,
            // Whoever asked for it relies on it, with filters in the container perhaps.
            SourceMode::Client => Source::ClientOnly,
            _ => Source::Client,
        };
        Route {
            id: publication.id.0.clone(),
            proto: publication.proto,
            listeners,
            target_v4: publication.target.ipv4().or(inside.then_some(Ipv4Addr::LOCALHOST)),
            target_v6: publication.target.ipv6().or(inside.then_some(Ipv6Addr::LOCALHOST)),
            host_ports: publication.host.ports,
            target_ports: publication.target_ports,
            allow: publication.options.allow.clone(),
            proxy_protocol: publication.options.proxy_protocol,
            connect_timeout_ms: self.limits.connect_timeout_ms,
            idle_timeout_seconds: self.limits.idle_timeout_seconds,
            source,
            // Whom the target answers without passing this host.
            neighbours: network.map(subnets).unwrap_or_default(),
            inside,
            steered: self.steered.contains(&publication.id),
            on_host: !matches!(publication.target, Target::Address { .. }),
        }
    }
}

// === impl Loss ===

impl Loss {
    fn of(clash: &Clash, publication: &Publication) -> Self {
        let taken = clash.is_in_use() && takes_clients(clash.port, publication.proto);
        Self { reason: clash.to_string(), taken }
    }

    fn not_served(why: impl ToString) -> Self {
        Self { reason: why.to_string(), taken: false }
    }
}

/// Whether somebody waits at a port for clients from other hosts. Who listens on loopback is in the
/// way of a socket for every address, and has no claim to what comes from outside.
fn takes_clients(port: u16, proto: Proto) -> bool {
    let waiting = transport(proto).ok().and_then(|transport| {
        let mut netlink = Netlink::open(Family::SockDiag).ok()?;
        diag::waiting(&mut netlink, transport, port).ok()
    });
    // What cannot be told is left to whoever is there.
    waiting.is_none_or(|all| all.iter().any(|socket| !socket.address.is_loopback()))
}

/// The addresses listened on for each port.
fn places(sockets: &[Bound]) -> Vec<Place> {
    let first = sockets.first().map(|bound| bound.port);
    let of_first = sockets.iter().take_while(|bound| Some(bound.port) == first);
    of_first.map(|b| Place { address: b.address, dual: b.dual }).collect()
}

/// Routes a killed daemon had added and not opened go when the relay notices that it is gone, which
/// takes it a moment; until then their ports could not be bound anew.
fn await_dead_daemon(relay: &mut RelayClient) -> Result<()> {
    let deadline = Instant::now() + NOTICE_LIMIT;
    while relay.list()?.iter().any(|listed| listed.phase == Phase::Held)
        && Instant::now() < deadline
    {
        std::thread::sleep(NOTICE_POLL);
    }
    Ok(())
}

pub(super) fn names(ids: &[PublicationId]) -> Vec<String> {
    ids.iter().map(|id| id.0.clone()).collect()
}

fn bound(route: &Route, sockets: Vec<OwnedFd>) -> Vec<Bound> {
    let places =
        route.bound_ports().iter().flat_map(|port| route.listeners.iter().map(move |p| (port, *p)));
    let pairs = places.zip(sockets);
    pairs
        .map(|((port, place), socket)| Bound {
            address: place.address,
            dual: place.dual,
            port,
            socket,
        })
        .collect()
}
