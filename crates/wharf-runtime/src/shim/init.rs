//! The init of a container that was asked for one: it runs the command in a process of its own,
//! takes the ended children of others off the process table, passes signals on, and ends as the
//! command did.
//!
//! It is this program and not another one, for the container's root has none. It has been confined
//! by the time it runs, and it stays undumpable, as libcontainer made it, so that nothing inside
//! gets hold of the host's file it comes from without `CAP_SYS_PTRACE`.

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::WaitOptions;
use wharf_host::confine::{Fork, close_descriptors, fork};
use wharf_host::signal::{Signal, send_to_child, wait_for_any};

use crate::exit;

/// There is no child although there was one: nothing that should happen.
const FAILED: i32 = 125;

const NAME: &std::ffi::CStr = c"wharf-init";

/// Which process goes on after [`become_init`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that is to execute the command.
    Command,
    /// The init, when the command has ended with this exit code.
    Init(i32),
}

/// Makes this process an init, and a second one for the command.
pub(super) fn become_init() -> wharf_host::Result<Role> {
    let before = block_signals();
    match fork()? {
        Fork::Child => {
            lead();
            restore_signals(before.as_ref());
            Ok(Role::Command)
        }
        Fork::Parent(command) => {
            close_descriptors();
            let _cosmetic = rustix::thread::set_name(NAME);
            Ok(Role::Init(watch(Pid::from_raw(command))))
        }
    }
}

/// A signal is taken up by waiting for it, so none may be handled meanwhile.
fn block_signals() -> Option<SigSet> {
    let mut before = SigSet::empty();
    let blocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before));
    blocked.is_ok().then_some(before)
}

fn restore_signals(before: Option<&SigSet>) {
    let _as_it_was = sigprocmask(SigmaskHow::SIG_SETMASK, before, None);
}

/// The command leads a group of processes, in the foreground of its terminal if it has one, so that
/// Ctrl-C reaches it and not the init.
fn lead() {
    let _own_group = rustix::process::setpgid(None, None);
    let _without_a_terminal =
        rustix::termios::tcsetpgrp(std::io::stdin(), rustix::process::getpid());
}

fn watch(command: Pid) -> i32 {
    loop {
        if let Some(code) = reap(command) {
            return code;
        }
        match wait_for_any() {
            Ok(Signal::CHILD) | Err(_) => {}
            // A terminal tells its session's leader of these, and the command itself.
            Ok(Signal::TTIN | Signal::TTOU | Signal::TSTP) => {}
            Ok(signal) => {
                let _ended_meanwhile = send_to_child(command.as_raw(), signal);
            }
        }
    }
}

/// Takes every ended child off the table; the command's exit code when it is among them.
fn reap(command: Pid) -> Option<i32> {
    let mut ended = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == command.as_raw() => {
                ended = Some(exit::code_of(status));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return ended,
            Err(_) => return ended.or(Some(FAILED)),
        }
    }
}
