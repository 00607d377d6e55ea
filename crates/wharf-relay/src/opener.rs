//! The helper that opens sockets for routes that are [`inside`](crate::Route::inside): a process of
//! ours that a daemon starts, because the relay is confined before it knows of any route.
//!
//! Whoever holds the other end of its connection keeps it alive: the relay does for as long as it
//! has such a route, also when the daemon that started the helper is gone.

use std::path::Path;
use std::process::Stdio;

pub use wharf_host::opener::Opener;

use crate::error::Result;
use crate::spawn::open_log;

/// The verb that [`start_opener`] calls.
const VERB: &str = "relay-opener";

/// Starts `exe relay-opener`, detached, with its standard error in `RUN_DIR/relay.log`, and waits
/// until it is ready. The descriptor of what is returned goes with each route that needs it; it
/// may be dropped afterwards. One helper is enough for all routes. When it has ended
/// (see [`Opener::is_alive`]), such routes refuse new clients until they are
/// [changed](crate::RelayClient::change) to another one.
///
/// # Errors
/// When the program cannot be executed, ends, or is not ready within 5 s.
pub fn start_opener(run_dir: &Path, exe: &Path) -> Result<Opener> {
    let (_, log) = open_log(run_dir)?;
    Ok(Opener::start_logging(exe, [VERB], Stdio::from(log))?)
}

/// Serves requests from standard input until nobody is left to ask: the body of
/// `wharf relay-opener`.
///
/// # Errors
/// When the process cannot be confined, or standard input is no socket.
pub fn serve_opener() -> Result<()> {
    Ok(wharf_host::opener::serve(std::io::stdin())?)
}
