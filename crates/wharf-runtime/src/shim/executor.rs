//! Executes a container's command, as the last thing the shim's code does inside the container.
//!
//! This runs in the container's first process, with its root, user and capabilities in place, so
//! nothing here may load code or trust a file. The seccomp filter is installed in
//! [`Executor::exec`], right before the command replaces this program.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use oci_spec::runtime::Spec;
use rustix::fs::Access;
use rustix::process::Signal;
use wharf_spec::frame::TerminalSize;

use crate::command::variable;
use crate::error::Error;
use crate::shim::confinement::Confinement;
use crate::shim::console::winsize;
use crate::shim::init::{Role, become_init};

/// libcontainer carries errors out of the container as text; these say where ours is in it.
const MARK: (&str, &str) = ("[[wharf ", "]]");
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// Beyond are the C library's own and the real-time ones.
const LAST_NAMED_SIGNAL: i32 = 31;

/// A command with exactly the environment it is to have.
#[derive(Debug, Clone)]
pub(super) struct CommandExecutor {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    /// Whether the kernel ends the command when the process that made it ends.
    pub(super) ends_with_parent: bool,
    /// The size its terminal has from the start.
    pub(super) size: Option<TerminalSize>,
    /// What it is left with.
    pub(super) confinement: Confinement,
    /// Whether an init of ours runs it.
    pub(super) init: bool,
}

struct Unusable {
    code: u8,
    message: String,
}

// === impl CommandExecutor ===

impl CommandExecutor {
    /// The file the command means, as a shell would find it.
    fn find(&self) -> Result<PathBuf, Unusable> {
        let name = self.args.first().map(String::as_str).unwrap_or_default();
        let refuse =
            |code, why: String| Err(Unusable { code, message: format!("exec: {name:?}: {why}") });
        if name.contains('/') {
            let path = PathBuf::from(name);
            return match executable(&path) {
                Ok(()) => Ok(path),
                Err(rustix::io::Errno::ISDIR) => refuse(NOT_EXECUTABLE, "is a directory".into()),
                Err(rustix::io::Errno::ACCESS) => {
                    refuse(NOT_EXECUTABLE, "permission denied".into())
                }
                Err(e) => refuse(NOT_FOUND, format!("stat {name}: {}", text(e))),
            };
        }
        let path = variable(&self.env, "PATH").unwrap_or_default();
        let mut places = path.split(':').map(|dir| Path::new(dir).join(name));
        match places.find(|place| !name.is_empty() && executable(place).is_ok()) {
            Some(place) => Ok(place),
            None => refuse(NOT_FOUND, "executable file not found in $PATH".into()),
        }
    }

    /// Both processes end here, the command by executing, so that nothing of libcontainer's goes on
    /// twice.
    fn run_under_init(&self) -> Result<(), ExecutorError> {
        let role = become_init().map_err(|e| ExecutorError::Other(format!("init: {e}")))?;
        let code = match role {
            Role::Command => match self.replace_this_program() {
                Ok(()) => 0,
                Err(_) => NOT_EXECUTABLE.into(),
            },
            Role::Init(code) => code,
        };
        wharf_host::process::end_at_once(code)
    }

    fn replace_this_program(&self) -> Result<(), ExecutorError> {
        let path = self.find().map_err(|e| ExecutorError::Other(e.message))?;
        let words = |list: &[String]| -> Result<Vec<CString>, ExecutorError> {
            let word = |text: &String| CString::new(text.as_str());
            list.iter().map(word).collect::<Result<_, _>>().map_err(|_| ExecutorError::InvalidArg)
        };
        let (args, env) = (words(&self.args)?, words(&self.env)?);
        let file = words(&[path.display().to_string()])?;
        let Some(file) = file.first() else { return Err(ExecutorError::InvalidArg) };
        let Err(error) = nix::unistd::execve(file, &args, &env);
        let message = format!("exec {}: {}", path.display(), error.desc().to_lowercase());
        // Standard error is the container's own by now: this is what its log will say.
        let _nowhere_else_to_say = writeln!(std::io::stderr(), "{message}");
        Err(ExecutorError::Other(message))
    }
}

