//! One host with one instance and one image, made of busybox.

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use wharf_lab::{Output, Process, Scene, wait};

/// Longer than anything here takes on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Site {
    /// The directory the image is.
    pub(super) rootfs: PathBuf,
    scene: Scene,
}

impl Site {
    pub(super) fn new(name: &str) -> Option<Self> {
        let scene = Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).without_cable().build()?;
        Some(Self { rootfs: scene.busybox()?, scene })
    }

    pub(super) fn image(&self) -> String {
        format!("dir:{}", self.rootfs.display())
    }

    fn line<'a>(&self, flags: &[&'a str], command: &[&'a str]) -> Vec<String> {
        let mut line = vec!["run".to_owned()];
        line.extend(flags.iter().map(|flag| (*flag).to_owned()));
        line.push(self.image());
        line.extend(command.iter().map(|word| (*word).to_owned()));
        line
    }

    /// `wharf run flags… IMAGE sh -c script`, to its end.
    pub(super) fn run(&self, flags: &[&str], script: &str) -> Output {
        self.wharf.run(self.line(flags, &["sh", "-c", script])).unwrap()
    }

    /// As [`Site::run`], but any command, and it must succeed.
    pub(super) fn ok(&self, flags: &[&str], command: &[&str]) -> String {
        self.wharf.ok(self.line(flags, command))
    }

    /// As [`Site::ok`], but it must fail.
    pub(super) fn fails(&self, flags: &[&str], command: &[&str]) -> Output {
        self.wharf.fails(self.line(flags, command))
    }

    /// `wharf run flags… IMAGE sh -c script`, left running.
    pub(super) fn spawn(&self, flags: &[&str], script: &str) -> Process {
        self.wharf.spawn(self.line(flags, &["sh", "-c", script])).unwrap()
    }

    /// The same as a command line that is not started yet.
    pub(super) fn command(&self, flags: &[&str], script: &str) -> Command {
        self.wharf.command(self.line(flags, &["sh", "-c", script]))
    }

    /// `wharf run -d --name name IMAGE sh -c script`; the id.
    pub(super) fn detached(&self, name: &str, script: &str) -> String {
        self.ok(&["-d", "--name", name], &["sh", "-c", script])
    }

    /// `wharf exec name sh -c script`, which must succeed.
    pub(super) fn exec(&self, name: &str, script: &str) -> String {
        self.wharf.ok(["exec", name, "sh", "-c", script])
    }

    /// Waits until the log of `name` has `text` in it.
    pub(super) fn said(&self, name: &str, text: &str) {
        wait::until(LIMIT, &format!("{text:?} from {name}"), || {
            let output = self.wharf.run(["logs", name]).ok()?;
            (output.stdout.contains(text) || output.stderr.contains(text)).then_some(())
        })
        .unwrap();
    }

    /// Waits until `name` is in `state`.
    pub(super) fn becomes(&self, name: &str, state: &str) {
        wait::until(LIMIT, &format!("{name} to be {state}"), || {
            (self.wharf.state(name).as_deref() == Some(state)).then_some(())
        })
        .unwrap();
    }

    /// Runs `wharf args…`, which must fail with `code` and say `text`.
    #[track_caller]
    pub(super) fn refused<A: AsRef<OsStr>>(&self, args: &[A], code: i32, text: &str) {
        let output = self.wharf.fails(args);
        assert_eq!(output.code(), code, "{output:?}");
        assert!(output.stderr.contains(text), "{text:?} is not in {output:?}");
        assert_eq!(output.stdout, "", "a refusal belongs on standard error");
    }
}

impl Deref for Site {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}
