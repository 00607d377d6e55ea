//! The relay's share: who serves the sockets, and what it is told.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use wharf_host::process::Pid;
use wharf_host::reserve::Bound;
use wharf_plan::NetworkPolicy;
use wharf_relay::{Phase, Place, RelayClient, Route, Source};
use wharf_spec::{Publication, PublicationId, SourceMode};

use super::{Inner, Planned};
use crate::error::{Error, Result};
use crate::paths::Paths;
use crate::reservation::{Held, rebind};

/// The relay sees a connection end as soon as its thread runs.
const NOTICE_LIMIT: Duration = Duration::from_secs(1);
const NOTICE_POLL: Duration = Duration::from_millis(5);

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

    pub(super) fn hand_over(
        &mut self,
        paths: &Paths,
        fresh: &[Held],
        planned: Planned<'_>,
    ) -> Result<()> {
        let bound: Vec<&Held> = fresh.iter().filter(|held| !held.sockets.is_empty()).collect();
        if bound.is_empty() {
            return Ok(());
        }
        let routes = bound.iter().map(|held| self.route(held, planned)).collect();
        let all = bound.iter().flat_map(|held| &held.sockets);
        let sockets: Vec<_> = all.map(|bound| bound.socket.as_fd()).collect();
        Ok(self.relay(paths)?.add(routes, &sockets)?)
    }

    pub(super) fn open(&mut self, ids: &[PublicationId]) -> Result<()> {
        match &mut self.relay {
            Some(relay) if !ids.is_empty() => Ok(relay.open(&names(ids))?),
            _ => Ok(()),
        }
    }

    pub(super) fn adopt_relay(&mut self, paths: &Paths) -> Result<()> {
        // No relay, or none that understands us: its ports are bound anew.
        let socket = wharf_relay::socket_path(paths.run_dir());
        let Ok(mut relay) = RelayClient::connect(&socket) else { return Ok(()) };
        await_dead_daemon(&mut relay)?;
        for (listed, sockets) in relay.list_with_sockets()? {
            if listed.leased {
                // Another program's, who ends it himself.
                continue;
            }
            let bound = bound(&listed.route, sockets);
            self.held.insert(PublicationId(listed.route.id), bound);
        }
        self.relay = Some(relay);
        Ok(())
    }

    /// Gives the relay every publication it does not have, from the sockets held here or newly
    /// bound ones. A port that someone else took meanwhile is noted, not fatal.
    pub(super) fn restore(&mut self, paths: &Paths, planned: Planned<'_>) {
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
        let missing: Vec<&Publication> = planned.desire.publications.iter().filter(lacks).collect();
        if !missing.is_empty()
            && let Err(error) = self.relay(paths)
        {
            // Each would wait as long for the same end.
            tracing::error!(%error, "no relay");
            let reasons = missing.iter().map(|lost| (lost.id.clone(), error.to_string()));
            return self.lost.extend(reasons);
        }
        for publication in missing {
            let id = publication.id.clone();
            match self.restore_one(paths, publication, planned) {
                Ok(()) => {
                    self.lost.remove(&id);
                }
                Err(reason) => {
                    tracing::warn!(publication = %id, reason, "publication lost its host port");
                    self.lost.insert(id, reason);
                }
            }
        }
    }

    fn restore_one(
        &mut self,
        paths: &Paths,
        publication: &Publication,
        planned: Planned<'_>,
    ) -> Result<(), String> {
        let sockets = match self.held.remove(&publication.id) {
            Some(sockets) => sockets,
            None => rebind(publication).map_err(|clash| clash.to_string())?,
        };
        let held = Held { publication: publication.clone(), sockets };
        let id = publication.id.clone();
        let handed = self.hand_over(paths, std::slice::from_ref(&held), planned);
        self.held.insert(id.clone(), held.sockets);
        handed.and_then(|()| self.open(&[id])).map_err(|error| error.to_string())
    }

    /// The order of sockets is the same on both sides: port by port, for each port place by place.
    fn route(&self, held: &Held, Planned { plan, desire }: Planned<'_>) -> Route {
        let Held { publication, sockets } = held;
        let first = sockets.first().map(|bound| bound.port);
        let places = sockets.iter().take_while(|bound| Some(bound.port) == first);
        let served = plan.publications.get(&publication.id);
        let network = publication.target.network().and_then(|name| desire.networks.get(name));
        let subnets = |network: &NetworkPolicy| network.subnets.iter().map(|it| it.0).collect();
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
            listeners: places.map(|b| Place { address: b.address, dual: b.dual }).collect(),
            target_v4: publication.target.ipv4(),
            target_v6: publication.target.ipv6(),
            host_ports: publication.host.ports,
            target_ports: publication.target_ports,
            allow: publication.options.allow.clone(),
            proxy_protocol: publication.options.proxy_protocol,
            connect_timeout_ms: self.limits.connect_timeout_ms,
            idle_timeout_seconds: self.limits.idle_timeout_seconds,
            source,
            // Whom the target answers without passing this host.
            neighbours: network.map(subnets).unwrap_or_default(),
            inside: false,
            on_host: true,
        }
    }
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
        route.host_ports.iter().flat_map(|port| route.listeners.iter().map(move |p| (port, *p)));
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
