//! What libcontainer reports on the way, in `shim.err`.
//!
//! Its errors lose their causes when they leave the container; its log lines have them. The file
//! is kept open, so that processes that have changed their root still write to it.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::shim::wire::DIAGNOSTICS;

/// Enough for the few lines one failure makes.
const TAIL_LIMIT: u64 = 4096;

/// Writes error events, one line each, and nothing else.
struct ErrorLines(File);

struct Fields<'a>(&'a mut String);

/// Sends error events of this process and its children to `shim.err` in `run_dir`.
pub(super) fn install(run_dir: &Path) {
    let file = File::options().create(true).append(true).open(run_dir.join(DIAGNOSTICS));
    if let Ok(file) = file {
        // Somebody who runs the shim's code in a larger program has their own.
        let _already_set = tracing::subscriber::set_global_default(ErrorLines(file));
    }
}

/// How long the file is.
pub(super) fn length(run_dir: &Path) -> u64 {
    std::fs::metadata(run_dir.join(DIAGNOSTICS)).map(|m| m.len()).unwrap_or_default()
}

/// The first of what was reported after `start`: the cause, which later lines only wrap.
pub(super) fn since(run_dir: &Path, start: u64) -> Option<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(run_dir.join(DIAGNOSTICS))?;
        file.seek(SeekFrom::Start(start))?;
        let mut text = String::new();
        file.take(TAIL_LIMIT).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    text.lines().next().filter(|line| !line.is_empty()).map(str::to_owned)
}

// === impl ErrorLines ===

impl Subscriber for ErrorLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = String::new();
        event.record(&mut Fields(&mut line));
        let line = line.replace('\n', " ");
        let _nowhere_else_to_say = writeln!(&self.0, "{}", line.trim());
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

// === impl Fields ===

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _infallible = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}
