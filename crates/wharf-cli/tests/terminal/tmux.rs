//! A person's terminal: tmux, which keeps a screen.

use std::process::Command;

use super::site::{LIMIT, Site};

/// A tmux server of the test's own.
struct Tmux<'a> {
    site: &'a Site,
    socket: String,
}

impl<'a> Tmux<'a> {
    /// A window of 80 by 24 in which `script` runs, after which a shell waits.
    fn new(site: &'a Site, script: &str) -> Self {
        let socket = site.lab.directory().join("tmux").display().to_string();
        let tmux = Self { site, socket };
        let shell = site.script_command(script);
        let mut command =
            tmux.command(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24"]);
        for (name, value) in shell.get_envs() {
            command.env(name, value.unwrap());
        }
        command.args(["/bin/sh", "-c"]).args(shell.get_args().skip(1));
        let output = site.wharf.host().output(command, LIMIT).unwrap();
        assert!(output.is_success(), "{output:?}");
        tmux
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-S", &self.socket]).args(args).env("LANG", "C.UTF-8").env_remove("TMUX");
        command
    }

    fn tell(&self, args: &[&str]) -> String {
        let output = self.site.wharf.host().output(self.command(args), LIMIT).unwrap();
        assert!(output.is_success(), "{args:?}: {output:?}");
        output.stdout
    }

    fn types(&self, keys: &[&str]) {
        self.tell(&[&["send-keys"], keys].concat());
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        let found = wharf_lab::wait::until(LIMIT, text, || {
            self.tell(&["capture-pane", "-p"]).contains(text).then_some(())
        });
        assert!(found.is_ok(), "{text:?} is not in\n{}", self.tell(&["capture-pane", "-p"]));
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let _gone = self.site.wharf.host().output(self.command(&["kill-server"]), LIMIT);
    }
}

#[test]
fn a_shell_in_tmux_is_resized_detached_from_and_attached_to() {
    if Command::new("tmux").arg("-V").output().is_err() {
        eprintln!("skipped: tmux is not installed (Debian: tmux)");
        return;
    }
    let Some(site) = Site::new("tmux") else { return };
    let run = "wharf run -it --name box -e 'PS1=in> ' $IMAGE sh; echo left with $?; \
               wharf attach box; echo ended with $?; sleep 1000";
    let tmux = Tmux::new(&site, run);
    tmux.shows("in>");
    tmux.types(&["stty size", "Enter"]);
    tmux.shows("24 80");
    tmux.tell(&["resize-window", "-x", "100", "-y", "30"]);
    tmux.types(&["clear; stty size", "Enter"]);
    tmux.shows("30 100");
    // A full-screen editor, and keys that move in it.
    tmux.types(&["vi /tmp/file", "Enter"]);
    tmux.shows("~");
    tmux.types(&["i", "written in vi"]);
    tmux.shows("written in vi");
    tmux.types(&["Escape"]);
    // What follows an escape at once belongs to it, as with any key that sends several bytes.
    tmux.shows("- /tmp/file");
    tmux.types(&[":wq", "Enter"]);
    tmux.shows("in>");
    tmux.types(&["clear; cat /tmp/file", "Enter"]);
    tmux.shows("written in vi");
    tmux.types(&["echo wai''ting; sleep 1000", "Enter"]);
    tmux.shows("waiting");
    tmux.types(&["C-c"]);
    tmux.shows("^C");
    tmux.types(&["C-p", "C-q"]);
    tmux.shows("left with 0");
    tmux.types(&["clear; echo ag''ain", "Enter"]);
    tmux.shows("again");
    tmux.types(&["exit 9", "Enter"]);
    tmux.shows("ended with 9");
    // The window's own terminal is as it was: what is typed is echoed.
    tmux.types(&["visible"]);
    tmux.shows("visible");
}
