//! Counters: what each route has carried and refused.

use std::io::{Error, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
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
    /// Datagrams lost here, for whatever reason.
    datagrams_dropped,
    /// Datagrams lost because the buffer of the socket onwards was full.
    dropped_buffer_full,
    /// Datagrams lost because there was no room for another flow.
    dropped_no_room,
    /// Datagrams lost because they were too long for the way onwards.
    dropped_too_long,
    /// Datagrams lost because there was no way onwards.
    dropped_unreachable,
    /// Clients turned away because no allowed network holds them.
    refused_not_allowed,
    /// Clients turned away because the port had too many connections.
    refused_port_limit,
    /// Clients turned away because the process, or the host, had too little left: descriptors, room
    /// for flows, memory, ports to connect from.
    refused_total_limit,
    /// Times accepting failed: descriptors or memory ran out, or the listener is broken.
    accept_errors,
    /// Connections (and datagrams) the target refused.
    target_refused,
    /// Connections (and datagrams) that found no way to the target, or not into its namespace.
    target_unreachable,
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

/// Why a datagram was lost here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    BufferFull,
    NoRoom,
    TooLong,
    Unreachable,
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
    /// How often a connection went over to the loop where its ends are.
    pub connections_moved: u64,
    /// Messages that were left to the loop where their receiver is.
    pub messages_handed_on: u64,
}

/// The live counters of the whole relay.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) connections_open: Count,
    pub(crate) flows_open: Count,
    pub(crate) accept_pauses: Count,
    pub(crate) connections_moved: Count,
    pub(crate) messages_handed_on: Count,
}

// === impl RouteStats ===

impl RouteStats {
    /// How often whoever came was turned away or had no success, each under the name of the
    /// reason: clients and connections, and datagrams where the target is the reason. The names
    /// are for listings and metrics, and stay.
    pub fn refusals(&self) -> [(&'static str, u64); 7] {
        [
            ("not_allowed", self.refused_not_allowed),
            ("port_limit", self.refused_port_limit),
            ("total_limit", self.refused_total_limit),
            ("accept_error", self.accept_errors),
            ("target_refused", self.target_refused),
            ("target_unreachable", self.target_unreachable),
            ("target_timeout", self.target_timeouts),
        ]
    }

    /// How many datagrams were lost here, each under the name of the reason; together they are
    /// [`Self::datagrams_dropped`]. The names are for listings and metrics, and stay.
    pub fn drops(&self) -> [(&'static str, u64); 4] {
        [
            ("buffer_full", self.dropped_buffer_full),
            ("no_room", self.dropped_no_room),
            ("too_long", self.dropped_too_long),
            ("unreachable", self.dropped_unreachable),
        ]
    }
}

// === impl Counters ===

impl Counters {
    /// Counts an attempt to reach the target that came to nothing.
    pub(crate) fn target_failed(&self, error: &Error) {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::CONNREFUSED | Errno::CONNRESET) => self.target_refused.up(),
            // A want of this host's; the last one is of ports to connect from.
            Some(
                Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL,
            ) => self.refused_total_limit.up(),
            _ => self.target_unreachable.up(),
        }
    }

    /// Counts datagrams that are lost.
    pub(crate) fn dropped(&self, loss: Loss, count: usize) {
        self.datagrams_dropped.add(count);
        let of_reason = match loss {
            Loss::BufferFull => &self.dropped_buffer_full,
            Loss::NoRoom => &self.dropped_no_room,
            Loss::TooLong => &self.dropped_too_long,
            Loss::Unreachable => &self.dropped_unreachable,
        };
        of_reason.add(count);
    }
}

// === impl Loss ===

impl From<&Error> for Loss {
    fn from(error: &Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOBUFS | Errno::NOMEM) => Self::BufferFull,
            Some(Errno::MSGSIZE) => Self::TooLong,
            _ if error.kind() == ErrorKind::WouldBlock => Self::BufferFull,
            _ => Self::Unreachable,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_counted_once_for_its_reason_and_once_in_all() {
        let counters = Counters::default();
        for errno in [Errno::AGAIN, Errno::MSGSIZE, Errno::NETUNREACH, Errno::NOBUFS] {
            counters.dropped(Loss::from(&Error::from(errno)), 3);
        }
        counters.dropped(Loss::NoRoom, 1);
        let stats = counters.snapshot();
        let all = [("buffer_full", 6), ("no_room", 1), ("too_long", 3), ("unreachable", 3)];
        assert_eq!(stats.drops(), all);
        assert_eq!(stats.datagrams_dropped, 13);
    }

    #[test]
    fn a_target_that_fails_is_told_from_a_host_that_does() {
        let counters = Counters::default();
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::PERM, Errno::ADDRNOTAVAIL] {
            counters.target_failed(&errno.into());
        }
        let stats = counters.snapshot();
        assert_eq!((stats.target_refused, stats.target_unreachable), (1, 2));
        assert_eq!(stats.refused_total_limit, 1);
        let told: u64 = stats.refusals().iter().map(|(_, count)| count).sum();
        assert_eq!(told, 4);
    }
}
