//! `docker-proxy`, as dockerd calls it (`--userland-proxy-path`).
//!
//! The contract is dockerd's: flags in Go's style, a pipe at descriptor 3 that learns whether the
//! port is served, a bound socket at descriptor 4 if `-use-listen-fd` says so, SIGINT or SIGTERM
//! to end. Which process carries the traffic is up to [`wharf_relay::standalone`].

mod flags;
mod status;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use signal_hook::consts::{SIGINT, SIGTERM};
use wharf_daemon::paths::Paths;
use wharf_relay::standalone::{Forward, Port, inherited};

use self::flags::{Asked, Order};
use self::status::Status;
use crate::processes::log_to_stderr;

/// Where dockerd puts the socket it has bound, since Docker 28.
const LISTEN_DESCRIPTOR: i32 = 4;

/// Go's code for a command line that cannot be understood, and ours.
const MISUSE: u8 = 2;

/// The arguments, if this process was started as `docker-proxy`: by a link of that name, or by
/// `-proto`, which dockerd puts first whatever the program is called.
pub(crate) fn arguments(all: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut all = all.into_iter();
    let name = all.next()?;
    let rest: Vec<OsString> = all.collect();
    let by_name = Path::new(&name).file_name() == Some(OsStr::new("docker-proxy"));
    let by_flag = rest.first().is_some_and(|first| first == "-proto");
    (by_name || by_flag).then_some(rest)
}

/// Serves one port until a signal comes.
///
/// Nothing may be opened before: the pipe and the socket come by number.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let mut status = Status::take();
    let order = match flags::parse(args) {
        Ok(Asked::Serve(order)) => order,
        Ok(Asked::Tell(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(misuse) => {
            let code = fail(&mut status, &misuse, MISUSE);
            eprintln!("{}", flags::USAGE);
            return code;
        }
    };
    match serve(&order, &mut status) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&mut status, &*error, 1),
    }
}

fn serve(order: &Order, status: &mut Status) -> Result<(), Box<dyn std::error::Error>> {
    let handed = order.use_listen_fd.then(|| inherited(LISTEN_DESCRIPTOR));
    // Before anything is reported: whoever learns that the port is served may end us at once.
    let stop = stop_signals()?;
    log_to_stderr();
    let Order { proto, host, container, .. } = *order;
    let forward = Forward { proto, listen: host, target: container };
    let port = match handed {
        None => Port::bind(forward)?,
        Some(Some(socket)) => Port::adopt(forward, socket)?,
        Some(None) => {
            return Err(format!(
                "-use-listen-fd: there is no descriptor {LISTEN_DESCRIPTOR}; leave the flag out, \
                 and the port is bound here"
            )
            .into());
        }
    };
    port.serve(Paths::from_env().run_dir(), stop.as_fd(), || status.serving())?;
    Ok(())
}

fn fail(status: &mut Status, error: &dyn Display, code: u8) -> ExitCode {
    eprintln!("docker-proxy: {error}");
    status.failed(error);
    ExitCode::from(code)
}

/// A socket that becomes readable when a signal asks for the end.
fn stop_signals() -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGTERM, theirs.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, theirs)?;
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(line: &str) -> Option<Vec<OsString>> {
        arguments(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_name_decides_or_the_first_flag() {
        let wanted = Some(vec![OsString::from("-proto"), OsString::from("tcp")]);
        assert_eq!(called("/usr/libexec/docker-proxy -proto tcp"), wanted);
        assert_eq!(called("docker-proxy -proto tcp"), wanted);
        assert_eq!(called("/usr/bin/wharf -proto tcp"), wanted);
        assert_eq!(called("docker-proxy"), Some(Vec::new()));
        for other in ["", "wharf", "wharf run -p 80", "/docker-proxy/wharf run", "wharf run -proto"]
        {
            assert_eq!(called(other), None, "{other}");
        }
    }
}
