//! One host with one instance and one image, made of busybox.

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use wharf_lab::{Output, Scene, wait};

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

    /// `wharf run --rm flags… IMAGE sh -c script`, to its end.
    pub(super) fn run(&self, flags: &[&str], script: &str) -> Output {
        let flags = [&["--rm"], flags].concat();
        self.wharf.run(self.line(&flags, &["sh", "-c", script])).unwrap()
    }

    /// As [`Site::run`], and it must succeed; what it says.
    #[track_caller]
    pub(super) fn says(&self, flags: &[&str], script: &str) -> String {
        let output = self.run(flags, script);
        assert!(output.is_success(), "{output:?}");
        output.stdout.trim_end().to_owned()
    }

    /// `wharf run -d --name name flags… IMAGE sh -c script`; the id.
    pub(super) fn detached(&self, name: &str, flags: &[&str], script: &str) -> String {
        let flags = [&["-d", "--name", name], flags].concat();
        self.wharf.ok(self.line(&flags, &["sh", "-c", script]))
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

    /// `wharf run flags… IMAGE true` must be refused with `text`, and leave nothing.
    #[track_caller]
    pub(super) fn refuses(&self, flags: &[&str], text: &str) {
        let output = self.wharf.fails(self.line(flags, &["true"]));
        assert_eq!(output.code(), 125, "{flags:?}: {output:?}");
        assert!(output.stderr.contains(text), "{flags:?}: {text:?} is not in {output:?}");
        assert_eq!(self.wharf.ok(["ps", "-aq"]), "", "{flags:?} left a container");
    }

    /// Runs `wharf args…`, which must fail with `code` and say `text`.
    #[track_caller]
    pub(super) fn fails<A: AsRef<OsStr>>(&self, args: &[A], code: i32, text: &str) {
        let output = self.wharf.fails(args);
        assert_eq!(output.code(), code, "{output:?}");
        assert!(output.stderr.contains(text), "{text:?} is not in {output:?}");
    }
}

impl Deref for Site {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}
