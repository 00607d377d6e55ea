//! Debian's registry on a test host, filled by skopeo, and a slow line to it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use wharf_lab::{Host, Process, wait};

use super::site::Site;

const PROGRAM: &str = "/usr/bin/docker-registry";
const SKOPEO: &str = "/usr/bin/skopeo";
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// Where it listens, on its host's loopback.
pub(super) const ADDRESS: &str = "127.0.0.1:5000";

/// A registry; dropping it ends it, and its content stays.
pub(super) struct Server {
    host: Host,
    config: PathBuf,
    process: Process,
}

/// A relay that passes on so many bytes of answers in a second and no more.
pub(super) struct SlowLine {
    passed: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Server {
    /// Starts one; `auth` is a part of its configuration. Prints why and gives nothing where it is
    /// not installed.
    pub(super) fn start(site: &Site, auth: &str) -> Option<Self> {
        if ![PROGRAM, SKOPEO].iter().all(|program| Path::new(program).exists()) {
            eprintln!(
                "skipped: {PROGRAM} or {SKOPEO} is not installed (Debian: docker-registry, skopeo)"
            );
            return None;
        }
        let directory = site.lab.directory().join("registry");
        std::fs::create_dir_all(&directory).unwrap();
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: \
             {ADDRESS}\n{auth}",
            directory.display()
        );
        let config = directory.join("config.yml");
        std::fs::write(&config, text).unwrap();
        let host = site.host.clone();
        let process = run(&host, &config);
        Some(Self { host, config, process })
    }

    /// Copies an archive of an OCI layout to `name`, with more `options`.
    pub(super) fn fill(&self, archive: &Path, name: &str, options: &[&str]) {
        let mut command = skopeo();
        command
            .args(["--insecure-policy", "copy", "--dest-tls-verify=false"])
            .args(options)
            .arg(format!("oci-archive:{}", archive.display()))
            .arg(format!("docker://{ADDRESS}/{name}"))
            .stdin(Stdio::null());
        let output = self.host.output(command, LIMIT).unwrap();
        assert!(output.is_success(), "skopeo: {output:?}\n{}", self.process.stderr());
    }

    /// The manifest of `name` as it is.
    pub(super) fn manifest(&self, name: &str) -> String {
        let mut command = skopeo();
        command.args(["inspect", "--raw", "--tls-verify=false"]).stdin(Stdio::null());
        command.arg(format!("docker://{ADDRESS}/{name}"));
        self.host.output(command, LIMIT).unwrap().stdout
    }

    pub(super) fn kill9(&mut self) {
        self.process.kill9().unwrap();
    }

    pub(super) fn start_again(&mut self) {
        self.process = run(&self.host, &self.config);
    }
}

/// It keeps notes of every blob it has seen under the machine's `/var/lib`, and takes one for another
/// that it once was; here it finds that directory empty.
fn skopeo() -> Command {
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation=private", "--", "/bin/sh", "-c"]);
    command.args(["mount -t tmpfs tmpfs /var/lib && exec \"$0\" \"$@\"", SKOPEO]);
    command
}

fn run(host: &Host, config: &Path) -> Process {
    let mut command = Command::new(PROGRAM);
    command.arg("serve").arg(config).stdin(Stdio::null());
    let mut process = host.spawn(command).unwrap();
    let up = wait::until(LIMIT, "the registry", || {
        (host.can_connect(ADDRESS) || !process.is_running()).then(|| process.is_running())
    });
    assert!(up.unwrap(), "{}", process.stderr());
    process
}

impl SlowLine {
    /// From `address` to the registry, at `rate` bytes a second for each connection.
    pub(super) fn start(host: &Host, address: &str, rate: usize) -> Self {
        let listener = host.tcp_listen(address).unwrap();
        let line = Self { passed: Arc::default(), ended: Arc::default() };
        let (passed, ended, host) = (line.passed.clone(), line.ended.clone(), host.clone());
        std::thread::spawn(move || accept(&listener, &host, rate, &passed, &ended));
        line
    }

    /// The bytes of answers that have passed.
    pub(super) fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn accept(
    listener: &TcpListener,
    host: &Host,
    rate: usize,
    passed: &Arc<AtomicUsize>,
    ended: &AtomicBool,
) {
    listener.set_nonblocking(true).unwrap();
    while !ended.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        client.set_nonblocking(false).unwrap();
        // A registry that is down closes the door.
        let Ok(server) = host.tcp(ADDRESS) else { continue };
        let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || pass(from_client, to_server, usize::MAX, &AtomicUsize::new(0)));
        let passed = Arc::clone(passed);
        std::thread::spawn(move || pass(server, client, rate, &passed));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, rate: usize, passed: &AtomicUsize) {
    let mut piece = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
        passed.fetch_add(count, Ordering::Relaxed);
        if rate != usize::MAX {
            std::thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
        }
    }
    // The other side may have gone first.
    let _closed = to.shutdown(Shutdown::Both).and_then(|()| from.shutdown(Shutdown::Both));
}
