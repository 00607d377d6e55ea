//! The terminal on this side: raw while a container's terminal is on it, and its size.

use std::io::{self, IsTerminal};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use wharf_api::frame::TerminalSize;

use crate::failure::Exit;

/// Standard input's terminal in raw mode: every key goes to the container. It is as before when
/// this is dropped, which a panic does, too.
pub(super) struct RawMode {
    before: Termios,
}

// === impl RawMode ===

impl RawMode {
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing put back.
        let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The size of the terminal on standard output, or on standard input.
pub(crate) fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    Some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// Refuses to put something on a terminal that is none, with Docker's words.
pub(crate) fn expect_on_stdin() -> Result<(), Exit> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Exit::at_run(
        "the input device is not a TTY: cannot attach stdin to a TTY-enabled container because stdin is not a \
         terminal; leave out -t, or run this from a terminal",
    ))
}
