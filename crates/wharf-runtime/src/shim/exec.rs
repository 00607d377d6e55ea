//! One command in a running container: a process of its own that joins the container, waits, and
//! ends as the command did.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::bundle::{self, Privileges};
use crate::cgroup::Layout;
use crate::command::set_variables;
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::exit;
use crate::inroot::Root;
use crate::shim::confinement::Confinement;
use crate::shim::console::{self, Ends, Wanted};
use crate::shim::container::set_oom_score;
use crate::shim::executor::{CommandExecutor, find_marked, unignore_signals};
use crate::shim::session::{self, Door};
use crate::shim::streams::Streams;
use crate::shim::wire::{IDENTITY, Identity, SPEC, STATE};
use crate::spec::{ContainerSpec, ExecSession, ExecSpec, Security};
use crate::user::User;

/// Passed on to the command.
const FORWARDED: [(i32, Signal); 4] = [
    (SIGTERM, Signal::TERM),
    (SIGINT, Signal::INT),
    (SIGHUP, Signal::HUP),
    (SIGQUIT, Signal::QUIT),
];

/// Streams that become readable when a signal has arrived.
type Signals = Vec<(UnixStream, Signal)>;

/// The body of `wharf shim-exec --dir DIR --spec FILE`: runs the command of `FILE`, which it
/// removes, in the container of the shim in `DIR`, with this process' standard streams, or with
/// those of clients that attach.
///
/// Must be called with no other thread running. The result is the exit status for the process:
/// the command's, or 125 to 127 with the reason on standard error.
pub fn run_exec(dir: &Path, spec: &Path) -> i32 {
    match run(dir, spec) {
        Ok(code) => code,
        Err(error) => {
            let _nowhere_else_to_say = writeln!(std::io::stderr(), "{error}");
            error.exit_code().into()
        }
    }
}

fn run(dir: &Path, file: &Path) -> Result<i32> {
    // Ctrl-C at a daemon in the foreground is for the daemon.
    wharf_host::process::become_daemon_session()?;
    let what = || format!("use {}", dir.display());
    let dir = dir.canonicalize().during(what)?;
    let exec = durable::read_json::<ExecSpec>(file)?.ok_or_else(|| gone(&dir))?;
    fs::remove_file(file).during(|| format!("remove {}", file.display()))?;
    let spec = durable::read_json::<ContainerSpec>(&dir.join(SPEC))?.ok_or_else(|| gone(&dir))?;
    rustix::thread::set_thread_groups(&[]).during(|| "drop supplementary groups")?;
    unignore_signals();
    let signals = forwarded().during(|| "handle signals")?;
    match &exec.session {
        Some(session) => run_session(&dir, &spec, &exec, session, &signals),
        None => wait(join(&dir, &spec, &exec)?.0, &signals),
    }
}

/// The same with clients, who also hear how it ends, or why it did not begin.
fn run_session(
    dir: &Path,
    spec: &ContainerSpec,
    exec: &ExecSpec,
    told: &ExecSession,
    signals: &Signals,
) -> Result<i32> {
    let mut door = Door::open(dir, told)?;
    let clients = if told.awaits_client { vec![door.first_client()?] } else { Vec::new() };
    let (child, ends) = match join(dir, spec, exec) {
        Ok((child, Some(ends))) => (child, ends),
        Ok((_, None)) => return Err(gone(dir)),
        Err(error) => {
            session::fail(clients, &error);
            return Ok(error.exit_code().into());
        }
    };
    let pidfd = rustix::process::pidfd_open(child, PidfdFlags::empty())
        .during(|| "wait for the command")?;
    let mut streams = Streams::of_command(ends, clients);
    session::serve(&mut door, &mut streams, &pidfd, signals)?;
    let code = reap(child)?;
    streams.finish(code);
    Ok(code)
}

fn gone(dir: &Path) -> Error {
    let action = "run a command in the container".to_owned();
    Error::Shim { action, reason: format!("there is no container in {}", dir.display()) }
}

/// The beginning of a view's name; what follows is its command's process.
const VIEW: &str = "exec-";

/// A command's own view of the container's state: libcontainer makes a socket beside the state for
/// every command and leaves it there.
struct StateView {
    place: PathBuf,
}

