//! A container under test.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wharf_runtime::cgroup::{kill_leftovers, remove_cgroup_parent};
use wharf_runtime::client::{Shim, exec_command};
use wharf_runtime::exit::Exit;
use wharf_runtime::log::{LogEntry, Stream};
use wharf_runtime::spec::{Bind, ContainerSpec, ExecSpec};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_wharf-shim-test");
const BUSYBOX: &str = "/bin/busybox";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// One container, its directories, and a check that nothing of it is left.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) spec: ContainerSpec,
    parent: PathBuf,
    shim: Option<Shim>,
}

/// Whether tests can run here; says so if not.
pub(crate) fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: containers need root");
    }
    root
}

pub(crate) fn has_busybox() -> bool {
    let there = can_run() && Path::new(BUSYBOX).exists();
    if can_run() && !there {
        eprintln!("SKIPPED: no {BUSYBOX}; install busybox-static");
    }
    there
}

/// A root file system with busybox under the names tests use.
pub(crate) fn busybox_root(dir: &Path) {
    for part in ["bin", "etc", "tmp"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    fs::copy(BUSYBOX, dir.join("bin/busybox")).unwrap();
    let names = "sh cat echo id ls sleep seq touch mknod dd head readlink hostname true false \
                 env pwd stat mount grep test rm kill wc ps nc mkdir chmod";
    for name in names.split_whitespace() {
        symlink("busybox", dir.join("bin").join(name)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:web:/home/web:/bin/sh\n";
    fs::write(dir.join("etc/passwd"), passwd).unwrap();
    fs::write(dir.join("etc/group"), "root:x:0:\nweb:x:1001:\nextra:x:77:web\n").unwrap();
}

// === impl Fixture ===

impl Fixture {
    /// A container on `layers`, topmost first.
    pub(crate) fn new(layers: Vec<PathBuf>, command: &[&str]) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        let parent = PathBuf::from(format!("/wharf-test-{}-{number}", std::process::id()));
        let spec = ContainerSpec {
            id: format!("c{number}"),
            layers,
            dir: dir.path().join("container"),
            args: command.iter().map(|&word| word.to_owned()).collect(),
            env: vec![PATH.to_owned()],
            workdir: "/".to_owned(),
            user: String::new(),
            hostname: "box".to_owned(),
            binds: Vec::new(),
            stop_signal: None,
            cgroup: parent.join("c"),
            labels: Default::default(),
            terminal: Default::default(),
            resources: Default::default(),
            security: Default::default(),
            storage: Default::default(),
            network: Default::default(),
            domainname: None,
        };
        Self { dir, spec, parent, shim: None }
    }

    /// A busybox container that runs `script`.
    pub(crate) fn busybox(script: &str) -> Self {
        let mut fixture = Self::new(Vec::new(), &["sh", "-c", script]);
        let root = fixture.dir.path().join("image");
        busybox_root(&root);
        fixture.spec.layers = vec![root];
        fixture
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub(crate) fn bind(&mut self, source: &Path, target: &str, read_only: bool, copy_up: bool) {
        self.spec.binds.push(Bind { read_only, copy_up, ..Bind::new(source, target) });
    }

    pub(crate) fn launch(&mut self) -> Shim {
        let shim = Shim::launch(Path::new(PROGRAM), &self.run_dir(), &self.spec).unwrap();
        self.shim = Some(shim.clone());
        shim
    }

    pub(crate) fn start(&mut self) -> Shim {
        let shim = self.launch();
        shim.create().unwrap();
        shim.start().unwrap();
        shim
    }

    /// Runs it to its end.
    pub(crate) fn run(&mut self) -> (i32, String) {
        let exit = self.start().wait_exit(LIMIT).unwrap().expect("still running");
        (exit.code, self.output())
    }

    pub(crate) fn log(&self) -> Vec<LogEntry> {
        let text = fs::read_to_string(self.spec.dir.join(wharf_runtime::log::FILE)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn stream(&self, stream: Stream) -> String {
        self.log().into_iter().filter(|e| e.stream == stream).map(|e| e.log).collect()
    }

    /// Both streams, in the order they were logged.
    pub(crate) fn output(&self) -> String {
        self.log().into_iter().map(|entry| entry.log).collect()
    }

    /// Waits until the container has written `text`.
    pub(crate) fn has_said(&self, text: &str) {
        let log = self.spec.dir.join(wharf_runtime::log::FILE);
        wait_for(text, || fs::read_to_string(&log).is_ok_and(|log| log.contains(text)));
    }

    pub(crate) fn exec(&self, exec: &ExecSpec) -> Output {
        exec_command(Path::new(PROGRAM), &self.run_dir(), exec).unwrap().output().unwrap()
    }

    pub(crate) fn sh(&self, script: &str) -> String {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        let output = self.exec(&ExecSpec { args, ..ExecSpec::default() });
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    pub(crate) fn cgroup_dirs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for root in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            found.push(root.path().join(self.parent.strip_prefix("/").unwrap()));
        }
        found.push(Path::new("/sys/fs/cgroup").join(self.parent.strip_prefix("/").unwrap()));
        found.retain(|path| path.exists());
        found
    }

    /// Fails if anything of the container is still there.
    pub(crate) fn nothing_left(&self) {
        let own = self.dir.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&own), "mounts are left:\n{mounts}");
        let rootfs = self.spec.dir.join("rootfs");
        if let Ok(mut entries) = fs::read_dir(&rootfs) {
            assert!(entries.next().is_none(), "{} is not empty", rootfs.display());
        }
        assert_eq!(processes_with(&own), Vec::<String>::new(), "processes are left");
        assert_eq!(self.inner_cgroups(), Vec::<PathBuf>::new(), "control groups are left");
        remove_cgroup_parent(&self.parent).unwrap();
        assert_eq!(self.cgroup_dirs(), Vec::<PathBuf>::new(), "control groups are left");
        if let Ok(text) = fs::read_to_string(self.run_dir().join("shim.err")) {
            assert!(!text.contains("remove") && !text.contains("unmount"), "{text}");
        }
    }

    fn inner_cgroups(&self) -> Vec<PathBuf> {
        let dirs = self.cgroup_dirs();
        dirs.into_iter().map(|dir| dir.join("c")).filter(|path| path.exists()).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(shim) = &self.shim {
            let _gone = shim.pid().signal(wharf_host::process::Signal::KILL);
            let _gone = shim.pid().wait_exit(LIMIT);
        }
        let _already_failing = kill_leftovers(&self.spec.cgroup);
        let _already_failing = remove_cgroup_parent(&self.parent);
    }
}

/// Command lines of living processes that mention `text`.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(bytes) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        if line.contains(text) {
            found.push(line);
        }
    }
    found
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn ended(shim: &Shim) -> Exit {
    shim.wait_exit(LIMIT).unwrap().expect("still running")
}
