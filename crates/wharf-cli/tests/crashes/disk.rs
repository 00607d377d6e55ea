//! The disk is full.

use std::os::unix::net::UnixStream;
use std::process::Command;

use wharf_lab::{rootfs, wait};

use super::site::{LIMIT, Site};

/// The state directory is a small file system, seen by the daemon only, and its log is there, too.
const SCRIPT: &str = "mount -t tmpfs -o size=24m tmpfs \"$WHARF_STATE_DIR\" &&
    exec \"$0\" daemon 2>\"$WHARF_STATE_DIR/daemon.log\"";

#[test]
fn a_full_disk_refuses_what_is_new_and_harms_nothing_that_is() {
    let Some(site) = Site::new("full disk") else { return };
    let Some(root) = rootfs::busybox(site.wharf.directory(), "rootfs").unwrap() else { return };
    let untouched = site.untouched();
    let plain = site.wharf.command(["daemon"]);
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation=private", "--", "/bin/sh", "-c", SCRIPT]);
    command.arg(plain.get_program());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut daemon = site.host.spawn(command).unwrap();
    let socket = site.wharf.run_dir().join("wharf.sock");
    wait::until(LIMIT, "the daemon", || UnixStream::connect(&socket).ok()).unwrap();

    let image = format!("dir:{}", root.display());
    let run = |name: &str, port: &str| {
        let line = ["run", "-d", "--name", name, "-p", port, &image, "httpd", "-f", "-h", "/srv"];
        site.wharf.run(line).unwrap()
    };
    assert!(run("box", "8080:80").is_success());
    let page = || site.host.http_get("127.0.0.1:8080", "/greeting").ok();
    wait::until(LIMIT, "an answer", page).unwrap();
    let fill = "dd if=/dev/zero of=/big bs=64k; dd if=/dev/zero of=/rest bs=1";
    let filled = site.wharf.run(["exec", "box", "sh", "-c", fill]).unwrap();
    assert!(filled.stderr.contains("No space left"), "{filled:?}");

    let refused = run("late", "8081:80");
    assert_eq!(refused.code(), 125, "{refused:?}");
    assert!(refused.stderr.contains("No space left"), "{refused:?}");
    assert!(page().is_some(), "what runs goes on");
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));
    assert!(!site.host.can_connect("127.0.0.1:8081"));

    assert_eq!(site.wharf.listed("late"), None, "nothing is left of what was refused");

    // With room again, everything works again, without a new daemon.
    site.wharf.ok(["exec", "box", "rm", "/big", "/rest"]);
    let again = run("late", "8081:80");
    assert!(again.is_success(), "{again:?}");

    // The end of what fills the disk is told, and it can be removed from a full disk.
    let filled = site.wharf.run(["run", "--name", "glutton", &image, "sh", "-c", fill]).unwrap();
    assert!(filled.stderr.contains("No space left"), "{filled:?}");
    assert_eq!(site.wharf.state("glutton").as_deref(), Some("exited"));
    assert!(!run("more", "8082:80").is_success());
    site.wharf.ok(["rm", "glutton"]);
    let filled = site.wharf.run(["run", "--rm", "--name", "brief", &image, "sh", "-c", fill]);
    assert!(filled.unwrap().stderr.contains("No space left"));
    wait::until(LIMIT, "the end of brief", || site.wharf.listed("brief").is_none().then_some(()))
        .unwrap();
    assert!(run("more", "8082:80").is_success());
    site.wharf.ok(["rm", "-f", "more"]);
    site.wharf.ok(["rm", "-f", "box", "late"]);
    site.wharf.ok(["shutdown"]);
    daemon.wait(LIMIT).unwrap();
    site.settles_to(&untouched.without("run directory"));
}
