//! One host with one instance and one image, made of busybox, and verbs on terminals.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use wharf_lab::{Output, Scene, wait};

use super::pty::Pty;

/// Longer than anything here takes on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Site {
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

    /// The words `wharf run flags… IMAGE command…`.
    pub(super) fn run_line(&self, flags: &[&str], command: &[&str]) -> Vec<String> {
        let image = self.image();
        let words = [&["run"], flags, &[image.as_str()], command].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// `wharf words…` on a terminal of 24 by 80.
    pub(super) fn on_terminal<A: AsRef<str>>(&self, words: &[A]) -> Pty {
        let words = words.iter().map(AsRef::as_ref);
        Pty::spawn(self.wharf.host(), self.wharf.command(words), 24, 80)
    }

    /// `wharf run -it flags… IMAGE sh` on a terminal, at its first prompt.
    pub(super) fn shell(&self, flags: &[&str]) -> Pty {
        let flags = [&["-it", "-e", "PS1=ready> "], flags].concat();
        let mut shell = self.on_terminal(&self.run_line(&flags, &["sh"]));
        shell.shows("ready> ");
        shell
    }

    /// `wharf attach flags… name` to a shell of [`Site::shell`], once it shows its prompt again.
    pub(super) fn attached(&self, flags: &[&str], name: &str) -> Pty {
        let mut attached = self.on_terminal(&[&["attach"], flags, &[name]].concat());
        attached.shows("ready> ");
        attached
    }

    /// `sh -c script`, in which `wharf` is a function and `$IMAGE` the image.
    pub(super) fn script(&self, script: &str) -> Output {
        self.wharf.host().output(self.script_command(script), LIMIT).unwrap()
    }

    pub(super) fn script_command(&self, script: &str) -> Command {
        let wharf = self.wharf.command(["version"]);
        let program = wharf.get_program().to_string_lossy().into_owned();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("wharf() {{ {program} \"$@\"; }}\n{script}")]);
        for (name, value) in wharf.get_envs() {
            shell.env(name, value.unwrap());
        }
        shell.env("IMAGE", self.image());
        shell
    }

    /// Waits until `name` is in `state`.
    pub(super) fn becomes(&self, name: &str, state: &str) {
        wait::until(LIMIT, &format!("{name} to be {state}"), || {
            (self.wharf.state(name).as_deref() == Some(state)).then_some(())
        })
        .unwrap();
    }
}

impl Deref for Site {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}
