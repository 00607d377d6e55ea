//! Events on their way to one who may be slow.
//!
//! Docker waits a tenth of a second for a slow reader and then drops events without a word, so the
//! socket is never left unread. What does not fit here is dropped instead, and when there is room
//! again the reader is told where things stand: to look at everything, or that the engine is gone.

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::event::Event;

/// Docker stops a hundred containers in about the time that one look at a container takes.
const QUEUE: usize = 256;

/// The end that events are put into.
#[derive(Debug)]
pub(crate) struct Mailbox {
    sender: Sender<Event>,
    /// [`Event::Connected`] or [`Event::Lost`], whichever was the last.
    standing: Event,
    overflowed: bool,
}

// === impl Mailbox ===

impl Mailbox {
    /// An empty one, and its other end.
    pub(crate) fn new() -> (Self, Receiver<Event>) {
        let (sender, receiver) = channel(QUEUE);
        let standing = Event::Lost { reason: String::new() };
        (Self { sender, standing, overflowed: false }, receiver)
    }

    /// Puts `event` in, if there is room.
    pub(crate) fn put(&mut self, event: Event) {
        if matches!(event, Event::Connected | Event::Lost { .. }) {
            self.standing = event.clone();
        }
        // After a gap, nothing is worth telling before the gap is.
        self.overflowed = self.overflowed || self.sender.try_send(event).is_err();
    }

    /// Something was not understood as an event: as good as dropped.
    pub(crate) fn miss(&mut self) {
        self.overflowed = true;
    }

    /// Whether something was dropped and the reader does not know yet.
    pub(crate) fn has_gap(&self) -> bool {
        self.overflowed
    }

    /// Waits for room and tells where things stand.
    pub(crate) async fn close_gap(&mut self) {
        // It fails when nobody reads any more.
        if let Ok(room) = self.sender.reserve().await {
            room.send(self.standing.clone());
        }
        self.overflowed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_is_told_to_look_at_everything() {
        let (mut mailbox, mut reader) = Mailbox::new();
        mailbox.put(Event::Connected);
        for number in 0..2 * QUEUE {
            mailbox.put(Event::Started { id: number.to_string() });
        }
        assert!(mailbox.has_gap());
        for _ in 0..QUEUE {
            reader.recv().await.unwrap();
        }
        mailbox.put(Event::Stopped { id: "1".to_owned() });
        mailbox.close_gap().await;
        mailbox.put(Event::Stopped { id: "2".to_owned() });
        assert_eq!(reader.recv().await, Some(Event::Connected));
        assert_eq!(reader.recv().await, Some(Event::Stopped { id: "2".to_owned() }));
    }

    #[tokio::test]
    async fn the_loss_of_the_engine_is_not_lost() {
        let (mut mailbox, mut reader) = Mailbox::new();
        for _ in 0..=QUEUE {
            mailbox.put(Event::Connected);
        }
        let lost = Event::Lost { reason: "gone".to_owned() };
        mailbox.put(lost.clone());
        for _ in 0..QUEUE {
            reader.recv().await.unwrap();
        }
        mailbox.close_gap().await;
        assert_eq!(reader.recv().await, Some(lost));
    }
}
