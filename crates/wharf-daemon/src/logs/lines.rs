//! Where in its lines a container's output is.

use jiff::Timestamp;
use wharf_runtime::log::{LogEntry, Stream};

/// Where in its lines each stream of output is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lines {
    stdout: Place,
    stderr: Place,
}

/// Where in a line a stream is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    Start,
    Inside,
    /// Inside one that is not to be shown.
    LeftOut,
}

/// The lines that are wanted, by when they began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

// === impl Lines ===

impl Lines {
    /// Goes past `entry`; tells where it begins. A line that begins outside `window` is left out.
    pub(super) fn pass(&mut self, entry: &LogEntry, window: Window) -> Place {
        let place = match entry.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let here = match *place {
            Place::Start if !window.has(entry.time) => Place::LeftOut,
            before => before,
        };
        *place = match here {
            _ if entry.ends_line() => Place::Start,
            Place::Start => Place::Inside,
            inside => inside,
        };
        here
    }

    /// The same, but what has begun is not to be shown.
    pub(super) fn left_out(mut self) -> Self {
        for place in [&mut self.stdout, &mut self.stderr] {
            if *place == Place::Inside {
                *place = Place::LeftOut;
            }
        }
        self
    }

    /// From here on all is shown; the rest of a line that was left out is one for the reader.
    pub(super) fn show(&mut self) {
        for place in [&mut self.stdout, &mut self.stderr] {
            if *place == Place::LeftOut {
                *place = Place::Start;
            }
        }
    }
}

// === impl Window ===

impl Window {
    fn has(self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= time) && !self.is_before(time)
    }

    /// Whether it has ended by then.
    pub(super) fn is_before(self, time: Timestamp) -> bool {
        self.until.is_some_and(|until| until < time)
    }
}
