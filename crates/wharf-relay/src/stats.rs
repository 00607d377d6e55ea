//! Counters: what each route has carried and refused.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A number that several threads count up and down.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The live counters of one route.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[doc = $doc])+ pub(crate) $name: Count,)+
        }

        /// What a route has carried and refused since it was added.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct RouteStats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl RouteStats {
            /// Adds what another relay has carried for the same route.
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)+
            }
        }

        impl Counters {
            /// A copy of all of them, not taken at one instant.
            pub(crate) fn snapshot(&self) -> RouteStats {
                RouteStats { $($name: self.$name.get(),)+ }
            }
        }
    };
}

counters! {
    /// TCP connections accepted and allowed.
    connections_total,
    /// TCP connections open now.
    connections_open,
    /// UDP flows begun.
    flows_total,
    /// UDP flows alive now.
    flows_open,
    /// UDP flows ended early because the table was full.
    flows_evicted,
    /// Bytes from clients to the target.
    bytes_in,
    /// Bytes from the target to clients.
    bytes_out,
    /// Datagrams from clients to the target.
    datagrams_in,
    /// Datagrams from the target to clients.
    datagrams_out,
    /// Datagrams lost here: full buffers, no room for a flow, too long for the way onwards.
    datagrams_dropped,
    /// Clients turned away because no allowed network holds them.
    refused_not_allowed,
    /// Clients turned away because the port had too many connections.
    refused_port_limit,
    /// Clients turned away because the process had too few descriptors left.
    refused_total_limit,
    /// Connections (and datagrams) the target refused or was unreachable for.
    target_refused,
    /// Connections the target did not accept in time.
    target_timeouts,
    /// Connections reset because they carried nothing for too long.
    idle_timeouts,
    /// Connections (and flows) from the gateway's address because those from the client's got no
    /// answer.
    source_fallbacks,
    /// Connections that ended with a reset or another error of either side.
    errors,
}

/// Counts over the whole relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// The relay's process.
    pub pid: u32,
    /// Routes, held and open.
    pub routes: u64,
    /// Listening sockets.
    pub sockets: u64,
    /// TCP connections open now, those of removed routes included.
    pub connections_open: u64,
    /// UDP flows alive now.
    pub flows_open: u64,
    /// Descriptors in use by sockets, connections and flows.
    pub descriptors_used: u64,
    /// Descriptors that may be used for these.
    pub descriptors_limit: u64,
    /// How often accepting had to pause because descriptors or memory ran out.
    pub accept_pauses: u64,
}

/// The live counters of the whole relay.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) connections_open: Count,
    pub(crate) flows_open: Count,
    pub(crate) accept_pauses: Count,
}

// === impl Count ===

impl Count {
    /// Adds one.
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds one and tells whether it was the first, which is when a log line is due.
    pub(crate) fn first(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Takes one off.
    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds a length.
    pub(crate) fn add(&self, amount: usize) {
        self.0.fetch_add(u64::try_from(amount).unwrap_or(0), Ordering::Relaxed);
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
