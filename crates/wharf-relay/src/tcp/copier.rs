//! What copying needs and one loop has.

use std::sync::Arc;

use wharf_host::outbox::{self, Outbox};

use crate::limits::Budget;
use crate::tcp::near;
use crate::tcp::pipes::Pipes;
use crate::worker::tokens::{Side, Subject};

/// Large enough that copying is not bound by system calls, small enough for a level 2 cache.
pub(super) const BUFFER: usize = outbox::ROOM;

/// The loop's buffer, pipes and outbox.
#[derive(Debug)]
pub(super) struct Copier {
    pub(super) outbox: Outbox,
    /// Whether small messages are left in the outbox, to be sent together.
    pub(super) gathers: bool,
    /// Who receives what is copied.
    pub(super) receiver: Receiver,
    pub(super) pipes: Pipes,
    pub(super) waiting: Arc<Budget>,
    /// When the windows of streams from next door are bounded.
    pub(super) windows: Windows,
}

/// When a window is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// Senders do not pace: they fill whatever window there is, and each acknowledgement is a cost.
    Never,
    /// This kernel may shut the window for good while something waits to be read.
    Empty,
    Always,
}

/// One side of a connection, as the outbox knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receiver {
    pub(super) slot: u32,
    pub(super) side: Side,
}

// === impl Copier ===

impl Copier {
    /// Where connections of this host are `paced`, its containers are taken to pace, too.
    pub(super) fn new(pipes: Pipes, waiting: Arc<Budget>, outbox: Outbox, paced: bool) -> Self {
        let receiver = Receiver { slot: 0, side: Side::Client };
        let windows = match paced {
            false => Windows::Never,
            true if near::windows_reopen() => Windows::Always,
            true => Windows::Empty,
        };
        Self { outbox, gathers: false, receiver, pipes, waiting, windows }
    }

    /// Keeps a message of `length` bytes to be sent with others, if that is what is done now.
    pub(super) fn post(&mut self, length: usize) -> bool {
        let Receiver { slot, side } = self.receiver;
        self.gathers && self.outbox.post(length, Subject::Leg { slot, side }.into())
    }

    /// Whether a full buffer of bytes may not wait any more.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.used() + BUFFER > self.waiting.limit()
    }
}
