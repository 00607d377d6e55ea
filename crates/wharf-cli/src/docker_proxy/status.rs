//! The pipe by which dockerd learns how the start went.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;

use wharf_relay::standalone::inherited;

/// Where dockerd puts the pipe.
const DESCRIPTOR: i32 = 3;

/// The pipe, until the one thing there is to say was said; without a pipe nothing is.
#[derive(Debug)]
pub(super) struct Status {
    pipe: Option<File>,
}

// === impl Status ===

impl Status {
    /// Takes over the pipe. A shell may have left anything else under its number.
    pub(super) fn take() -> Self {
        let file = inherited(DESCRIPTOR).map(File::from);
        let is_pipe = |file: &File| file.metadata().is_ok_and(|it| it.file_type().is_fifo());
        Self { pipe: file.filter(is_pipe) }
    }

    /// Says that the port is served.
    pub(super) fn serving(&mut self) {
        self.say("0\n");
    }

    /// Says why it is not, unless it was already said that it is.
    pub(super) fn failed(&mut self, why: &dyn Display) {
        self.say(&format!("1\n{why}"));
    }

    fn say(&mut self, text: &str) {
        if let Some(mut pipe) = self.pipe.take() {
            // A dockerd that is gone has asked the kernel to end this process (PDEATHSIG).
            let _heard = pipe.write_all(text.as_bytes());
        }
    }
}
