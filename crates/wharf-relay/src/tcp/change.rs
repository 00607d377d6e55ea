//! Connections of a route that has changed.

use std::sync::Arc;
use std::time::Instant;

use super::connection::{Stage, reset_on_close};
use super::{Accepted, Tcp};
use crate::route::Shared;
use crate::table::change::Changed;

// === impl Accepted ===

impl Accepted {
    /// The key of the route it came by.
    pub(crate) fn route(&self) -> u32 {
        self.admitted.shared.key
    }
}

// === impl Tcp ===

impl Tcp {
    /// Takes a connection in whose route may have changed on its way from another loop: `route`
    /// is the one that counts, if it is still there.
    pub(crate) fn adopt_under(
        &mut self,
        route: Option<&Arc<Shared>>,
        mut accepted: Accepted,
        now: Instant,
    ) {
        if let Some(route) = route {
            if !route.route.allows(accepted.peer.ip()) {
                route.counters.refused_not_allowed.up();
                reset_on_close(&accepted.stream);
                return self.context.carry(self.seat, false);
            }
            accepted.admitted.shared = Arc::clone(route);
        }
        self.adopt(accepted, now);
    }

    /// Has connections go by changed routes: those of clients that are not allowed any more end,
    /// those that wait for a target they would not be led to any more are led to the other one.
    pub(crate) fn change(&mut self, changed: &Changed, now: Instant) {
        let slots: Vec<u32> = self.connections.numbers().collect();
        for slot in slots {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            let admitted = &mut connection.admitted;
            let Some(served) = changed.get(&admitted.shared.key) else { continue };
            let before = std::mem::replace(&mut admitted.shared, Arc::clone(&served.shared));
            let (shared, peer, port) = (&served.shared, connection.peer, admitted.port);
            if !shared.route.allows(peer.ip()) {
                shared.counters.refused_not_allowed.up();
                self.reset(slot);
            } else if connection.stage != Stage::Open && !shared.continues(&before, peer, port) {
                self.redirect(slot, now);
            }
        }
    }

    /// Begins anew with a connection whose target has not answered.
    fn redirect(&mut self, slot: u32, now: Instant) {
        let Some(mut connection) = self.connections.take(slot) else { return };
        let shared = Arc::clone(&connection.admitted.shared);
        let dialed = self.dial(&shared, connection.peer, connection.admitted.port, true, now);
        let Some((target, stage)) = dialed else {
            self.context.carry(self.seat, false);
            return connection.reset();
        };
        connection.redial(target, stage);
        // That says nothing about the way back to the client's address.
        connection.redialed = false;
        self.readmit(connection);
    }
}
