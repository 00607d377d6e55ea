//! What a daemon and the relay say to each other.
//!
//! Each request and each response is one frame of [`wharf_host::fdpass`] with a JSON payload;
//! sockets travel as descriptors, in the order described at [`Route`].

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::stats::{RouteStats, Stats};

mod route;

#[cfg(test)]
pub(crate) use route::example;
pub use route::{Place, Route, Source};

/// The version of this protocol; it changes when an old relay would misunderstand a new daemon.
pub const VERSION: u32 = 4;

/// The longest request the relay reads: some 10,000 routes.
pub(crate) const MAX_REQUEST: usize = 16 << 20;
/// The longest response a client reads: as many routes with their counters.
pub(crate) const MAX_RESPONSE: usize = 64 << 20;

/// Whether a route serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Added, dropping all packets; vanishes with the control connection that added it.
    Held,
    /// Serving, until removed.
    Open,
    /// Removed, or handed to a successor; what was open then goes on for a while. It has no
    /// sockets, and another route may have its identity and its ports.
    Leaving,
}

/// A question or command for the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Who are you?
    Hello {
        /// The version of the client.
        version: u32,
    },
    /// Takes over sockets, all or none; they keep their drop filters.
    Add {
        /// The routes; their descriptors follow each other in the frame.
        routes: Vec<Route>,
    },
    /// Lets packets in and serves.
    Open {
        /// The routes' identities.
        ids: Vec<String>,
        /// Whether the routes end with this control connection; else they outlive it.
        #[serde(default)]
        lease: bool,
    },
    /// Leads open routes elsewhere or gives them other options, all or none. Sockets, protocol and
    /// host ports stay; only the two descriptors of each route that is [`Route::inside`] follow.
    Change {
        /// The routes as they are to be.
        routes: Vec<Route>,
        /// Whether routes this relay does not have are passed over instead of refused.
        #[serde(default)]
        lenient: bool,
    },
    /// Closes the sockets at once; unknown routes are named in the response, not refused.
    Remove {
        /// The routes' identities.
        ids: Vec<String>,
        /// How long open TCP connections may go on; without it they are reset at once.
        drain_seconds: Option<u32>,
    },
    /// Describes every route.
    List {
        /// Whether copies of the sockets are wanted, in the order of the routes.
        with_sockets: bool,
    },
    /// Counts over all routes.
    Stats,
    /// Asks for copies of everything, as the successor: all other control connections end, so
    /// that nothing changes meanwhile. Withdrawn when this connection ends.
    HandOver,
    /// Follows `HandOver`: the successor serves TCP. Lets go of all sockets and of the flows, and
    /// ends when the last connection has.
    Leave {
        /// How long connections may go on.
        drain_seconds: u32,
    },
    /// Ends the relay: sockets are closed, connections are reset.
    Shutdown,
}

/// The relay's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// Answers `Hello`.
    Hello {
        /// The relay's version.
        version: u32,
        /// The relay's process.
        pid: u32,
        /// The network namespace it serves (`/proc/PID/ns/net`, the number in brackets).
        namespace: u64,
        /// The release of the program.
        release: String,
    },
    /// It is done.
    Done,
    /// Answers `Remove`.
    Removed {
        /// The identities that named no route.
        unknown: Vec<String>,
    },
    /// Answers `List`.
    Listed {
        /// Every route, by identity.
        routes: Vec<Listed>,
    },
    /// Answers `HandOver`. The sockets come in the order of the routes; after them the control
    /// socket's listener and the lock of the run directory.
    HandedOver {
        /// Every route, by identity.
        routes: Vec<Listed>,
    },
    /// Answers `Leave`; the flows' sockets come in the same order.
    Left {
        /// Every UDP flow.
        flows: Vec<PassedFlow>,
    },
    /// Answers `Stats`.
    Stats(Stats),
    /// It was not done, and nothing was changed.
    Refused(Refusal),
}

/// One route of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The route.
    pub route: Route,
    /// Whether it serves.
    pub phase: Phase,
    /// What it has carried.
    pub stats: RouteStats,
    /// Whether it belongs to the control connection that opened it, and to no daemon.
    #[serde(default)]
    pub leased: bool,
    /// How long open connections of a removed route may still go on, in seconds.
    #[serde(default)]
    pub ends_in_seconds: Option<u32>,
}

/// A UDP flow on its way from one relay to its successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedFlow {
    /// The route's identity.
    pub route: String,
    /// Which of the route's sockets the client asked.
    pub socket: u32,
    /// The place of the port that the client asked within the range, where the socket stands for
    /// more than one.
    #[serde(default)]
    pub port: u16,
    /// The client.
    pub client: SocketAddr,
    /// The local address the client asked, and the interface if that matters.
    pub asked: Option<(IpAddr, u32)>,
    /// How long ago it began, in milliseconds.
    pub age_ms: u64,
    /// How long ago something was carried, in milliseconds.
    pub quiet_ms: u64,
    /// Whether the target has answered.
    pub answered: bool,
    /// Whether it counts as streaming.
    pub streams: bool,
}

/// Why the relay refused a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// A route of this identity exists.
    #[error("route {id} exists already")]
    Duplicate {
        /// The identity.
        id: String,
    },
    /// There is no such route.
    #[error("there is no route {id}")]
    Unknown {
        /// The identity.
        id: String,
    },
    /// A route makes no sense or asks for something this relay cannot do.
    #[error("route {id}: {reason}")]
    Route {
        /// The identity.
        id: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The descriptors that came with a request do not match its routes.
    #[error("{got} sockets came where the routes need {needed}")]
    Sockets {
        /// How many came.
        got: usize,
        /// How many the routes need.
        needed: usize,
    },
    /// The process may not hold that many descriptors.
    #[error("{needed} sockets are needed, {left} are left; raise the limit of open files")]
    Descriptors {
        /// How many the routes need.
        needed: usize,
        /// How many are left.
        left: usize,
    },
    /// The kernel refused.
    #[error("{reason}")]
    Kernel {
        /// What was being done, and what the kernel said.
        reason: String,
    },
    /// It is not the time for it.
    #[error("{reason}")]
    Untimely {
        /// Why, and what to do.
        reason: String,
    },
    /// The request could not be understood.
    #[error("request not understood: {reason}")]
    Request {
        /// What was wrong.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let routes = vec![example()];
        for request in
            [Request::Add { routes: routes.clone() }, Request::Change { routes, lenient: true }]
        {
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        }
        let refused = Response::Refused(Refusal::Descriptors { needed: 5, left: 2 });
        let text = serde_json::to_string(&refused).unwrap();
        assert_eq!(serde_json::from_str::<Response>(&text).unwrap(), refused);
    }
}