/// Starts the command; its process is our child. Clients are given its streams.
fn join(dir: &Path, spec: &ContainerSpec, exec: &ExecSpec) -> Result<(Pid, Option<Ends>)> {
    let state = StateView::of(dir, &spec.id)?;
    let container = Container::load(state.place.join(&spec.id)).map_err(|_| gone(dir))?;
    let init = container.pid().ok_or_else(|| gone(dir))?;
    let root = root_of(dir, init.as_raw()).ok_or_else(|| gone(dir))?;
    let mut user = User::find(&root, exec.user.as_ref().unwrap_or(&spec.user))?;
    user.join(&root, &spec.security.groups)?;
    let mut env = spec.env.clone();
    set_variables(&mut env, &exec.env);
    let env = bundle::with_home(&env, &user);
    let workdir = exec.workdir.as_ref().unwrap_or(&spec.workdir);
    check_workdir(&root, workdir)?;
    let privileges = Privileges::of(&allowed(spec, exec), &user, &Layout::detect()?);
    let mut process = bundle::process(&exec.args, &env, workdir, &user);
    privileges.describe(&mut process, spec);
    let session = exec.session.as_ref();
    let tty = session.is_some_and(|session| session.tty);
    console::ask_for(&mut process, tty);
    let description = memory_file(&process)?;
    let executor = CommandExecutor {
        args: exec.args.clone(),
        env,
        ends_with_parent: exec.ends_with_parent,
        size: session.and_then(|session| session.size),
        confinement: Confinement::of(&spec.security, privileges)?,
        init: false,
    };
    set_oom_score("self", spec.resources.oom_score_adj)?;
    let failed = |text: String| {
        let action = "run a command in the container".to_owned();
        find_marked(&text).unwrap_or(Error::Shim { action, reason: text })
    };
    let builder = ContainerBuilder::new(spec.id.clone(), SyscallType::default())
        .with_executor(executor)
        .with_root_path(state.place.clone())
        .map_err(|e| failed(e.to_string()))?;
    let (builder, coming) = match session {
        None => (builder, None),
        Some(session) => {
            let wanted = Wanted { stdin: session.stdin, tty };
            let (builder, coming) = wanted.give(builder, &user, dir)?;
            (builder, Some(coming))
        }
    };
    let pid = builder
        .as_tenant()
        .with_detach(tty)
        .with_process(Some(format!("/proc/self/fd/{}", description.as_raw_fd())))
        .build()
        .map_err(|e| failed(e.to_string()))?;
    let pid = Pid::from_raw(pid.as_raw()).ok_or_else(|| failed("it has no process".to_owned()))?;
    Ok((pid, coming.map(|coming| coming.take(&user)).transpose()?))
}

/// The root of the container's first process. Its number may be another's by now, and is only
/// certain once the root is held: the first process is a child of the shim, no other is.
fn root_of(dir: &Path, init: i32) -> Option<Root> {
    let root = Root::open(Path::new(&format!("/proc/{init}/root"))).ok()?;
    let shim = durable::read_json::<Identity>(&dir.join(IDENTITY)).ok()??.shim;
    let status = fs::read_to_string(format!("/proc/{init}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    (parent.trim().parse() == Ok(shim.pid) && shim.is_alive()).then_some(root)
}

/// What the command may do: its system calls stay those of the container's profile, as that is for
/// who has its capabilities.
fn allowed(spec: &ContainerSpec, exec: &ExecSpec) -> Security {
    let mut security = spec.security.clone();
    security.privileged |= exec.privileged;
    security
}

/// libcontainer's text would not say what was not found.
fn check_workdir(root: &Root, workdir: &str) -> Result<()> {
    if workdir.starts_with('/') && root.is_dir(Path::new(workdir)) {
        return Ok(());
    }
    let message = format!("chdir to cwd ({workdir:?}) failed: no such directory");
    Err(Error::Command { code: 127, message })
}

/// libcontainer takes the description of a process from a file only.
fn memory_file(process: &serde_json::Value) -> Result<OwnedFd> {
    let what = || "describe the command";
    let file = rustix::fs::memfd_create("process.json", MemfdFlags::CLOEXEC).during(what)?;
    let mut file = File::from(file);
    let text = serde_json::to_vec(process).map_err(|e| Error::json("process.json", e))?;
    file.write_all(&text).during(what)?;
    Ok(file.into())
}

/// A stream that carries the numbers of signals that arrived.
fn forwarded() -> std::io::Result<Signals> {
    let mut streams = Vec::new();
    for (number, signal) in FORWARDED {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(number, theirs)?;
        streams.push((ours, signal));
    }
    Ok(streams)
}

fn wait(child: Pid, signals: &Signals) -> Result<i32> {
    let what = || "wait for the command";
    let pidfd = rustix::process::pidfd_open(child, PidfdFlags::empty()).during(what)?;
    loop {
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        fds.extend(signals.iter().map(|(stream, _)| PollFd::new(stream, PollFlags::IN)));
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled.during(what)?,
        };
        if fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
            break;
        }
        for (stream, signal) in signals {
            forward(stream, *signal, &pidfd);
        }
    }
    reap(child)
}

