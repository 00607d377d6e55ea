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

/// A level-triggered set of descriptors to be read.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    wake: OwnedFd,
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

    /// Watches a descriptor.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)
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

    /// Waits for readable descriptors, at most `limit`, and appends their tokens to `ready`.
    pub(crate) fn wait(&self, ready: &mut Vec<u64>, limit: Option<Duration>) {
        let limit = limit.map(|limit| Timespec::try_from(limit).unwrap_or_default());
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, buffer, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "epoll failed"),
        }
        for event in events {
            match event.data.u64() {
                WAKE => drop(rustix::io::read(&self.wake, &mut [0; 8])),
                token => ready.push(token),
            }
        }
    }
}
