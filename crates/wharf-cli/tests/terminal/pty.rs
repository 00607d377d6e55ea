//! A terminal of the test's own, with a program on it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use wharf_lab::{Host, Process, wait};

use super::site::LIMIT;

/// Longer than an answer takes, mostly.
const ANSWER: Duration = Duration::from_secs(1);

pub(super) struct Pty {
    master: OwnedFd,
    /// What has been shown so far.
    shown: Arc<Mutex<Vec<u8>>>,
    /// How much of it was looked at.
    seen: usize,
    pub(super) process: Process,
    before: Termios,
}

impl Pty {
    /// Starts `command` in a session whose terminal this is.
    pub(super) fn spawn(host: &Host, command: Command, rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, winsize(rows, columns)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let before = tcgetattr(&master).unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        read_all(master.try_clone().unwrap(), Arc::clone(&shown));
        // Held open until the program has it, because a master without another side is at its end.
        let _slave = std::fs::File::options().read(true).write(true).open(&name).unwrap();
        let process = host.spawn(on(&name, &command)).unwrap();
        let mut pty = Self { master, shown, seen: 0, process, before };
        pty.shows("[begun]\r\n");
        pty
    }

    /// Types.
    pub(super) fn types(&self, keys: &str) {
        let mut rest = keys.as_bytes();
        while !rest.is_empty() {
            let count = rustix::io::write(&self.master, rest).unwrap();
            rest = &rest[count..];
        }
    }

    /// Waits until `text` is shown after what was waited for before.
    #[track_caller]
    pub(super) fn shows(&mut self, text: &str) {
        assert!(self.has_shown(text, LIMIT), "{text:?} is not shown after {:?}", self.text());
    }

    /// Types, again and again until `text` is shown: what is typed while nobody listens may be
    /// lost, as on any line that breaks.
    #[track_caller]
    pub(super) fn types_until(&mut self, keys: &str, text: &str) {
        let deadline = Instant::now() + LIMIT;
        self.types(keys);
        while !self.has_shown(text, ANSWER) {
            assert!(Instant::now() < deadline, "{text:?} is not shown after {:?}", self.text());
            self.types(keys);
        }
    }

    fn has_shown(&mut self, text: &str, limit: Duration) -> bool {
        let found = wait::until(limit, text, || {
            let shown = self.shown.lock().unwrap();
            let new = &shown[self.seen..];
            new.windows(text.len()).position(|it| it == text.as_bytes()).map(|at| at + text.len())
        });
        self.seen += found.as_ref().copied().unwrap_or_default();
        found.is_ok()
    }

    /// All that was shown.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, winsize(rows, columns)).unwrap();
    }

    /// Waits for the end of the program, which must leave the terminal as it was; the exit code.
    #[track_caller]
    pub(super) fn ends(mut self) -> i32 {
        let status = self.process.wait(LIMIT);
        let status = status.unwrap_or_else(|e| panic!("{e:#}\n{:?}", self.text()));
        self.is_as_before();
        status.code().unwrap_or(-1)
    }

    /// Checks that the terminal is as it was before the program.
    #[track_caller]
    pub(super) fn is_as_before(&self) {
        let (now, before) = (tcgetattr(&self.master).unwrap(), &self.before);
        assert_eq!(now.local_modes, before.local_modes, "echo and the like");
        assert_eq!(now.input_modes, before.input_modes);
        assert_eq!(now.output_modes, before.output_modes);
    }

    /// Whether keys go to the program as they are typed.
    pub(super) fn is_raw(&self) -> bool {
        tcgetattr(&self.master).unwrap().local_modes != self.before.local_modes
    }
}

/// A shell that puts `command` on the terminal `name`, in a session of its own.
fn on(name: &str, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    let script = r#"exec < "$1" > "$1" 2>&1; shift; echo '[begun]'; exec setsid --ctty "$@""#;
    shell.args(["-c", script, "sh", name]).arg(command.get_program()).args(command.get_args());
    let known =
        |(name, value): (&OsStr, Option<&OsStr>)| Some((name.to_owned(), value?.to_owned()));
    shell.envs(command.get_envs().filter_map(known));
    shell
}

fn winsize(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn read_all(master: OwnedFd, shown: Arc<Mutex<Vec<u8>>>) {
    // Not joined: it ends when nobody has the terminal any more.
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = rustix::io::read(&master, &mut buffer) {
            shown.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
}
