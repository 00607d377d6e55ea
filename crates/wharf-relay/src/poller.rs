//! An epoll set that can be woken: thousands of idle listeners cost one entry each and no task.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use crate::error::{During, Result};

/// Events taken from the kernel at a time.
const BATCH: usize = 256;
const WAKE: u64 = u64::MAX;

/// Listeners: reported as long as something waits, to one of the loops that watch. A busy loop is
/// passed over, so connections go where there is time (`EPOLLEXCLUSIVE`, Linux 4.5).
const SHARED: EventFlags = EventFlags::IN.union(EventFlags::EXCLUSIVE);
/// Connections: every change is reported once, so that nothing has to be registered twice.
/// Urgent data must be known of, because a read stops short at it.
const CHANGES: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::PRI)
    .union(EventFlags::ET);

/// A set of descriptors to be told about.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    wake: OwnedFd,
}

/// Something happened to a descriptor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) flags: EventFlags,
}

/// Room for the events of one wait.
pub(crate) struct Events {
    raw: Vec<Event>,
    ready: Vec<Ready>,
}

// === impl Poller ===

impl Poller {
    pub(crate) fn new() -> Result<Self> {
        let what = || "create an epoll set";
        let epoll = epoll::create(CreateFlags::CLOEXEC).during(what)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).during(what)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN).during(what)?;
        Ok(Self { epoll, wake })
    }

    /// Watches a listener that other loops watch, too.
    pub(crate) fn share(&self, fd: impl AsFd, token: u64) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), SHARED)
    }

    /// Watches a socket for as long as there is something to read.
    pub(crate) fn watch(&self, fd: impl AsFd, token: u64) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)
    }

    /// Watches a connection for changes.
    pub(crate) fn follow(&self, fd: impl AsFd, token: u64) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), CHANGES)
    }

    /// Stops watching a descriptor. Closing it would not do while a copy is open elsewhere.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It fails only for what is not watched.
        let _watched = epoll::delete(&self.epoll, fd);
    }

    /// Makes the next, or the current, `wait` return.
    pub(crate) fn wake(&self) {
        // It fails only when the counter is full, and then a wake-up is pending anyway.
        let _woken = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Waits for events, at most `limit`. Answers whether somebody called [`Self::wake`].
    pub(crate) fn wait(&self, events: &mut Events, limit: Option<Duration>) -> bool {
        let limit = limit.map(|limit| Timespec::try_from(limit).unwrap_or_default());
        let Events { raw, ready } = events;
        raw.clear();
        ready.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(raw), limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "epoll failed"),
        }
        let mut woken = false;
        for event in raw.iter() {
            match event.data.u64() {
                WAKE => woken = true,
                token => ready.push(Ready { token, flags: event.flags }),
            }
        }
        if woken {
            // Non-blocking; another loop never reads it.
            let _count = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        woken
    }
}

// === impl Events ===

impl Events {
    pub(crate) fn new() -> Self {
        Self { raw: Vec::with_capacity(BATCH), ready: Vec::with_capacity(BATCH) }
    }

    /// How many events were reported.
    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }

    /// What was reported last.
    pub(crate) fn take(&mut self) -> Vec<Ready> {
        std::mem::take(&mut self.ready)
    }

    /// Gives the room of [`Self::take`] back.
    pub(crate) fn give_back(&mut self, ready: Vec<Ready>) {
        self.ready = ready;
    }
}

// === impl Ready ===

impl Ready {
    /// Whether the descriptor is broken: reset, or a connection attempt has failed.
    pub(crate) fn failed(self) -> bool {
        self.flags.contains(EventFlags::ERR)
    }

    /// Whether there may be something to read, if only the end.
    pub(crate) fn readable(self) -> bool {
        self.flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP)
    }

    /// Whether there may be room to write.
    pub(crate) fn writable(self) -> bool {
        self.flags.contains(EventFlags::OUT)
    }

    /// Whether a read that comes back short may have left something: the end of the stream, or
    /// bytes behind urgent ones.
    pub(crate) fn short_reads_lie(self) -> bool {
        let telling = EventFlags::RDHUP | EventFlags::HUP | EventFlags::PRI;
        self.flags.intersects(telling)
    }
}
