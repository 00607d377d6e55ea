//! Connections that are not there yet: attempts, and what becomes of those without an answer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Stage};
use super::dial::{Way, dial, kept};
use super::{Tcp, refused};
use crate::context::Context;
use crate::protocol::Source;
use crate::route::Shared;
use crate::worker::tokens::Side;

/// How long the client's address is not tried again after it got no answer.
const DISTRUST: Duration = Duration::from_secs(10);

// === impl Tcp ===

impl Tcp {
    /// Starts to connect to the target, from the client's address if `as_client` and that can be.
    pub(super) fn dial(
        &self,
        shared: &Shared,
        peer: SocketAddr,
        port: usize,
        as_client: bool,
        now: Instant,
    ) -> Option<(OwnedFd, Stage)> {
        let target = SocketAddr::from(shared.route.target(peer.ip(), port)?);
        let dialed = self.dial_at(shared, peer, target, as_client, now).or_else(|error| {
            // There may be no address of this family in there at all.
            let other = shared.route.other_target(peer.ip(), port).ok_or(error)?;
            self.dial_at(shared, peer, other.into(), false, now)
        });
        dialed.inspect_err(|error| refused(shared, target, error)).ok()
    }

    fn dial_at(
        &self,
        shared: &Shared,
        peer: SocketAddr,
        target: SocketAddr,
        as_client: bool,
        now: Instant,
    ) -> io::Result<(OwnedFd, Stage)> {
        let limits = &self.context.limits;
        let trusted = as_client && shared.trusts_source(self.context.milliseconds(now));
        let source = if trusted { kept(&shared.route, peer, target) } else { None };
        let unpaced = shared.route.on_host && self.context.pacing.is_some();
        let dialed = dial(Way { target, unpaced, inside: shared.inside.as_ref() }, source)?;
        let limit = self.connect_limit(shared);
        let may_retry = dialed.as_client && shared.route.source == Source::Client;
        let limit = if may_retry { limit.min(limits.transparent) } else { limit };
        let stage = Stage::Dialing { since: now, until: now + limit, as_client: dialed.as_client };
        Ok((dialed.socket, stage))
    }

    /// Tries the other family's address of a target that is reached from inside and has refused:
    /// it may listen on one alone. Answers whether there was one to try.
    pub(super) fn tries_other_family(&mut self, slot: u32, now: Instant) -> bool {
        let Some(connection) = self.connections.get_mut(slot) else { return false };
        let shared = Arc::clone(&connection.admitted.shared);
        let (peer, port) = (connection.peer, connection.admitted.port);
        let once = !connection.turned && connection.target_failed();
        let dialing = matches!(connection.stage, Stage::Dialing { .. });
        let Some(other) = shared.route.other_target(peer.ip(), port).filter(|_| once && dialing)
        else {
            return false;
        };
        let Ok((target, stage)) = self.dial_at(&shared, peer, other.into(), false, now) else {
            return false;
        };
        let Some(mut connection) = self.connections.take(slot) else { return false };
        connection.turn(target, stage);
        self.readmit(connection);
        true
    }

    fn connect_limit(&self, shared: &Shared) -> Duration {
        let own = shared.route.connect_timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        own.unwrap_or(self.context.limits.connect)
    }

    pub(super) fn await_dial(&mut self, slot: u32, stage: Stage) {
        if let Stage::Dialing { until, .. } = stage {
            self.dialing.push(slot);
            self.next_deadline = Some(self.next_deadline.map_or(until, |next| next.min(until)));
        }
    }

    pub(super) fn give_up_dialing(&mut self, now: Instant) {
        self.next_deadline = None;
        for slot in std::mem::take(&mut self.dialing) {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            match connection.stage {
                Stage::Dialing { since, until, as_client } if until <= now => {
                    self.not_answered(slot, since, as_client, now);
                }
                stage => self.await_dial(slot, stage),
            }
        }
    }

    /// The target did not answer in time. From the gateway's address it may, if somebody took
    /// away what leads its answers to the client's address back here. Not if others were answered
    /// meanwhile: then it is this client that the target does not want.
    fn not_answered(&mut self, slot: u32, since: Instant, as_client: bool, now: Instant) {
        let Some(mut connection) = self.connections.take(slot) else { return };
        let shared = Arc::clone(&connection.admitted.shared);
        let last = since + self.connect_limit(&shared);
        if as_client
            && now < last
            && shared.way_back_was_open_since(self.context.milliseconds(since))
        {
            connection.stage = Stage::Dialing { since, until: last, as_client };
            return self.readmit(connection);
        }
        let may_turn = as_client && shared.route.source != Source::ClientOnly;
        let again = match may_turn && now < last {
            true => self.dial(&shared, connection.peer, connection.admitted.port, false, now),
            false => None,
        };
        let Some((target, stage)) = again else {
            self.context.carry(self.seat, false);
            tracing::debug!(route = shared.route.id, "target timed out");
            shared.counters.target_timeouts.up();
            return connection.reset();
        };
        connection.redial(target, stage);
        self.readmit(connection);
    }

    /// Gives a connection that still dials another slot.
    pub(super) fn readmit(&mut self, connection: Connection) {
        let stage = connection.stage;
        match self.connections.insert(connection) {
            Ok(slot) if self.rejoin(slot) => self.await_dial(slot, stage),
            Ok(slot) => self.reset(slot),
            Err(connection) => {
                self.context.carry(self.seat, false);
                connection.reset();
            }
        }
    }

    /// A target has answered: what that says about the way back to clients' addresses.
    pub(super) fn learn(context: &Context, connection: &Connection, as_client: bool, now: Instant) {
        let shared = &connection.admitted.shared;
        if as_client {
            return shared.way_back_is_open_at(context.milliseconds(now));
        }
        if connection.redialed {
            if shared.counters.source_fallbacks.first() {
                tracing::warn!(
                    route = shared.route.id,
                    "no answers come back to clients' addresses"
                );
            }
            shared.distrust_until(context.milliseconds(now + DISTRUST));
        }
    }

    /// Watches a connection that has moved to another slot.
    fn rejoin(&mut self, slot: u32) -> bool {
        let Some(connection) = self.connections.get(slot) else { return false };
        self.unfollow(connection);
        self.follow(slot, Side::Client) && self.follow(slot, Side::Target)
    }
}