fn reap(child: Pid) -> Result<i32> {
    let status = rustix::process::waitpid(Some(child), WaitOptions::empty());
    let status = status.during(|| "wait for the command")?;
    Ok(status.map_or(255, |(_, status)| exit::code_of(status)))
}

pub(super) fn forward(mut stream: &UnixStream, signal: Signal, pidfd: &OwnedFd) {
    use std::io::Read as _;
    if stream.read(&mut [0; 64]).is_ok() {
        let _gone_is_fine = rustix::process::pidfd_send_signal(pidfd, signal);
    }
}

// === impl StateView ===

impl StateView {
    fn of(dir: &Path, id: &str) -> Result<Self> {
        let what = || format!("use the state of the container in {}", dir.display());
        sweep_views(dir);
        let view = Self { place: dir.join(format!("{VIEW}{}", std::process::id())) };
        fs::create_dir_all(view.place.join(id)).during(what)?;
        let files = fs::read_dir(dir.join(STATE).join(id)).map_err(|_| gone(dir))?;
        for file in files.filter_map(std::result::Result::ok) {
            if file.file_type().is_ok_and(|kind| kind.is_file()) {
                let link = view.place.join(id).join(file.file_name());
                fs::hard_link(file.path(), link).during(what)?;
            }
        }
        Ok(view)
    }
}

/// Removes what commands that were killed left in `dir`, whoever has their number now.
fn sweep_views(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(VIEW)?.parse::<u32>().ok());
        let is_left = number.is_some_and(|number| {
            number == std::process::id() || !Path::new(&format!("/proc/{number}")).exists()
        });
        if is_left {
            let _another_was_faster = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for StateView {
    fn drop(&mut self) {
        // The container may have been removed meanwhile, and this with it.
        let _gone_is_fine = fs::remove_dir_all(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if the container had ended and its number were somebody else's.
    #[test]
    fn only_a_child_of_the_shim_is_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let shim = wharf_host::process::Pid::current().unwrap();
        durable::write_json(&dir.path().join(IDENTITY), &Identity { shim }).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let found = |pid: u32| root_of(dir.path(), i32::try_from(pid).unwrap()).is_some();
        assert!(found(child.id()));
        assert!(!found(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!found(child.id()));
    }

    #[test]
    fn a_view_that_a_killed_command_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let made = |path: &str| {
            fs::create_dir_all(dir.path().join(path)).unwrap();
            fs::write(dir.path().join(path).join("state.json"), "{}").unwrap();
        };
        let (own, ended) = (format!("exec-{}", std::process::id()), format!("exec-{}", u32::MAX));
        made(&format!("{STATE}/box"));
        made(&format!("{own}/box"));
        made(&format!("{ended}/box"));
        let running = format!("exec-{}", rustix::process::getppid().unwrap().as_raw_nonzero());
        made(&running);
        let view = StateView::of(dir.path(), "box").unwrap();
        assert_eq!(view.place, dir.path().join(&own));
        assert!(view.place.join("box/state.json").exists());
        assert!(!dir.path().join(ended).exists(), "nobody else would remove it");
        assert!(dir.path().join(running).exists());
        drop(view);
        assert!(!dir.path().join(own).exists());
    }
}
