//! Events: told to whoever listens, lost for whoever does not.

use tokio::sync::broadcast;
use wharf_api::Event;

use crate::clock;

/// A listener this far behind has lost interest; it is told how many it missed.
const BACKLOG: usize = 1024;

/// Where events are told.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
}

// === impl Events ===

impl Events {
    /// A place to tell events.
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::channel(BACKLOG).0 }
    }

    /// Tells that `action` happened to the thing `id`.
    pub(crate) fn tell(&self, kind: &str, action: &str, id: &str, name: Option<&str>) {
        self.tell_more(kind, action, id, name, None);
    }

    /// The same, with more about it for people.
    pub(crate) fn tell_more(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        name: Option<&str>,
        detail: Option<&str>,
    ) {
        tracing::info!(kind, action, id, name, detail, "event");
        let event = Event {
            time: clock::now(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            name: name.map(str::to_owned),
            detail: detail.map(str::to_owned),
        };
        // Nobody listening is the usual case.
        let _listeners = self.sender.send(event);
    }

    /// Listens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}
