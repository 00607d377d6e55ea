//! Sockets that answers leave from where one socket listens for a whole range: it has another port
//! than the client has asked.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use wharf_host::datagram::answering_socket;

use crate::context::Context;
use crate::limits::Share;
use crate::route::Served;
use crate::udp::key::Key;

/// So many that are not needed any more are kept in mind before they are looked for.
const FORGETFUL: usize = 64;

/// One of them, and its share of the descriptors.
#[derive(Debug)]
pub(super) struct Answerer {
    pub(super) socket: OwnedFd,
    _share: Share,
}

/// Those of one loop, by the route, the socket that listens, and the port; each lives as long as a
/// flow needs it.
#[derive(Debug, Default)]
pub(super) struct Answering {
    sockets: HashMap<(u32, u32, u16), Weak<Answerer>>,
    kept: usize,
}

// === impl Answering ===

impl Answering {
    /// The socket that answers of a flow leave from; `None` where it is the one that listens.
    ///
    /// # Errors
    /// When it cannot be had: somebody has the port, or descriptors have run out.
    pub(super) fn socket(
        &mut self,
        key: &Key,
        served: &Served,
        context: &Context,
    ) -> io::Result<Option<Arc<Answerer>>> {
        let shared = &served.shared;
        // The first port is the listener's own.
        let steered = shared.route.steered && key.port > 0;
        let Some(place) = shared.listener(key.token).filter(|_| steered) else {
            return Ok(None);
        };
        let port = shared.route.host_ports.first().saturating_add(key.port);
        let name = (key.token.route, key.token.socket, port);
        if let Some(known) = self.sockets.get(&name).and_then(Weak::upgrade) {
            return Ok(Some(known));
        }
        let share = context.budget.take(1).ok_or(io::ErrorKind::OutOfMemory)?;
        let socket = answering_socket(SocketAddr::new(place.address, port), place.dual)?;
        let answerer = Arc::new(Answerer { socket, _share: share });
        self.tidy();
        self.sockets.insert(name, Arc::downgrade(&answerer));
        Ok(Some(answerer))
    }

    fn tidy(&mut self) {
        if self.sockets.len() >= self.kept.saturating_mul(2).max(FORGETFUL) {
            self.sockets.retain(|_, socket| socket.strong_count() > 0);
            self.kept = self.sockets.len();
        }
    }
}