impl Executor for CommandExecutor {
    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        self.confinement.take_effect()?;
        if self.ends_with_parent {
            // After the last change of credentials, which undoes it. Kept over exec, unless the
            // program is set-user-ID: then the daemon ends it when it finds its shim gone.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .map_err(|e| ExecutorError::Other(format!("tie the command to its shim: {e}")))?;
        }
        if let Some(size) = self.size {
            // A terminal of the wrong size is better than none.
            let _set = rustix::termios::tcsetwinsize(std::io::stdin(), winsize(size));
        }
        if self.init {
            return self.run_under_init();
        }
        self.replace_this_program()
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        let unusable = |Unusable { code, message }| {
            let (start, end) = MARK;
            ExecutorValidationError::ArgValidationError(format!("{start}{code} {message}{end}"))
        };
        self.find().map(|_| ()).map_err(unusable)
    }

    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The environment goes to execve as it is, in the order it was given.
        Ok(())
    }
}

/// Makes sure commands ignore no signal: that is inherited, from whoever started the daemon, and
/// for SIGPIPE from Rust. A handler, in its place, is reset when the command is executed.
pub(super) fn unignore_signals() {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    for number in 1..=LAST_NAMED_SIGNAL {
        if ignored.unwrap_or_default() & (1 << (number - 1)) != 0 {
            let flag = Arc::new(AtomicBool::new(false));
            let _as_it_was = signal_hook::flag::register(number, flag);
        }
    }
}

/// Our own error in the text of one of libcontainer's.
pub(super) fn find_marked(text: &str) -> Option<Error> {
    let (start, end) = MARK;
    let (_, rest) = text.split_once(start)?;
    let (marked, _) = rest.split_once(end)?;
    let (code, message) = marked.split_once(' ')?;
    Some(Error::Command { code: code.parse().ok()?, message: message.to_owned() })
}

fn executable(path: &Path) -> Result<(), rustix::io::Errno> {
    let stat = rustix::fs::stat(path)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory {
        return Err(rustix::io::Errno::ISDIR);
    }
    // For root, access(2) says yes to any file that anybody may execute.
    rustix::fs::access(path, Access::EXEC_OK)
}

/// An errno in the words of Docker's messages.
fn text(errno: rustix::io::Errno) -> String {
    nix::errno::Errno::from_raw(errno.raw_os_error()).desc().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Privileges;
    use crate::spec::Security;

    fn code(name: &str) -> (u8, String) {
        let executor = CommandExecutor {
            args: vec![name.to_owned()],
            env: vec!["PATH=/nowhere:/bin:/usr/bin".to_owned()],
            ends_with_parent: false,
            size: None,
            confinement: Confinement::of(&Security::default(), Privileges::default()).unwrap(),
            init: false,
        };
        executor.find().map_or_else(|e| (e.code, e.message), |path| (0, path.display().to_string()))
    }

    #[test]
    fn commands_are_found_or_refused_with_dockers_texts() {
        assert_eq!(code("sh"), (0, "/bin/sh".to_owned()));
        assert_eq!(code("/bin/sh"), (0, "/bin/sh".to_owned()));
        let cases = [
            ("nosuch", 127, r#"exec: "nosuch": executable file not found in $PATH"#),
            ("", 127, r#"exec: "": executable file not found in $PATH"#),
            ("/no/such", 127, r#"exec: "/no/such": stat /no/such: no such file or directory"#),
            ("/etc", 126, r#"exec: "/etc": is a directory"#),
            ("/etc/passwd", 126, r#"exec: "/etc/passwd": permission denied"#),
        ];
        for (name, want, message) in cases {
            assert_eq!(code(name), (want, message.to_owned()));
        }
    }

    #[test]
    fn an_error_survives_its_way_out() {
        let text = "failed to create container: exec process failed with error [[wharf 127 exec: \"x\": no]]. more";
        let error = find_marked(text).unwrap();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (127, "exec: \"x\": no"));
        assert!(find_marked("anything else").is_none());
    }
}
