//! What a real Docker saves.
//!
//! Debian's Docker runs in the test host with directories and a mount namespace of its own, and
//! neither bridge nor firewall rules: enough to import, commit and save.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use wharf_lab::{Output, Process, wait};

use super::archive::{Layer, gzip};
use super::site::Site;

pub(super) const LIMIT: Duration = Duration::from_secs(30);
const DAEMON: &str = "/usr/sbin/dockerd";
const CLIENT: &str = "/usr/bin/docker";

/// A Docker daemon; dropping it stops it.
struct Docker<'a> {
    site: &'a Site,
    daemon: Process,
    directory: PathBuf,
}

impl<'a> Docker<'a> {
    fn start(site: &'a Site) -> Option<Self> {
        if ![DAEMON, CLIENT].iter().all(|program| Path::new(program).exists()) {
            eprintln!("skipped: {DAEMON} or {CLIENT} is not installed (Debian: docker.io)");
            return None;
        }
        // In the instance's directory: should the test die, what is left is found and ended.
        let directory = site.wharf.directory().join("docker");
        std::fs::create_dir(&directory).unwrap();
        // Its mounts would otherwise be seen in every mount namespace made meanwhile.
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "--propagation=private", "--", DAEMON]);
        for (option, name) in [("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid")] {
            command.arg(format!("--{option}={}", directory.join(name).display()));
        }
        command.arg(format!("--host=unix://{}", directory.join("sock").display())).args([
            "--iptables=false",
            "--bridge=none",
            "--storage-driver=vfs",
        ]);
        let daemon = site.host.spawn(command).unwrap();
        let mut docker = Self { site, daemon, directory };
        docker.daemon.wait_for("API listen on", LIMIT).unwrap();
        Some(docker)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(CLIENT);
        command
            .arg(format!("--host=unix://{}", self.directory.join("sock").display()))
            .args(args)
            .env("DOCKER_CONFIG", &self.directory);
        self.site.host.output(command, LIMIT).unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.is_success(), "docker {args:?}: {output:?}");
        output.stdout.trim().to_owned()
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.daemon.stop() {
            eprintln!("docker: {error:#}");
        }
    }
}

/// Imports the tree as `site/web:1` and adds a layer and a second name as `site/web:2`.
fn build(docker: &Docker<'_>) {
    let tar = docker.directory.join("rootfs.tar");
    std::fs::write(&tar, Layer::new().tree(&docker.site.rootfs).build()).unwrap();
    let changes = [
        "ENV COLOUR=red",
        "ENV PATH=/bin:/sbin",
        "EXPOSE 80/tcp",
        "WORKDIR /srv",
        r#"CMD ["httpd", "-f", "-p", "80", "-h", "/srv"]"#,
        "LABEL from=docker",
    ];
    let mut import = vec!["import"];
    import.extend(changes.iter().flat_map(|change| ["--change", change]));
    import.extend([tar.to_str().unwrap(), "site/web:1"]);
    docker.ok(&import);
    // A second layer without running anything: a file is copied into a container that never ran.
    let container = docker.ok(&["create", "--network=none", "site/web:1"]);
    let page = docker.directory.join("page");
    std::fs::write(&page, "made by docker\n").unwrap();
    docker.ok(&["cp", page.to_str().unwrap(), &format!("{container}:/srv/page")]);
    docker.ok(&["commit", &container, "site/web:2"]);
    docker.ok(&["tag", "site/web:2", "registry.example:5000/site/web:again"]);
}

#[test]
fn a_real_docker_save_is_loaded_and_runs() {
    let Some(site) = Site::new("docker save") else { return };
    let Some(docker) = Docker::start(&site) else { return };
    build(&docker);
    let file = site.lab.directory().join("saved.tar");
    let path = file.to_str().unwrap();
    docker.ok(&[
        "save",
        "-o",
        path,
        "site/web:1",
        "site/web:2",
        "registry.example:5000/site/web:again",
    ]);
    let said = docker.ok(&["inspect", "--format", "{{.Id}}", "site/web:2"]);
    drop(docker);

    let loaded = site.wharf.ok(["load", "-i", path]);
    let mut lines: Vec<&str> = loaded.lines().collect();
    lines.sort_unstable();
    let wanted = [
        "Loaded image: registry.example:5000/site/web:again",
        "Loaded image: site/web:1",
        "Loaded image: site/web:2",
    ];
    assert_eq!(lines, wanted);
    assert_eq!(site.layers(), 2, "the shared layer is there once");
    // The id is Docker's own.
    let found = site.inspect("site/web:2");
    assert_eq!(found["Id"].as_str().unwrap(), said, "{found:#}");

    site.wharf.ok(["run", "-d", "-P", "--name", "web", "site/web:2"]);
    let port = site.wharf.ok(["port", "web", "80"]);
    let port = port.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
    let page = wait::until(LIMIT, "the page", || {
        site.host.http_get(&format!("127.0.0.1:{port}"), "/page").ok()
    });
    assert_eq!(page.unwrap().text(), "made by docker\n");
    assert_eq!(
        site.wharf.ok(["exec", "web", "sh", "-c", "echo $COLOUR $PATH; pwd"]),
        "red /bin:/sbin\n/srv"
    );
    let found = site.inspect("web");
    assert_eq!(found["Config"]["Labels"]["from"], "docker");
    assert_eq!(site.sh("site/web:1", "ls /srv"), "greeting");
}

#[test]
fn a_docker_save_is_read_from_a_pipe_or_named_as_a_source() {
    let Some(site) = Site::new("docker archive") else { return };
    let Some(docker) = Docker::start(&site) else { return };
    build(&docker);
    let directory = site.lab.directory().to_owned();
    let one = directory.join("one.tar");
    docker.ok(&["save", "-o", one.to_str().unwrap(), "site/web:2"]);
    let both = directory.join("both.tar");
    docker.ok(&["save", "-o", both.to_str().unwrap(), "site/web:1", "site/web:2"]);
    drop(docker);

    let source = format!("docker-archive:{}", one.display());
    assert_eq!(site.sh(&source, "cat page"), "made by docker");
    assert_eq!(site.names().into_iter().collect::<Vec<_>>(), ["site/web:2"]);
    site.wharf.ok(["rmi", "site/web:2"]);
    assert_eq!((site.list().len(), site.layers()), (0, 0));

    let mut load = site.wharf.spawn(["load"]).unwrap();
    load.feed(&std::fs::read(&one).unwrap()).unwrap();
    assert_eq!(load.output(LIMIT).unwrap().stdout, "Loaded image: site/web:2\n");
    let compressed = directory.join("one.tar.gz");
    std::fs::write(&compressed, gzip(&std::fs::read(&one).unwrap())).unwrap();
    let source = format!("docker-archive:{}", compressed.display());
    assert_eq!(site.sh(&source, "cat page"), "made by docker");

    let source = format!("docker-archive:{}", both.display());
    let refused = site.wharf.fails(["run", "--rm", &source]);
    assert!(refused.stderr.contains("several images"), "{refused:?}");
    assert_eq!(site.sh(&format!("{source}:site/web:1"), "ls /srv"), "greeting");
    let refused = site.wharf.fails(["run", "--rm", &format!("{source}:site/web:3")]);
    assert!(refused.stderr.contains("no image site/web:3"), "{refused:?}");
    let refused = site.wharf.fails(["run", "--rm", &format!("oci-archive:{}", one.display())]);
    assert!(refused.stderr.contains("index.json"), "{refused:?}");
}
